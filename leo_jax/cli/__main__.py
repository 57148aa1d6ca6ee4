"""`python -m leo_jax.cli`: the command `leo`."""

from leo_jax.cli import main

main()

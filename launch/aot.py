"""Compiles a stage's program for chips that are not here, and says what bounds it: see leo_jax/aot/command.py.

Starts nothing and costs nothing but some minutes of this machine for each slice. Needs `pip install -e '.[aot]'` for TPUs;
for GPUs nvidia-cuda-nvcc-cu12, and jax-cuda12-pjrt and jax-cuda12-plugin of JAX's version (with --no-deps).
"""

import os
import pathlib
import sys

if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
    from leo_jax.aot import ENVIRONMENT

    os.environ.update(ENVIRONMENT)
    from leo_jax.aot import command

    command.start(sys.argv)

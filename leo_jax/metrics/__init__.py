"""Evaluation: distances between features, the protocols they are reported under, and the doubt that stays.

`frechet.frechet_distance` and `kernel.kernel_distance` are stable names and need NumPy alone; `evaluate.evaluate` does
everything that `leo evaluate` does.
"""

from leo_jax.metrics import frechet as frechet
from leo_jax.metrics import kernel as kernel

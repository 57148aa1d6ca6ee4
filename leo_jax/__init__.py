"""leo_jax: human videos from latent motion codes (LEO, IJCV 2024) in JAX.

`leo_jax.load(DIR)` gives a model to use from a notebook; everything else is reached by its module. Nothing heavy is
imported until it is asked for, so that `leo --help` answers at once.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "api", "convert", "load", "metrics"]


def __getattr__(name: str) -> Any:
    """Imports `load` and the submodules on first use (PEP 562)."""
    if name == "load":
        return importlib.import_module("leo_jax.api").load
    if name in (
        "api",
        "convert",
        "denoisers",
        "diffusion",
        "experiment",
        "losses",
        "metrics",
        "models",
        "ops",
        "video",
    ):
        return importlib.import_module(f"leo_jax.{name}")
    raise AttributeError(f"module 'leo_jax' has no attribute {name!r}")

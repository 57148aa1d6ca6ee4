"""Every test runs under strict dtype and rank promotion; shapes in signatures are checked (see pyproject.toml)."""

import os
import signal

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import jax

# A shell starts what runs in its background with Ctrl-C ignored, and children inherit that: tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

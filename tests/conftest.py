"""Every test runs under strict dtype and rank promotion; shapes in signatures are checked (see pyproject.toml).

Programs are compiled without most optimisations, also those of processes that tests start: compiling small networks takes half
of the suite's time, and would take twice that with them. `optimised` is for tests that compute more than they compile.
"""

import os
import signal

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

import jax
import pytest

UNOPTIMISED = "JAX_DISABLE_MOST_OPTIMIZATIONS"

# A shell starts what runs in its background with Ctrl-C ignored, and children inherit that: tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="module")
def optimised():
    """For the tests of a module, and processes that they start, programs are compiled as users' are."""
    before = jax.config.read(UNOPTIMISED.lower())
    jax.config.update(UNOPTIMISED.lower(), False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(UNOPTIMISED, "0")
        yield
    jax.config.update(UNOPTIMISED.lower(), before)


def pytest_collection_modifyitems(items):
    """The longest tests come first: at the end one of the processes that share the suite would work for minutes on them alone."""
    items.sort(key=lambda item: item.path.name != "test_devices.py")

"""Compiling for accelerators that are not here: whether a run fits, and what bounds its speed (`launch/aot.py`)."""

# Of the process, before JAX is imported: no device is looked for, and two processes may load libtpu at once.
ENVIRONMENT = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}

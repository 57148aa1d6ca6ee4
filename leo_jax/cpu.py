"""What a command sets for computing on a CPU before it begins: huge memory pages, and Eigen's convolutions and products.

XLA's CPU backend takes the whole of its temporary memory from malloc at each call and gives it back after. With pages of 4 kB
the kernel then clears hundreds of thousands of them a step; glibc asks for huge ones if a variable says so, which has to be
set before the process starts: it starts itself again.

Convolutions and matrix products go to YNNPACK by default. It computes convolutions of few channels on one core, where Eigen's
are shared out, and products of few rows, as in sampling one video, take it longer. benchmarks/cpu.py measures what each brings.
"""

import glob
import importlib.metadata
import os
import pathlib
import platform
import sys
from collections.abc import Mapping

PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
OLDEST = (2, 35)  # glibc that knows the variable's value
SWITCH = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/accel*", "/dev/vfio/[0-9]*", "/dev/kfd")
OPTION = "--xla_cpu_experimental_ynn_fusion_type"
EIGEN = f"{OPTION}=-individual_convolution,-individual_dot"
KNOWING = ("0.10.2",)  # jaxlibs that were seen to know the option: XLA ends a process that sets one it does not know


def restart() -> None:
    """Sets what helps, if need be by replacing this process by the same command; call it before any work.

    Does nothing where the computing happens on an accelerator.
    """
    if any(glob.glob(pattern) for pattern in ACCELERATORS):
        return
    os.environ.update(by_eigen(os.environ, importlib.metadata.version("jaxlib")))
    enabled = SWITCH.read_text() if SWITCH.exists() else ""
    if sys.platform == "linux" and pages_help(os.environ, platform.libc_ver(), enabled):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **PAGES})


def pages_help(environment: Mapping[str, str], libc: tuple[str, str], enabled: str) -> bool:
    """Whether a restart with huge pages would change anything.

    Args:
        environment: a variable that is set already is the user's choice, or ours after the restart.
        libc: name and version, as `platform.libc_ver` gives them.
        enabled: the kernel's setting, such as 'always [madvise] never': only with 'madvise' does asking matter.
    """
    name, version = libc
    known = name == "glibc" and tuple(int(part) for part in version.split(".")[:2]) >= OLDEST
    return known and "[madvise]" in enabled and not PAGES.keys() & environment.keys()


def by_eigen(environment: Mapping[str, str], jaxlib: str) -> dict[str, str]:
    """What to set for XLA, whose version is `jaxlib`'s; nothing if the user has chosen, or it may not know the option."""
    flags = environment.get("XLA_FLAGS", "")
    if OPTION in flags or jaxlib not in KNOWING:
        return {}
    return {"XLA_FLAGS": f"{flags} {EIGEN}".strip()}

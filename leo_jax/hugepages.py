"""Huge memory pages for computing on a CPU: the first thing a command does there is to start itself again with them.

XLA's CPU backend takes the whole of its temporary memory from malloc at each call and gives it back after. With pages of 4 kB
the kernel then clears hundreds of thousands of them a step; glibc asks for huge ones if a variable says so, which has to be
set before the process starts. benchmarks/hugepages.py measures what it brings.
"""

import glob
import os
import pathlib
import platform
import sys
from collections.abc import Mapping

VARIABLE, VALUE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1"
OLDEST = (2, 35)  # glibc that knows the variable's value
SWITCH = pathlib.Path("/sys/kernel/mm/transparent_hugepage/enabled")
ACCELERATORS = ("/dev/nvidia[0-9]*", "/dev/accel*", "/dev/vfio/[0-9]*", "/dev/kfd")


def restart() -> None:
    """Replaces this process by the same command with huge pages, where `useful`; else returns. Call it before any work."""
    accelerated = any(glob.glob(pattern) for pattern in ACCELERATORS)
    enabled = SWITCH.read_text() if SWITCH.exists() else ""
    if sys.platform == "linux" and useful(os.environ, platform.libc_ver(), enabled, accelerated):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, VARIABLE: VALUE})


def useful(environment: Mapping[str, str], libc: tuple[str, str], enabled: str, accelerated: bool) -> bool:
    """Whether a restart would change anything.

    Args:
        environment: a variable that is set already is the user's choice, or ours after the restart.
        libc: name and version, as `platform.libc_ver` gives them.
        enabled: the kernel's setting, such as 'always [madvise] never': only with 'madvise' does asking matter.
        accelerated: computing happens elsewhere.
    """
    name, version = libc
    known = name == "glibc" and tuple(int(part) for part in version.split(".")[:2]) >= OLDEST
    return known and "[madvise]" in enabled and VARIABLE not in environment and not accelerated

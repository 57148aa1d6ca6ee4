"""The restart happens where it helps, once, and with the same arguments."""

import os
import subprocess
import sys

import pytest

from leo_jax import hugepages

GLIBC, MADVISE = ("glibc", "2.36"), "always [madvise] never"


@pytest.mark.parametrize(
    ("environment", "libc", "enabled", "accelerated", "expected"),
    [
        ({}, GLIBC, MADVISE, False, True),
        ({hugepages.VARIABLE: "glibc.malloc.check=1"}, GLIBC, MADVISE, False, False),
        ({}, ("glibc", "2.31"), MADVISE, False, False),
        ({}, ("", ""), MADVISE, False, False),
        ({}, GLIBC, "[always] madvise never", False, False),
        ({}, GLIBC, "", False, False),
        ({}, GLIBC, MADVISE, True, False),
    ],
)
def test_useful_only_where_it_changes_something(environment, libc, enabled, accelerated, expected):
    assert hugepages.useful(environment, libc, enabled, accelerated) is expected


def test_restarts_once_with_the_same_arguments():
    code = (
        "import sys, os; from leo_jax import hugepages; hugepages.useful = lambda e, *_: hugepages.VARIABLE not in e; "
        "print('start', flush=True); hugepages.restart(); print(sys.argv[1:], os.environ[hugepages.VARIABLE])"
    )
    environment = {k: v for k, v in os.environ.items() if k != hugepages.VARIABLE}
    command = [sys.executable, "-c", code, "--a=1", "two words"]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert found == ["start", "start", f"['--a=1', 'two words'] {hugepages.VALUE}"]

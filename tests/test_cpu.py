"""The restart happens where it helps, once, and with the same arguments; XLA's option is set where XLA knows it."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from leo_jax import cpu

GLIBC, MADVISE = ("glibc", "2.36"), "always [madvise] never"
PLAIN = {k: v for k, v in os.environ.items() if k not in (*cpu.PAGES, "XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS")}


@pytest.mark.parametrize(
    ("environment", "libc", "enabled", "expected"),
    [
        ({}, GLIBC, MADVISE, True),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=1"}, GLIBC, MADVISE, False),
        ({}, ("glibc", "2.31"), MADVISE, False),
        ({}, ("", ""), MADVISE, False),
        ({}, GLIBC, "[always] madvise never", False),
        ({}, GLIBC, "", False),
    ],
)
def test_pages_help_only_where_they_change_something(environment, libc, enabled, expected):
    assert cpu.pages_help(environment, libc, enabled) is expected


def test_the_option_joins_the_users_flags():
    known = cpu.KNOWING[0]
    assert cpu.by_eigen({}, known) == {"XLA_FLAGS": cpu.EIGEN}
    assert cpu.by_eigen({"XLA_FLAGS": "--xla_a=1"}, known) == {"XLA_FLAGS": f"--xla_a=1 {cpu.EIGEN}"}
    assert cpu.by_eigen({"XLA_FLAGS": f"{cpu.OPTION}="}, known) == {}
    assert cpu.by_eigen({}, "99.0") == {}


def run(code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=PLAIN, capture_output=True, text=True, check=True).stdout.splitlines()


def test_restarts_once_with_the_same_arguments():
    code = (
        "import sys, os; from leo_jax import cpu; cpu.ACCELERATORS = (); "
        "cpu.pages_help = lambda e, *_: not cpu.PAGES.keys() & e.keys(); "
        "print('start', flush=True); cpu.restart(); print(sys.argv[1:], os.environ['GLIBC_TUNABLES'])"
    )
    assert run(code, "--a=1", "two words") == [
        "start",
        "start",
        f"['--a=1', 'two words'] {cpu.PAGES['GLIBC_TUNABLES']}",
    ]


def test_nothing_is_set_beside_an_accelerator():
    code = "import os; from leo_jax import cpu; cpu.ACCELERATORS = ('/',); cpu.restart(); print(os.environ.get('XLA_FLAGS'))"
    assert run(code) == ["None"]


def test_xla_knows_the_option_and_computes_alike():
    code = (
        "from leo_jax import cpu; cpu.ACCELERATORS = (); cpu.pages_help = lambda *_: False; cpu.restart(); "
        "import jax, jax.numpy as jnp; from leo_jax.ops.conv import same_conv; "
        "f = jax.jit(lambda x, k: (same_conv(x, k), x[0, :8, 0] @ k[0, 0])); shapes = (4, 32, 32, 256), (3, 3, 256, 256); "
        "x, k = (jax.random.normal(jax.random.key(0), shape) for shape in shapes); "
        "print(f.lower(x, k).compile().as_text().count('ynn'), *(float(jnp.sum(jnp.abs(y))) for y in f(x, k)))"
    )
    (ours, *totals), (theirs, *expected) = (run(c)[0].split() for c in (code, code.replace("cpu.restart(); ", "")))
    if importlib.metadata.version("jaxlib") in cpu.KNOWING:
        assert ours == "0" and int(theirs) > 0
    else:
        assert ours == theirs, "set for a jaxlib that may not know it"
    assert [float(t) for t in totals] == pytest.approx([float(t) for t in expected], rel=1e-5)

"""What the benchmarks share: paired timing against a matrix product, counting FLOPs, printing a table.

The machine's speed drifts, so every repetition of a job is timed between two runs of a 2048³ float32 matrix product, and
what is reported is the ratio of the job's time to the time that this matmul rate would need for the job's FLOPs.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SIDE = 2048


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def matmul() -> Callable[[], float]:
    """A function that measures this process's matmul rate in FLOP/s."""
    a = jnp.asarray(np.random.default_rng(0).standard_normal((SIDE, SIDE)), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    return lambda: 2 * SIDE**3 / seconds(lambda: product(a))


@dataclasses.dataclass(frozen=True)
class Timing:
    """A job's repetitions: seconds, and the matmul rate around each."""

    name: str
    flops: float
    seconds: tuple[float, ...]
    rates: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        return [s * r / self.flops for s, r in zip(self.seconds, self.rates, strict=True)]


def against_matmul(name: str, flops: float, job: Callable[[], Any], repetitions: int) -> Timing:
    """Times `job`, once to warm up and then `repetitions` times, each between two matmuls."""
    rate = matmul()
    jax.block_until_ready(job())
    times, rates = [], []
    for _ in range(repetitions):
        before = rate()
        times.append(seconds(job))
        rates.append((before + rate()) / 2)
    return Timing(name, flops, tuple(times), tuple(rates))


def report(timings: Sequence[Timing]) -> str:
    """A table: GFLOP, median seconds, median matmul rate, and the ratio's minimum, median and maximum."""
    head = f"{'job':44} {'GFLOP':>9} {'seconds':>9} {'matmul GFLOP/s':>15} {'ratio min':>10} {'median':>7} {'max':>7}"
    rows = [
        f"{t.name:44} {t.flops / 1e9:9.1f} {statistics.median(t.seconds):9.3f} {statistics.median(t.rates) / 1e9:15.1f} "
        f"{min(t.ratios):10.2f} {statistics.median(t.ratios):7.2f} {max(t.ratios):7.2f}"
        for t in timings
    ]
    return "\n".join([head, *rows])


def count_flops(function: Callable, *args: Any) -> float:
    """FLOPs of the convolutions and unbatched matrix products in `function`, traced, not run.

    Batched products are left out: the warp at low resolution is one, in place of a gather that has next to no FLOPs.
    """
    return float(_count(jax.make_jaxpr(function)(*args).jaxpr))


def _count(jaxpr: Any) -> float:
    total = 0.0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "conv_general_dilated":
            out, kernel = eqn.outvars[0].aval, eqn.invars[1].aval
            spec = eqn.params["dimension_numbers"].rhs_spec
            per_output = np.prod([kernel.shape[i] for i in spec[1:]])
            total += 2.0 * np.prod(out.shape) * per_output
        elif eqn.primitive.name == "dot_general":
            (contract, _), (batch, _) = eqn.params["dimension_numbers"]
            if not batch:
                total += (
                    2.0 * np.prod(eqn.outvars[0].aval.shape) * np.prod([eqn.invars[0].aval.shape[i] for i in contract])
                )
        elif eqn.primitive.name == "cond":  # one branch runs: the platform's, or the condition's
            total += max(_count(branch.jaxpr) for branch in eqn.params["branches"])
        else:
            scale = eqn.params.get("length", 1) if eqn.primitive.name == "scan" else 1
            for value in eqn.params.values():
                for inner in value if isinstance(value, (tuple, list)) else (value,):
                    inner = getattr(inner, "jaxpr", inner)
                    if hasattr(inner, "eqns"):
                        total += scale * _count(inner)
    return total

"""FLOPs of the mathematics in a traced function: what convolutions and matrix products need, and nothing else."""

from typing import Any

import numpy as np
from jax import lax
from jax.interpreters.partial_eval import dce_jaxpr

TYPES = FLOAT32, SHORT = "float32", "bfloat16"


def count(traced: Any) -> float:
    """All of `by_type`."""
    return sum(by_type(traced).values())


def by_type(traced: Any) -> dict[str, float]:
    """FLOPs (two a multiply-add) of the convolutions and matrix products in a closed jaxpr, for its global shapes.

    By what is multiplied: 'float32' in full precision, and 'bfloat16', which is also how a TPU multiplies float32 that asks
    for nothing better.

    Inserted zeros of dilated inputs are not counted. Of alternatives (a form for each platform) the one with the least
    counts: what the other does more is not asked for. Loops count as often as they run; of unknown length, once. What no
    result depends on does not count.
    """
    needed, _ = dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    return dict(zip(TYPES, map(float, _count(needed)), strict=True))


def _count(jaxpr: Any) -> np.ndarray:
    """(2,): of each of TYPES."""
    total = np.zeros(2)
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name = eqn.primitive.name
        if name == "conv_general_dilated":
            kernel, spec = eqn.invars[1].aval, eqn.params["dimension_numbers"].rhs_spec
            per_output = np.prod([kernel.shape[i] for i in spec[1:]], dtype=float)
            real = np.prod(eqn.params["lhs_dilation"], dtype=float)
            total[_type(eqn)] += 2 * np.prod(eqn.outvars[0].aval.shape, dtype=float) * per_output / real
        elif name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            sizes = [eqn.invars[0].aval.shape[i] for i in contracted]
            total[_type(eqn)] += 2 * np.prod([*eqn.outvars[0].aval.shape, *sizes], dtype=float)
        elif name == "cond":
            total += min((_count(branch) for branch in eqn.params["branches"]), key=np.sum)
        else:
            times = eqn.params.get("length", 1) if name == "scan" else 1
            total += times * sum((_count(inner) for inner in _inner(eqn.params)), np.zeros(2))
    return total


def _type(eqn: Any) -> int:
    """Which of TYPES a product multiplies."""
    short = all(x.aval.dtype.itemsize <= 2 for x in eqn.invars[:2])
    precision = eqn.params["precision"]
    precise = precision if isinstance(precision, tuple) else (precision,)
    return TYPES.index(FLOAT32 if not short and lax.Precision.HIGHEST in precise else SHORT)


def _inner(params: dict[str, Any]) -> list[Any]:
    """The jaxprs among an equation's parameters."""
    values = [v for value in params.values() for v in (value if isinstance(value, (tuple, list)) else (value,))]
    return [v for v in values if hasattr(getattr(v, "jaxpr", v), "eqns")]

"""FLOPs of the mathematics in a traced function: what convolutions and matrix products need, and nothing else."""

from typing import Any

import numpy as np
from jax.interpreters.partial_eval import dce_jaxpr


def count(traced: Any) -> float:
    """FLOPs (two a multiply-add) of the convolutions and matrix products in a closed jaxpr, for its global shapes.

    Inserted zeros of dilated inputs are not counted. Of alternatives (a form for each platform) the one with the least
    counts: what the other does more is not asked for. Loops count as often as they run; of unknown length, once. What no
    result depends on does not count.
    """
    needed, _ = dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    return _count(needed)


def _count(jaxpr: Any) -> float:
    total = 0.0
    for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
        name = eqn.primitive.name
        if name == "conv_general_dilated":
            kernel, spec = eqn.invars[1].aval, eqn.params["dimension_numbers"].rhs_spec
            per_output = np.prod([kernel.shape[i] for i in spec[1:]], dtype=float)
            real = np.prod(eqn.params["lhs_dilation"], dtype=float)
            total += 2 * np.prod(eqn.outvars[0].aval.shape, dtype=float) * per_output / real
        elif name == "dot_general":
            (contracted, _), _ = eqn.params["dimension_numbers"]
            sizes = [eqn.invars[0].aval.shape[i] for i in contracted]
            total += 2 * np.prod([*eqn.outvars[0].aval.shape, *sizes], dtype=float)
        elif name == "cond":
            total += min(_count(branch) for branch in eqn.params["branches"])
        else:
            times = eqn.params.get("length", 1) if name == "scan" else 1
            total += times * sum(_count(inner) for inner in _inner(eqn.params))
    return float(total)


def _inner(params: dict[str, Any]) -> list[Any]:
    """The jaxprs among an equation's parameters."""
    values = [v for value in params.values() for v in (value if isinstance(value, (tuple, list)) else (value,))]
    return [v for v in values if hasattr(getattr(v, "jaxpr", v), "eqns")]

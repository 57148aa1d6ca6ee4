"""Kernel distance: the unbiased squared maximum mean discrepancy of a polynomial kernel (Bińkowski et al. 2018).

KVD is this distance over the 400 logits of I3D, with the cubic kernel, over all features and without a factor 1000.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from leo_jax.metrics.frechet import checked


class Grams(NamedTuple):
    """Kernel matrices of two sets of features, from which re-drawn distances cost next to nothing."""

    real: Float[np.ndarray, "n n"]
    fake: Float[np.ndarray, "m m"]
    cross: Float[np.ndarray, "n m"]


def kernel_distance(real, fake, degree: int = 3, gamma: float | None = None, coef0: float = 1.0) -> float:
    """Unbiased MMD² with k(x, y) = (gamma x·y + coef0)^degree, computed in float64.

    Args:
      real: (n, d) features, any real dtype, n >= 2.
      fake: (m, d) features, m >= 2.
      degree: of the polynomial.
      gamma: scale of the inner product; None is 1/d.
      coef0: the polynomial's constant.

    Returns:
      A float around 0 for sets of one distribution. Being unbiased, it can be negative.

    Raises:
      ValueError: the arrays are not (n, d) of one d, have fewer than two rows, or hold NaN or infinity.
    """
    return distance(grams(real, fake, degree, gamma, coef0))


def grams(real, fake, degree: int = 3, gamma: float | None = None, coef0: float = 1.0) -> Grams:
    """The three kernel matrices of (n, d) and (m, d) features."""
    x, y = checked(real, "real"), checked(fake, "fake")
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"real features have {x.shape[1]} dimensions, fake ones {y.shape[1]}")
    for name, side in (("real", x), ("fake", y)):
        if len(side) < 2:
            raise ValueError(f"{name} has {len(side)} features, the unbiased kernel distance needs at least 2")
    gamma = 1 / x.shape[1] if gamma is None else gamma
    return Grams(*((gamma * (a @ b.T) + coef0) ** degree for a, b in ((x, x), (y, y), (x, y))))


def distance(grams: Grams, real_weights=None, fake_weights=None) -> float:
    """Unbiased MMD² from kernel matrices; weights (n,), (m,) count how often each row stands (bootstrap).

    A row is never paired with itself, nor with its own copies: such pairs would say that sets are closer than they are.
    """
    u = np.ones(len(grams.real)) if real_weights is None else np.asarray(real_weights, np.float64)
    v = np.ones(len(grams.fake)) if fake_weights is None else np.asarray(fake_weights, np.float64)
    return float(_within(grams.real, u) + _within(grams.fake, v) - 2 * (u @ grams.cross @ v) / (u.sum() * v.sum()))


def _within(gram: Float[np.ndarray, "n n"], weights: Float[np.ndarray, " n"]) -> float:
    """Mean of the kernel over pairs of different rows."""
    total = weights @ gram @ weights - np.sum(weights**2 * np.diagonal(gram))
    return total / (weights.sum() ** 2 - np.sum(weights**2))

"""Fréchet distance between two Gaussians fitted to features (Dowson & Landau 1982), without a matrix square root.

FVD is this distance over the 400 logits of I3D (Unterthiner et al. 2018).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float


class Spread(NamedTuple):
    """Mean and covariance of a set of features, the covariance kept as a factor: cov = factor.T @ factor."""

    mean: Float[np.ndarray, " d"]
    factor: Float[np.ndarray, "k d"]  # k <= d rows, so that memory does not grow with the number of features


def frechet_distance(real, fake, ddof: int = 1) -> float:
    """Squared Fréchet distance |mu_r - mu_f|² + tr(S_r + S_f - 2 (S_r S_f)^½), computed in float64.

    Args:
      real: (n, d) features, any real dtype.
      fake: (m, d) features; the two sides may differ in number.
      ddof: covariances are divided by n - ddof: 1 is DIGAN's unbiased one, 0 StyleGAN-V's.

    Returns:
      A float >= 0, also when n < d (singular covariances) and when both sides are the same.

    Raises:
      ValueError: the arrays are not (n, d) of one d, have fewer than ddof + 1 rows, or hold NaN or infinity.
    """
    return distance(spread(real, ddof=ddof, name="real"), spread(fake, ddof=ddof, name="fake"))


def spread(features, ddof: int = 1, weights=None, name: str = "features") -> Spread:
    """Mean and covariance factor of (n, d) features; `weights` (n,) counts how often each row stands (bootstrap)."""
    x = checked(features, name)
    count = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    if count.sum() <= ddof:
        raise ValueError(f"{name} has {len(x)} features, a covariance with ddof={ddof} needs at least {ddof + 1}")
    mean = count @ x / count.sum()
    centred = (x - mean) * np.sqrt(count / (count.sum() - ddof))[:, None]
    return Spread(mean, np.asarray(np.linalg.qr(centred, mode="r")))


def distance(a: Spread, b: Spread) -> float:
    """The distance of two fitted Gaussians, as the smallest |A - O B|² over orthogonal O, A and B their factors.

    tr (S_a S_b)^½ is the sum of the singular values of A Bᵀ; with A Bᵀ = U S Vᵀ the minimum is at O = U Vᵀ. Written as
    that norm it is a sum of squares: identical sets give 1e-27 and not -0.1, and nothing can turn complex.
    """
    if len(a.mean) != len(b.mean):
        raise ValueError(f"features have {len(a.mean)} dimensions on one side and {len(b.mean)} on the other")
    rows = max(len(a.factor), len(b.factor))
    factor_a, factor_b = (np.pad(s.factor, ((0, rows - len(s.factor)), (0, 0))) for s in (a, b))
    u, _, vt = np.linalg.svd(factor_a @ factor_b.T)
    return float(np.sum((a.mean - b.mean) ** 2) + np.sum((factor_a - u @ vt @ factor_b) ** 2))


def checked(features, name: str = "features") -> Float[np.ndarray, "n d"]:
    """`features` as float64 (n, d), refused with the reason if they are anything else."""
    x = np.asarray(features)
    real = jnp.issubdtype(x.dtype, np.number) and not np.iscomplexobj(x)  # NumPy alone knows no bfloat16
    if x.ndim != 2 or not x.shape[1] or not real:
        raise ValueError(f"{name} must be real features of shape (n, d), got {x.dtype} {x.shape}")
    x = x.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if len(bad):
        raise ValueError(f"{name} holds NaN or infinity in {len(bad)} of {len(x)} rows, the first is row {bad[0]}")
    return x

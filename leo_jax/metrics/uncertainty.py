"""How far a distance can be trusted: bootstrap by source, the floor of real against real, extrapolation to N = ∞."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from leo_jax.metrics import frechet, kernel

Rows = Float[np.ndarray, "_ d"]  # the two sides may differ in number
Groups = Int[np.ndarray, " _"]


class Spread(NamedTuple):
    """Mean and population standard deviation of repeated measurements, and how many clips a side they had."""

    mean: float
    std: float
    clips: int


class Line(NamedTuple):
    """FVD = limit + slope / N fitted to `values` at `sizes`; `error` is the limit's standard error."""

    limit: float
    slope: float
    error: float
    sizes: list[int]
    values: list[float]


def bootstrap(
    real: Rows, real_groups: Groups, fake: Rows, fake_groups: Groups, *, ddof: int, draws: int, seed: int
) -> dict[str, float]:
    """Standard errors of FVD and KVD when sources (videos) are drawn anew with replacement on both sides.

    Clips of one source are alike, so they are drawn together. Re-drawn sets hold about 63 % of the sources, which
    raises an FVD: take the spread, not the mean.
    """
    random = np.random.default_rng([seed, 4])
    grams = kernel.grams(real, fake)
    found: dict[str, list[float]] = {"fvd": [], "kvd": []}
    for _ in range(draws):
        u, v = _redraw(real_groups, random), _redraw(fake_groups, random)
        found["fvd"].append(estimate(real, fake, ddof, u, v))
        found["kvd"].append(kernel.distance(grams, u, v))
    return {name: float(np.std(values, ddof=1)) for name, values in found.items()}


def floor(
    real: Rows, groups: Groups, fake: Rows, *, ddof: int, most: int, draws: int, seed: int
) -> dict[str, dict[str, Spread]]:
    """Real against real: disjoint halves of the sources, `draws` times, at most `most` clips a side.

    FVD grows as N falls, so the generated side is measured again at the floor's own N.

    Returns:
      {"floor": {"fvd": …, "kvd": …}, "fake": {"fvd": …, "kvd": …}}, the latter being fake against the same halves.
    """
    random = np.random.default_rng([seed, 5])
    names = np.unique(groups)
    if len(names) < 2:
        raise ValueError("the floor needs real clips of two or more source videos")
    found: dict[str, dict[str, list[float]]] = {side: {"fvd": [], "kvd": []} for side in ("floor", "fake")}
    for _ in range(draws):
        order = random.permutation(names)
        first, second = ([*np.flatnonzero(np.isin(groups, some))] for some in (order[::2], order[1::2]))
        size = min(len(first), len(second), len(fake), most)
        halves = [real[np.sort(random.permutation(half)[:size])] for half in (first, second)]
        some_fake = fake[np.sort(random.permutation(len(fake))[:size])]
        for side, other in (("floor", halves[1]), ("fake", some_fake)):
            found[side]["fvd"].append(estimate(halves[0], other, ddof))
            found[side]["kvd"].append(kernel.kernel_distance(halves[0], other))
    return {
        side: {name: Spread(float(np.mean(v)), float(np.std(v)), size) for name, v in metrics.items()}
        for side, metrics in found.items()
    }


def extrapolate(real: Rows, fake: Rows, *, ddof: int, seed: int, points: int = 12, smallest: float = 0.25) -> Line:
    """FVD at N = ∞ from subsets of several sizes: its bias falls as 1/N (Chong & Forsyth 2020).

    Sizes lie evenly in 1/N from all to `smallest` of the clips. It holds where the smallest subset has more clips than
    features have dimensions.
    """
    random = np.random.default_rng([seed, 6])
    n = min(len(real), len(fake))
    sizes = np.unique(np.round(1 / np.linspace(1 / n, 1 / (smallest * n), points)).astype(int))[::-1]
    if len(sizes) < 3 or sizes[-1] < 2:
        raise ValueError(f"{n} clips a side are too few to extrapolate from")
    values = [estimate(_some(real, k, random), _some(fake, k, random), ddof) for k in sizes.tolist()]
    design = np.stack([np.ones(len(sizes)), 1 / sizes], axis=1)
    (limit, slope), *_ = np.linalg.lstsq(design, values, rcond=None)
    residual = np.sum((values - design @ [limit, slope]) ** 2) / (len(sizes) - 2)
    error = np.sqrt(residual * np.linalg.inv(design.T @ design)[0, 0])
    return Line(float(limit), float(slope), float(error), sizes.tolist(), values)


def estimate(real: Rows, fake: Rows, ddof: int, real_weights=None, fake_weights=None) -> float:
    """The Fréchet distance, good to about six digits: several times quicker than `frechet.distance` for many features.

    With few features the exact way is the quick one, and is taken.
    """
    d = real.shape[1]
    sides = ((real, real_weights), (fake, fake_weights))
    if min(np.count_nonzero(w) if w is not None else len(x) for x, w in sides) <= d:
        return frechet.distance(*(frechet.spread(x, ddof, w) for x, w in sides))
    (mean_a, cov_a), (mean_b, cov_b) = (_moments(x, w, ddof) for x, w in sides)
    values, vectors = np.linalg.eigh(cov_a)
    root = np.sqrt(np.maximum(values, 0))[:, None] * vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root.T), 0)).sum()
    return max(float(np.sum((mean_a - mean_b) ** 2) + np.trace(cov_a) + np.trace(cov_b) - 2 * cross), 0.0)


def _moments(x: Rows, weights, ddof: int) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, "d d"]]:
    x = x.astype(np.float64)
    count = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    mean = count @ x / count.sum()
    centred = x - mean
    return mean, (centred.T * count) @ centred / (count.sum() - ddof)


def _redraw(groups: Groups, random: np.random.Generator) -> Int[np.ndarray, " n"]:
    """How often each clip stands in a set whose sources are drawn with replacement."""
    names, members = np.unique(groups, return_inverse=True)
    if len(names) == 1:
        raise ValueError("error bars by source need clips of two or more source videos")
    while True:
        times = np.bincount(random.integers(len(names), size=len(names)), minlength=len(names))
        if np.count_nonzero(times) > 1:  # one source alone would have no spread
            return times[members]


def _some(x: Rows, count: int, random: np.random.Generator) -> Rows:
    return x[np.sort(random.permutation(len(x))[:count])]

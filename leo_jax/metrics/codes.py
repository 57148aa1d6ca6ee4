"""How far generated motion codes are from true ones, and how much they repeat: no pixels, no weights needed.

Ours; the paper measures videos alone. Codes are sequences (t, d) of an animator; give both sides standardised by the same
statistics (SPEC §2), or every dimension counts as much as it happens to vary.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from leo_jax.metrics.frechet import frechet_distance

WINDOW = 8  # codes: windows of 8 x 20 numbers need some hundreds of sequences for a full covariance
BEYOND = 64  # codes: what a sequence does again after this is repetition; a shorter period is a rhythm

Sequences = Sequence[Float[np.ndarray, "_ d"]]


def windows(sequences: Sequences, length: int = WINDOW, hop: int | None = None) -> Float[np.ndarray, "n k"]:
    """All windows of `length` codes, `hop` apart (default: side by side), flattened to (n, length * d).

    Raises ValueError when no sequence is that long.
    """
    hop = hop or length
    parts = [s[i : i + length].reshape(-1) for s in sequences for i in range(0, len(s) - length + 1, hop)]
    if not parts:
        longest = max((len(s) for s in sequences), default=0)
        raise ValueError(f"no window of {length} codes: the longest of {len(sequences)} sequences has {longest}")
    return np.stack(parts)


def velocities(sequences: Sequences) -> list[Float[np.ndarray, "_ d"]]:
    """Differences between neighbouring codes of each sequence."""
    return [np.diff(s, axis=0) for s in sequences]


def distances(real: Sequences, fake: Sequences, length: int = WINDOW) -> dict[str, float]:
    """Fréchet distances of generated codes from true ones.

    Returns:
        'codes/windows': of windows of `length` codes (where the motion goes, and how); 'codes/velocities': of windows of
        their velocities (how it moves, wherever it is); 'codes/start': of the sequences' first codes.
    """
    starts = [np.stack([s[0] for s in side]) for side in (real, fake)]
    moving = [windows(velocities(side), length) for side in (real, fake)]
    return {
        "codes/windows": frechet_distance(windows(real, length), windows(fake, length)),
        "codes/velocities": frechet_distance(moving[0], moving[1]),
        "codes/start": frechet_distance(starts[0], starts[1]),
    }


def repetition(codes: Float[np.ndarray, "t d"], beyond: int = BEYOND, overlap: int = BEYOND) -> float:
    """The largest autocorrelation at lags over `beyond`: 1 for motion that comes again exactly, about 0 for none.

    With x the codes less their mean over time, lag k has sum_t <x_t, x_t+k> over the root of the product of both parts'
    energies, t running over the t - k codes that overlap; lags that leave fewer than `overlap` of them are not looked at. 0 for
    codes that never change.

    Raises ValueError for fewer than beyond + overlap + 1 codes.
    """
    t = len(codes)
    if t < beyond + overlap + 1:
        raise ValueError(f"{t} codes: lags over {beyond} with {overlap} codes in common need {beyond + overlap + 1}")
    x = np.asarray(codes, np.float64)
    x = x - x.mean(0)
    energy = np.cumsum(np.square(x).sum(1))
    if energy[-1] < 1e-12:
        return 0.0
    size = 2 * t
    spectrum = np.fft.rfft(x, size, axis=0)
    products = np.fft.irfft(np.square(np.abs(spectrum)).sum(1), size)  # at lag k: sum_t <x_t, x_t+k>
    lags = np.arange(beyond + 1, t - overlap + 1)
    early, late = energy[t - 1 - lags], energy[-1] - energy[lags - 1]
    return float(np.max(products[lags] / np.maximum(np.sqrt(early * late), 1e-12)))


def drift(sequences: Float[np.ndarray, "n t d"], span: int = BEYOND) -> Float[np.ndarray, " w"]:
    """How far a sequence's mean over each `span` codes lies from that over its first ones: 0, then what becomes of it.

    The distance is the root mean square over dimensions, its mean over sequences. Raises ValueError for fewer than 2·span codes.
    """
    n, t, d = np.shape(sequences)
    if t < 2 * span:
        raise ValueError(f"{t} codes: drift is told of at least two spans of {span}")
    means = np.asarray(sequences, np.float64)[:, : t - t % span].reshape(n, t // span, span, d).mean(2)
    return np.sqrt(np.square(means - means[:, :1]).mean(-1)).mean(0)


def diversity(sequences: Float[np.ndarray, "n t d"]) -> float:
    """Root mean square distance between the codes of different sequences at the same time, per dimension."""
    n = len(sequences)
    if n < 2:
        raise ValueError(f"{n} sequence: diversity is between at least 2")
    spread = np.var(np.asarray(sequences, np.float64), axis=0, ddof=1).mean()
    return float(np.sqrt(2 * spread))

"""What a denoiser makes, beside what is real: sheets for a person to look at while it trains."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped, UInt8

from leo_jax.denoisers import Denoiser, FirstFrame, Motion, Sampling, Start
from leo_jax.training import pictures, plots
from leo_jax.training.denoising import prepared
from leo_jax.training.state import PyTree, to_host

Examples = Mapping[str, Shaped[np.ndarray, "n ..."]]
Render = Callable[[UInt8[np.ndarray, "h w 3"], Float[np.ndarray, "t d"]], UInt8[np.ndarray, "t h w 3"]]

CURVES = 4  # code dimensions drawn
PAIRS = 3  # pairs of dimensions of start codes drawn
REACH = 3.0  # standard deviations from the middle of a plot to its edge
FRAMES = 8  # frames of a strip
PLOT = (192, 96)  # px of a plot of curves
SIDE = 160  # px of a plot of points


def make_picture(
    denoiser: Denoiser, examples: Examples, *, render: Render | None = None, steps: int = 25
) -> Callable[[PyTree, PyTree, object], UInt8[np.ndarray, "h w 3"]]:
    """A task's `picture`: samples of the running mean, from the same noise each time, beside the real `examples`.

    Motion and transition: curves of the first code dimensions (real grey, made red) and, if `render` draws a picture in the
    poses of codes, strips of frames. Start codes: clouds and histograms. First frames: real and made ones.

    Args:
        denoiser: what is trained.
        examples: as in a batch; for motion and transition with 'images', of the first code, if there is `render`.
        render: (image, codes) → frames, all bytes.
        steps: of DDIM.
    """
    keys = jax.random.split(jax.random.key(0), len(examples["codes"]))
    draw: Any = denoiser.sample  # of whichever kind

    @jax.jit
    def sample(params: PyTree, frozen: PyTree, batch: PyTree) -> tuple[Array, Array]:
        """(standardised real codes, what was made: standardised codes or images)."""
        ready = prepared(frozen, batch)
        condition = condition_of(denoiser, ready["codes"])
        return ready["codes"], draw(params, keys, condition, Sampling(steps))

    def picture(state: PyTree, frozen: PyTree, batch: object) -> UInt8[np.ndarray, "h w 3"]:
        real, made = to_host(sample(state["ema"], frozen, dict(examples)))
        if isinstance(denoiser, FirstFrame):
            return pictures.sheet({"real": examples["images"], "made": made})
        if isinstance(denoiser, Start):
            return start_sheet(real, made)
        strips = None
        if render is not None:
            codes = np.asarray(frozen["statistics"].restore(jnp.asarray(made)))
            strips = [strip(render, *each) for each in zip(examples["images"], examples["codes"], codes, strict=True)]
        return sequence_sheet(real, made, strips)

    return picture


def condition_of(denoiser: Denoiser, codes: Array) -> Array | None:
    """What `denoiser.sample` is given, taken from real standardised codes (b, n, d) or (b, d)."""
    if isinstance(denoiser, Start):
        return None
    if isinstance(denoiser, FirstFrame):
        return codes
    if isinstance(denoiser, Motion):
        return codes[:, 0] if denoiser.lmc else None
    return jnp.stack([codes[:, 0], codes[:, -1]], 1)


def strip(
    render: Render,
    image: UInt8[np.ndarray, "size size 3"],
    real: Float[np.ndarray, "t d"],
    made: Float[np.ndarray, "t d"],
) -> UInt8[np.ndarray, "height width 3"]:
    """Frames over time: above in the poses of the real codes, below in those of the made ones."""
    chosen = np.linspace(0, len(real) - 1, min(FRAMES, len(real))).round().astype(int)
    rows = [np.concatenate(list(render(image, codes[chosen])), axis=1) for codes in (real, made)]
    both = np.concatenate(rows)
    times = max(1, round(2 * PLOT[1] / both.shape[0]))
    return both.repeat(times, 0).repeat(times, 1)


def sequence_sheet(
    real: Float[np.ndarray, "b t d"],
    made: Float[np.ndarray, "b t d"],
    strips: list[UInt8[np.ndarray, "_ _ 3"]] | None = None,
) -> UInt8[np.ndarray, "height width 3"]:
    """A row an example: the curves of its first dimensions, below them its strip."""
    shown = range(min(CURVES, real.shape[-1]))
    width, height = PLOT
    rows = []
    for i in range(len(real)):
        panels = [
            plots.line_plot(real[i].T[k : k + 1], made[i].T[k : k + 1], width=width, height=height, reach=REACH)
            for k in shown
        ]
        rows.append(plots.row(panels, [f"{i}: code {k}" for k in shown]))
        if strips is not None:
            rows.append(strips[i])
    return plots.column(rows)


def start_sheet(real: Float[np.ndarray, "n d"], made: Float[np.ndarray, "m d"]) -> UInt8[np.ndarray, "height width 3"]:
    """Clouds of pairs of dimensions, below them the histograms of those dimensions."""
    pairs = [(k, k + 1) for k in range(0, min(2 * PAIRS, real.shape[-1] // 2 * 2), 2)] or [(0, 0)]
    clouds = [plots.scatter_plot(real[:, [a, b]], made[:, [a, b]], side=SIDE, reach=REACH) for a, b in pairs]
    bars = [
        plots.histogram_plot(real[:, k], made[:, k], side=SIDE // 2 - plots.GAP // 2, reach=REACH)
        for pair in pairs
        for k in pair
    ]
    rows = [plots.row(clouds, [f"code {a}, {b}" for a, b in pairs])]
    rows.append(plots.row(bars, [f"code {k}" for pair in pairs for k in pair]))
    return plots.column(rows)

"""A few videos of every kind that a model can make, for a person to look at: what a training run leaves behind."""

import pathlib
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from leo_jax import files
from leo_jax.progress import progress_bar
from leo_jax.sampling import recording, sheets, videos
from leo_jax.sampling.codes import CodeSampler
from leo_jax.sampling.render import Renderer

COLUMNS = 8  # frames of each video on the contact sheet


@runtime_checkable
class Model(Protocol):
    """What is used of `leo_jax.api.Model`."""

    renderer: Renderer
    sampler: CodeSampler

    @property
    def stages(self) -> frozenset[str]:
        """What it has."""

    @property
    def fps(self) -> float:
        """Of its videos."""


def modes(model: Model) -> list[str]:
    """What it can make of 'conditional', 'unconditional', 'long' (from the last code on) and 'transition'."""
    if "motion" not in model.stages:
        return []
    lmc = model.sampler.lmc
    able = {
        "conditional": True,
        "unconditional": model.stages >= ({"start", "first_frame"} if lmc else {"first_frame"}),
        "long": lmc,
        "transition": model.stages >= ({"start", "transition"} if lmc else {"transition"}),
    }
    return [name for name, yes in able.items() if yes]


def write_samples(
    model: Model,
    images: Shaped[np.ndarray, "n h w 3"],
    folder: files.PathLike,
    *,
    frames: int = 64,
    long_frames: int = 512,
    steps: int = 50,
    seed: int = 0,
    progress: bool = True,
) -> list[pathlib.Path]:
    """Writes videos of every mode that the model has to `folder`: MODE-K.mp4, MODE-K.codes.npz; samples.png.

    Args:
        model: from `leo_jax.load`.
        images: what conditional videos begin with, (n, size, size, 3), bytes or float in [-1, 1]. As many unconditional ones
            are made; one long one and one with transitions begin with the first image.
        folder: where to.
        frames: of the conditional and unconditional videos.
        long_frames: of the others.
        steps: DDIM steps.
        seed: of all that is random.
        progress: show a progress bar.

    Returns:
        The videos, then the contact sheet, whose rows are the videos, COLUMNS frames of each in equal distances.

    Raises:
        ValueError: no images, or a model without motion.
    """
    found = modes(model)
    if not found or not len(images):
        raise ValueError(f"no samples from {len(images)} images and the stages {sorted(model.stages)}: both are needed")
    plan = [(mode, k) for mode in found for k in range(len(images) if "conditional" in mode else 1)]
    lengths = {mode: frames if "conditional" in mode else long_frames for mode in found}
    folder, paths, rows = pathlib.Path(folder), [], []
    with progress_bar(sum(lengths[mode] for mode, _ in plan), "samples", "frame", shown=progress) as bar:
        for mode, k in plan:
            path, count = folder / f"{mode}-{k}.mp4", lengths[mode]
            (video,) = videos.videos(
                model.renderer,
                model.sampler,
                None if mode == "unconditional" else images[k],
                frames=count,
                steps=steps,
                seed=seed,
                first=k,
                transition=mode == "transition",
            )
            times = sheets.spaced(count, COLUMNS)
            about = {"seed": seed, "index": k, "steps": steps}
            kept = recording.record(video, path, fps=model.fps, about=about, keep=times, tick=bar.update)
            rows.append(sheets.Row(f"{path.stem}: frames {_listed(times)}", kept))
            paths.append(path)
    recording.write_image(folder / "samples.png", sheets.sheet(rows))
    return [*paths, folder / "samples.png"]


def _listed(times: Sequence[int]) -> str:
    return ", ".join(str(time + 1) for time in times)

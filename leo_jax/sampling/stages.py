"""The trained denoisers in a model's folder, each opened when it is first asked for.

A finished stage DIR/<stage>/ holds model.json ({stage: its description, "stride", "fps" of the data}), <stage>.npz and
statistics.npz; one that is still training holds denoiser.json (the same description), statistics.npz and checkpoints/,
whose averaged weights are used.
"""

import dataclasses
import pathlib
from typing import Any

import jax.numpy as jnp

from leo_jax import denoisers, weights
from leo_jax.checkpoints import Checkpoints
from leo_jax.denoisers import UNFINISHED_FILE, Denoiser, Statistics

STATISTICS_FILE = "statistics.npz"
DEFAULT_FPS = 25.0  # of a model that does not say


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A denoiser, its parameters, and the statistics by which its codes are standardised."""

    denoiser: Denoiser
    params: Any
    statistics: Statistics


class Stages:
    """The denoisers in a folder.

    Attributes:
        folder: where they are.
        code_dim: width of the animator's codes, which all of them have to have.
        size: side of the animator's images, px, which the first-frame model has to draw.
    """

    def __init__(self, folder: pathlib.Path, code_dim: int, size: int) -> None:
        self.folder, self.code_dim, self.size = folder, code_dim, size
        self._opened: dict[str, Trained] = {}

    @property
    def names(self) -> frozenset[str]:
        """Stages that can be opened: 'motion', 'start', 'transition', 'first_frame', or some of them."""
        return frozenset(name for name in denoisers.KINDS if self._finished(name) or self._training(name))

    @property
    def stride(self) -> int:
        """Frames of the training videos from one code to the next (1 without a motion model)."""
        return int(self._about("motion").get("stride", 1))

    @property
    def fps(self) -> float:
        """Frames a second of what the motion model makes: the training videos' rate over `stride`."""
        return float(self._about("motion").get("fps") or DEFAULT_FPS) / self.stride

    def __getitem__(self, name: str) -> Trained:
        """The stage of this name.

        Raises:
            FileNotFoundError: it is not there; says how to get it.
            ValueError: its files do not fit together, or not to the animator.
        """
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name]

    def _finished(self, name: str) -> bool:
        return (self.folder / name / weights.MODEL_FILE).exists()

    def _training(self, name: str) -> bool:
        folder = self.folder / name
        return (folder / UNFINISHED_FILE).exists() and any((folder / "checkpoints").glob("[0-9]*"))

    def _about(self, name: str) -> dict[str, Any]:
        return denoisers.load_description(self.folder / name)

    def _open(self, name: str) -> Trained:
        folder = self.folder / name
        if name not in self.names:
            raise FileNotFoundError(
                f"{self.folder} has no {name} model{_USE.get(name, '')}: there is no {name}/{weights.MODEL_FILE} and no "
                f"{name}/checkpoints. Train it with {self._way(name)}, or give a model that has it. What is "
                f"here: {', '.join(sorted(self.names)) or 'none of the four denoisers'}"
            )
        about = self._about(name)
        try:
            denoiser = denoisers.from_description(about.get(name, about))
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"{folder} does not describe a {name} model ({error}): train that stage again") from error
        shapes = weights.shapes_of(denoiser.module, *denoisers.inputs_of(denoiser))
        if self._finished(name):
            params = weights.load_tree(folder / f"{name}.npz")
        else:
            with Checkpoints(folder / "checkpoints", read_only=True) as checkpoints:
                params = checkpoints.restore_part({"ema": shapes})["ema"]
        weights.check_tree(params, shapes, what=f"{folder}: a {name} model")
        found = weights.load_tree(folder / STATISTICS_FILE)
        statistics = Statistics(*(jnp.asarray(found[part], jnp.float32) for part in Statistics._fields))
        self._check(name, denoiser, statistics)
        return Trained(denoiser, params, statistics)

    def _way(self, name: str) -> str:
        """The command that trains the stage. A converted or shipped animator is no workdir: a run has to begin with it."""
        if (self.folder / weights.MODEL_FILE).exists():
            return f"`leo train --config=… --workdir=WORKDIR --animator={self.folder}` and take WORKDIR as the model"
        return f"`leo train --config=… --workdir={self.folder} --stages={name}`"

    def _check(self, name: str, denoiser: Denoiser, statistics: Statistics) -> None:
        if statistics.mean.shape != (self.code_dim,):
            raise ValueError(
                f"{self.folder / name} is for codes of {statistics.mean.size}, the animator's have {self.code_dim}: it was "
                "trained with another animator"
            )
        if isinstance(denoiser, denoisers.FirstFrame) and denoiser.size != self.size:
            raise ValueError(
                f"{self.folder / name} draws images of {denoiser.size} px, the animator takes {self.size} px: train it "
                "at the animator's size"
            )


_USE = {
    "motion": ", which moves a picture",
    "start": ", which draws the code that a video begins with when no image is given, and those that transitions lead to",
    "transition": ", which leads from one segment to a new start code",
    "first_frame": ", which draws the first image when none is given (with --image it is not needed)",
}

"""What notebooks use: `model = leo_jax.load(DIR)`, then `model.codes(images)` and `model.render(source, codes)`."""

import json
import pathlib
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Shaped

from leo_jax import files, weights
from leo_jax.checkpoints import Checkpoints
from leo_jax.models.animator import Animator
from leo_jax.sampling.render import Renderer

ASSETS = pathlib.Path(__file__).parent / "assets"
Images = Shaped[np.ndarray, "*b h w c"] | Shaped[Array, "*b h w c"]
Codes = Shaped[np.ndarray, "..."] | Shaped[Array, "..."]


class Model:
    """A loaded model.

    Attributes:
        directory: where it was loaded from.
        size: side of its images, px.
        code_dim: width of its motion codes.
    """

    def __init__(self, directory: pathlib.Path, renderer: Renderer) -> None:
        self.directory = directory
        self.renderer = renderer
        self.size: int = renderer.animator.size
        self.code_dim: int = renderer.animator.code_dim

    def codes(self, images: Images) -> Float[np.ndarray, "t d"]:
        """Motion codes of images (SPEC §2: alpha = E(x)).

        Args:
            images: (t, size, size, 3), float in [-1, 1] or bytes; or one image without the first axis.

        Returns:
            (t, code_dim) float32.

        Raises:
            ValueError: images of another size, or floats outside of [-1, 1].
        """
        return self.renderer.codes(np.asarray(images))

    def render(self, source: Images, codes: Codes, relative_to: Codes | None = None) -> Float[np.ndarray, "t h w 3"]:
        """Draws the person of `source` in the poses of `codes`. The source is encoded once.

        Args:
            source: one image, (size, size, 3) or (1, size, size, 3), float in [-1, 1] or bytes.
            codes: (t, code_dim), of any number of frames: they are drawn in batches.
            relative_to: code of the driving clip's first frame; then the source moves as the clip does from there, instead
                of taking its poses: z = w(source) + (codes - relative_to + alpha(source)) @ Q.T.

        Returns:
            (t, size, size, 3) float32, clamped to [-1, 1].

        Raises:
            ValueError: an image or code of another shape, or floats outside of [-1, 1].
        """
        start = None if relative_to is None else np.asarray(relative_to)
        parts = list(self.renderer.frames(np.asarray(source), np.asarray(codes), start))
        return np.concatenate(parts) if parts else np.zeros((0, self.size, self.size, 3), np.float32)


def load(directory: files.PathLike, *, batch_size: int | None = None) -> Model:
    """Loads a converted checkpoint, a training workdir (finished or not), or a model that comes with the package.

    Args:
        directory: the folder, or the name of a shipped model ('puppets').
        batch_size: frames to draw at a time; chosen by image size and backend if not given.

    Raises:
        FileNotFoundError: there is no model; says what was looked for.
        ValueError: the files do not fit together.
    """
    path = find(directory)
    if (path / weights.MODEL_FILE).exists():
        animator = Animator(**weights.load_description(path)["animator"])
        params = weights.load_tree(path / "animator.npz")
    else:
        animator, params = _from_checkpoint(path)
    weights.check_tree(params, shapes_of(animator), what=f"{path}: an animator of {animator.size} px")
    return Model(path, Renderer(animator, params, batch_size))


def find(directory: files.PathLike) -> pathlib.Path:
    """The folder that holds the animator: the given one, its 'animator' stage, or a shipped model of that name."""
    given = pathlib.Path(directory)
    candidates = [given, given / "animator"]
    if given.name == str(directory):
        candidates.append(ASSETS / given.name)
    for path in candidates:
        if (path / weights.MODEL_FILE).exists() or (path / "checkpoints").is_dir():
            return path
    shipped = sorted(p.parent.name for p in ASSETS.glob(f"*/{weights.MODEL_FILE}"))
    raise FileNotFoundError(
        f"no model in {directory}: neither {weights.MODEL_FILE} (from `leo convert lia`, or a finished training) nor "
        f"checkpoints/ (a training under way). Models that come with the package: {', '.join(shipped) or 'none'}"
    )


def shapes_of(animator: Animator) -> Any:
    """The animator's parameter shapes, without computing anything."""
    image = jax.ShapeDtypeStruct((1, animator.size, animator.size, 3), np.float32)
    return weights.shapes_of(animator, image, image)


def _from_checkpoint(path: pathlib.Path) -> tuple[Animator, Any]:
    """The animator of a stage that is still training, from its latest checkpoint."""
    config = path / "config.json"
    if not config.exists():
        raise FileNotFoundError(f"{path} has checkpoints but no config.json that says of what")
    sections = json.loads(config.read_text())
    sizes = sections["model"]
    animator = Animator(size=sizes["size"], width=sizes["width"], code_dim=sizes["code_dim"])
    shapes = shapes_of(animator)
    with Checkpoints(path / "checkpoints", read_only=True) as checkpoints:
        if sections["animator"]["ema_decay"]:
            return animator, checkpoints.restore_part({"ema": shapes})["ema"]
        return animator, checkpoints.restore_part({"generator": {"params": shapes}})["generator"]["params"]

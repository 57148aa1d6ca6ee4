"""What notebooks use: `leo = leo_jax.load(DIR)`, then `leo.generate(image)`, `leo.codes(images)`, `leo.render(source, codes)`."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Shaped

from leo_jax import files, weights
from leo_jax.checkpoints import Checkpoints
from leo_jax.models.animator import Animator
from leo_jax.sampling import videos
from leo_jax.sampling.codes import CodeSampler, check_frames
from leo_jax.sampling.render import Renderer, check_finite
from leo_jax.sampling.stages import Stages

ASSETS = pathlib.Path(__file__).parent / "assets"
Images = Shaped[np.ndarray, "*b h w c"] | Shaped[Array, "*b h w c"]
Codes = Shaped[np.ndarray, "..."] | Shaped[Array, "..."]


class Model:
    """A loaded model. Its denoisers are opened when they are first needed.

    Everything random is a function of `seed` and of a video's index (`first` is that of the first video), so neither `num`, nor
    the batch, nor the number of devices changes a video, but for the rounding of float32.

    Attributes:
        directory: where it was loaded from.
        size: side of its images, px.
        code_dim: width of its motion codes.
        renderer: the animator at work.
        sampler: the denoisers at work.
    """

    def __init__(self, directory: pathlib.Path, renderer: Renderer, sampler: CodeSampler) -> None:
        self.directory = directory
        self.renderer = renderer
        self.sampler = sampler
        self.size: int = renderer.animator.size
        self.code_dim: int = renderer.animator.code_dim

    @property
    def stages(self) -> frozenset[str]:
        """Names of what it has: 'animator', and of the denoisers 'motion', 'start', 'transition', 'first_frame'."""
        return self.sampler.stages.names | {"animator"}

    @property
    def stride(self) -> int:
        """Frames of the training videos from one code to the next."""
        return self.sampler.stages.stride

    @property
    def fps(self) -> float:
        """Frames a second at which its videos move as the training videos do."""
        return self.sampler.stages.fps

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
            ValueError: an image or code of another shape, codes that are not finite, or floats outside of [-1, 1].
        """
        start = None if relative_to is None else np.asarray(relative_to)
        parts = list(self.renderer.frames(np.asarray(source), np.asarray(codes), start))
        return np.concatenate(parts) if parts else np.zeros((0, self.size, self.size, 3), np.float32)

    def sample_codes(
        self,
        start: Codes | None = None,
        frames: int | float = 64,
        num: int = 1,
        steps: int = 50,
        seed: int = 0,
        transition: bool = False,
        *,
        first: int = 0,
    ) -> Float[np.ndarray, "n t d"]:
        """Draws motion (SPEC §4), as codes that `render` draws.

        Args:
            start: code that each begins with, (d,) for all or (num, d); None draws them from the start-code model.
            frames: codes in each; more than the motion model's length are chained by the last code.
            num: sequences.
            steps: DDIM steps.
            seed: of all that is random.
            transition: go from segment to segment by the Transition DM and a new start code.
            first: index of the first sequence: `num=2, first=4` gives the fifth and sixth of `num=6`.

        Returns:
            (num, frames, code_dim) float32; the first code of each is its start code.

        Raises:
            FileNotFoundError: a stage that is needed is missing; says how to get it.
            ValueError: an impossible number, or a start code of another shape or not finite.
        """
        check_frames(frames)
        if frames is None or frames == float("inf"):
            raise ValueError("sample_codes gives an array: `frames` has to be finite (generate goes on without an end)")
        if num < 1:
            raise ValueError(f"num = {num}: at least 1")
        if start is not None:
            start = np.asarray(start, np.float32)
            check_finite(start, "start")
            if start.shape not in ((self.code_dim,), (1, self.code_dim), (num, self.code_dim)):
                raise ValueError(
                    f"start of shape {start.shape}: one code ({self.code_dim},) for all, or ({num}, {self.code_dim}) for "
                    f"num={num}"
                )
            start = np.broadcast_to(start, (num, self.code_dim))
        return self.sampler.sample(
            start, frames=int(frames), num=num, steps=steps, seed=seed, first=first, transition=transition
        )

    def first_frame(
        self, code: Codes, steps: int = 50, seed: int = 0, *, first: int = 0
    ) -> Float[np.ndarray, "*b h w 3"]:
        """Draws the image that a video with this first code begins with (the cDDPM p(x_1 | alpha_1)).

        Args:
            code: (d,) or (n, d).
            steps: DDIM steps.
            seed: of all that is random.
            first: index of the first one's video.

        Returns:
            (size, size, 3) for one code, (n, size, size, 3) for n; float32 in [-1, 1].

        Raises:
            FileNotFoundError: there is no first-frame model; says how to get it.
            ValueError: codes of another shape or not finite, or none.
        """
        codes = np.asarray(code, np.float32)
        check_finite(codes, "code")
        if codes.ndim not in (1, 2) or codes.shape[-1] != self.code_dim:
            raise ValueError(f"code of shape {codes.shape}: ({self.code_dim},) or (n, {self.code_dim}) is needed")
        images = self.sampler.first_frames(codes.reshape(-1, self.code_dim), steps=steps, seed=seed, first=first)
        return images if codes.ndim == 2 else images[0]

    def generate(
        self,
        image: Images | None = None,
        frames: int | float | None = 64,
        steps: int = 50,
        seed: int = 0,
        transition: bool = False,
        *,
        index: int = 0,
    ) -> Iterator[Float[np.ndarray, "h w 3"]]:
        """Makes a video, frame by frame, in memory that does not grow with its length.

        Args:
            image: what it begins with, (size, size, 3), float in [-1, 1] or bytes; None draws a start code and an image.
            frames: how many; None or infinity for one without an end.
            steps: DDIM steps.
            seed: of all that is random.
            transition: go from segment to segment by the Transition DM and a new start code.
            index: of the video: one seed has as many as there are indices.

        Returns:
            An iterator over float32 frames (size, size, 3) in [-1, 1]; the first is the image itself.

        Raises:
            FileNotFoundError: a stage that is needed is missing; says how to get it.
            ValueError: an image of another size, or an impossible number.
        """
        image = None if image is None else np.asarray(image)
        if image is not None and image.ndim != 3:
            raise ValueError(f"an image of shape {image.shape}: a video begins with one, (size, size, 3)")
        made = videos.videos(
            self.renderer,
            self.sampler,
            image,
            frames=frames,
            steps=steps,
            seed=seed,
            first=index,
            transition=transition,
        )
        return (moment.frame for video in made for moment in video.moments)


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
    stages = Stages(find_root(directory), animator.code_dim, animator.size)
    return Model(path, Renderer(animator, params, batch_size), CodeSampler(stages))


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


def find_root(directory: files.PathLike) -> pathlib.Path:
    """The folder that holds the other stages: inside the one with the animator (converted, shipped), in a workdir beside it."""
    path = find(directory)
    return path.parent if path != pathlib.Path(directory) and path.name == "animator" else path


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

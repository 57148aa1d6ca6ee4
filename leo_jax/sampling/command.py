"""`leo sample`: photos, codes or nothing into video files, their codes, and contact sheets."""

import math
import pathlib
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from leo_jax import video
from leo_jax.diffusion import STEPS
from leo_jax.progress import progress_bar
from leo_jax.sampling import disentangle as disentangling
from leo_jax.sampling import interrupt, recording, sheets, videos
from leo_jax.sampling.codes import CodeSampler, check_frames
from leo_jax.sampling.images import output_shape, read_photo, to_square
from leo_jax.sampling.render import Renderer

COLUMNS = 8  # frames of each video on a contact sheet
DEFAULT_FPS = 25.0  # of codes that do not say
SLOWEST, FASTEST = 0.01, 1000  # frames a second that video files hold


class Planned(NamedTuple):
    """A video to be made: what it is called, its size on disk, how it came about, and itself."""

    name: str
    shape: tuple[int, int] | None
    about: dict[str, int]
    video: videos.Video


class Photo(NamedTuple):
    """A photo as the animator takes it, and the (height, width) that its videos get."""

    name: str
    square: UInt8[np.ndarray, "r r 3"]
    shape: tuple[int, int]


def parse_frames(text: str) -> int | float:
    """'64' → 64, 'inf' → infinity. Raises ValueError for anything else than a whole number from 1 on, or inf."""
    try:
        frames = float(text)
    except ValueError:
        raise ValueError(f"--frames {text}: a whole number from 1 on, or inf") from None
    check_frames(frames)
    return frames if frames == math.inf else int(frames)


def read_photos(paths: Sequence[pathlib.Path], size: int, *, crop: bool) -> list[Photo]:
    """Photos of any size. Their names are the files', numbered where two files are called alike."""
    stems = [path.stem for path in paths]
    named = [stem if stems.count(stem) == 1 else f"{i}-{stem}" for i, stem in enumerate(stems)]
    photos = [read_photo(path) for path in paths]
    return [
        Photo(name, to_square(photo, size, crop=crop), output_shape(photo, size, crop=crop))
        for name, photo in zip(named, photos, strict=True)
    ]


def sample(
    renderer: Renderer,
    sampler: CodeSampler,
    out: pathlib.Path,
    *,
    image: Sequence[pathlib.Path] = (),
    num: int = 1,
    frames: int | float = 64,
    steps: int = 50,
    seed: int = 0,
    transition: bool = False,
    fps: float | None = None,
    crop: bool = False,
    grid: bool = False,
    progress: bool = True,
) -> list[pathlib.Path]:
    """Makes `num` videos for each image, or without images `num` that begin with drawn ones.

    Args:
        renderer: the animator.
        sampler: the denoisers.
        out: a video file for one video, else a folder: [IMAGE-]000.mp4, …
        image: photos of any size.
        num: videos of each.
        frames: of each; infinity goes on until Ctrl-C.
        steps: DDIM steps.
        seed: of all that is random.
        transition: go on by transitions to new start codes.
        fps: frames a second; the model's if not given.
        crop: use the photos' centre squares; else they are squeezed, and the frames stretched back.
        grid: write a contact sheet too.
        progress: show how far it is.

    Returns:
        The files written: the videos, then the contact sheet.

    Raises:
        KeyboardInterrupt: interrupted; what was written is kept as NAME.partial.mp4.
        FileNotFoundError, ValueError: the model lacks a stage, or something asked for is impossible.
    """
    if num < 1:
        raise ValueError(f"--num {num}: at least 1")
    check_steps(steps)
    fps = _rate(fps, sampler.stages.fps)
    endless = frames == math.inf
    check_output(out, num * max(1, len(image)), endless=endless, grid=grid)
    sampler.check(frames, start=bool(image), image=bool(image), transition=transition)
    photos = read_photos(image, renderer.animator.size, crop=crop)

    def planned() -> Iterator[Planned]:
        sources: Sequence[Photo | None] = photos if photos else [None]
        for photo in sources:
            made = videos.videos(
                renderer,
                sampler,
                photo.square if photo else None,
                num=num,
                frames=frames,
                steps=steps,
                seed=seed,
                transition=transition,
            )
            for k, one in enumerate(made):
                name = f"{photo.name}-{k:03d}" if photo else f"{k:03d}"
                about = {"seed": seed, "index": k, "steps": steps}
                yield Planned(name, photo.shape if photo else None, about, one)

    total = None if endless else int(frames) * num * max(1, len(image))
    return write(planned(), out, total, frames, fps=fps, grid=grid, progress=progress)


def render(
    renderer: Renderer,
    out: pathlib.Path,
    *,
    codes: pathlib.Path,
    image: Sequence[pathlib.Path] = (),
    frames: int | float | None = None,
    relative: bool = False,
    fps: float | None = None,
    crop: bool = False,
    grid: bool = False,
    progress: bool = True,
) -> list[pathlib.Path]:
    """Draws codes that `sample` left behind: from their own image, or from others.

    Args:
        renderer: the animator.
        out: as in `sample`.
        codes: a .codes.npz.
        image: photos; the image beside the codes if none is given.
        frames: only the first ones.
        relative: move each image as the codes move from their first one, instead of taking their poses.
        fps: frames a second; the codes' own if not given.
        crop: as in `sample`.
        grid: as in `sample`.
        progress: as in `sample`.

    Returns, raises: as `sample`.
    """
    kept = recording.read_codes(codes)
    fps = _rate(fps, kept.fps or DEFAULT_FPS)
    moves = kept.codes[: None if frames is None or frames == math.inf else int(frames)]
    if moves.shape[1] != renderer.animator.code_dim:
        raise ValueError(
            f"{codes} holds codes of {moves.shape[1]} numbers, the model's have {renderer.animator.code_dim}: they are "
            "another model's"
        )
    check_output(out, max(1, len(image)), endless=False, grid=grid)
    photos = read_photos(image, renderer.animator.size, crop=crop)
    if not photos:
        if kept.image is None:
            raise ValueError(f"{codes} holds no image: give one with --image")
        if len(kept.image) != renderer.animator.size:
            raise ValueError(
                f"{codes} holds an image of {len(kept.image)} px, the model's have {renderer.animator.size}: they are another "
                "model's"
            )
        photos = [Photo(codes.name.split(".")[0], kept.image, kept.shape or kept.image.shape[:2])]

    def planned() -> Iterator[Planned]:
        for photo in photos:
            own = renderer.codes(photo.square) - moves[:1] if relative else np.zeros_like(moves[:1])
            moments = videos.render(renderer, photo.square, [moves + own], first=relative or not image)
            yield Planned(photo.name, photo.shape, {}, videos.Video(photo.square, moments))

    return write(planned(), out, len(moves) * len(photos), len(moves), fps=fps, grid=grid, progress=progress)


def disentangle(
    renderer: Renderer,
    sampler: CodeSampler,
    out: pathlib.Path,
    *,
    image: Sequence[pathlib.Path] = (),
    crop: bool = False,
    num: int = 3,
    frames: int | float = 64,
    fps: float | None = None,
    **options: Any,
) -> list[pathlib.Path]:
    """`disentangling.disentangle` with photos of any size; see there for `options`. Raises ValueError for wrong numbers."""
    if num < 1:
        raise ValueError(f"--num {num}: at least 1 motion")
    if frames == math.inf:
        raise ValueError("--disentangle needs a number of --frames")
    fps = _rate(fps, sampler.stages.fps)
    check_output(out, 1, endless=False, grid=True)
    squares = [photo.square for photo in read_photos(image, renderer.animator.size, crop=crop)]
    options |= {"num": num, "frames": int(frames), "fps": fps}
    return disentangling.disentangle(renderer, sampler, out, images=squares, **options)


def _rate(fps: float | None, otherwise: float) -> float:
    """Frames a second: those asked for, else `otherwise`. Raises ValueError for an impossible number."""
    if fps is not None and not SLOWEST <= fps <= FASTEST:
        raise ValueError(f"--fps {fps}: from {SLOWEST} to {FASTEST}")
    return otherwise if fps is None else fps


def check_steps(steps: int) -> None:
    """Raises ValueError, naming the flag, for more DDIM steps than a schedule has, or none."""
    if not 1 <= steps <= STEPS:
        raise ValueError(f"--steps {steps}: from 1 to {STEPS}")


def check_output(out: pathlib.Path, count: int, *, endless: bool, grid: bool) -> None:
    """Raises ValueError where `count` videos cannot be written to `out`, before anything is computed."""
    is_file = recording.names_file(out)
    if is_file:
        video.VideoWriter(out, 1)  # refuses suffixes it does not know
    if count > 1 and is_file:
        raise ValueError(
            f"--out {out}: {count} videos do not fit into one file; give a folder (a name without a suffix)"
        )
    if endless and count > 1:
        raise ValueError(f"--frames inf: the first of {count} videos never ends; make one (--num 1 and one image)")
    if endless and out.suffix.lower() == ".gif":
        raise ValueError("--frames inf: a .gif is kept in memory until its end; write an .mp4")
    if endless and grid:
        raise ValueError("--grid shows frames in equal distances, and --frames inf has no end: give a number of frames")


def others(out: pathlib.Path, written: Collection[pathlib.Path]) -> list[pathlib.Path]:
    """Videos in the folder `out` that are none of those just `written`; nothing where `out` is a file."""
    return sorted(set(out.glob("*.mp4")) - set(written)) if out.is_dir() else []


def write(
    planned: Iterator[Planned],
    out: pathlib.Path,
    total: int | None,
    frames: int | float,
    *,
    fps: float,
    grid: bool,
    progress: bool,
) -> list[pathlib.Path]:
    """Writes videos one after the other; Ctrl-C ends an endless one, and cuts off another."""
    paths: list[pathlib.Path] = []
    rows: list[sheets.Row] = []
    times = sheets.spaced(int(frames), COLUMNS) if grid else []
    with interrupt.noted() as stopped, progress_bar(total, "sample", "frame", shown=progress) as bar:
        for plan in planned:
            path = recording.file_of(out, f"{plan.name}.mp4")
            moments = interrupt.until(plan.video.moments, stopped, wanted=frames == math.inf)
            try:
                kept = recording.record(
                    plan.video._replace(moments=moments),
                    path,
                    fps=fps,
                    shape=plan.shape,
                    about=plan.about,
                    keep=times,
                    tick=bar.update,
                )
            except KeyboardInterrupt:
                raise KeyboardInterrupt(f"what there was is in {video.partial_path(path)}") from None
            paths.append(path)
            rows.append(sheets.Row(plan.name, kept))
    if grid:
        sheet = recording.grid_path(recording.file_of(out, "samples"))
        recording.write_image(sheet, sheets.sheet(rows, [f"frame {time + 1}" for time in times]))
        paths.append(sheet)
    return paths

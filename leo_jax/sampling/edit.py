"""Editing: a video's motion on an edited first frame (SPEC §4). Frame size, rate and sound stay the video's."""

import pathlib

import numpy as np
from jaxtyping import UInt8

from leo_jax import files, video
from leo_jax.progress import progress_bar
from leo_jax.sampling import recording
from leo_jax.sampling.animate import animate_frames
from leo_jax.sampling.images import check_kept, read_photo, to_square
from leo_jax.sampling.render import Renderer

TOLERANCE = 0.02  # of height over width: editors round to multiples of 8


def first_frame(path: files.PathLike) -> UInt8[np.ndarray, "h w 3"]:
    """The video's first frame, at its own size, upright."""
    return next(video.read_frames(path, end=1))


def export_first_frame(path: files.PathLike, out: files.PathLike) -> tuple[int, int]:
    """Writes the video's first frame as an image file, for an image editor; gives its (height, width)."""
    suffix = pathlib.Path(out).suffix.lower()
    if suffix not in video.IMAGE_SUFFIXES:
        raise ValueError(f"--export_first_frame {out}: an image file is written, .png for no loss")
    folder = pathlib.Path(out).parent
    if pathlib.Path(path).is_dir() and folder.is_dir() and folder.samefile(path):
        raise ValueError(f"--export_first_frame {out}: it would be a frame of {path}; write it elsewhere")
    frame = first_frame(path)
    recording.write_image(out, frame)
    return frame.shape[0], frame.shape[1]


def edit(
    renderer: Renderer,
    source: files.PathLike,
    edited: files.PathLike,
    out: files.PathLike,
    *,
    relative: bool = False,
    progress: bool = True,
) -> int:
    """Draws the edited person in the video's motion.

    The animator works on squares: the frames are squeezed into them, the result is stretched back.

    Args:
        renderer: the animator.
        source: the video.
        edited: its first frame, edited; of any size with the video's proportions.
        out: .mp4 (H.264 with the video's rate, size and sound), .gif or a folder.
        relative: move the edited person from its own pose as the video moves from its first frame; else it takes the
            video's poses.
        progress: show how far it is.

    Returns:
        The number of frames.

    Raises:
        FileNotFoundError, ValueError: a file is missing or cannot be read, `out` is one of them, or the edited frame has
            other proportions.
    """
    check_kept(out, source, edited)
    size = renderer.animator.size
    info = video.probe(source)
    numbers = info.timeline.numbers(0, None, info.fps)  # at one rate, in step with the sound
    photo = read_photo(edited)
    height, width, _ = photo.shape
    if abs((height / width) / (info.height / info.width) - 1) > TOLERANCE:
        raise ValueError(
            f"{edited} is {width}x{height}, the frames of {source} are {info.width}x{info.height}: give the edited frame "
            "the video's proportions (`--export_first_frame` writes the frame to edit)"
        )
    square = to_square(photo, size, crop=False)
    squares = (to_square(frame, size, crop=False) for frame in video.read_numbers(source, numbers, info.timeline))
    with (
        video.VideoWriter(out, info.fps, audio_from=source if info.has_audio else None) as writer,
        progress_bar(len(numbers), "edit", "frame", shown=progress) as bar,
    ):
        for _, frame in animate_frames(renderer, square, squares, relative=relative):
            writer.write(video.resize(frame, info.height, info.width))
            bar.update()
    return writer.count

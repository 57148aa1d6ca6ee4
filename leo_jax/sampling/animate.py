"""A photo moved by a video: reads, draws and writes as it goes, so a video of any length fits."""

import itertools
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import UInt8

from leo_jax import files, video
from leo_jax.progress import progress_bar
from leo_jax.sampling.images import check_kept, output_shape, read_photo, to_bytes, to_square
from leo_jax.sampling.render import Renderer


def animate_frames(
    renderer: Renderer,
    source: UInt8[np.ndarray, "r r 3"],
    driving: Iterable[UInt8[np.ndarray, "r r 3"]],
    *,
    relative: bool = False,
) -> Iterator[tuple[UInt8[np.ndarray, "r r 3"], UInt8[np.ndarray, "r r 3"]]]:
    """(driving frame, animated frame) for each driving frame; `relative` moves as the clip does from its first frame."""
    start = None
    for group in iter_groups(driving, renderer.batch_size):
        codes = renderer.codes(np.stack(group))
        if relative and start is None:
            start = codes[0]
        drawn = np.concatenate(list(renderer.frames(source, codes, start)))
        yield from zip(group, to_bytes(drawn), strict=True)


def iter_groups(items: Iterable, size: int) -> Iterator[list]:
    """Lists of `size` items, the last one shorter."""
    items = iter(items)
    while group := list(itertools.islice(items, size)):
        yield group


def animate(
    renderer: Renderer,
    source: files.PathLike,
    driving: files.PathLike,
    out: files.PathLike,
    *,
    relative: bool = False,
    crop: bool = False,
    side_by_side: bool = False,
    progress: bool = True,
) -> int:
    """Animates the photo `source` by the video `driving` into `out` (.mp4 with the video's rate and sound, .gif or a folder).

    Args:
        renderer: the animator.
        source: image file, any size and proportions.
        driving: video file or folder of frames, any size and proportions.
        out: what to write; its suffix says how.
        relative: add the clip's motion from its first frame to the photo's own pose.
        crop: use the centre square of both; otherwise they are squeezed into squares, and the result is stretched back to
            the photo's proportions.
        side_by_side: photo, driving frame and result in a row.
        progress: show a progress bar.

    Returns:
        The number of frames written.

    Raises:
        FileNotFoundError, ValueError: a file is missing or cannot be read, or `out` is one of them; names it.
    """
    check_kept(out, source, driving)
    size = renderer.animator.size
    photo = read_photo(source)
    height, width = output_shape(photo, size, crop=crop)
    still = to_square(photo, size, crop=crop)
    info = video.probe(driving)
    numbers = info.timeline.numbers(0, None, info.fps)  # at one rate, in step with the sound
    squares = (to_square(frame, size, crop=crop) for frame in video.read_numbers(driving, numbers, info.timeline))
    count = 0
    with (
        video.VideoWriter(out, info.fps, audio_from=driving if info.has_audio else None) as writer,
        progress_bar(len(numbers), "animate", "frame", shown=progress) as bar,
    ):
        for driver, frame in animate_frames(renderer, still, squares, relative=relative):
            shown = [still, driver, frame] if side_by_side else [frame]
            writer.write(np.concatenate([video.resize(image, height, width) for image in shown], axis=1))
            count += 1
            bar.update()
    return count

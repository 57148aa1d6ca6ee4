"""The two sides of an evaluation: folders of anybody's videos, prepared shards, arrays, or a model, read one way.

A generating model enters as `from_function`: it is asked for whole videos in order, so that it can make them in batches.
"""

import concurrent.futures
import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

from leo_jax import files, processes, video
from leo_jax.data import manifest, storage
from leo_jax.files import PathLike
from leo_jax.metrics import ranges
from leo_jax.metrics.prepared import open_prepared
from leo_jax.metrics.video_set import Frames, Video, VideoSet
from leo_jax.video import BadVideo, excused

VIDEO_SUFFIXES = (*video.VIDEO_SUFFIXES, ".mpg", ".mpeg")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp", ".tif", ".tiff")
ARRAY_SUFFIXES = (".npz", ".npy")
ARRAY_NAMES = ("videos", "video", "frames", "arr_0")  # of the one array that is meant, where a .npz holds several
LEAVE_OUT = "mend it, or leave such videos out with --skip_bad"


def open_videos(
    path: PathLike,
    *,
    stride: int | None = None,
    value_range: str | None = None,
    split: str | None = None,
    on_bad: str = "error",
) -> VideoSet:
    """Finds the videos at `path`.

    Args:
      path: a prepared data set, local or remote; or a folder, searched to any depth for video files, .gif, .npz or .npy, and
        folders of images (each is one video, frames in the order of the numbers in their names); or one such file.
      stride: source frames from one stored frame to the next; None is 1, and refused for data prepared at another rate.
      value_range: of float arrays: "0,255", "0,1" or "-1,1"; None detects it, and refuses where it is not certain.
      split: of a prepared data set with several.
      on_bad: "error", or "skip" to leave out unreadable videos and list them.

    Raises:
      BadVideo: a video cannot be used, naming it and the reason.
      ValueError: there are no videos, or the values' range is not certain.
    """
    if on_bad not in ("error", "skip"):
        raise ValueError(f"on_bad={on_bad!r} must be 'error' or 'skip'")
    if stride is not None and stride < 1:
        raise ValueError(f"{path}: a stride of {stride}; it is 1 (its frames are neighbours in the source) or more")
    if storage.is_remote(str(path)):
        if (content := manifest.load(path)) is None:
            raise FileNotFoundError(f"no prepared data at {path}: other videos are read from local folders only")
        return open_prepared(path, content, split, stride)
    path = pathlib.Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no videos at {path}: there is no such file or folder")
    if path.is_dir() and (content := manifest.load(path)) is not None:
        return open_prepared(path, content, split, stride)
    skipped: list[tuple[str, str]] = []
    bad = None if on_bad == "error" else skipped
    try:
        found: list[Video] = []
        for name, open_one in _candidates(path):
            with excused(bad, name):
                found += open_one()
        found, told = _in_one_range(found, value_range, str(path), bad)
    except BadVideo as error:
        inside = path / error.name
        place = str(inside) if path.is_dir() and not pathlib.Path(error.name).is_relative_to(path) else error.name
        raise BadVideo(place, f"{error.reason}; {LEAVE_OUT}") from error
    if not found:
        why = f"; {len(skipped)} cannot be used, the first: {': '.join(skipped[0])}" if skipped else ""
        raise ValueError(
            f"no videos in {path}: it should hold {', '.join((*VIDEO_SUFFIXES, *ARRAY_SUFFIXES))}, folders of "
            f"images, or be a prepared data set{why}"
        )
    found.sort(key=lambda v: v.name)
    return VideoSet(str(path), tuple(found), stride or 1, fingerprint(path), told, tuple(skipped))


def from_arrays(
    arrays: Sequence[np.ndarray], where: str = "arrays", *, stride: int = 1, value_range: str | None = None,
    names: Sequence[str] | None = None, groups: Sequence[str] | None = None,
) -> VideoSet:  # fmt: skip
    """Videos (t, h, w, 3) in memory, uint8 or float (see `open_videos` for `value_range`)."""
    names = list(names) if names is not None else [f"{i:06d}" for i in range(len(arrays))]
    found = [
        _array_video(name, functools.partial(np.asarray, a), a.shape, a.dtype)
        for name, a in zip(names, arrays, strict=True)
    ]
    videos, told = _in_one_range(found, value_range, where)
    if groups is not None:
        videos = [dataclasses.replace(v, group=group) for v, group in zip(videos, groups, strict=True)]
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return VideoSet(where, tuple(videos), stride, digest.hexdigest(), told)


def _in_one_range(
    found: Sequence[Video], stated: str | None, where: str, bad: list[tuple[str, str]] | None = None
) -> tuple[list[Video], str]:
    """The videos, float ones on the 0–255 scale, and what their values were taken for; `bad` is given those with NaN."""
    extremes: dict[str, tuple[float, float]] = {}
    kept = []
    for one in found:
        with excused(bad):
            if isinstance(one.read, ranges.FloatFrames):
                extremes[one.name] = one.read.extremes()
            kept.append(one)
    scale, told = ranges.decide(extremes, stated, where)
    scaled = lambda read: read.scaled(scale) if isinstance(read, ranges.FloatFrames) else read
    return [dataclasses.replace(one, read=scaled(one.read)) for one in kept], told


def from_function(
    make: Callable[[int], Frames], count: int, shape: tuple[int, int, int], where: str, *, stride: int, fingerprint: str
) -> VideoSet:
    """Videos that a model makes when they are asked for.

    Args:
      make: number of a video → its frames (t, h, w, 3), uint8 or floats on the 0–255 scale. Asked in ascending order by every
        network that needs the video and has not cached it, and for the samples of a report, so it must give the same
        video each time; it may make several at once and keep the next ones ready.
      count: how many videos there are.
      shape: (t, h, w) of each.
      where: what results call the model.
      stride: source frames from one generated frame to the next (the data's training stride).
      fingerprint: says everything that the videos depend on: weights, sampler, seed.
    """

    def read(i, indices):
        return make(i)[list(indices)]

    names = [f"{i:06d}" for i in range(count)]
    videos = tuple(Video(n, *shape, "raw", n, functools.partial(read, i)) for i, n in enumerate(names))
    return VideoSet(where, videos, stride, hashlib.sha256(fingerprint.encode()).hexdigest())


def fingerprint(path: pathlib.Path) -> str:
    """SHA-256 over the names and the whole content of all files at `path`: kept features are theirs, whatever differs."""
    return hash_of(_files(path), path if path.is_dir() else path.parent)


def hash_of(found: Sequence[pathlib.Path], folder: pathlib.Path) -> str:
    """SHA-256 over the names in `folder` and the whole content of some files, in this order."""
    digest = hashlib.sha256()
    with concurrent.futures.ThreadPoolExecutor(processes.cores()) as pool:  # hashing leaves Python's lock
        for file, content in zip(found, pool.map(files.sha256, found), strict=True):
            digest.update(f"{file.relative_to(folder)} {content}\n".encode())
    return digest.hexdigest()


def _files(path: pathlib.Path) -> list[pathlib.Path]:
    """The files at `path` that a video could come from, without hidden ones and companions, in natural order."""
    known = {*VIDEO_SUFFIXES, *IMAGE_SUFFIXES, *ARRAY_SUFFIXES}
    if path.is_file():
        return [path]
    found = (f for f in path.rglob("*") if f.is_file() and f.suffix.lower() in known)
    found = (f for f in found if not f.name.endswith(video.COMPANIONS))
    visible = [f for f in found if not any(part.startswith(".") for part in f.relative_to(path).parts)]
    return sorted(visible, key=lambda f: video.natural_key(str(f.relative_to(path))))


def _candidates(path: pathlib.Path) -> Iterator[tuple[str, Callable[[], list[Video]]]]:
    """(name, how to open it) of everything under `path` that should be one video, or an array of them."""
    folders: dict[pathlib.Path, list[pathlib.Path]] = {}
    for file in _files(path):
        suffix = file.suffix.lower()
        name = str(file.relative_to(path)) if path.is_dir() else file.name
        if suffix in IMAGE_SUFFIXES:
            folders.setdefault(file.parent, []).append(file)
        elif suffix in ARRAY_SUFFIXES:
            yield name, functools.partial(_open_arrays, name, file)
        else:
            yield name, functools.partial(_open_file, name, file)
    for folder, images in folders.items():
        name = str(folder.relative_to(path)) if folder != path else path.name
        yield name, functools.partial(_open_folder, name, images)


def _open_file(name: str, path: pathlib.Path) -> list[Video]:
    info = video.probe(path)

    def read(indices: Sequence[int]) -> Frames:
        return video.read_at(path, indices)

    return [Video(name, info.frames, info.height, info.width, info.codec, name, read, fps=float(info.fps))]


def _open_folder(name: str, images: list[pathlib.Path]) -> list[Video]:
    def one(path: pathlib.Path) -> np.ndarray:
        try:
            with Image.open(path) as image:
                return video.on_white(image)
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise BadVideo(name, f"frame {path.name} cannot be read ({error})") from error

    def read(indices: Sequence[int]) -> Frames:
        frames = [one(images[i]) for i in indices]
        for i, frame in zip(indices, frames, strict=True):
            if frame.shape != frames[0].shape:
                raise BadVideo(name, f"frame {images[i].name} is {frame.shape[:2]} px, others {frames[0].shape[:2]}")
        return np.stack(frames)

    height, width, _ = one(images[0]).shape
    storages = sorted({i.suffix.lower()[1:].replace("jpg", "jpeg") for i in images})
    return [Video(name, len(images), height, width, "+".join(storages), name, read)]


@functools.lru_cache(maxsize=1)
def _load_array(path: pathlib.Path) -> np.ndarray:
    """The one array of a .npz or .npy; the last one stays in memory, as a file often holds many videos."""
    try:
        content = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        with content as arrays:
            names = [n for n in ARRAY_NAMES if n in arrays.files] or arrays.files
            if len(arrays.files) > 1 and names[0] not in ARRAY_NAMES:
                raise BadVideo(path.name, f"holds arrays {arrays.files}: name the videos' one {ARRAY_NAMES[0]!r}")
            return arrays[names[0]]
    except (OSError, *files.NO_ARRAYS) as error:
        raise (
            error if isinstance(error, BadVideo) else BadVideo(path.name, f"not a readable array ({error})")
        ) from error


def _open_arrays(name: str, path: pathlib.Path) -> list[Video]:
    array = _load_array(path)
    if array.ndim == 4:
        return [_array_video(name, lambda: _load_array(path), array.shape, array.dtype)]
    if array.ndim != 5:
        raise BadVideo(name, f"shape {array.shape}: (t, h, w, 3) or (n, t, h, w, 3) is needed")
    return [
        _array_video(f"{name}/{i:06d}", functools.partial(_load_row, path, i), array.shape[1:], array.dtype)
        for i in range(len(array))
    ]


def _load_row(path: pathlib.Path, i: int) -> np.ndarray:
    return _load_array(path)[i]


def _array_video(name: str, load: Callable[[], np.ndarray], shape: tuple[int, ...], dtype: np.dtype) -> Video:
    if len(shape) != 4 or shape[-1] != 3:
        raise BadVideo(name, f"shape {shape}: (t, h, w, 3) with channels last is needed, transpose it")
    if not all(shape):
        raise BadVideo(name, f"shape {shape}: there is nothing in it")
    if dtype == np.uint8:
        return Video(name, *shape[:3], "raw", name, lambda indices: load()[list(indices)])
    if dtype.kind != "f":
        raise BadVideo(name, f"dtype {dtype}: uint8 or float is needed")
    return Video(name, *shape[:3], "raw", name, ranges.FloatFrames(name, load))

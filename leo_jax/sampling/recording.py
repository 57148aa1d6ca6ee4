"""A video written as it is made: frames into a file, codes and picture beside it, a few frames kept for a contact sheet."""

import pathlib
import tempfile
import zipfile
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
from jaxtyping import Float, UInt8

from leo_jax import files, video
from leo_jax.sampling.images import to_bytes
from leo_jax.sampling.videos import Video

CHUNK = 1 << 20  # bytes copied at a time


class Codes(NamedTuple):
    """What stands beside a video, and draws it again.

    Attributes:
        codes: (t, d).
        image: that the frames are drawn from, bytes; None if the file has none.
        shape: (height, width) in which frames are written; None for the model's own.
        fps: frames a second; None if the file does not say.
    """

    codes: Float[np.ndarray, "t d"]
    image: UInt8[np.ndarray, "h w 3"] | None = None
    shape: tuple[int, int] | None = None
    fps: float | None = None


def codes_path(path: files.PathLike) -> pathlib.Path:
    """Where the codes of the video `path` are kept: NAME.codes.npz."""
    return pathlib.Path(path).with_suffix(".codes.npz")


def grid_path(path: files.PathLike) -> pathlib.Path:
    """Where the contact sheet of the video `path` is kept: NAME.grid.png."""
    return pathlib.Path(path).with_suffix(".grid.png")


def names_file(out: pathlib.Path) -> bool:
    """Whether `out` is meant as one file: it has a suffix, and is no folder already ('results/v1.2')."""
    return bool(out.suffix) and not out.is_dir()


def file_of(out: pathlib.Path, name: str) -> pathlib.Path:
    """`out` where it is meant as a file, else `name` in that folder."""
    return out if names_file(out) else out / name


class CodeWriter:
    """Collects codes on disk and writes them as `codes` (t, d) of an .npz; a context manager.

    The file appears when the body ends; if it raises or is interrupted, with what there was, beside the partial video. Memory
    does not grow with the number of codes.
    """

    def __init__(self, path: files.PathLike, about: Mapping[str, Any]) -> None:
        """`path` is the video's; `about` are further arrays or numbers to keep."""
        self.path, self.about = pathlib.Path(path), about
        self.count, self.dim = 0, 0

    def __enter__(self) -> "CodeWriter":
        self._spool = tempfile.TemporaryFile()
        return self

    def write(self, code: Float[np.ndarray, " d"]) -> None:
        """Appends one code."""
        self.count, self.dim = self.count + 1, len(code)
        self._spool.write(code.astype("<f4").tobytes())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        with self._spool:
            if kind is None:
                codes_path(video.partial_path(self.path)).unlink(missing_ok=True)  # of an earlier, interrupted run
            if self.count:
                path = codes_path(self.path if kind is None else video.partial_path(self.path))
                with files.atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
                    for name, value in self.about.items():
                        with archive.open(f"{name}.npy", "w") as entry:
                            np.lib.format.write_array(entry, np.asarray(value), allow_pickle=False)
                    with archive.open("codes.npy", "w", force_zip64=True) as entry:
                        self._copy(entry)

    def _copy(self, entry: Any) -> None:
        shape = (self.count, self.dim)
        np.lib.format.write_array_header_1_0(entry, {"descr": "<f4", "fortran_order": False, "shape": shape})
        self._spool.seek(0)
        while part := self._spool.read(CHUNK):
            entry.write(part)


def read_codes(path: files.PathLike) -> Codes:
    """What `CodeWriter` wrote, or `numpy.savez(path, codes=…)`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no codes.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in getattr(file, "files", ())}
    except (*files.NO_ARRAYS, TypeError, AttributeError) as error:
        why = "no plain arrays" if "allow_pickle" in str(error) else error  # NumPy would suggest to unpickle it
        raise ValueError(f"{path} holds no motion codes ({why}): give a .codes.npz that `leo sample` wrote") from error
    codes, shape = found.get("codes", np.zeros(0)), found.get("shape")
    if codes.ndim != 2 or not codes.size:
        raise ValueError(f"{path} holds no array 'codes' (frames, d): give a .codes.npz that `leo sample` wrote")
    return Codes(
        codes.astype(np.float32),
        found.get("image"),
        None if shape is None else (int(shape[0]), int(shape[1])),
        float(found["fps"]) if "fps" in found else None,
    )


def write_image(path: files.PathLike, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Writes an image file (.png by its suffix), whole or not at all."""
    with files.atomic_path(path) as temporary:
        PIL.Image.fromarray(image).save(temporary)


def record(
    made: Video,
    path: files.PathLike,
    *,
    fps: float,
    shape: tuple[int, int] | None = None,
    about: Mapping[str, Any] | None = None,
    keep: Collection[int] = (),
    tick: Callable[[], Any] = lambda: None,
) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Writes frames to the video `path`, and their codes and the image to `codes_path`, as they come.

    Args:
        made: the image, frames and codes.
        path: .mp4 or another suffix that `VideoWriter` knows.
        fps: frames a second.
        shape: (height, width) of the written frames; the model's own if not given.
        about: kept beside the codes: seed, index, …
        keep: numbers of the frames to give back.
        tick: called after each frame.

    Returns:
        The frames of `keep`, at the model's size.
    """
    kept: list[np.ndarray] = []
    shape = shape or made.image.shape[:2]
    beside = {"image": made.image, "shape": np.asarray(shape), "fps": float(fps), **(about or {})}
    with video.VideoWriter(path, fps) as writer, CodeWriter(path, beside) as codes:
        for number, moment in enumerate(made.moments):
            frame = to_bytes(moment.frame)
            writer.write(video.resize(frame, *shape))
            codes.write(moment.code)
            if number in keep:
                kept.append(frame)
            tick()
    return kept

"""A video written as it is made: frames into a file, codes beside it, a few frames kept for a contact sheet."""

import pathlib
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
import PIL.Image
from jaxtyping import Float, UInt8

from leo_jax import files, video
from leo_jax.sampling.images import to_bytes
from leo_jax.sampling.videos import Moment

CHUNK = 1 << 20  # bytes copied at a time


class CodeWriter:
    """Collects codes on disk and writes them as `codes` (t, d) of an .npz; a context manager.

    The file appears when the body ends; if it raises or is interrupted, with what there was, as NAME.partial.npz. Memory does
    not grow with the number of codes.
    """

    def __init__(self, path: files.PathLike, about: Mapping[str, Any]) -> None:
        """`about` are further arrays or numbers to keep in the file."""
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
            if self.count:
                path = self.path if kind is None else self.path.with_suffix(f".partial{self.path.suffix}")
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


def read_codes(path: files.PathLike) -> tuple[Float[np.ndarray, "t d"], float | None]:
    """Codes (t, d) that `CodeWriter` or `numpy.savez(path, codes=…)` wrote, and their frames a second if it says.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no codes.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if not hasattr(file, "files") or "codes" not in file.files:
                raise ValueError("it has no array 'codes'")
            codes, fps = file["codes"], float(file["fps"]) if "fps" in file.files else None
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path} holds no motion codes ({error}): give an .npz that `leo sample` wrote") from error
    if codes.ndim != 2 or not len(codes):
        raise ValueError(f"{path}: codes of shape {codes.shape}, (frames, d) are needed")
    return codes.astype(np.float32), fps


def write_image(path: files.PathLike, image: UInt8[np.ndarray, "h w 3"]) -> None:
    """Writes an image file (.png by its suffix), whole or not at all."""
    with files.atomic_path(path) as temporary:
        PIL.Image.fromarray(image).save(temporary)


def record(
    moments: Iterable[Moment],
    path: files.PathLike,
    *,
    fps: float,
    about: Mapping[str, Any] | None = None,
    shape: tuple[int, int] | None = None,
    keep: Collection[int] = (),
    tick: Callable[[], Any] = lambda: None,
) -> list[UInt8[np.ndarray, "h w 3"]]:
    """Writes frames to the video `path` and their codes to the .npz beside it, as they come.

    Args:
        moments: frames and codes.
        path: .mp4 or another suffix that `VideoWriter` knows.
        fps: frames a second.
        about: kept in the .npz beside codes and fps.
        shape: (height, width) of the written frames; the model's own if not given.
        keep: numbers of the frames to give back.
        tick: called after each frame.

    Returns:
        The frames of `keep`, at the model's size.
    """
    path, kept = pathlib.Path(path), []
    with (
        video.VideoWriter(path, fps) as writer,
        CodeWriter(path.with_suffix(".npz"), {"fps": float(fps), **(about or {})}) as codes,
    ):
        for number, moment in enumerate(moments):
            frame = to_bytes(moment.frame)
            writer.write(frame if shape is None else video.resize(frame, *shape))
            codes.write(moment.code)
            if number in keep:
                kept.append(frame)
            tick()
    return kept

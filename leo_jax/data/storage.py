"""Bytes by range from local files and from remote ones (`gs://…`, `memory://…`: whatever fsspec opens)."""

import io
import os
import threading
from typing import Any

from leo_jax.files import PathLike


def is_remote(path: str) -> bool:
    """Whether `path` is a URL rather than a local file."""
    return "://" in path


def join(directory: PathLike, name: str) -> str:
    """The path of `name` in a local or remote directory."""
    directory = os.fspath(directory)
    return f"{directory.rstrip('/')}/{name}" if is_remote(directory) else os.path.join(directory, name)


def read_bytes(path: str) -> bytes:
    """The whole file. Raises FileNotFoundError when there is none."""
    if is_remote(path):
        filesystem, inner = _filesystem(path)
        return filesystem.cat_file(inner)
    with open(path, "rb") as file:
        return file.read()


def size(path: str) -> int:
    """The file's length in bytes."""
    if is_remote(path):
        filesystem, inner = _filesystem(path)
        return filesystem.size(inner)
    return os.path.getsize(path)


class RangeReader:
    """Reads ranges of many files: local ones through files kept open, remote ones by range requests.

    Safe for threads; when pickled (into a worker process) it drops its files and opens them anew there.
    """

    def __init__(self) -> None:
        self._start()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._files: dict[str, io.FileIO] = {}  # closed when the reader goes

    def read(self, path: str, offset: int, length: int) -> bytes:
        """Bytes [offset, offset + length) of the file; fewer when the file ends before."""
        if is_remote(path):
            filesystem, inner = _filesystem(path)
            return filesystem.cat_file(inner, start=offset, end=offset + length)
        file = self._files.get(path)
        if file is None:
            with self._lock:
                file = self._files.setdefault(path, io.FileIO(path))
        return os.pread(file.fileno(), length, offset)


def _filesystem(path: str) -> tuple[Any, str]:
    """Fsspec's file system for a URL (fsspec keeps one instance for each) and the path inside it."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(path)
    except ImportError as error:
        raise ImportError(f"{path}: {error} (for gs:// that is `pip install gcsfs`)") from error

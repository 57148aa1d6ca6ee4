"""Files that are whole or absent: everything the package writes goes through here."""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Iterator

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp(\..+)?")
_URL = re.compile(r"[a-z][a-z0-9+]*:/")  # pathlib makes one slash of two
PathLike = str | os.PathLike[str]
# What NumPy raises on a file that is no array, or a damaged one, besides OSError.
NO_ARRAYS = (
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,
)


@contextlib.contextmanager
def atomic_path(path: PathLike) -> Iterator[pathlib.Path]:
    """Gives a temporary name beside `path`, with its suffix; what is written there takes `path`'s place at the end.

    When the body raises, nothing is left behind and an older file at `path` stays as it was. Parents are made.
    """
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: PathLike, content: bytes | str) -> None:
    """Writes `content` (str as UTF-8) to `path`, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def remove_folder(folder: PathLike) -> None:
    """Removes `folder` with all that is in it: for whoever looks, or is left by a kill, it is there whole or not at all."""
    folder = pathlib.Path(folder)
    temporary = _beside(folder)
    folder.rename(temporary)
    shutil.rmtree(temporary)


def remove_leftovers(folder: PathLike) -> None:
    """Removes what killed processes were writing or removing in `folder`, not below it, under the names given here."""
    folder = pathlib.Path(folder)
    for path in folder.iterdir() if folder.is_dir() else ():
        if _TEMPORARY.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _beside(path: pathlib.Path) -> pathlib.Path:
    """A new temporary name in the same folder, with the same suffix."""
    return path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")


def check_local(folder: PathLike, way_out: str) -> None:
    """Raises ValueError for a URL such as gs://…, which a path would silently become a local folder of that name."""
    if _URL.match(os.fspath(folder)):
        raise ValueError(
            f"{os.fspath(folder)} is no folder of a file system, and only there files are written: {way_out}"
        )


def check_writable(path: PathLike) -> None:
    """Raises OSError, naming `path` and the reason, if no file can be written there. Its parents are made."""
    path = pathlib.Path(path)
    try:
        _probe(path.parent)
    except OSError as error:
        raise OSError(f"{path} cannot be written ({error}): name another place") from error
    if path.is_dir():
        raise IsADirectoryError(f"{path} cannot be written, it is a folder: name another place")


def check_folder(folder: PathLike) -> None:
    """Makes `folder` and writes a little there. Raises OSError, naming it and the way out, if that fails."""
    try:
        _probe(pathlib.Path(folder))
    except OSError as error:
        raise OSError(
            error.errno,
            f"{folder} cannot be written ({error.strerror or error}): make room there, or take another folder",
        ) from error


def _probe(folder: pathlib.Path) -> None:
    """Makes `folder` and writes a little there, under a name that nothing else has. Raises OSError as it comes."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(1 << 16))
        file.flush()
        os.fsync(file.fileno())


def sha256(path: PathLike) -> str:
    """Hex SHA-256 of the file at `path`."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""How videos are shared out between train, test and so on.

Rules: `all:NAME`, `NAME=FRACTION,…`, `folders`, `lists:NAME=FILE,…` and `tail:FRACTION`; see `parse`.
"""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping

FOLDERS = ("train", "val", "valid", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Part:
    """A split's share of one video: from `begin` to `end`, parts of its frames in [0, 1]."""

    split: str
    begin: float = 0.0
    end: float = 1.0


@dataclasses.dataclass(frozen=True)
class Rule:
    """A parsed rule. At most one of the fields besides `whole` is set."""

    whole: str = "train"
    fractions: tuple[tuple[str, float], ...] = ()
    folders: bool = False
    lists: Mapping[str, frozenset[str]] | None = None
    tail: float = 0.0

    def parts(self, relative: str, group: str) -> list[Part]:
        """Where the video at path `relative` goes; videos of one `group` go together. None of the lists: nowhere.

        Raises ValueError when `folders` is the rule and the path has no such folder.
        """
        if self.fractions:
            return [Part(_drawn(self.fractions, group))]
        if self.folders:
            names = [part for part in pathlib.PurePosixPath(relative).parts if part in FOLDERS]
            if not names:
                raise ValueError(f"--split folders: {relative} lies in no folder named {', '.join(FOLDERS)}")
            return [Part(names[0])]
        if self.lists is not None:
            stem = _without_suffix(relative)
            return [Part(split) for split, members in self.lists.items() if stem in members]
        if self.tail:
            return [Part("train", 0.0, 1 - self.tail), Part("test", 1 - self.tail, 1.0)]
        return [Part(self.whole)]


def parse(text: str) -> Rule:
    """Reads a rule.

    all:NAME                everything is in one split
    train=0.9,test=0.1      by a hash of the video's path (or id): the same on every machine, whatever else is there
    folders                 by the first folder of its path called train, val, valid, validation or test
    lists:train=A,test=B    by text files with a path a line (what follows a blank is ignored); others are left out
    tail:0.2                the last fifth of each video's frames is its test part, the rest its training part

    Raises ValueError saying what is wrong; FileNotFoundError for a list that is not there.
    """
    kind, _, value = text.partition(":")
    if kind == "all" and value:
        return Rule(whole=value)
    if text == "folders":
        return Rule(folders=True)
    if kind == "tail":
        tail = _number(value, text)
        if not 0 < tail < 1:
            raise ValueError(f"--split {text}: the part held out must lie between 0 and 1")
        return Rule(tail=tail)
    if kind == "lists":
        files = dict(_pairs(value, text))
        return Rule(lists={split: _read_list(path) for split, path in files.items()})
    if "=" in text and not value:
        fractions = tuple((name, _number(part, text)) for name, part in _pairs(text, text))
        if abs(sum(part for _, part in fractions) - 1) > 1e-6 or min(part for _, part in fractions) < 0:
            raise ValueError(f"--split {text}: the parts must add up to 1")
        return Rule(fractions=fractions)
    raise ValueError(f"--split {text}: not one of all:NAME, train=0.9,test=0.1, folders, lists:NAME=FILE,…, tail:0.2")


def has_folders(relatives: list[str]) -> bool:
    """Whether every path lies in a folder named as a split."""
    return all(set(pathlib.PurePosixPath(relative).parts[:-1]) & set(FOLDERS) for relative in relatives)


def _drawn(fractions: tuple[tuple[str, float], ...], group: str) -> str:
    place = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
    for name, part in fractions:
        place -= part
        if place < 0:
            return name
    return fractions[-1][0]


def _pairs(value: str, text: str) -> list[tuple[str, str]]:
    parts = [part.partition("=") for part in value.split(",")]
    if not all(name and equals and given for name, equals, given in parts):
        raise ValueError(f"--split {text}: wanted NAME=VALUE pairs with commas between")
    return [(name, given) for name, _, given in parts]


def _number(value: str, text: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"--split {text}: {value!r} is not a number") from None


def _read_list(path: str) -> frozenset[str]:
    lines = pathlib.Path(path).read_text().splitlines()
    return frozenset(_without_suffix(line.split()[0]) for line in lines if line.strip())


def _without_suffix(relative: str) -> str:
    return str(pathlib.PurePosixPath(relative).with_suffix(""))

"""Strict renaming of a published state dict into a Flax tree, by a table of name rules."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

Arrays = Mapping[str, np.ndarray]


def _without_single_taps(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:2] + tuple(n for n in shape[2:] if n > 1)


# PyTorch layout → ours.
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "conv": lambda a: np.transpose(a, (2, 3, 1, 0)),  # (out, in, kh, kw) → (kh, kw, in, out)
    "conv1d": lambda a: np.transpose(a, (2, 1, 0)),  # (out, in, k) → (k, in, out)
    "conv3d": lambda a: np.transpose(a, (2, 3, 4, 1, 0)),  # (out, in, kt, kh, kw) → (kt, kh, kw, in, out)
    "shared conv": lambda a: np.transpose(a[0], (2, 3, 1, 0)),  # (1, out, in, kh, kw)
    "pointwise": lambda a: np.transpose(a.reshape(_without_single_taps(a.shape))),  # (out, in, 1, …) → (in, out)
    "linear": lambda a: np.transpose(a, (1, 0)),  # (out, in) → (in, out)
    "vector": lambda a: a.reshape(-1),
    "image": lambda a: np.transpose(a[0], (1, 2, 0)),  # (1, c, h, w) → (h, w, c)
    "same": lambda a: a,
}
RANKS = {"conv": 4, "conv1d": 3, "conv3d": 5, "shared conv": 5, "linear": 2, "image": 4}


@dataclasses.dataclass(frozen=True)
class Rule:
    """Names that match `pattern` entirely go to `target` (a template over its groups, or a function of the match).

    A target of None drops the array: a parameter that the network never uses, or a constant.
    """

    pattern: str
    target: str | Callable[[re.Match[str]], str] | None
    layout: str = "same"

    def place(self, match: re.Match[str]) -> str | None:
        """The path in the Flax tree, '/'-joined."""
        return match.expand(self.target) if isinstance(self.target, str) else self.target and self.target(match)


def rename(
    state: Arrays, rules: Sequence[Rule], expected: Mapping[str, Any], *, what: str, most: int = 8
) -> tuple[dict, list[str]]:
    """Renames every array of `state` by the first rule that matches.

    Args:
        state: name → array.
        rules: the table.
        expected: tree of shapes (arrays or ShapeDtypeStructs) that must come out, no more, no less.
        what: what the file should have been, for the error.
        most: how many names an error lists.

    Returns:
        The tree, float32, and the names that were dropped.

    Raises:
        ValueError: listing the first names that match no rule, are missing, or have another shape; or else the first whose
            values are not finite.
    """
    want = traverse_util.flatten_dict(expected, sep="/")
    tree, dropped, problems, wild = {}, [], [], []
    for name, value in state.items():
        rule, match = next(((r, m) for r in rules if (m := re.fullmatch(r.pattern, name))), (None, None))
        if rule is None or match is None:
            problems.append(f"{name} {np.shape(value)}: not a name of {what}")
            continue
        place = rule.place(match)
        if place is None:
            dropped.append(name)
            continue
        value, rank = np.asarray(value), RANKS.get(rule.layout)
        if rank is not None and value.ndim != rank:
            problems.append(f"{name}: shape {value.shape} where {rank} axes are expected")
            continue
        array = LAYOUTS[rule.layout](value)
        if place not in want:
            problems.append(f"{name} {np.shape(value)}: no place for it in {what} of this size")
        elif array.shape != tuple(want[place].shape):
            problems.append(
                f"{name}: shape {np.shape(value)} does not give {place} of shape {tuple(want[place].shape)}"
            )
        tree[place] = np.ascontiguousarray(array, dtype=np.float32)
        if not np.isfinite(tree[place]).all():
            wild.append(name)
    missing = [place for place in want if place not in tree]
    sources = released_names(rules) if missing else {}
    problems += [
        f"{sources.get(place, 'an array')} is missing: nothing in the file gives {place} {tuple(want[place].shape)}"
        for place in missing
    ]
    if problems:
        more = f"\n  … and {len(problems) - most} more" if len(problems) > most else ""
        raise ValueError(
            f"this is not {what}: {len(problems)} names do not fit:\n  " + "\n  ".join(problems[:most]) + more
        )
    if wild:
        raise ValueError(
            f"{what}: {len(wild)} of its arrays hold NaN or infinity: {', '.join(wild[:most])}"
            f"{', …' if len(wild) > most else ''}. The file is damaged, or its training diverged"
        )
    return traverse_util.unflatten_dict(tree, sep="/"), dropped


def released_names(rules: Sequence[Rule]) -> dict[str, str]:
    """The rules inverted: path in the Flax tree → name in the file, `*` where several would do.

    Rules with wildcards cannot be inverted: their paths are not in it.
    """
    names: dict[str, list[str]] = {}
    for rule in rules:
        for name in _spelled(rule.pattern):
            match = re.fullmatch(rule.pattern, name)
            if match and (place := rule.place(match)):
                names.setdefault(place, []).append(name)
    return {place: _common(found) for place, found in names.items()}


def _spelled(pattern: str, numbers: int = 20) -> list[str]:
    """The names that a pattern of literals, groups and numbers (up to `numbers`) matches; none if it has wildcards."""
    if group := re.search(r"\((?:\?:)?([^()]*)\)(\??)", pattern):
        choices = [*group[1].split("|"), *([""] if group[2] else [])]
    elif group := re.search(r"\\d\+", pattern):
        choices = [str(i) for i in range(numbers)]
    else:
        name = pattern.replace(r"\.", ".")
        return [] if re.search(r"[\\*+?|\[]", name) else [name]
    return [name for c in choices for name in _spelled(pattern[: group.start()] + c + pattern[group.end() :], numbers)]


def _common(names: Sequence[str]) -> str:
    """The name, or what all names begin and end with around a `*`."""
    columns = [len(set(letters)) == 1 for letters in zip(*names, strict=False)]
    endings = [len(set(letters)) == 1 for letters in zip(*(name[::-1] for name in names), strict=False)]
    if len(names) == 1:
        return names[0]
    start, end = (same.index(False) if False in same else 0 for same in (columns, endings))
    return f"{names[0][:start]}*{names[0][len(names[0]) - end :]}"

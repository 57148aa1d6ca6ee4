"""The order of the house: a file imports only lower rows, or its own folder (CONTRIBUTING.md draws it)."""

import ast
import pathlib
import re

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "leo_jax"
ROWS = [
    {"files", "config_files", "pages", "progress", "processes", "peers", "cpu"},
    {"ops", "video", "checkpoints", "weights"},
    {"data", "models"},
    {"diffusion", "losses", "convert"},
    {"denoisers"},
    {"training", "sampling", "metrics"},
    {"api", "report", "run_report"},
    {"experiment"},
    {"main"},
    {"cli", "aot"},
]
ROW = {name: row for row, names in enumerate(ROWS) for name in names}
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def room(path: pathlib.Path) -> str:
    """The top-level file or folder of the package that `path` belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: pathlib.Path) -> set[str]:
    """Rooms of leo_jax that the file imports, anywhere in it, absolute or relative."""
    package = ("leo_jax", *path.relative_to(PACKAGE).parts[:-1])
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, [base, node.module or ""]))
            found += [f"{module}.{alias.name}" for alias in node.names]
    rooms = {name.split(".")[1] if "." in name else "leo_jax" for name in found if re.match(r"leo_jax(\.|$)", name)}
    return {{"load": "api"}.get(name, name) for name in rooms} & {*ROW, "leo_jax"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_lower_rows(path):
    here = room(path)
    assert here in ROW, f"leo_jax/{here} has no place in the layout: add it to ROWS and to CONTRIBUTING.md"
    rooms = imported_rooms(path)
    assert "leo_jax" not in rooms, (
        f"{path.name} has a bare `import leo_jax`, through which every row is open: name the room"
    )
    wrong = {other for other in rooms if other != here and ROW[other] >= ROW[here]}
    assert not wrong, (
        f"{path.name} (row {ROW[here]}) imports {wrong}: only lower rows, or its own folder, are open to it"
    )


def test_finds_imports_of_every_form(tmp_path):
    probe = PACKAGE / "models" / "probe.py"
    text = "from leo_jax import convert\nfrom .. import losses\nimport leo_jax.ops.warp\nfrom ..data.source import x\n"
    rooms = imported_rooms(_Fake(probe, text))
    assert rooms == {"convert", "losses", "ops", "data"}
    assert imported_rooms(_Fake(probe, "import leo_jax\nfrom leo_jax import load\n")) == {"leo_jax", "api"}


class _Fake(type(pathlib.Path())):
    """A path with given text, for files that do not exist."""

    def __new__(cls, path, text):
        self = super().__new__(cls, path)
        self.text = text
        return self

    def __init__(self, *args):
        pass

    def read_text(self):
        return self.text

"""The rooms of the house: who may import whom, and which libraries may enter where."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rnnjax"
ROOMS = (
    *("lazy", "notation", "config", "timing", "cells", "sequence", "executors", "unroll", "layers", "interop"),
    *(
        "tasks",
        "train",
        "padding",
        "generate",
        "experiment",
        "population",
        "store",
        "choosing",
        "recording",
        "interpret",
    ),
    *("figures", "looks", "report", "progress", "signals", "sweep", "run", "doctor", "cli"),
)
CORE = ROOMS[: ROOMS.index("population") + 1]
CORE_LIBRARIES = {*sys.stdlib_module_names, "rnnjax", "jax", "flax", "optax", "numpy"}
LINKS = ("experiments", "benchmarks")
DOORS = ("__init__", "__main__")  # they open on the whole house


@dataclass(frozen=True)
class Import:
    """One imported name: `line` in `path` (relative to the package) imports `target`."""

    path: Path
    line: int
    target: str
    in_function: bool = False
    type_checking: bool = False
    guarded: bool = False

    @property
    def room(self) -> str:
        return self.path.with_suffix("").parts[0]

    @property
    def origin(self) -> str:
        return self.target.split(".")[0]

    @property
    def imported_room(self) -> str | None:
        """The room that is imported; "" for the package itself, None for another library."""
        if self.origin != "rnnjax":
            return None
        return self.target.partition(".")[2].split(".")[0]

    def __str__(self) -> str:
        return f"rnnjax/{self.path}:{self.line} imports {self.target}"


def targets(node: ast.AST, path: Path) -> list[str]:
    """Absolute dotted names that an import statement brings in."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        package = ("rnnjax", *path.parts[:-1])
        base = ".".join([*package[: len(package) + 1 - node.level], *filter(None, [node.module])])
    return [f"{base}.{alias.name}" for alias in node.names]


def names_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test).startswith(("TYPE_CHECKING", "typing.TYPE_CHECKING"))


def imports(source: str, path: Path) -> Iterator[Import]:
    """Every import of a module, wherever in it the statement stands."""

    def visit(node: ast.AST, **context: bool) -> Iterator[Import]:
        for target in targets(node, path):
            yield Import(path, node.lineno, target, **context)  # type: ignore[attr-defined]  # a statement has it
        for name, value in ast.iter_fields(node):
            inner = dict(context)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                inner["in_function"] = True
            if isinstance(node, ast.If) and name == "body" and names_type_checking(node.test):
                inner["type_checking"] = True
            if isinstance(node, ast.Try) and name == "body":
                inner["guarded"] = True
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from visit(child, **inner)

    yield from visit(ast.parse(source))


def modules() -> list[Path]:
    """The package's modules, relative to it; the linked folders are no rooms."""
    found = (path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
    return sorted(path for path in found if path.parts[0] not in LINKS)


def out_of_order(item: Import) -> bool:
    if item.room in DOORS or item.imported_room is None:
        return False
    if item.room == "cli" and item.imported_room == "benchmarks":
        return False  # the command is one of that folder's
    if item.room not in ROOMS or item.imported_room not in ROOMS:
        return True
    return ROOMS.index(item.imported_room) > ROOMS.index(item.room)


def heavy_in_core(item: Import) -> bool:
    if item.room not in CORE or item.origin in CORE_LIBRARIES:
        return False
    if item.origin == "yaml":
        return not (item.room == "config" and item.in_function)
    if item.origin == "rich":  # a progress bar, where a person waits for a large file
        return not (item.room == "tasks" and item.in_function)
    if item.origin == "jaxtyping":
        return not (item.type_checking or (item.room == "notation" and item.guarded))
    return True


def out_of_place(item: Import) -> bool:
    if item.origin == "matplotlib":
        return item.room != "figures" or "pyplot" in item.target or "pylab" in item.target
    return item.origin in ("orbax", "tensorstore") and item.room != "store"


RULES = (out_of_order, heavy_in_core, out_of_place)


@pytest.mark.parametrize("broken", RULES)
def test_every_module_keeps_the_rules(broken: Callable[[Import], bool]):
    found = (item for path in modules() for item in imports((PACKAGE / path).read_text("utf-8"), path))
    assert [str(item) for item in found if broken(item)] == []


def test_every_module_is_in_a_known_room():
    assert [str(path) for path in modules() if path.with_suffix("").parts[0] not in (*ROOMS, *DOORS)] == []


@pytest.mark.parametrize(
    ("path", "source", "rule"),
    [
        ("cells.py", "from .train import Member", out_of_order),
        ("cells.py", "from . import train", out_of_order),
        ("cells.py", "import rnnjax", out_of_order),
        ("cells.py", "import rnnjax.nowhere", out_of_order),
        ("cells.py", "def f():\n    from rnnjax.cli import main", out_of_order),
        ("cells.py", "if TYPE_CHECKING:\n    from rnnjax import layers", out_of_order),
        ("nowhere.py", "from rnnjax import cells", out_of_order),
        ("executors/scan.py", "from ..unroll import unroll", out_of_order),
        ("executors/__init__.py", "from ..layers import Stack", out_of_order),
        ("executors/scan.py", "from .choose import choose", None),
        ("executors/__init__.py", "from . import scan", None),
        ("executors/scan.py", "from .. import sequence", None),
        ("unroll.py", "from rnnjax.executors.choose import choose", None),
        ("__init__.py", "from .cli import main", None),
        ("generate.py", "def f():\n    import rich", heavy_in_core),
        ("tasks/text.py", "import scipy.stats", heavy_in_core),
        ("config.py", "import yaml", heavy_in_core),
        ("config.py", "def f():\n    import yaml", None),
        ("cells.py", "try:\n    from jaxtyping import Float\nexcept ImportError:\n    pass", heavy_in_core),
        ("notation.py", "try:\n    from jaxtyping import Float\nexcept ImportError:\n    pass", None),
        ("notation.py", "if typing.TYPE_CHECKING:\n    from jaxtyping import Float", None),
        ("notation.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import jaxtyping", heavy_in_core),
        ("report/__init__.py", "from matplotlib.figure import Figure", out_of_place),
        ("figures.py", "from matplotlib import pyplot", out_of_place),
        ("figures.py", "from matplotlib.figure import Figure", None),
        ("recording.py", "def f():\n    import tensorstore", out_of_place),
        ("store.py", "def f():\n    import orbax.checkpoint", None),
    ],
)
def test_the_rules_see(path: str, source: str, rule: Callable[[Import], bool] | None):
    (item,) = imports(source, Path(path))
    assert [each for each in RULES if each(item)] == ([rule] if rule else [])


def test_the_top_level_has_four_folders():
    patterns = (ROOT / ".gitignore").read_text("utf-8").splitlines()
    ignored = {pattern.strip("/") for pattern in patterns if pattern.endswith("/")}
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert folders - ignored == {"rnnjax", "experiments", "tests", "benchmarks"}


@pytest.mark.parametrize("name", LINKS)
def test_the_package_links_to_the_folder_beside_it(name: str):
    assert (PACKAGE / name).resolve() == (ROOT / name).resolve(), f"ln -s ../{name} rnnjax/{name}"

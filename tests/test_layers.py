"""Imports point one way: what is below knows nothing of what stands on it."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import art_multimodal

ROOT = Path(art_multimodal.__file__).parent
#: From the bottom up. A room may import from those below it and from those beside it, and never from those above.
HEIGHTS = (
    {
        "errors",
        "shown",
        "registry",
        "texts",
        "images",
        "labels",
        "prompts",
        "groups",
        "processes",
        "devices",
        "versions",
    },
    {"store", "functional", "modalities", "ablation"},
    {"sample_arrays", "pairs"},
    {"models", "datasets"},
    {"demo"},
    {"language"},
    {"estimators"},
    {"attacks"},
    {"defences"},
    {"evaluations"},
    {"interop"},
    {"testing"},
    {"cli"},
)


@cache
def imports(path: Path) -> list[tuple[int, str]]:
    """Line and room of everything that a module imports when it is used; types alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    of_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in of_types:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("art_multimodal."):
            found.append((node.lineno, (node.module or "").split(".")[1]))
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.startswith("art_multimodal."):
                    found.append((node.lineno, name.name.split(".")[1]))
    return found


def height(room: str) -> int | None:
    """How high a room stands, ``None`` for the small modules at the top of the package that are not ranked."""
    return next((number for number, rooms in enumerate(HEIGHTS) if room in rooms), None)


def test_imports_point_downwards() -> None:
    wrong, seen = [], 0
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT.parent).as_posix()
        own = path.relative_to(ROOT).parts[0].removesuffix(".py")
        for line, room in imports(path):
            above, below = height(own), height(room)
            seen += 1
            if above is not None and below is not None and below > above:
                wrong.append(f"{place}:{line} imports from {room}")
    assert seen > 500
    assert not wrong, "\n".join(wrong)


def test_no_two_rooms_need_each_other() -> None:
    needs: dict[str, set[str]] = {}
    for path in ROOT.rglob("*.py"):
        own = path.relative_to(ROOT).parts[0].removesuffix(".py")
        needs.setdefault(own, set()).update(room for _, room in imports(path) if room != own)
    order = list(TopologicalSorter(needs).static_order())  # raises an error that names a cycle
    assert order.index("models") < order.index("demo") < order.index("language") < order.index("attacks")


def test_what_stands_higher_is_named_in_lists_only() -> None:
    """What is imported by its name when it is asked for escapes the test above, so few may do it."""
    lists = {"models/loading.py", "models/source.py", "datasets/loading.py", "models/families/family.py"}
    # Modules of the user's own, which the command line names.
    lists |= {"models/families/custom/python_file.py", "plugins.py"}
    found = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if re.search(r"\bimport(ed|_module)\(", path.read_text(encoding="utf-8"))
    }
    assert found <= lists | {"registry.py", "moved.py", "__init__.py"}, found


def test_scripts_that_made_the_demos_are_not_installed() -> None:
    assert not list(ROOT.rglob("train_*.py"))
    wrong = [path for path in ROOT.rglob("*.py") if re.search(r"^\s*(from|import) tools\b", path.read_text(), re.M)]
    assert not wrong

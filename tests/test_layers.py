"""Imports point one way: what is below knows nothing of what stands on it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
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
    {"store", "functional", "modalities"},
    {"sample_arrays", "pairs"},
    {"models", "datasets"},
    {"estimators"},
    {"attacks"},
    {"defences"},
    {"evaluations"},
    {"cli"},
)
#: The embedded models, their data and the scripts that made them: they are to become one room beside the others.
DEMOS = ("art_multimodal/models/demo/", "art_multimodal/datasets/demo_")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and room of everything that a module imports when it is used; types alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    of_types = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if id(node) in of_types:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("art_multimodal."):
            yield node.lineno, (node.module or "").split(".")[1]
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.startswith("art_multimodal."):
                    yield node.lineno, name.name.split(".")[1]


def height(room: str) -> int | None:
    """How high a room stands, ``None`` for the small modules at the top of the package that are not ranked."""
    return next((number for number, rooms in enumerate(HEIGHTS) if room in rooms), None)


def test_imports_point_downwards() -> None:
    wrong, seen = [], 0
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT.parent).as_posix()
        own = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if place.startswith(DEMOS):
            continue
        for line, room in imports(path):
            above, below = height(own), height(room)
            seen += 1
            if above is not None and below is not None and below > above:
                wrong.append(f"{place}:{line} imports from {room}")
    assert seen > 500
    assert not wrong, "\n".join(wrong)


def test_nobody_below_looks_into_a_demo() -> None:
    """Outside of the demos only the lists of what can be loaded, and of what can be saved, name them."""
    lists = ("models/loading.py", "datasets/loading.py", "models/saving.py")
    allowed = {f"art_multimodal/{name}" for name in lists}
    wrong = []
    for path in sorted(ROOT.rglob("*.py")):
        place = path.relative_to(ROOT.parent).as_posix()
        text = path.read_text(encoding="utf-8")
        if place.startswith(DEMOS) or place in allowed:
            continue
        wrong += [place] if "art_multimodal.models.demo" in text or "art_multimodal.datasets.demo_" in text else []
    assert not wrong, wrong

"""The public names: seen by dir(), importable whatever was imported before, and each of them in the reference."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from forked import Forked

import art_multimodal
from art_multimodal.moved import REMOVED_IN

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "api.md"


def documented() -> list[Any]:
    """The objects that the reference documents."""
    found: list[Any] = []
    for kind, target, options in re.findall(
        r"^\.\. auto(\w+):: ([\w.]+)\n((?:   :.*\n)*)", PAGE.read_text(encoding="utf-8"), re.MULTILINE
    ):
        if kind != "module":
            module, name = target.rsplit(".", 1)
            found.append(getattr(importlib.import_module(module), name))
            continue
        module = importlib.import_module(target)
        listed = re.search(r":members: *(.*)", options)
        assert listed, f"{target} is named without members"
        # As Sphinx does: those that are listed, or __all__, or what is defined there.
        names = [name.strip() for name in listed[1].split(",") if name.strip()] or getattr(
            module,
            "__all__",
            [n for n, of in vars(module).items() if getattr(of, "__module__", None) == target and n[0] != "_"],
        )
        found += [getattr(module, name) for name in names]
    return found


def listing() -> list[str]:
    """Every module that says by ``__all__`` which names others may use."""
    files = sorted((ROOT / "art_multimodal").rglob("*.py"))
    return [name_of(file) for file in files if re.search(r"^__all__\b", file.read_text(encoding="utf-8"), re.MULTILINE)]


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def lacking(module: ModuleType, shown: list[Any]) -> list[str]:
    """Names of a module that the reference lacks, unless its docstring says that it is not public."""
    if "Not public: " in (module.__doc__ or ""):
        return []
    return [
        name for name in module.__all__ if name != "__version__" and not any(getattr(module, name) is o for o in shown)
    ]


@pytest.mark.parametrize("name", listing())
def test_every_public_name_stands_in_the_reference(name: str) -> None:
    missing = lacking(importlib.import_module(name), documented())
    assert not missing, f"docs/api.md lacks {', '.join(missing)} of {name}, or its docstring says 'Not public: why'"


def test_a_name_that_is_new_and_undocumented_is_found() -> None:
    assert len(listing()) > 20
    module = ModuleType("art_multimodal.new", "A package.")
    vars(module).update(one=object(), load_model=art_multimodal.load_model, __all__=["load_model", "one"])
    assert lacking(module, documented()) == ["one"]


def test_what_pages_notebooks_and_the_example_import_is_public() -> None:
    shown = documented()
    texts = {path.name: path.read_text(encoding="utf-8") for path in [ROOT / "README.md", *PAGE.parent.glob("*.md")]}
    texts |= {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "examples").rglob("*.py")}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[path.name] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    found, hidden = 0, set()
    for page, text in texts.items():
        for module, names in re.findall(r"^from (art_multimodal[\w.]*) import (\([^)]*\)|[^\n#]*)", text, re.MULTILINE):
            if module.startswith("art_multimodal_example"):
                continue
            for name in re.findall(r"\w+", names):
                one = getattr(importlib.import_module(module), name)
                found += 1
                if not isinstance(one, ModuleType) and not any(one is other for other in shown):
                    hidden.add(f"{page}: {module}.{name}")
    assert found > 150 and not hidden, f"docs/api.md lacks what others are shown: {sorted(hidden)}"


def test_the_reference_names_nothing_twice() -> None:
    shown = [one for one in documented() if callable(one)]
    twice = {one.__name__ for one in shown if sum(one is other for other in shown) > 1}
    assert not twice


def test_dir_lists_the_public_names() -> None:
    assert dir(art_multimodal) == sorted(art_multimodal.__all__)
    for name in art_multimodal.__all__:
        assert getattr(art_multimodal, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'sample'"):
        _ = art_multimodal.sample


#: Runs each of the lines that it is given in a copy of itself, which has imported ART and nothing of ours any more.
_EACH_BY_ITSELF = """
import os, sys, art.attacks.evasion, art.estimators.classification
for name in [name for name in sys.modules if name.partition(".")[0] == "art_multimodal"]:
    del sys.modules[name]
for first in sys.argv[1:]:
    if os.fork() == 0:
        exec(first)
        from art_multimodal import samples, for_each_sample
        print(first, samples.__name__, for_each_sample.__name__, sep="|", flush=True)
        os._exit(0)
    os.wait()
"""


def test_samples_is_the_function_whatever_was_imported_before(tmp_path: Path) -> None:
    firsts = (
        "from art_multimodal import samples",
        "import art_multimodal.sample_arrays",
        "from art_multimodal.sample_arrays import with_field",
        "import art_multimodal.attacks.evasion.for_each_sample",
        "import art_multimodal.estimators.fusion",
    )
    done = Forked(tmp_path, "-c", _EACH_BY_ITSELF, *firsts)
    assert done.wait() == 0, done.stderr
    assert done.stdout.splitlines() == [f"{first}|samples|for_each_sample" for first in firsts], done.stderr


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("attacks.evasion.text.words.ProtectedWords", "language.words"),
        ("attacks.registry.Budget", "attacks.budget"),
        ("attacks.registry.TextBudget", "attacks.budget"),
        ("datasets.demo_digits.ink_on_paper", "demo.digits_data"),
        ("datasets.demo_digits.load_strokes", "demo.digits_data"),
        ("models.custom_fusion.CustomFusion", "models.families.custom.fusion"),
        ("models.custom_fusion.CustomLateFusion", "models.families.custom.fusion"),
        ("models.demo.scenes.make_samples", "demo.scenes"),
        ("models.demo.shapes.FUSIONS", "demo.shapes"),
        ("models.late_fusion.LateFusion", "models.families.late_fusion.model"),
        ("models.masked_language_model.load_masked_language_model", "language.masked_language_model"),
        ("models.mmbt.MMBT", "models.families.mmbt.model"),
        ("models.mmbt.load_mmbt", "models.families.mmbt.saving"),
        ("models.mmbt.save_mmbt", "models.families.mmbt.saving"),
    ],
)
def test_names_that_pages_gave_before_a_move_still_work_and_warn(name: str, home: str) -> None:
    module, _, last = name.rpartition(".")
    new = importlib.import_module(f"art_multimodal.{home}")
    with pytest.warns(DeprecationWarning) as warned:
        names: dict[str, Any] = {}
        exec(f"from art_multimodal.{module} import {last}", names)
    assert names[last] is getattr(new, last)
    (one,) = warned
    assert str(one.message) == (
        f"art_multimodal.{name} has moved: write from art_multimodal.{home} import {last}. "
        f"The old name is gone in version {REMOVED_IN}."
    )
    assert one.filename == "<string>"  # the line that asked, and none of ours
    with pytest.raises(ImportError, match="nothing"):
        exec(f"from art_multimodal.{module} import nothing")
    assert not hasattr(importlib.import_module(f"art_multimodal.{module}"), "_private")


def test_an_old_name_that_the_tests_ask_for_is_an_error() -> None:
    with pytest.raises(DeprecationWarning, match="has moved"):
        importlib.import_module("art_multimodal.models.mmbt").MMBT  # noqa: B018


def test_what_warns_of_its_end_is_gone_in_time() -> None:
    """A release of the version that is named goes without the old names."""
    version, end = ([*map(int, one.split(".")[:2])] for one in (art_multimodal.__version__, REMOVED_IN))
    assert version < end, "remove the modules that call moved(), and say so in CHANGELOG.md"


def test_only_moved_makes_names_that_warn() -> None:
    """So that nothing of the package asks for an old name, which its users would be warned of."""
    root = ROOT / "art_multimodal"
    old = {name_of(path) for path in root.rglob("*.py") if _moves(path)}
    assert len(old) == 9
    for path in root.rglob("*.py"):
        asked = re.findall(r"^ *(?:from|import) (art_multimodal\.[\w.]+)", path.read_text(encoding="utf-8"), re.M)
        assert not old & set(asked), path


def _moves(path: Path) -> bool:
    return re.search(r"^__getattr__ = moved\(", path.read_text(encoding="utf-8"), re.MULTILINE) is not None


def test_to_import_the_package_is_to_import_nothing_heavy() -> None:
    code = "import art_multimodal, sys; print([name for name in ('art', 'numpy', 'torch') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

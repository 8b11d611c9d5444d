"""Each public name has an example in its docstring, and what the example shows is what comes out.

An example begins with what docs/api.md begins with, and with the names that its own module defines. What is shared is
made once, so an example leaves it as it was.
"""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import io
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from art.estimators import BaseEstimator
from test_public_names import documented

from art_multimodal.registry import registries

from .pages import DOCS, ROOT, blocks_of
from .test_examples import RUN

PACKAGE = ROOT / "art_multimodal"
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if re.search(r"^ *>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
)
#: Public classes and functions without an example of their own, and not in that of another, each with its reason.
EXCEPTIONS = {
    **dict.fromkeys(
        ("AttackRecord", "AttackedMetadata", "ModalityFacts", "SampleMetadata"),
        "type of a mapping, see docs/maite.md",
    ),
    **dict.fromkeys(("Augmentation", "Dataset", "Model"), "protocol, which the adapters on docs/maite.md keep"),
    "MotionsData": "reads files of a package that is nobody's extra",
    "log_to_mlflow": "writes to where an installed MLflow says",
}


def test_the_page_begins_with_what_examples_share() -> None:
    assert blocks_of(DOCS / "api.md")[0].language == "python"


@cache
def shared() -> dict[str, Any]:
    """What the first block of the reference makes."""
    names: dict[str, Any] = {}
    exec(blocks_of(DOCS / "api.md")[0].text, names)
    return {name: of for name, of in names.items() if not name.startswith("__")}


def examples_of(name: str) -> list[doctest.DocTest]:
    """The examples of a module, each with names of its own."""
    module = importlib.import_module(name)
    own = {key: of for key, of in vars(module).items() if getattr(of, "__module__", None) == name}
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [one for one in finder.find(module, name, globs=shared() | own) if one.examples]


def run(example: doctest.DocTest) -> str:
    """Run an example; return what is wrong with it, if anything."""
    said = io.StringIO()
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    runner.run(example, out=said.write)
    return said.getvalue()


def state() -> dict[str, np.ndarray]:
    """What examples could leave behind in what they share."""
    found: dict[str, np.ndarray] = {}
    for name, of in shared().items():
        if isinstance(of, np.ndarray):
            found |= {f"{name} {key}": of[key] for key in of.dtype.names or (...,)}
        elif isinstance(of, BaseEstimator):
            found |= {f"{name} {key}": weight.numpy() for key, weight in of.image_text_model.state_dict().items()}
    return found


@cache
def state_before() -> dict[str, np.ndarray]:
    return {name: of.copy() for name, of in state().items()}


@pytest.mark.parametrize("module", MODULES)
def test_examples_show_what_comes_out(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in registries():  # what an example registers is gone after it
        for kept in ("_entries", "_origins"):
            monkeypatch.setattr(registry, kept, dict(getattr(registry, kept)))
    before = state_before()
    examples = examples_of(module)
    assert examples, "there is a >>> that is in no docstring"
    for number, example in enumerate(examples):
        (tmp_path / str(number)).mkdir()
        monkeypatch.chdir(tmp_path / str(number))
        said = run(example)
        assert not said, said
    after = state()
    assert after.keys() == before.keys()
    changed = [name for name, of in before.items() if not np.array_equal(of, after[name])]
    assert not changed, f"an example has changed what others share: {changed}"


def may_be_shown_elsewhere(one: Any) -> bool:
    """Whether it is something that another name returns or raises: an exception, a protocol, or results."""
    return inspect.isclass(one) and (
        issubclass(one, BaseException)
        or issubclass(one, tuple)
        or getattr(one, "_is_protocol", False)
        or dataclasses.is_dataclass(one)
    )


def names_without_example() -> list[str]:
    """Public names that neither a docstring shows nor a block of a page that the tests run."""
    on_pages = "\n".join(block.text for block in RUN if block.language == "python")
    public = [one for one in documented() if inspect.isclass(one) or inspect.isroutine(one)]
    shown = "\n".join(doc for doc in map(_doc, public) if ">>> " in doc)
    lacking = [one for one in public if ">>> " not in _doc(one)]
    return [
        one.__name__
        for one in lacking
        if not re.search(rf"\b{one.__name__}\b", on_pages)
        and not (may_be_shown_elsewhere(one) and re.search(rf"\b{one.__name__}\b", _examples_in(shown)))
    ]


def _doc(one: Any) -> str:
    return inspect.cleandoc(one.__dict__.get("__doc__") or "") if inspect.isclass(one) else inspect.getdoc(one) or ""


def _examples_in(docs: str) -> str:
    parsed = doctest.DocTestParser().get_examples(docs)
    return "\n".join(f"{one.source}\n{one.want}" for one in parsed)


def test_every_public_name_has_an_example() -> None:
    lacking = names_without_example()
    assert sorted(lacking) == sorted(EXCEPTIONS), f"no example: {sorted(set(lacking) - set(EXCEPTIONS))}"


def test_an_example_that_shows_something_else_is_found() -> None:
    parser = doctest.DocTestParser()
    assert not run(parser.get_doctest(">>> 1 + 1\n2\n", {}, "right", None, None))
    assert "Got:" in run(parser.get_doctest(">>> 1 + 1\n3\n", {}, "wrong", None, None))

"""Class names and templates."""

from __future__ import annotations

import pytest

from art_multimodal.errors import InputError
from art_multimodal.labels import class_indices
from art_multimodal.prompts import check_class_names, check_prompts, check_templates, fill_templates


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["cat", "cat"], "All 2 classes have the name 'cat'"),
        (["cat"], "at least two classes"),
        ([], "at least two classes"),
        (["cat", " "], "empty"),
        (["cat", 3], "must be a string"),
        ("cat", "list of names"),
    ],
)
def test_bad_class_names(names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_class_names(names)


@pytest.mark.parametrize("templates", [[], ["a photo"], ["{} and {}"], ["a {0}"], [3]])
def test_bad_templates(templates: list[str]) -> None:
    with pytest.raises(InputError, match="template"):
        check_templates(templates)


def test_names_are_inserted_and_never_formatted() -> None:
    prompts = fill_templates(["{0.__class__}", "{}"], ["a {}!"])
    assert prompts == (("a {0.__class__}!",), ("a {}!",))


def test_prompts_per_class() -> None:
    assert check_prompts(["a", ["b", "c"]], 2) == (("a",), ("b", "c"))
    with pytest.raises(InputError, match="1 prompts were given for 2"):
        check_prompts(["a"], 2)
    with pytest.raises(InputError, match="Class 1 has no prompt"):
        check_prompts(["a", []], 2)


def test_several_classes_may_have_one_name() -> None:
    assert check_class_names(["crane", "dog", " crane"]) == ("crane", "dog", "crane")
    assert class_indices(["crane", "dog", "crane"], ("crane", "dog", "crane")) == [0, 1, 2]
    assert class_indices(["dog"], ("crane", "dog", "crane")) == [1]
    assert class_indices(["crane", "dog", "crane"], ("dog", "crane")) == [1, 0, 1]
    with pytest.raises(InputError, match="2 classes have the name 'crane', so it does not say which"):
        class_indices(["dog", "crane"], ("crane", "dog", "crane"))

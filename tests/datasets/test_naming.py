"""Which name belongs to which folder or label."""

from __future__ import annotations

import pytest

from art_multimodal.datasets.naming import as_index, fold, folder_order, name_folders, notes_on
from art_multimodal.errors import InputError


def named(folders: list[str], classes: list[str] | None) -> tuple[dict[str, str], str]:
    """The name of each folder, and what is noted."""
    order = folder_order(folders)
    naming = name_folders(order, classes)
    names = {folder: naming.class_names[label] for folder, label in zip(order, naming.labels, strict=True)}
    return names, "; ".join(naming.notes)


def test_numbers_are_indices() -> None:
    names = [f"name {number}" for number in range(12)]
    for folders in ([str(n) for n in range(12)], [f"{n:02d}" for n in range(12)]):
        assert named(folders, names) == ({folder: f"name {int(folder)}" for folder in folders}, "")
    found, notes = named(["3", "10"], names)
    assert found == {"3": "name 3", "10": "name 10"}
    assert "counted from 0: folder 3 is 'name 3'" in notes and "10 of the 12 classes have no images" in notes


def test_numbers_from_one() -> None:
    names = [f"name {number}" for number in range(1, 13)]
    found, notes = named([str(number) for number in range(1, 13)], names)
    assert found == {str(number): f"name {number}" for number in range(1, 13)}
    assert "counted from 1: folder 1 is 'name 1'" in notes


@pytest.mark.parametrize(
    ("folders", "classes", "message"),
    [
        (["1", "2", "7"], ["a", "b", "c"], "gives 3 names, and a class folder is called 7"),
        (["0", "3"], ["a", "b", "c"], "a class folder is called 3"),
        (["1", "01"], ["a", "b"], "have the same number"),
        (["class 2", "class 10"], ["a", "b"], "sort differently as numbers and as letters"),
        (["Zebra", "ape"], ["a", "b"], "sort differently"),
        (
            ["cat", "dog", "eel"],
            ["dog", "x", "y"],
            "has names of some folders, such as 'dog', and none of the folder cat",
        ),
        (["cat", "dog"], ["dog", "dog"], "All 2 classes have the name 'dog'"),
        (["cat", "dog"], ["dog", "cat", "dog"], "has 2 classes that the folder dog could be"),
        (["cat", "dog"], ["cat=a", "cat=b", "dog=c"], "names the folder cat twice"),
        (["cat", "caf\udce9"], None, r"class folder caf\\xe9 is not UTF-8"),
        (["a\nb", "dog"], ["x=1", "y=2"], r"the folder\(s\) a\\nb, dog"),
    ],
)
def test_what_is_not_certain_is_refused(folders: list[str], classes: list[str] | None, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        named(folders, classes)
    assert "\n" not in str(error.value)


def test_names_of_the_folders_in_any_order() -> None:
    found, notes = named(["cat", "dog", "fire_truck"], ["fire truck", "dog", "cat"])
    assert found == {"cat": "cat", "dog": "dog", "fire_truck": "fire truck"}
    assert "in another order" in notes
    assert named(["cat", "dog"], ["cat", "dog"]) == ({"cat": "cat", "dog": "dog"}, "")
    # Some renamed, the others where they were.
    assert named(["cat", "dog", "eel"], ["cat", "hound", "eel"])[0] == {"cat": "cat", "dog": "hound", "eel": "eel"}


def test_names_in_sorted_order_are_told() -> None:
    found, notes = named(["cat", "dog"], ["a kitten", "a hound"])
    assert found == {"cat": "a kitten", "dog": "a hound"}
    assert "in sorted order: cat is 'a kitten', dog is 'a hound'" in notes


def test_classes_can_be_made_one() -> None:
    for classes in (["Hat=hat", "hat=hat", "dog=dog"], ["hat", "dog"]):
        found, notes = named(["Hat", "hat", "dog"], classes)
        assert found == {"Hat": "hat", "hat": "hat", "dog": "dog"}
        assert "the folders Hat and hat are one class, 'hat'" in notes
    assert named(["caf\udce9", "dog"], ["caf\\xe9=café", "dog=dog"])[0] == {"caf\udce9": "café", "dog": "dog"}


@pytest.mark.parametrize("pair", [("Hat", "hat"), ("fire truck", "fire-truck"), ("caf\u00e9", "cafe\u0301")])
def test_names_that_look_the_same_are_noted(pair: tuple[str, str]) -> None:
    assert fold(pair[0]) == fold(pair[1])
    (note,) = notes_on((*pair, "dog"))
    assert "differ in case or spacing only, and count as 2 classes" in note
    assert notes_on(("hat", "hats", "dog")) == ()


def test_numbers_and_wordnet_ids_as_folders() -> None:
    assert "class folders are numbers" in named(["7", "10"], None)[1]
    assert folder_order(["10", "9", "1"]) == ["1", "9", "10"]
    assert named(["dog", "n01440764"], None)[1].startswith("1 class names look like WordNet ids ('n01440764')")


def test_wordnet_ids_of_imagenet_have_names() -> None:
    found, notes = named(["n01440764", "n03773504", "n04008634"], None)
    # Two classes of ImageNet are both called missile.
    assert found == {"n01440764": "tench", "n03773504": "missile", "n04008634": "missile"}
    assert "n01440764 is 'tench'" in notes and "'missile' stand more than once" in notes
    assert "1 of 2 class folders are WordNet ids without a name" in named(["n01440764", "n99999999"], None)[1]


def test_labels_that_are_indices() -> None:
    assert [as_index(label) for label in ("3", "3.0", "-1", "1e2", "2.5", "nan", "x", "9" * 5000)] == (
        [3, 3, -1, 100, None, None, None, None]
    )

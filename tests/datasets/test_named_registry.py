"""Data sets by name: the registry, how they are named, and what is said where something is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from art_multimodal.datasets import open_captioned, open_data
from art_multimodal.datasets.named import NAMED_DATA, PROTOCOLS, find_name
from art_multimodal.datasets.named.names import CALTECH101, COUNTRIES, EUROSAT, FLOWERS
from art_multimodal.datasets.named.place import VARIABLE
from art_multimodal.datasets.named.registry import folded
from art_multimodal.datasets.named.spec import split_spec, trained_on, with_root
from art_multimodal.errors import InputError
from art_multimodal.prompts import check_templates

#: How many prompts the CLIP paper has for each.
PROMPTS = {"cifar10": 18, "cifar100": 18, "imagenet": 80, "tiny-imagenet": 80, "stl10": 2, "caltech101": 34}
PROMPTS |= {"oxford-pets": 1, "flowers102": 1, "fgvc-aircraft": 2, "stanford-cars": 8, "sun397": 2, "food101": 1}
PROMPTS |= {"dtd": 8, "eurosat": 3, "country211": 5, "pcam": 1, "caltech256": 1}
LABELLED = [name for name, entry in NAMED_DATA.items() if entry.task == "classification"]


def test_every_labelled_data_set_has_the_prompts_of_the_paper() -> None:
    found = {name: NAMED_DATA[name].templates for name in LABELLED}
    assert {name: len(set(templates)) for name, templates in found.items()} == PROMPTS
    for templates in found.values():
        check_templates(templates)
    assert "a black and white photo of the {}." in found["cifar10"] and "the origami {}." in found["caltech101"]
    assert "a photo of the small {}." in found["cifar100"] and "a {} in a video game." in found["caltech101"]
    assert not NAMED_DATA["coco"].templates


def test_class_names_that_are_kept_here_are_complete_and_distinct() -> None:
    assert len(set(FLOWERS)) == len(FLOWERS) == NAMED_DATA["flowers102"].classes
    assert len(set(COUNTRIES.values())) == len(COUNTRIES) == NAMED_DATA["country211"].classes
    assert list(COUNTRIES) == sorted(COUNTRIES) and all(len(code) == 2 for code in COUNTRIES)
    assert COUNTRIES["CI"] == "Cote d'Ivoire" and COUNTRIES["GB"] == "United Kingdom" and FLOWERS[101 - 1]
    assert len(set(EUROSAT.values())) == NAMED_DATA["eurosat"].classes
    assert len(set(CALTECH101.values())) == len(CALTECH101)


def test_names_and_aliases_are_not_ambiguous() -> None:
    taken: dict[str, str] = {}
    for name, entry in NAMED_DATA.items():
        for one in (name, *entry.aliases):
            assert taken.setdefault(folded(one), name) == name
    for given, name in (
        ("CIFAR-10", "cifar10"),
        ("Oxford_Pets", "oxford-pets"),
        ("OxfordIIITPet", "oxford-pets"),
        ("MSCOCO", "coco"),
        ("imagenet-1k", "imagenet"),
    ):
        assert find_name(given) == name
    with pytest.raises(InputError, match=r"Unknown data set 'cifar1000'. Did you mean cifar100 or cifar10"):
        find_name("cifar1000")


def test_every_data_set_says_how_it_is_got_and_who_made_it() -> None:
    for _, entry in NAMED_DATA.items():
        assert entry.page.startswith("http") and entry.paper[-4:].isdecimal() and entry.default_split in entry.splits
        said = entry.how_to_get("/data")
        assert said.endswith(".") and ("/data" in said)
        assert all(split.size > 0 and split.needs for split in entry.splits.values())
    said = NAMED_DATA["food101"].how_to_get("/my data")
    assert "from torchvision.datasets import Food101; Food101('/my data', split='test', download=True)" in said


def test_torchvision_has_the_data_sets_that_are_said_to_be_had_from_it() -> None:
    from torchvision import datasets

    for _, entry in NAMED_DATA.items():
        if entry.torchvision:
            assert hasattr(datasets, entry.torchvision.partition("(")[0])


def test_protocols_name_data_sets_that_there_are() -> None:
    for _, protocol in PROTOCOLS.items():
        assert set(protocol.roles) <= set(LABELLED)
        check_templates(protocol.templates)
        assert set(protocol.roles.values()) == {"in-distribution", "zero-shot"}


@pytest.mark.parametrize(
    ("given", "name", "options"),
    [
        ("cifar10", "cifar10", {}),
        ("cifar10:split=train", "cifar10", {"split": "train"}),
        ("cifar10:root=/a, b/c=d,split=test", "cifar10", {"root": "/a, b/c=d", "split": "test"}),
        ("C:/data:split=x", "C:/data", {"split": "x"}),
    ],
)
def test_options(given: str, name: str, options: dict[str, str]) -> None:
    assert split_spec(given, ("split", "root"), "NAME") == (name, options)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("cifar10:spilt=train", "Unknown option of data 'spilt'. Did you mean split"),
        ("cifar10:split=", "is empty"),
        ("cifar10:split=a,split=b", "is given twice"),
    ],
)
def test_options_that_are_none(given: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        split_spec(given, ("split", "root"), "NAME")


def test_a_root_and_a_split_for_training_are_put_into_the_name() -> None:
    assert with_root("data:CIFAR-10", "/a,b") == "data:cifar10:root=/a,b"
    assert with_root("data:cifar10:root=/own", "/a") == "data:cifar10:root=/own"
    assert with_root("data:cifar10", None) == "data:cifar10" and with_root("folder:x", None) == "folder:x"
    assert with_root("0.1", "/a", needed=False) == "0.1"
    with pytest.raises(InputError, match=r"--data-root says where .* and folder:x is none of them: leave it out"):
        with_root("folder:x", "/a")
    assert trained_on("data:cifar10") == "data:cifar10:split=train"
    assert trained_on("data:oxford-pets:root=/a") == "data:oxford-pets:split=trainval,root=/a"
    assert trained_on("data:cifar10:split=test") == "data:cifar10:split=test"
    assert trained_on("data:eurosat") == "data:eurosat" and trained_on("demo:digits") == "demo:digits"


@pytest.mark.parametrize("name", list(NAMED_DATA))
def test_what_is_missing_is_said_with_how_to_get_it(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    entry = NAMED_DATA[name]
    open_one = open_captioned if entry.task == "retrieval" else open_data
    with pytest.raises(InputError) as nothing:
        open_one(f"data:{name}")
    for said in (f"data:{name}: there is no folder", str(tmp_path), entry.page, "--data-root", VARIABLE):
        assert said in str(nothing.value)
    needs = entry.splits[entry.default_split].needs
    folder = tmp_path / entry.folders[0]
    folder.mkdir(parents=True)
    for number, needed in enumerate(needs):
        with pytest.raises(InputError) as half:
            open_one(f"data:{name}")
        assert f"there is no {needed} in {folder}" in str(half.value) and "not complete" in str(half.value)
        assert entry.page in str(half.value) and "\n" not in str(half.value)
        if number == len(needs) - 1:
            break
        (folder / needed).parent.mkdir(parents=True, exist_ok=True)
        (folder / needed).write_text("")


def test_archives_that_were_not_unpacked_are_pointed_at(tmp_path: Path) -> None:
    (tmp_path / "food-101.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(
        InputError, match=r"there is no folder food-101 in .* \(unpack food-101.tar.gz, which is there\)"
    ):
        open_data(f"data:food101:root={tmp_path}")
    (tmp_path / "pcam").mkdir()
    (tmp_path / "pcam" / "camelyonpatch_level_2_split_test_x.h5.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(InputError, match=r"\(unpack camelyonpatch_level_2_split_test_x.h5.gz, which is there\)"):
        open_data(f"data:pcam:root={tmp_path}")


def test_roots_splits_and_tasks_that_are_none(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(InputError, match=r"--data-root FOLDER, data:NAME:root=FOLDER or the environment variable ART"):
        open_data("data:cifar10")
    with pytest.raises(InputError, match=r"--data-root: there is no folder '.*nowhere'"):
        open_data(f"data:cifar10:root={tmp_path / 'nowhere'}")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(InputError, match=rf"{VARIABLE}: there is no folder"):
        open_data("data:cifar10")
    with pytest.raises(InputError, match=r"data:imagenet: Unknown split 'test'.*no labels, so val"):
        open_data(f"data:imagenet:split=test,root={tmp_path}")
    (tmp_path / "x" / "cifar-10-batches-py").mkdir(parents=True)
    for needed in ("test_batch", "batches.meta"):
        (tmp_path / "x" / "cifar-10-batches-py" / needed).write_text("")
    with pytest.raises(InputError, match=r"no captions, which retrieval needs. Give data:coco, data:flickr30k"):
        open_captioned(f"data:cifar10:root={tmp_path / 'x'}")

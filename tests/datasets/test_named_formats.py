"""Each data set by name, read from small ones in the format of its authors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from named_sets import GOLDFISH, TENCH, WRITE, imagenet, jpeg, pixels, tiny_imagenet
from PIL import Image

from art_multimodal.datasets import UnreadableSample, open_captioned, open_data
from art_multimodal.datasets.named import NAMED_DATA

#: Class names, labels and names of the samples of the split that is measured on.
FOUND: dict[str, tuple[tuple[str, ...], list[int], str]] = {
    "cifar10": (("airplane", "automobile", "bird"), [0, 1, 2, 0, 1, 2], "test/0"),
    "cifar100": (("apple", "aquarium fish"), [1, 0, 1, 0], "test/0"),
    "tiny-imagenet": (("tench", "goldfish"), [1, 0, 1], "val/images/val_0.JPEG"),
    "imagenet": (("tench", "goldfish"), [0, 1], f"val/{TENCH}/ILSVRC2012_1.JPEG"),
    "stl10": (("airplane", "bird"), [0, 1, 1], "test/0"),
    "caltech101": (
        ("off-center face", "head of a crocodile", "sea horse"),
        [0, 1, 2],
        "101_ObjectCategories/Faces/image_0001.jpg",
    ),
    "caltech256": (
        ("ak47", "american flag", "motorbikes", "clutter"),
        [0, 1, 2, 3],
        "256_ObjectCategories/001.ak47/001_0001.jpg",
    ),
    "oxford-pets": (("Abyssinian", "american bulldog"), [0, 1, 0], "images/Abyssinian_201.jpg"),
    "fgvc-aircraft": (("737-200", "BAE 146-200"), [1, 0, 1], "data/images/0034300.jpg"),
    "stanford-cars": (("AM General Hummer SUV 2000", "Acura RL Sedan 2012"), [1, 0, 1], "cars_test/00001.jpg"),
    "sun397": (("abbey", "apse indoor"), [0, 1, 1], "a/abbey/sun_a.jpg"),
    "food101": (("apple pie", "baby back ribs"), [0, 1, 0], "images/apple_pie/11.jpg"),
    "dtd": (("banded", "polka-dotted"), [0, 1], "images/banded/banded_0002.jpg"),
    "eurosat": (("annual crop land", "lake or sea"), [0, 1], "2750/AnnualCrop/AnnualCrop_1.jpg"),
    "country211": (("Andorra", "Zimbabwe"), [0, 1], "test/AD/1.jpg"),
    "pcam": (("lymph node", "lymph node containing metastatic tumor tissue"), [0, 1, 1], "test/0"),
}


def written(name: str, root: Path) -> str:
    """Write a data set; how it is named with its root."""
    if name == "pcam":
        pytest.importorskip("h5py")
    WRITE[name](root)
    return f"data:{name}:root={root}"


@pytest.mark.parametrize("name", list(FOUND))
def test_labelled_data_sets(name: str, tmp_path: Path) -> None:
    data = open_data(written(name, tmp_path))
    names, labels, first = FOUND[name]
    assert data.class_names == names and data.templates == NAMED_DATA[name].templates
    assert [data.label_of(index) for index in range(len(data))] == labels
    assert data.name_of(0) == first and data.folders[0].is_relative_to(tmp_path)
    assert any("instead of" in note and "not those of papers" in note for note in data.notes)
    for index in range(len(data)):
        assert data.absence(index) is None
        image = data.read(index).image
        assert image.dtype == np.float32 and image.shape[0] == 3 and 0 <= image.min() < image.max() <= 1
    small = open_data(f"data:{name}:root={tmp_path}", transform=lambda photo: photo.resize((5, 4)))
    assert small.image(0).shape == (3, 4, 5)


@pytest.mark.parametrize("name", ["cifar10", "stl10", "pcam"])
def test_pixels_are_those_that_were_written(name: str, tmp_path: Path) -> None:
    data = open_data(written(name, tmp_path))
    side = 32 if name == "cifar10" else 96
    expected = pixels(len(data), side)[1].transpose(2, 0, 1).astype(np.float32) / 255
    assert np.array_equal(data.image(1), expected)


#: How torchvision opens what it has downloaded, where it looks at no checksums.
OPENED = {
    "caltech101": lambda sets, root: sets.Caltech101(root),
    "caltech256": lambda sets, root: sets.Caltech256(root),
    "oxford-pets": lambda sets, root: sets.OxfordIIITPet(root, split="test"),
    "flowers102": lambda sets, root: sets.Flowers102(root, split="test"),
    "fgvc-aircraft": lambda sets, root: sets.FGVCAircraft(root, split="test"),
    "stanford-cars": lambda sets, root: sets.StanfordCars(root, split="test"),
    "sun397": lambda sets, root: sets.SUN397(root),
    "food101": lambda sets, root: sets.Food101(root, split="test"),
    "dtd": lambda sets, root: sets.DTD(root, split="test"),
    "eurosat": lambda sets, root: sets.EuroSAT(root),
    "country211": lambda sets, root: sets.Country211(root, split="test"),
    "pcam": lambda sets, root: sets.PCAM(root, split="test"),
    "imagenet": lambda sets, root: sets.ImageFolder(root / "imagenet" / "val"),
    "flickr30k": lambda sets, root: sets.Flickr30k(
        str(root / "flickr30k" / "flickr30k-images"), str(root / "flickr30k" / "results_20130124.token")
    ),
}


@pytest.mark.parametrize("name", [name for name in OPENED if name not in ("flowers102", "flickr30k")])
def test_images_and_labels_are_those_that_torchvision_gives(name: str, tmp_path: Path) -> None:
    from torchvision import datasets

    data, other = open_data(written(name, tmp_path)), OPENED[name](datasets, tmp_path)
    ours = [(data.label_of(index), (data.image(index) * 255).round().tobytes()) for index in range(len(data))]
    theirs = [
        (int(label), np.asarray(photo.convert("RGB"), dtype=np.float32).transpose(2, 0, 1).tobytes())
        for photo, label in (other[index] for index in range(len(other)))
    ]
    assert sorted(ours) == sorted(theirs) and len(ours) > 1


def test_flowers_and_captions_are_those_that_torchvision_gives(tmp_path: Path, monkeypatch) -> None:
    from torchvision import datasets

    # Its checksums are those of the whole data set.
    monkeypatch.setattr(datasets.Flowers102, "_check_integrity", lambda self: True)
    data, other = open_data(written("flowers102", tmp_path)), OPENED["flowers102"](datasets, tmp_path)
    assert [data.label_of(index) for index in range(2)] == [other[index][1] for index in range(2)]
    WRITE["flickr30k"](tmp_path)
    captioned = open_captioned(f"data:flickr30k:split=all,root={tmp_path}")
    other = OPENED["flickr30k"](datasets, tmp_path)
    assert [captioned.captions_of(index) for index in range(2)] == [tuple(other[index][1]) for index in range(2)]


def test_flowers_have_the_names_of_their_numbers(tmp_path: Path) -> None:
    data = open_data(written("flowers102", tmp_path))
    assert [data.class_names[data.label_of(index)] for index in (0, 1)] == ["blackberry lily", "passion flower"]
    assert [data.name_of(index) for index in (0, 1)] == ["jpg/image_00003.jpg", "jpg/image_00001.jpg"]
    assert data.image(1).shape == (3, 12, 16)
    train = open_data(f"data:flowers102:split=train,root={tmp_path}")
    assert [train.class_names[train.label_of(0)], len(train)] == ["pink primrose", 1]


def test_other_splits(tmp_path: Path) -> None:
    train = open_data(f"{written('cifar10', tmp_path)},split=train")
    assert len(train) == 15 and [train.label_of(index) for index in range(4)] == [2, 1, 0, 2]
    assert np.array_equal(train.image(3), pixels(3, 32, 2)[0].transpose(2, 0, 1).astype(np.float32) / 255)
    tiny_imagenet(tmp_path)
    tiny = open_data(f"data:tiny-imagenet:split=train,root={tmp_path}")
    assert [tiny.label_of(index) for index in range(4)] == [0, 0, 1, 1]
    assert tiny.name_of(0) == f"train/{TENCH}/images/{TENCH}_0.JPEG"
    WRITE["sun397"](tmp_path)
    scenes = open_data(f"data:sun397:split=test,root={tmp_path}")
    assert [scenes.name_of(0), scenes.label_of(0)] == ["a/apse/indoor/sun_c.jpg", 1]


def test_tiny_imagenet_whose_validation_was_sorted_into_folders(tmp_path: Path) -> None:
    tiny_imagenet(tmp_path)
    val = tmp_path / "tiny-imagenet-200" / "val"
    (val / "val_annotations.txt").unlink()
    with pytest.raises(Exception, match=r"neither val/val_annotations.txt nor a folder for each class"):
        open_data(f"data:tiny-imagenet:root={tmp_path}")
    for number, one in enumerate((GOLDFISH, TENCH)):
        jpeg(val / one / "images" / "x.JPEG", number)
    data = open_data(f"data:tiny-imagenet:root={tmp_path}")
    assert [data.name_of(0), data.label_of(1)] == [f"val/{TENCH}/images/x.JPEG", 1]


def test_imagenet_lies_in_the_root_itself_as_torchvision_has_it(tmp_path: Path) -> None:
    imagenet(tmp_path)
    data = open_data(f"data:imagenet:root={tmp_path / 'imagenet'}")
    assert len(data) == 2 and data.folders == ((tmp_path / "imagenet").resolve(),)


def test_classes_of_imagenet_with_one_name_are_told_apart(tmp_path: Path) -> None:
    for number, one in enumerate(("n03773504", "n04008634", "n04355933", "n04356056", TENCH)):
        jpeg(tmp_path / "imagenet" / "val" / one / "a.JPEG", number)
    data = open_data(f"data:imagenet:root={tmp_path}")
    assert data.class_names == ("tench", "missile", "missile (projectile)", "sunglasses (sunglass)", "sunglasses")
    assert any(note.startswith("2 class name(s) stand for more than one class") for note in data.notes)


def test_ids_that_are_not_of_imagenet_are_named_by_the_files_beside_them(tmp_path: Path) -> None:
    jpeg(tmp_path / "imagenet" / "val" / "n00000001" / "a.JPEG")
    jpeg(tmp_path / "imagenet" / "val" / TENCH / "a.JPEG", 1)
    with pytest.raises(Exception, match=r"n00000001 is no class of ImageNet's 1,000, and no meta.bin or LOC_syn"):
        open_data(f"data:imagenet:root={tmp_path}")
    (tmp_path / "imagenet" / "LOC_synset_mapping.txt").write_text("n00000001 entity, thing\nn01440764 tench\n")
    assert open_data(f"data:imagenet:root={tmp_path}").class_names == ("entity", "tench")


def test_captions(tmp_path: Path) -> None:
    WRITE["coco"](tmp_path)
    data = open_captioned(f"data:coco:root={tmp_path}")
    assert [data.name_of(0), data.captions_of(0)] == ["val2017/000000000009.jpg", ("a cat",)]
    assert data.captions_of(1) == ("a dog", "a small dog") and data.image(1).shape == (3, 12, 16)
    test = open_captioned(f"data:coco:split=test,root={tmp_path}")
    assert [len(test), test.name_of(0)] == [1, "val2014/COCO_val2014_000000000007.jpg"]
    assert test.captions_of(0) == ("thing 7", "a thing 7") and test.image(0).shape == (3, 12, 16)
    WRITE["flickr30k"](tmp_path)
    test = open_captioned(f"data:flickr30k:root={tmp_path}")
    assert [len(test), test.name_of(0)] == [1, "flickr30k-images/7.jpg"]
    every = open_captioned(f"data:flickr30k:split=all,root={tmp_path}")
    assert [every.captions_of(index) for index in (0, 1)] == [("Two dogs .", "Dogs ."), ("A cat .",)]
    assert "1 images instead of 1,000" in test.notes[0]


@pytest.mark.parametrize("name", ["food101", "eurosat", "caltech101", "flowers102"])
def test_images_that_are_damaged_or_lead_elsewhere_are_left_out(name: str, tmp_path: Path) -> None:
    spec = written(name, tmp_path / "root")
    data = open_data(spec)
    broken, linked = (data.folders[0] / data.name_of(index) for index in (0, 1))
    broken.write_bytes(broken.read_bytes()[:40])
    secret = tmp_path / "secret.jpg"
    jpeg(secret)
    linked.unlink()
    linked.symlink_to(secret)
    data = open_data(spec)
    with pytest.raises(UnreadableSample, match="not a readable image"):
        data.image(0)
    assert "a link that leads out of the folder of the data" in (data.absence(1) or "")
    with pytest.raises(UnreadableSample, match="which is not followed"):
        data.image(1)
    linked.unlink()
    assert name in ("eurosat", "caltech101") or "there is no such file" in (data.absence(1) or "")
    assert NAMED_DATA[name].page in data.advice(1)


def test_postscript_in_the_place_of_a_photo_is_not_read(tmp_path: Path) -> None:
    data = open_data(written("food101", tmp_path))
    (data.folders[0] / data.name_of(0)).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(UnreadableSample, match="PostScript, which is not read"):
        data.image(0)


def test_a_list_that_names_files_elsewhere_opens_none(tmp_path: Path) -> None:
    spec = written("dtd", tmp_path / "root")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "secret.png")
    listed = tmp_path / "root" / "dtd" / "dtd" / "labels" / "test1.txt"
    listed.write_text(f"banded/../../../../../secret.png\nbanded/{'x' * 300}.jpg\nmarbled/a\0b.jpg\n")
    data = open_data(spec)
    for index, said in enumerate(("its name leads out", "cannot be read", "cannot be read")):
        assert said in (data.absence(index) or "")
        with pytest.raises(UnreadableSample):
            data.image(index)


def test_other_class_names(tmp_path: Path) -> None:
    spec = written("cifar10", tmp_path)
    assert open_data(spec, classes=("a", "b", "c")).class_names == ("a", "b", "c")
    data = open_data(spec, classes=("bird=animal", "airplane=machine", "automobile=machine"))
    assert data.class_names == ("machine", "animal") and [data.label_of(index) for index in range(3)] == [0, 0, 1]
    with pytest.raises(Exception, match=r"--classes gives 2 names, and the data have 3 classes"):
        open_data(spec, classes=("a", "b"))


def test_a_root_that_is_a_link_is_followed(tmp_path: Path) -> None:
    WRITE["eurosat"](tmp_path / "disk")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "eurosat").symlink_to(tmp_path / "disk" / "eurosat")
    data = open_data(f"data:eurosat:root={tmp_path / 'root'}")
    assert data.absence(0) is None and data.image(0).shape == (3, 12, 16)

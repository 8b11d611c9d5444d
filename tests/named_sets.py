"""Small data sets in the formats of their authors: few images, written on the spot."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from photos import save_photo
from PIL import Image
from scipy.io import savemat

#: Two WordNet ids of ImageNet, and two that have one name in open_clip's list.
TENCH, GOLDFISH = "n01440764", "n01443537"


def jpeg(path: Path, seed: int = 0) -> None:
    """A small photo."""
    save_photo(path, size=(16, 12), seed=seed)


def pixels(count: int, side: int, seed: int = 0) -> np.ndarray:
    """Images ``(count, side, side, 3)`` of random bytes."""
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def write_pickle(path: Path, content: dict) -> None:
    """As Python 2 wrote it: protocol 2."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def rows_of(images: np.ndarray) -> np.ndarray:
    """Images as rows of CIFAR: red, green, blue."""
    return images.transpose(0, 3, 1, 2).reshape(len(images), -1)


def cifar10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    names = ["airplane", "automobile", "bird"]
    write_pickle(folder / "batches.meta", {"label_names": names})
    write_pickle(folder / "test_batch", {"data": rows_of(pixels(6, 32)), "labels": [0, 1, 2, 0, 1, 2]})
    for number in range(1, 6):
        write_pickle(folder / f"data_batch_{number}", {"data": rows_of(pixels(3, 32, number)), "labels": [2, 1, 0]})


def cifar100(root: Path) -> None:
    folder = root / "cifar-100-python"
    write_pickle(folder / "meta", {"fine_label_names": ["apple", "aquarium_fish"], "coarse_label_names": ["fruit"]})
    write_pickle(
        folder / "test", {"data": rows_of(pixels(4, 32)), "fine_labels": [1, 0, 1, 0], "coarse_labels": [0] * 4}
    )


def tiny_imagenet(root: Path) -> None:
    folder = root / "tiny-imagenet-200"
    for one, seed in ((GOLDFISH, 0), (TENCH, 3)):
        for number in range(2):
            jpeg(folder / "train" / one / "images" / f"{one}_{number}.JPEG", seed + number)
    rows = [f"val_{number}.JPEG\t{one}\t0\t32\t44\t62" for number, one in enumerate((GOLDFISH, TENCH, GOLDFISH))]
    for number in range(3):
        jpeg(folder / "val" / "images" / f"val_{number}.JPEG", number)
    (folder / "val" / "val_annotations.txt").write_text("\n".join(rows) + "\n")
    (folder / "wnids.txt").write_text(f"{GOLDFISH}\n{TENCH}\n")
    (folder / "words.txt").write_text(f"{TENCH}\ttench, Tinca tinca\n{GOLDFISH}\tgoldfish, Carassius auratus\nn1\tx\n")


def imagenet(root: Path) -> None:
    for split in ("val", "train"):
        for one in (TENCH, GOLDFISH):
            jpeg(root / "imagenet" / split / one / "ILSVRC2012_1.JPEG", len(split))
    torch.save(({TENCH: ("tench", "Tinca tinca"), GOLDFISH: ("goldfish",)}, []), root / "imagenet" / "meta.bin")


def stl10(root: Path) -> None:
    folder = root / "stl10_binary"
    folder.mkdir(parents=True)
    (folder / "class_names.txt").write_text("airplane\nbird\n")
    # Each colour by columns, as MATLAB writes.
    (folder / "test_X.bin").write_bytes(pixels(3, 96).transpose(0, 3, 2, 1).tobytes())
    (folder / "test_y.bin").write_bytes(bytes([1, 2, 2]))


def caltech101(root: Path) -> None:
    for number, name in enumerate(("BACKGROUND_Google", "Faces", "crocodile_head", "sea_horse")):
        jpeg(root / "caltech101" / "101_ObjectCategories" / name / "image_0001.jpg", number)


def caltech256(root: Path) -> None:
    for number, name in enumerate(("001.ak47", "002.american-flag", "003.motorbikes-101", "004.clutter")):
        jpeg(root / "caltech256" / "256_ObjectCategories" / name / f"{name[:3]}_0001.jpg", number)


def oxford_pets(root: Path) -> None:
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    names = ("Abyssinian_201", "american_bulldog_203", "Abyssinian_202")
    for number, name in enumerate(names):
        jpeg(folder / "images" / f"{name}.jpg", number)
    rows = [f"{name} {2 if 'bull' in name else 1} 1 1" for name in names]
    (folder / "annotations" / "test.txt").write_text("\n".join(rows))


def flowers102(root: Path) -> None:
    folder = root / "flowers-102"
    for number in range(1, 5):
        jpeg(folder / "jpg" / f"image_{number:05d}.jpg", number)
    savemat(folder / "imagelabels.mat", {"labels": np.array([[77, 1, 102, 77]], dtype=np.uint8)})
    ids = {"tstid": np.array([[3, 1]]), "trnid": np.array([[2]]), "valid": np.array([[4]])}
    savemat(folder / "setid.mat", {name: row.astype(np.uint16) for name, row in ids.items()})


def fgvc_aircraft(root: Path) -> None:
    data = root / "fgvc-aircraft-2013b" / "data"
    for number in range(3):
        jpeg(data / "images" / f"003430{number}.jpg", number)
    (data / "variants.txt").write_text("737-200\nBAE 146-200\n")
    (data / "images_variant_test.txt").write_text("0034300 BAE 146-200\n0034301 737-200\n0034302 BAE 146-200\n")


def stanford_cars(root: Path) -> None:
    folder = root / "stanford_cars"
    for number in (1, 2, 3):
        jpeg(folder / "cars_test" / f"{number:05d}.jpg", number)
    (folder / "devkit").mkdir()
    names = np.empty((1, 2), dtype=object)
    names[0] = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012"]
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    rows = np.array(
        [[(1, 5, 2, "00001.jpg"), (2, 6, 1, "00002.jpg"), (3, 7, 2, "00003.jpg")]],
        dtype=[("bbox_x1", "i4"), ("bbox_x2", "i4"), ("class", "O"), ("fname", "O")],
    )
    savemat(folder / "cars_test_annos_withlabels.mat", {"annotations": rows})


def sun397(root: Path) -> None:
    folder = root / "SUN397"
    for number, name in enumerate(("a/abbey/sun_a", "a/apse/indoor/sun_b", "a/apse/indoor/sun_c")):
        jpeg(folder / f"{name}.jpg", number)
    (folder / "ClassName.txt").write_text("/a/abbey\n/a/apse/indoor\n")
    (folder / "Testing_01.txt").write_text("/a/apse/indoor/sun_c.jpg\n/a/abbey/sun_a.jpg\n")


def food101(root: Path) -> None:
    folder = root / "food-101"
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "classes.txt").write_text("apple_pie\nbaby_back_ribs\n")
    (folder / "meta" / "test.txt").write_text("apple_pie/11\nbaby_back_ribs/12\napple_pie/13\n")
    of_class = {"baby_back_ribs": ["baby_back_ribs/12"], "apple_pie": ["apple_pie/11", "apple_pie/13"]}
    (folder / "meta" / "test.json").write_text(json.dumps(of_class))
    for number, name in enumerate(("apple_pie/11", "baby_back_ribs/12", "apple_pie/13")):
        jpeg(folder / "images" / f"{name}.jpg", number)


def dtd(root: Path) -> None:
    folder = root / "dtd" / "dtd"
    (folder / "labels").mkdir(parents=True)
    names = ("banded/banded_0002.jpg", "polka-dotted/polka-dotted_0001.jpg")
    (folder / "labels" / "test1.txt").write_text("\n".join(names))
    for number, name in enumerate(names):
        jpeg(folder / "images" / name, number)


def eurosat(root: Path) -> None:
    for number, name in enumerate(("AnnualCrop", "SeaLake")):
        jpeg(root / "eurosat" / "2750" / name / f"{name}_1.jpg", number)


def country211(root: Path) -> None:
    for number, name in enumerate(("AD", "ZW")):
        jpeg(root / "country211" / "test" / name / "1.jpg", number)


def pcam(root: Path) -> None:
    import h5py

    folder = root / "pcam"
    folder.mkdir()
    for kind, numbers in (("x", pixels(3, 96)), ("y", np.array([0, 1, 1], dtype=np.uint8).reshape(3, 1, 1, 1))):
        with h5py.File(folder / f"camelyonpatch_level_2_split_test_{kind}.h5", "w") as file:
            file[kind] = numbers


def coco(root: Path) -> None:
    folder = root / "coco"
    (folder / "annotations").mkdir(parents=True)
    for number in (7, 9):
        jpeg(folder / "val2017" / f"{number:012d}.jpg", number)
        jpeg(folder / "val2014" / f"COCO_val2014_{number:012d}.jpg", number)
    images = [{"id": number, "file_name": f"{number:012d}.jpg"} for number in (9, 7)]
    texts = [(7, "a dog"), (9, "a cat \n"), (7, "a small dog"), (9, "a cat")]
    captions = [{"image_id": image, "id": row, "caption": text} for row, (image, text) in enumerate(texts)]
    content = {"images": images, "annotations": captions}
    (folder / "annotations" / "captions_val2017.json").write_text(json.dumps(content))
    (folder / "dataset_coco.json").write_text(json.dumps({"images": [_karpathy(n, "val2014") for n in (7, 9)]}))


def _karpathy(number: int, folder: str) -> dict:
    name = f"COCO_{folder}_{number:012d}.jpg" if folder else f"{number}.jpg"
    sentences = [{"raw": f"thing {number}"}, {"raw": f"a thing {number}"}]
    return {"filepath": folder, "filename": name, "split": "test" if number == 7 else "restval", "sentences": sentences}


def flickr30k(root: Path) -> None:
    folder = root / "flickr30k"
    for number in (7, 9):
        jpeg(folder / "flickr30k-images" / f"{number}.jpg", number)
    (folder / "dataset_flickr30k.json").write_text(json.dumps({"images": [_karpathy(7, ""), _karpathy(9, "")]}))
    lines = ("7.jpg#0\tTwo dogs .", "7.jpg#1\tDogs .", "9.jpg#0\tA cat .")
    (folder / "results_20130124.token").write_text("\n".join(lines))


#: What writes each data set.
WRITE: dict[str, Callable[[Path], None]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "tiny-imagenet": tiny_imagenet,
    "imagenet": imagenet,
    "stl10": stl10,
    "caltech101": caltech101,
    "caltech256": caltech256,
    "oxford-pets": oxford_pets,
    "flowers102": flowers102,
    "fgvc-aircraft": fgvc_aircraft,
    "stanford-cars": stanford_cars,
    "sun397": sun397,
    "food101": food101,
    "dtd": dtd,
    "eurosat": eurosat,
    "country211": country211,
    "pcam": pcam,
    "coco": coco,
    "flickr30k": flickr30k,
}


def encoded(seed: int) -> bytes:
    """A PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels(1, 16, seed)[0]).save(stream, "PNG")
    return stream.getvalue()

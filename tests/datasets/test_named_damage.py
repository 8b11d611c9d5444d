"""Data sets by name that are damaged, cut off, or written to run something."""

from __future__ import annotations

import os
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest
import torch
from named_sets import WRITE, jpeg, pixels, rows_of, write_pickle
from scipy.io import savemat

from art_multimodal.datasets import open_captioned, open_data
from art_multimodal.datasets.named.pickles import read_pickle
from art_multimodal.errors import InputError


class _Canary:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.path),)


def refused(spec: str, captioned: bool = False) -> str:
    """What is said about data that cannot be used: one line."""
    with pytest.raises(InputError) as raised:
        (open_captioned if captioned else open_data)(spec)
    said = str(raised.value)
    assert "\n" not in said and "\x1b" not in said
    return said


@pytest.mark.parametrize("file", ["test_batch", "batches.meta"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_something_is_refused(file: str, protocol: int, tmp_path: Path) -> None:
    WRITE["cifar10"](tmp_path)
    path, canary = tmp_path / "cifar-10-batches-py" / file, tmp_path / "ran"
    path.write_bytes(pickle.dumps({"data": _Canary(canary), "labels": [0], "label_names": ["a"]}, protocol=protocol))
    said = refused(f"data:cifar10:root={tmp_path}")
    assert "mkdir" in said and "Loading it could run code, so it was refused" in said
    assert not canary.exists()
    # The canary is one: a reader that trusts the file makes the folder.
    pickle.loads(path.read_bytes())
    assert canary.exists()


@pytest.mark.parametrize(
    "asked",
    [
        "numpy.core.multiarray\nscalar",
        "builtins\neval",
        "numpy\nload",
        "numpy.core.multiarray\nset_typeDict",
        "os\nsystem",
    ],
)
def test_what_no_array_needs_is_refused_by_name(asked: str, tmp_path: Path) -> None:
    path = tmp_path / "batch"
    path.write_bytes(b"\x80\x02c" + asked.encode() + b"\n.")
    with pytest.raises(InputError, match=asked.replace("\n", r"\.")):
        read_pickle(path)


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    content = {"a": np.arange(6, dtype=">i2").reshape(2, 3), b"b": np.asfortranarray(np.eye(3)), "c": [1, "x"]}
    for protocol in (0, 2, 4):
        write = tmp_path / f"{protocol}"
        write.write_bytes(pickle.dumps(content, protocol=protocol))
        found = read_pickle(write)
        assert np.array_equal(found["a"], content["a"]) and found["a"].dtype.itemsize == 2
        assert np.array_equal(found["b"], np.eye(3)) and found["c"] == [1, "x"]


def as_python_2_wrote(data: bytes, labels: list[int]) -> bytes:
    """A batch of CIFAR in the very opcodes of its authors: strings of bytes, and numpy's names of that time."""
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\nq\x04K\x00\x85U\x01b\x87Rq\x05"
    shape = b"(K\x01K" + bytes([len(data) // 3072]) + b"M\x00\x0c\x86"
    kind = b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    filled = b"\x89T" + len(data).to_bytes(4, "little") + data + b"tb"
    answers = b"U\x06labels](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(U\x04data" + array + shape + kind + filled + answers + b"u."


def test_a_batch_as_its_authors_wrote_it(tmp_path: Path) -> None:
    WRITE["cifar10"](tmp_path)
    rows = rows_of(pixels(2, 32))
    content = as_python_2_wrote(rows.tobytes(), [2, 1])
    known = pickle.loads(content, encoding="latin1")
    assert np.array_equal(known["data"], rows) and known["labels"] == [2, 1]
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(content)
    data = open_data(f"data:cifar10:root={tmp_path}")
    assert [data.label_of(index) for index in range(2)] == [2, 1]
    for index in range(2):
        assert np.array_equal(data.image(index), pixels(2, 32)[index].transpose(2, 0, 1).astype(np.float32) / 255)


def test_an_array_that_lies_about_itself_is_damaged(tmp_path: Path) -> None:
    good = pickle.dumps({"data": np.zeros((2, 3), dtype=np.uint8)}, protocol=2)
    assert any(code.name == "BUILD" for code, _, _ in pickletools.genops(good))
    for before, after in ((b"K\x02K\x03", b"K\x09K\x03"), (b"u1", b"O8"), (b"u1", b"M8")):
        assert before in good
        (tmp_path / "batch").write_bytes(good.replace(before, after))
        with pytest.raises(InputError, match=r"is damaged|could run code"):
            read_pickle(tmp_path / "batch")
    (tmp_path / "batch").write_bytes(pickle.dumps({"data": np.array([None])}, protocol=2))
    with pytest.raises(InputError, match=r"an array of object"):
        read_pickle(tmp_path / "batch")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            {"data": rows_of(pixels(2, 32)), "labels": [0]},
            "does not hold images of 32 x 32 pixels with a label for each",
        ),
        ({"data": rows_of(pixels(2, 16)), "labels": [0, 1]}, "does not hold images of 32 x 32 pixels"),
        ({"data": [1, 2], "labels": [0, 1]}, "does not hold images"),
        ({"labels": [0, 1]}, "does not hold images"),
        ({"data": rows_of(pixels(2, 32)), "labels": [0, 3]}, "the label 3 is none of its 3 classes"),
        ({"data": rows_of(pixels(2, 32)), "labels": [0, "\x1b[31m"]}, r"the label \x1b[31m is none"),
        ([1], "holds a list instead of a dict|is damaged"),
    ],
)
def test_batches_that_hold_something_else(content, said: str, tmp_path: Path) -> None:
    WRITE["cifar10"](tmp_path)
    write_pickle(tmp_path / "cifar-10-batches-py" / "test_batch", content)
    assert any(part in refused(f"data:cifar10:root={tmp_path}") for part in said.split("|"))


def test_files_that_were_cut_off(tmp_path: Path) -> None:
    WRITE["cifar10"](tmp_path)
    batch = tmp_path / "cifar-10-batches-py" / "test_batch"
    batch.write_bytes(batch.read_bytes()[:1000])
    assert "test_batch is damaged" in refused(f"data:cifar10:root={tmp_path}")
    batch.write_bytes(b"")
    assert "test_batch is damaged" in refused(f"data:cifar10:root={tmp_path}")
    WRITE["stl10"](tmp_path)
    images = tmp_path / "stl10_binary" / "test_X.bin"
    images.write_bytes(images.read_bytes()[:-1])
    assert "test_X.bin is cut off: its 82,943 bytes" in refused(f"data:stl10:root={tmp_path}")
    images.write_bytes(bytes(2 * 3 * 96 * 96))
    assert "test_X.bin has 2 images, and test_y.bin 3 labels" in refused(f"data:stl10:root={tmp_path}")
    WRITE["flowers102"](tmp_path)
    (tmp_path / "flowers-102" / "setid.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(30))
    assert "setid.mat is damaged" in refused(f"data:flowers102:root={tmp_path}")
    savemat(tmp_path / "flowers-102" / "setid.mat", {"tstid": np.array([[9]])})
    assert "setid.mat names image 9, and imagelabels.mat has 4 labels" in refused(f"data:flowers102:root={tmp_path}")
    savemat(tmp_path / "flowers-102" / "setid.mat", {"other": np.array([[1]])})
    assert "setid.mat holds no tstid" in refused(f"data:flowers102:root={tmp_path}")


def test_lists_that_are_not_complete(tmp_path: Path) -> None:
    WRITE["tiny-imagenet"](tmp_path)
    val = tmp_path / "tiny-imagenet-200" / "val" / "val_annotations.txt"
    val.write_text("val_0.JPEG\tn01443537\t0\nval_1.JP")
    assert "line 2 of val/val_annotations.txt is not complete" in refused(f"data:tiny-imagenet:root={tmp_path}")
    val.write_text("val_0.JPEG\tn99999999\t0\n")
    assert "names the class n99999999, which wnids.txt has not" in refused(f"data:tiny-imagenet:root={tmp_path}")
    WRITE["food101"](tmp_path)
    (tmp_path / "food-101" / "meta" / "test.txt").write_text("waffles/1\n")
    assert "names the class 'waffles', which there is not" in refused(f"data:food101:root={tmp_path}")
    (tmp_path / "food-101" / "meta" / "test.txt").write_bytes(b"\xff\xfe\xff")
    assert "meta/test.txt is no text in UTF-8" in refused(f"data:food101:root={tmp_path}")
    (tmp_path / "food-101" / "meta" / "test.txt").write_text("")
    assert "There are no images in the data" in refused(f"data:food101:root={tmp_path}")
    WRITE["oxford-pets"](tmp_path)
    (tmp_path / "oxford-iiit-pet" / "annotations" / "test.txt").write_text("Abyssinian_201 one 1 1\n")
    assert "has the class 'one', which is no number" in refused(f"data:oxford-pets:root={tmp_path}")
    WRITE["coco"](tmp_path)
    listed = tmp_path / "coco" / "annotations" / "captions_val2017.json"
    listed.write_text('{"images": [], "annotations": [{"image_id": 3, "caption": "x"}]}')
    assert "has a caption of image 3, which it does not list" in refused(f"data:coco:root={tmp_path}", True)
    listed.write_text(listed.read_text()[:20])
    assert "cannot be read as JSON" in refused(f"data:coco:root={tmp_path}", True)
    listed.write_text("{}")
    assert "does not hold images and their captions" in refused(f"data:coco:root={tmp_path}", True)


def test_class_folders_that_are_empty_or_none(tmp_path: Path) -> None:
    (tmp_path / "eurosat" / "2750").mkdir(parents=True)
    assert "there are no class folders in" in refused(f"data:eurosat:root={tmp_path}")
    WRITE["eurosat"](tmp_path)
    (tmp_path / "eurosat" / "2750" / "River").mkdir()
    assert "there are no images in" in refused(f"data:eurosat:root={tmp_path}")
    for number in range(2):
        jpeg(tmp_path / "imagenet" / "val" / f"ILSVRC2012_val_{number}.JPEG")
    assert "there are no class folders in" in refused(f"data:imagenet:root={tmp_path}")
    jpeg(tmp_path / "imagenet" / "val" / "tench" / "a.JPEG")
    assert "are no WordNet ids such as n01440764" in refused(f"data:imagenet:root={tmp_path}")


def test_names_of_imagenet_that_would_run_something_are_refused(tmp_path: Path) -> None:
    for name in ("n00000001", "n01440764"):
        jpeg(tmp_path / "imagenet" / "val" / name / "a.JPEG")
    canary = tmp_path / "ran"
    torch.save(({"n00000001": _Canary(canary)}, []), tmp_path / "imagenet" / "meta.bin")
    said = refused(f"data:imagenet:root={tmp_path}")
    assert "asks for code to be run, which is refused" in said and not canary.exists()


def test_lists_that_are_links_to_other_files_are_not_read(tmp_path: Path) -> None:
    WRITE["food101"](tmp_path / "root")
    secret = tmp_path / "secret.txt"
    secret.write_text("apple_pie/11\n")
    listed = tmp_path / "root" / "food-101" / "meta" / "test.txt"
    listed.unlink()
    listed.symlink_to(secret)
    assert "is a link that leads out of the folder of the data" in refused(f"data:food101:root={tmp_path / 'root'}")


@pytest.mark.parametrize("how", ["link", "outside", "virtual", "text"])
def test_arrays_of_hdf5_that_lie_elsewhere_are_not_read(how: str, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    WRITE["pcam"](tmp_path)
    path = tmp_path / "pcam" / "camelyonpatch_level_2_split_test_x.h5"
    other = tmp_path / "other.h5"
    path.rename(other)
    if how == "text":
        path.write_text("no HDF5")
        assert "is damaged" in refused(f"data:pcam:root={tmp_path}")
        return
    with h5py.File(path, "w") as file:
        if how == "link":
            file["x"] = h5py.ExternalLink(str(other), "x")
        elif how == "outside":
            (tmp_path / "raw").write_bytes(bytes(3 * 96 * 96 * 3))
            shape = (3, 96, 96, 3)
            file.create_dataset("x", shape, "u1", external=[(str(tmp_path / "raw"), 0, h5py.h5f.UNLIMITED)])
        else:
            layout = h5py.VirtualLayout((3, 96, 96, 3), "u1")
            layout[:] = h5py.VirtualSource(str(other), "x", (3, 96, 96, 3))
            file.create_virtual_dataset("x", layout)
    assert "holds no array 'x' of its own" in refused(f"data:pcam:root={tmp_path}")

"""``wds:PATH``: samples in tar archives, as WebDataset writes them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from named_sets import encoded, pixels

from art_multimodal.datasets import UnreadableSample, open_captioned, open_data
from art_multimodal.errors import InputError


def write_shard(path: Path, members: list[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards of a test split, as CLIP Benchmark lays them out."""
    root = tmp_path / "wds"
    first = [("s0.cls", b"1"), ("s0.png", encoded(0)), ("./deep/s1.png", encoded(1)), ("./deep/s1.cls", b"0\n")]
    write_shard(root / "test" / "0.tar", first)
    write_shard(root / "test" / "1.tar", [("s0.png", encoded(2)), ("s0.json", json.dumps({"label": 1}).encode())])
    (root / "classnames.txt").write_text("red apple\ngreen pear\n")
    (root / "zeroshot_classification_templates.txt").write_text("a sketch of a {c}.\n")
    return root


def test_labelled_shards(shards: Path) -> None:
    data = open_data(f"wds:{shards}:split=test")
    assert data.class_names == ("red apple", "green pear") and data.templates == ("a sketch of a {}.",)
    assert [data.label_of(index) for index in range(3)] == [1, 0, 1] and data.notes == ()
    assert [data.name_of(index) for index in range(3)] == ["0.tar/s0.png", "0.tar/./deep/s1.png", "1.tar/s0.png"]
    for seed in range(3):
        assert np.array_equal(data.image(seed), pixels(1, 16, seed)[0].transpose(2, 0, 1).astype(np.float32) / 255)
    assert open_data(f"wds:{shards}:split=test", transform=lambda photo: photo.resize((5, 4))).image(0).shape == (
        3,
        4,
        5,
    )
    assert len(open_data(f"wds:{shards / 'test' / '1.tar'}")) == 1
    with pytest.raises(InputError, match=r"has shards of test: give wds:.*:split=test"):
        open_data(f"wds:{shards}")


def test_labels_that_are_texts_or_have_no_names(tmp_path: Path) -> None:
    path = write_shard(
        tmp_path / "a.tar", [(f"{n}.png", encoded(n)) for n in range(2)] + [("0.cls", b"2"), ("1.cls", b"0")]
    )
    with pytest.raises(InputError, match=r"The labels in .* are numbers, and there is no classnames.txt beside"):
        open_data(f"wds:{path}")
    assert open_data(f"wds:{path}", classes=("a", "b", "c")).label_of(0) == 2
    with pytest.raises(InputError, match="A label in .* is 2, and there are 2 classes from 0"):
        open_data(f"wds:{path}", classes=("a", "b"))
    path = write_shard(
        tmp_path / "b.tar", [("0.png", encoded(0)), ("1.png", encoded(1)), ("0.cls", b"fire_truck"), ("1.cls", b"dog")]
    )
    data = open_data(f"wds:{path}")
    assert data.class_names == ("dog", "fire truck") and data.label_of(0) == 1


def test_captioned_shards(tmp_path: Path) -> None:
    captions = json.dumps({"caption": ["one", "two"]}).encode()
    members = [("0.jpg", encoded(0)), ("0.txt", b"ein Hund\na dog"), ("1.jpg", encoded(1)), ("1.json", captions)]
    data = open_captioned(f"wds:{write_shard(tmp_path / 'a.tar', members)}")
    assert [data.captions_of(index) for index in (0, 1)] == [("ein Hund", "a dog"), ("one", "two")]
    path = write_shard(tmp_path / "b.tar", [("0.jpg", encoded(0))])
    with pytest.raises(InputError, match=r"0.jpg in b.tar has no caption"):
        open_captioned(f"wds:{path}")
    with pytest.raises(InputError, match=r"0.jpg in b.tar has no label.*give --task retrieval"):
        open_data(f"wds:{path}")


def test_links_and_samples_without_images_are_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, content in (
            ("0.png", encoded(0)),
            ("0.cls", b"x"),
            ("1.png", encoded(1)),
            ("1.cls", b"y"),
            ("2.cls", b"z"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo("3.png")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    data = open_data(f"wds:{path}")
    assert len(data) == 2 and data.class_names == ("x", "y")
    assert data.notes == (
        "3 member(s) of the shards are links or other things that are no files, and are left out",
        "1 sample(s) of the shards have no image, and are left out",
    )


def test_shards_that_are_damaged_or_missing(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "a.tar", [(f"{n}.png", encoded(n)) for n in range(9)])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3 + 77])
    with pytest.raises(InputError, match=r"The shard .*a.tar is damaged: .*Download it again"):
        open_data(f"wds:{path}")
    path.write_bytes(b"no archive at all" * 99)
    with pytest.raises(InputError, match=r"is damaged"):
        open_data(f"wds:{path}")
    with pytest.raises(InputError, match=r"There are no shards .*nowhere: give wds:PATH"):
        open_data(f"wds:{tmp_path / 'nowhere'}")
    path = write_shard(tmp_path / "b.tar", [("0.txt", b"text")])
    with pytest.raises(InputError, match=r"There are no images in .*members are to be called KEY.jpg"):
        open_captioned(f"wds:{path}")
    members = [("0.png", b"%!PS-Adobe"), ("0.cls", b"x"), ("1.png", encoded(1)[:50]), ("1.cls", b"y")]
    data = open_data(f"wds:{write_shard(tmp_path / 'c.tar', members)}")
    for index, said in enumerate(("PostScript", "not a readable image")):
        with pytest.raises(UnreadableSample, match=said):
            data.image(index)


def test_a_shard_that_changes_after_it_was_listed_costs_one_sample(tmp_path: Path) -> None:
    path = write_shard(
        tmp_path / "a.tar", [("0.cls", b"x"), ("1.cls", b"y"), ("0.png", encoded(0)), ("1.png", encoded(1))]
    )
    data = open_data(f"wds:{path}")
    path.write_bytes(path.read_bytes()[:2100])
    with pytest.raises(UnreadableSample, match="its shard is cut off|not a readable"):
        data.image(1)

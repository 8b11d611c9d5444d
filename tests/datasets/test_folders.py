"""Folders as people have them: what is no class, what is no image, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest
from photos import save_photo

from art_multimodal.datasets import open_data
from art_multimodal.errors import InputError


def test_files_that_are_left_out_are_counted(photos: Path, monkeypatch) -> None:
    monkeypatch.setattr("art_multimodal.datasets.folder.heif_reader", lambda: None)
    monkeypatch.setattr("art_multimodal.datasets.photos.heif_reader", lambda: None)
    for name in (
        "dog/1.HEIC",
        "dog/2.heic",
        "dog/deep/raw",
        "dog/Thumbs.db",
        "dog/.DS_Store",
        "loose.jpg",
        "loose.heic",
    ):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes(b"x")
    (photos / "__MACOSX").mkdir()
    left, loose = open_data(f"folder:{photos}").notes
    assert left == (
        "4 file(s) in the class folders were not taken for images: 2 .heic, 1 without an ending, 1 .txt, for example "
        "dog/1.HEIC; pip install art-multimodal[heic] reads HEIC, or convert it to JPEG"
    )
    assert "2 image(s) beside the class folders belong to no class and are left out, for example loose.heic" in loose


def test_a_photo_of_two_classes_is_noted(photos: Path, monkeypatch) -> None:
    """Whatever it is called; in one class it may stand twice."""
    (photos / "dog" / "z.png").write_bytes((photos / "fire_truck" / "a.png").read_bytes())
    (photos / "dog" / "d.png").write_bytes((photos / "dog" / "c.png").read_bytes())
    (photos / "fire_truck" / "empty.png").touch()
    (photos / "dog" / "empty.png").touch()
    said = (
        "1 image(s) are listed under several labels, of which one at most is predicted, for example fire_truck/a.png "
        "(the same photo as dog/z.png) under 'dog' and 'fire truck'"
    )
    assert open_data(f"folder:{photos}").notes[0] == said
    monkeypatch.setattr("art_multimodal.datasets.folder.MOST_COMPARED", 7)
    assert said not in open_data(f"folder:{photos}").notes
    monkeypatch.undo()
    # Not the whole of them differs.
    path, size = photos / "dog" / "z.png", (photos / "dog" / "z.png").stat().st_size
    for name, middle in (("dog", b"a"), ("fire_truck", b"b")):
        (photos / name / "long.png").write_bytes(b"x" * 5000 + middle + b"x" * 5000)
    path.write_bytes(b"x" * size)
    assert not any("several labels" in note for note in open_data(f"folder:{photos}").notes)


def test_heic_counts_where_its_reader_is_there(photos: Path, monkeypatch) -> None:
    monkeypatch.setattr("art_multimodal.datasets.photos.heif_reader", lambda: object())
    (photos / "dog" / "1.HEIC").write_bytes(b"x")
    data = open_data(f"folder:{photos}")
    assert data.name_of(0) == "dog/1.HEIC"


def test_class_folders_without_images_say_what_is_there(tmp_path: Path) -> None:
    for name in ("cat/a.raw", "cat/b.raw", "dog/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"hold no images: cat \(2 .raw\)"):
        open_data(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    "marks", [("run.json", "log.jsonl"), ("training.json",), ("report.json", "report.md", "report.html")]
)
@pytest.mark.parametrize("place", ["audit", "dog/audit"])
def test_folders_of_earlier_runs_are_no_data(photos: Path, marks: tuple[str, ...], place: str) -> None:
    before = open_data(f"folder:{photos}")
    save_photo(photos / place / "pictures" / "pgd-1-clean.png")
    for mark in marks:
        (photos / place / mark).write_text("{}")
    data = open_data(f"folder:{photos}")
    assert data.class_names == before.class_names and data.fingerprint() == before.fingerprint()
    assert f"1 folder(s) of earlier runs among the images are left out, for example {place}" in data.notes[-1]


def test_splits_are_no_classes(tmp_path: Path) -> None:
    for name in ("train/dog/a.png", "Val/dog/a.png", "Val/cat/a.png"):
        save_photo(tmp_path / name)
    with pytest.raises(InputError, match=r"look like splits .* --data folder:.*/Val; or names"):
        open_data(f"folder:{tmp_path}")
    assert open_data(f"folder:{tmp_path}", classes=("train=a train", "Val=val")).class_names == ("val", "a train")
    # A train is a class beside a bus.
    save_photo(tmp_path / "vehicles" / "train" / "a.png")
    save_photo(tmp_path / "vehicles" / "bus" / "a.png", seed=1)
    assert open_data(f"folder:{tmp_path / 'vehicles'}").notes == ()
    save_photo(tmp_path / "bus" / "a.png")
    assert "look like splits" in open_data(f"folder:{tmp_path}").notes[-1]


def test_a_folder_around_the_folder(tmp_path: Path, photos: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    photos.rename(outer / "photos")
    with pytest.raises(InputError, match="Did you mean --data folder:.*outer/photos?"):
        open_data(f"folder:{outer}")


def test_a_class_folder_in_latin1(photos: Path) -> None:
    try:
        save_photo(photos / "caf\udce9" / "a.png")
    except (OSError, UnicodeError):
        pytest.skip("names are UTF-8 here")
    with pytest.raises(InputError, match=r"class folder caf\\xe9 is not UTF-8"):
        open_data(f"folder:{photos}")
    data = open_data(f"folder:{photos}", classes=("caf\\xe9=café", "dog=dog", "fire_truck=truck"))
    assert data.class_names[data.label_of(0)] == "café" and data.image(0).shape == (3, 12, 20)


def test_the_folder_of_the_data_is_known(photos: Path) -> None:
    assert open_data(f"folder:{photos}").folders == (photos,)


def test_a_folder_that_is_not_there_is_said_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^There is no folder '.*nowhere'\. Give a folder with one folder of"):
        open_data(f"folder:{tmp_path / 'nowhere'}")

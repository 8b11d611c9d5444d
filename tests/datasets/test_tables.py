r"""CSV files as people have them: separators, encodings, names of columns, paths and labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photos import save_photo

from art_multimodal.datasets import UnreadableSample, open_captioned, open_data
from art_multimodal.errors import InputError

ROWS = "image,label\ndog/c.png,dog\nfire_truck/a.png,truck\n"


def spec_of(photos: Path, content: str | bytes, name: str = "list.csv") -> str:
    (photos / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return f"csv:{photos / name}"


@pytest.mark.parametrize(
    "content",
    [
        ROWS.replace(",", ";"),
        ROWS.replace(",", "\t"),
        ROWS.replace(",", "|"),
        "sep=;\n" + ROWS.replace(",", ";"),
        ROWS.replace("\n", "\r\n"),
        ROWS + ",\n;\n\n".replace(";", ",,"),
        ROWS.replace("\n", ",,\n"),
        b"\xef\xbb\xbf" + ROWS.encode(),
        ROWS.encode("utf-16"),
        ROWS.encode("utf-16-le"),
        ROWS.encode("utf-16-be"),
        ROWS.encode("utf-32"),
        ROWS.replace("dog/", "dog\\").replace("truck/", "truck\\"),
        ROWS.replace("dog/c.png", "'dog/c.png'").replace("fire_truck/a.png", '"""fire_truck\\a.png"""'),
        ROWS.replace("image,label", "filepath,title"),
        ROWS.replace("image,label", "File_Name, Class"),
        ROWS.replace("image,label", "path,caption"),
    ],
)
def test_what_is_unambiguous_is_read(photos: Path, content: str | bytes) -> None:
    data = open_data(spec_of(photos, content))
    assert data.class_names == ("dog", "truck")
    assert [data.label_of(index) for index in range(len(data))] == [0, 1]
    for index, seed in enumerate((2, 0)):
        assert data.absence(index) is None
        np.testing.assert_array_equal(data.image(index), save_photo(photos.parent / "again.png", seed=seed))


def test_what_was_taken_for_what_is_noted(photos: Path) -> None:
    data = open_data(spec_of(photos, ROWS.replace("image,label", "filepath;title").replace(".png,", ".png;")))
    assert "the columns filepath for image and title for text are taken" in data.notes[0]
    assert "separated by semicolons" in data.notes[1] and data.templates == ("{}",)
    assert open_data(spec_of(photos, ROWS)).notes == ()


def test_paths_of_other_kinds(photos: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(photos))
    names = [(photos / "dog" / "ü ✓.png").as_uri(), "~/dog/c.png", str(photos / "dog" / "c.png"), "./dog//c.png"]
    data = open_data(spec_of(photos, "image,label\n" + "".join(f"{n},{i % 2}x\n" for i, n in enumerate(names))))
    assert [data.image(index).shape for index in range(4)] == [(3, 12, 20)] * 4
    # A file whose name has a backslash is that file.
    save_photo(photos / "a\\b.png", size=(5, 5))
    data = open_data(spec_of(photos, "image,label\na\\b.png,x\ndog/c.png,y\n"))
    assert data.image(0).shape == (3, 5, 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,label,label\na,b,x\n", "The column label stands twice in list.csv"),
        ("image,image,label\na,b,x\n", "The column image stands twice"),
        ("file,path,label\na,b,x\n", "no column image, and 2 that may be meant: file, path"),
        ("image,class,category\na,b,x\n", "no column label, and 2 that may be meant"),
        ("dog/c.png,dog\n", "its first line names a file, dog/c.png"),
        ("image,label\na,0.0\nb,1.0\n", "are numbers. Say what they stand for"),
        ("image,label\na,0\nb,nan\n", "are numbers"),
        ("image,label\nhttps://x.org/a.png,cat\ns3://b/b.png,dog\n", "are URLs, such as https://x.org/a.png"),
        (b"PK\x03\x04" + b"\0" * 50, "is a spreadsheet or an archive"),
        ('image,label\n"a,cat\n' + "x" * 140_000, "Look for a quote that is not closed"),
        (b"image,label\na,b\nc,\xe9t\xe9\n", r"is not UTF-8 \(line 3\)"),
        (b"\xff\xfei\0m\0", "needs the columns"),
        (b"\xff\xfei\0m\0\0\xd8", "is not UTF-8"),
    ],
)
def test_what_is_not_is_one_line_with_the_fix(photos: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        open_data(spec_of(photos, content))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scheme", ["csv", "folder"])
@pytest.mark.parametrize("path", ["x" * 300, "a\0b", "~nobody/x", "\udcff", "/dev/zero"])
def test_paths_that_cannot_be(scheme: str, path: str) -> None:
    with pytest.raises(InputError) as error:
        open_data(f"{scheme}:{path}")
    assert "\n" not in str(error.value) and len(str(error.value)) < 600


def test_a_folder_for_a_file_and_the_other_way_round(photos: Path) -> None:
    with pytest.raises(InputError, match="Did you mean folder:"):
        open_data(f"csv:{photos}")
    spec = spec_of(photos, ROWS)
    with pytest.raises(InputError, match="Did you mean csv:"):
        open_data(spec.replace("csv:", "folder:"))


def test_labels_are_matched_to_the_classes(photos: Path) -> None:
    spec = spec_of(photos, "image,label\na,Hat\nb,hat\nc,1.0\nd,dog\n")
    data = open_data(spec, classes=("hat", "dog"))
    assert [data.label_of(index) for index in range(4)] == [0, 0, 1, 1]
    data = open_data(spec, classes=("Hat=hat", "hat=hat", "1.0=dog", "dog=dog"))
    assert [data.class_names[data.label_of(index)] for index in range(4)] == ["hat", "hat", "dog", "dog"]
    with pytest.raises(InputError, match="2 classes have the name 'Hat'. Give indices"):
        open_data(spec, classes=("hat", "hat", "dog"))
    with pytest.raises(InputError, match=r"names no class for the label\(s\) 1.0"):
        open_data(spec, classes=("Hat=hat", "hat=hat", "dog=dog"))


def test_contradictions_are_noted(photos: Path) -> None:
    data = open_data(spec_of(photos, "image,label\ndog/c.png,dog\n./dog/c.png,hat\ndog\\c.png,dog\nb,hat\n"))
    assert "1 image(s) are listed under several labels" in data.notes[0]
    assert "./dog/c.png (the same photo as dog/c.png) under 'dog' and 'hat'" in data.notes[0]
    assert "1 row(s) list an image again, for example dog\\c.png" in data.notes[1]
    (photos / "copy.png").write_bytes((photos / "dog" / "c.png").read_bytes())
    copies = open_data(spec_of(photos, "image,label\ndog/c.png,dog\ncopy.png,hat\n"))
    assert "copy.png (the same photo as dog/c.png) under 'dog' and 'hat'" in copies.notes[0]
    several = open_data(spec_of(photos, "image,text,label\na,is it,yes\na,is it not,no\n"))
    assert several.notes == ()
    captions = open_data(spec_of(photos, "image,text\na,one\na,two\n"))
    assert "Then give --task retrieval" in captions.notes[0]


def test_what_is_wrong_with_missing_files(photos: Path, monkeypatch) -> None:
    names = ["dog/c.jpeg", "nowhere/c.png", "C:\\photos\\c.png", "http://x.org/a.png", "photos/dog/c.png", "a\0b"]
    monkeypatch.chdir(photos.parent)
    data = open_data(spec_of(photos, "image,label\n" + "".join(f"{n},{i % 2}x\n" for i, n in enumerate(names))))
    assert all(data.absence(index) for index in range(len(data)))
    assert data.advice(0) == "In its folder there is c.png: mend the names."
    assert "There is no folder" in data.advice(1)
    assert "a path of Windows" in data.advice(2)
    assert "a URL, which is not fetched" in (data.absence(3) or "")
    assert "from the current folder" in data.advice(4)
    with pytest.raises(UnreadableSample, match="null"):
        data.image(5)


def test_captions_of_one_photo_under_two_names(photos: Path) -> None:
    (photos / "copy.png").write_bytes((photos / "dog" / "c.png").read_bytes())
    content = "filepath\ttitle\ndog/c.png\ta dog\ncopy.png\ta hound\nfire_truck/a.png\ta truck\ndog\\c.png\ta puppy\n"
    data = open_captioned(spec_of(photos, content))
    assert [data.name_of(index) for index in range(len(data))] == ["dog/c.png", "fire_truck/a.png"]
    assert data.captions_of(0) == ("a dog", "a puppy", "a hound")
    assert any("1 file(s) have the same bytes as another one, for example copy.png" in note for note in data.notes)

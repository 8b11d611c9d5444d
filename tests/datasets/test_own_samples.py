"""Own data of any modalities: a list with a column for each, and folders with a file for each."""

from __future__ import annotations

import io
import json
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile
from torch import nn

from art_multimodal import ModularModel, Tower
from art_multimodal.cli.program import main
from art_multimodal.datasets import LabelledImages, open_data, open_images, open_samples, sample_fields, sample_files
from art_multimodal.datasets.csv_samples import lists_samples
from art_multimodal.errors import InputError
from art_multimodal.modalities import image, sequence, table, text
from art_multimodal.models.saving import save_model
from art_multimodal.shown import shown

RATE = 8000
#: Names of a model, so that one label is no mistake.
ANSWERS = ("a", "b", "x", "y")


def save_picture(path: Path, size: tuple[int, int] = (6, 5), seed: int = 0, grey: bool = False) -> np.ndarray:
    width, height = size
    shape = (height, width) if grey else (height, width, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return (pixels[None] if grey else pixels.transpose(2, 0, 1)).astype(np.float32) / np.float32(255)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Three samples: pictures, sounds, arrays, two tables and a text; the second lacks most of it."""
    for row in range(3):
        save_picture(tmp_path / f"{row}.png", seed=row)
        wavfile.write(tmp_path / f"{row}.wav", RATE, np.full((4 + row, 2), 1000 * row, dtype=np.int16))
        np.save(tmp_path / f"{row}.npy", np.arange(4.0).reshape(1, 2, 2) + row)
    rows = [
        "rgb,audio,depth,age,vitals.pulse,vitals.heat,note,label",
        "0.png,0.wav,0.npy,40,60,36.5,well,sound",
        ",,,,,,,ill",
        "2.png,2.wav,2.npy,-2e1,80,38.25,coughs a lot,ill",
    ]
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "list.csv"


def write_list(listed: Path, *rows: str) -> str:
    listed.write_text("\n".join(rows) + "\n")
    return f"csv:{listed}"


def refused(spec: str, *modalities, **options) -> str:
    with pytest.raises(InputError) as error:
        open_samples(spec, modalities, **{"answers": ANSWERS, **options})
    said = str(error.value)
    assert shown(said) == said and len(said) < 2000
    return said


def test_a_column_for_each_modality(listed: Path) -> None:
    data = open_data(f"csv:{listed}")
    assert data.class_names == ("ill", "sound") and data.labels.tolist() == [1, 0, 0]
    assert [data.name_of(row) for row in range(3)] == ["line 2", "line 3", "line 4"]
    kinds = {name: modality.kind for name, modality in data.modalities.items()}
    assert kinds == {
        "rgb": "image", "audio": "sequence", "depth": "array", "age": "table", "vitals": "table", "note": "text",
    }  # fmt: skip
    x = data.samples()
    np.testing.assert_array_equal(x["rgb"][2], save_picture(listed.parent / "again.png", seed=2))
    assert x["audio"]["length"].tolist() == [4, 0, 6]
    np.testing.assert_array_equal(x["audio"]["values"][2], np.full((6, 2), 2000 / 32768, np.float32))
    assert x["depth"][2, 0].tolist() == [[2, 3], [4, 5]]
    np.testing.assert_array_equal(x["age"][:, 0], np.array([40, np.nan, -20], np.float32))
    assert x["vitals"][0].tolist() == [60, 36.5] and x["note"].tolist() == ["well", "", "coughs a lot"]
    # What the second lacks is missing, as models are told it.
    for name, modality in data.modalities.items():
        assert modality.missing(x[name]).tolist() == [False, True, False]
        modality.check(x[name])
    low, high = data.modalities["vitals"].clip_values
    assert low.tolist() == [60, 36.5] and high.tolist() == [80, 38.25]
    assert data.modalities["vitals"].fill.tolist() == [70, 37.375]
    assert data.fingerprint() == open_data(f"csv:{listed}").fingerprint()


def test_a_model_says_what_its_modalities_are(listed: Path) -> None:
    wanted = [table("Vitals", 2, (0.0, 100.0)), image("RGB", 3, 5, 6), sequence("audio", 8, 2), text("age")]
    data = open_samples(f"csv:{listed}", wanted, answers=["sound", "ill"])
    assert list(data.modalities) == ["Vitals", "RGB", "audio", "age"] and data.class_names == ("sound", "ill")
    assert all(data.modalities[one.name] is one for one in wanted)
    x = data.samples()
    assert x.dtype.names == ("Vitals", "RGB", "audio", "age") and x["age"].tolist() == ["40", "", "-2e1"]
    assert x["audio"].dtype["values"].shape == (8, 2)
    # Labels may be indices into its answers.
    spec = write_list(listed, "rgb,class", "0.png,1", "1.png,0")
    assert open_samples(spec, [image("rgb", 3)], answers=["a", "b"]).labels.tolist() == [1, 0]
    assert open_samples(spec, [image("rgb", 3)], classes=["x", "y"], answers=["a", "b"]).class_names == ("x", "y")


def test_tables_by_name_or_number_in_the_order_of_the_header(listed: Path) -> None:
    spec = write_list(listed, "t[1];t[0];s.b c;label", "1;2;.5;x", "3;4;nan;y")
    x = open_data(spec).samples()
    assert x["t"].tolist() == [[1, 2], [3, 4]] and x["s"][0].tolist() == [0.5] and np.isnan(x["s"][1]).all()


def test_grey_pictures_have_one_channel_and_keep_16_bits(listed: Path) -> None:
    folder = listed.parent
    levels = np.array([[0, 1, 65535], [256, 257, 40000]], dtype=np.uint16)
    Image.fromarray(levels).save(folder / "deep.png")
    save_picture(folder / "flat.png", (3, 2), grey=True)
    spec = write_list(listed, "depth,x,label", "deep.png,1,a", "flat.png,2,b")
    x = open_data(spec).samples()
    np.testing.assert_allclose(x["depth"][0, 0], levels / 65535, atol=1e-7)
    # Three equal channels where the model has three.
    three = open_samples(spec, [image("depth", 3, 2, 3)]).samples()["depth"]
    assert (three[1] == x["depth"][1]).all() and three.shape == (2, 3, 2, 3)
    Image.fromarray(np.full((2, 3, 3), 7, np.uint8)).save(folder / "alike.png")
    spec = write_list(listed, "depth,label", "alike.png,a")
    one = open_samples(spec, [image("depth", 1, 2, 3)], answers=ANSWERS).samples()["depth"]
    np.testing.assert_array_equal(one, np.full((1, 1, 2, 3), np.float32(7) / np.float32(255)))
    spec = write_list(listed, "depth,label", "0.png,a")
    assert "a coloured picture, where one channel is needed" in refused(spec, image("depth", 1))


@pytest.mark.parametrize(
    ("dtype", "given", "read"),
    [
        (np.uint8, [0, 128, 255], [-1, 0, 127 / 128]),
        (np.int16, [-32768, 0, 32767], [-1, 0, 32767 / 32768]),
        (np.int32, [-(2**31), 2**30], [-1, 0.5]),
        (np.float32, [-1, 0.25], [-1, 0.25]),
        (np.float64, [0.5, 1], [0.5, 1]),
    ],
)
def test_sounds_are_shares_of_what_their_width_holds(tmp_path: Path, dtype, given, read) -> None:
    wavfile.write(tmp_path / "a.wav", RATE, np.array(given, dtype=dtype))
    content = sample_files.read_content(tmp_path / "a.wav", "a.wav")
    np.testing.assert_allclose(content.values, np.array(read, np.float32)[:, None], rtol=1e-7)
    assert content.values.dtype == np.float32 and content.rate == RATE


def test_which_lists_are_of_images_is_as_it_was(listed: Path) -> None:
    for header in (
        "image,label",
        "image,text",
        "file,class",
        "image,depth,label",
        "filepath;title",
        "image,text,label",
    ):
        listed.write_text(f"{header}\n")
        assert not lists_samples(str(listed))
    for header in ("rgb,depth,label", "note,rgb,class", "t.a,t.b,label"):
        listed.write_text(f"{header}\n")
        assert lists_samples(str(listed))
    # One other column may be meant to be an image's, and is refused as before.
    spec = write_list(listed, "photo,label", "0.png,a")
    with pytest.raises(
        InputError, match=r"needs the columns image and label \(or text, or both\); it has photo, label"
    ):
        open_data(spec)
    assert list(open_samples(spec, answers=ANSWERS).modalities) == ["photo"]
    # Where images are wanted, nothing else is read; where samples are, a column called image is one of them.
    spec = write_list(listed, "image,depth,label", "0.png,0.npy,a", "1.png,1.npy,b")
    assert isinstance(open_data(spec), LabelledImages)
    assert open_samples(spec).samples().dtype.names == ("image", "depth")
    with pytest.raises(InputError, match="labels of list.csv are numbers"):
        open_data(write_list(listed, "a,b,label", "1,2,0", "1,2,1"))
    spec = write_list(listed, "rgb,depth,label", "0.png,0.npy,a")
    with pytest.raises(InputError, match="needs the columns image and label"):
        open_images(spec)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["rgb,age,label", "0.png,1,a", "gone.png,1,a"], r"line 3 of list.csv, rgb: gone.png: there is no such file"),
        (["rgb,age,label", "0.png,1,a", "http://x/1.png,1,a"], r"line 3.*is a URL, which is not fetched"),
        (["rgb,age,label", "0.png,1,a", "big.png,1,a"], r"line 3.*shape \(3, 9, 9\), and must have \(3, 5, 6\), as in"),
        (["rgb,age,label", "0.png,1,a", "a dog,1,a"], "holds files, such as 0.png, and other texts, such as a dog"),
        (["x,audio,label", "1,0.wav,a", "1,fast.wav,a"], r"different numbers of steps a second: 0.wav 8,000, fast"),
        (["x,audio,label", "1,loud.wav,a"], r"loud.wav: its values leave \[-1, 1\]"),
        (["x,d,label", "1,objects.npy,a"], "objects.npy: it holds Python objects"),
        (["x,d,label", "1,pickle.npy,a"], "pickle.npy: it holds Python objects"),
        (["x,d,label", "1,zip.npy,a"], "zip.npy: it holds several arrays"),
        (["x,d,label", "1,huge.npy,a"], "huge.npy: not a readable array in .npy"),
        (["x,d,label", "1,nan.npy,a"], "nan.npy: it holds NaN"),
        (["x,d,label", "1,words.npy,a"], "words.npy: an array of numbers is needed, not dtype <U"),
        (["x,d,label", "1,scalar.npy,a"], r"scalar.npy: an array of numbers is needed.* of shape \(\)"),
        (["x,audio,label", "1,huge.wav,a"], "huge.wav: not a readable WAV|there is no sound"),
        (["x,d,label", "1,0.npy,a", "1,1.png,a"], r"line 3.*shape \(3, 5, 6\), and must have \(1, 2, 2\)"),
        (["x,d,label", "1,0.png,a", "1,grey.png,a"], r"line 3.*shape \(1, 5, 6\), and must have \(3, 5, 6\)"),
        (["t.a,t.b,label", "1,2,x", "1,,x"], "line 3 of list.csv has an empty t.b, and other columns of t are filled"),
        (["t.a,t.b,label", "1,two,x"], "'two' in the column t.b is no number"),
        (["t.a,t.b,label", "1,1e999,x"], "a number of t is too large"),
        (["t,t.b,label", "1,2,x"], "has a column t beside t.b"),
        (["t.a,t.a,label", "1,2,x"], "column t.a stands twice"),
        (["heart rate,b,label", "1,2,x"], "'heart rate', which cannot be the name of a modality"),
        (["a,b,label", "1,,x", "2,,y"], "No sample has anything of b"),
        (["a,b,label", "1,2,"], "Line 2 of list.csv has an empty label"),
        (["a,b,label"], "lists no samples"),
        (["a,b", "1,2"], "needs the columns label and one for each modality; it has a, b"),
    ],
)
def test_what_does_not_fit_is_said(listed: Path, rows: list[str], message: str) -> None:
    folder = listed.parent
    save_picture(folder / "big.png", (9, 9))
    save_picture(folder / "grey.png", grey=True)
    wavfile.write(folder / "fast.wav", 16000, np.zeros((4, 2), np.int16))
    wavfile.write(folder / "loud.wav", RATE, np.array([2.0, np.nan], np.float32))
    np.save(folder / "objects.npy", np.array([{}], dtype=object))
    (folder / "pickle.npy").write_bytes(pickle.dumps([1]))
    np.savez(folder / "zip.npz", np.zeros(2))
    (folder / "zip.npz").rename(folder / "zip.npy")
    made = io.BytesIO()
    np.lib.format.write_array_header_1_0(made, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2)})
    (folder / "huge.npy").write_bytes(made.getvalue() + b"\0" * 64)
    np.save(folder / "nan.npy", np.array([1, np.nan]))
    np.save(folder / "words.npy", np.array(["a"]))
    np.save(folder / "scalar.npy", np.float32(3))
    head = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, RATE, 2 * RATE, 2, 16) + b"data" + struct.pack("<I", 2**32 - 2)
    (folder / "huge.wav").write_bytes(b"RIFF" + struct.pack("<I", 2**32 - 1) + b"WAVE" + head)
    with pytest.raises(InputError, match=message) as error:
        open_samples(write_list(listed, *rows), answers=ANSWERS)
    assert shown(str(error.value)) == str(error.value)


def test_what_a_model_does_not_take_is_said(listed: Path) -> None:
    spec = f"csv:{listed}"
    said = refused(spec, image("rgb", 3, 32, 32), answers=["ill", "sound"])
    assert (
        "line 2 of list.csv, rgb: it has the shape (3, 5, 6), and must have (3, 32, 32), as the model takes it" in said
    )
    assert "must have (at most 5, 2)" in refused(spec, sequence("audio", 5, 2), answers=["ill", "sound"])
    spec = write_list(listed, "rgb,depth,label", "well,0.npy,a")
    assert "'well' is neither a number nor the name of a picture" in refused(spec, image("rgb", 3))
    assert "needs the columns label and thermal; it has rgb, depth, label" in refused(spec, image("thermal", 1))
    assert "label 'a' is none of the 2 classes" in refused(spec, text("rgb"), answers=["x", "y"])
    for demo in ("demo:digits", "demo:shapes"):
        assert f"is a model over rgb, and {demo} holds no samples of these" in refused(
            demo, image("rgb", 3), model="This"
        )


def test_notes(listed: Path) -> None:
    data = open_data(write_list(listed, "x,y,class", "1,2,a", "n/a,2,b"))
    assert data.samples()["x"].tolist() == ["1", "n/a"]
    assert "the column x is read as texts: line 3 of list.csv has 'n/a', which is no number" in data.notes
    assert "list.csv: the column class for label is taken" in data.notes


def test_no_more_memory_than_data_may_take(listed: Path, monkeypatch) -> None:
    monkeypatch.setattr(sample_fields, "MOST_BYTES", 600)
    said = refused(write_list(listed, "rgb,x,label", "0.png,1,a", "1.png,1,a"))
    assert "With rgb the samples would take more than" in said
    # Short sequences count as the longest, to which they are filled up.
    np.save(listed.parent / "long.npy", np.zeros((100, 1)))
    np.save(listed.parent / "short.npy", np.zeros((1, 1)))
    refused(write_list(listed, "s,x,label", "long.npy,1,a", "short.npy,1,a"))
    monkeypatch.setattr(sample_fields, "MOST_BYTES", 1000)
    open_samples(write_list(listed, "s,x,label", "long.npy,1,a", "short.npy,1,b"))
    monkeypatch.setitem(sample_files.MOST_BYTES, "array", 100)
    assert "long.npy: it is larger than" in refused(write_list(listed, "s,x,label", "long.npy,1,a"))


# --- folders -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two classes with two samples each: a picture, a sound, an array and a text; the last lacks two of them."""
    root = tmp_path / "data"
    for row, place in enumerate(("very_cold/a", "very_cold/b", "warm/a", "warm/c")):
        folder = root / place
        folder.mkdir(parents=True)
        save_picture(folder / "rgb.png", seed=row)
        np.save(folder / "heat.npy", np.full((1, 2, 2), row))
        if row < 3:
            wavfile.write(folder / "audio.wav", RATE, np.full(3 + row, row, np.int16))
            (folder / "note.txt").write_text(f" it is {row} ✓\n", encoding="utf-8")
    (root / "warm" / "a" / "readme.md").write_text("x")
    (root / "warm" / "left.png").write_bytes(b"x")
    (root / "warm" / ".hidden").mkdir()
    return root


def test_a_folder_for_each_sample(folders: Path) -> None:
    data = open_samples(f"folder:{folders}")
    assert data.class_names == ("very cold", "warm") and data.labels.tolist() == [0, 0, 1, 1]
    assert [data.name_of(row) for row in range(4)] == ["very_cold/a", "very_cold/b", "warm/a", "warm/c"]
    x = data.samples()
    assert x["audio"]["length"].tolist() == [3, 4, 5, 0]
    assert x["note"].tolist() == ["it is 0 ✓", "it is 1 ✓", "it is 2 ✓", ""] and x["heat"][3].max() == 3
    np.testing.assert_array_equal(x["rgb"][1], save_picture(folders.parent / "again.png", seed=1))
    assert data.folders == (folders,)
    (loose, other) = data.notes
    assert "1 file(s) beside the folders of samples are left out, for example warm/left.png" in loose
    assert "of no kind that is read, for example warm/a/readme.md" in other
    # A model over them says which it takes, and folders may be called as its answers, or be their indices.
    few = open_samples(f"folder:{folders}", [sequence("audio", 9, 1)], answers=["warm", "hot", "very cold"])
    assert few.samples().dtype.names == ("audio",) and few.labels.tolist() == [2, 2, 0, 0]
    for number, name in enumerate(("very_cold", "warm")):
        (folders / name).rename(folders / str(number))
    assert open_samples(f"folder:{folders}", [text("note")], answers=["a", "b"]).class_names == ("a", "b")
    assert open_samples(f"folder:{folders}", [text("note")], classes=["0=x", "1=y"]).class_names == ("x", "y")


def test_photos_in_folders_are_as_they_were(folders: Path) -> None:
    photos = open_data(f"folder:{folders}")
    assert isinstance(photos, LabelledImages)
    assert photos.names == [
        "very_cold/a/rgb.png",
        "very_cold/b/rgb.png",
        "warm/a/rgb.png",
        "warm/c/rgb.png",
        "warm/left.png",
    ]
    assert np.array_equal(open_images(f"folder:{folders}").image(0), photos.image(0))


def test_folders_that_are_laid_out_otherwise(folders: Path, tmp_path: Path) -> None:
    spec = f"folder:{folders}"
    assert "have no files called thermal" in refused(spec, image("thermal", 1))
    (folders / "warm" / "a" / "rgb.jpg").write_bytes(b"x")
    assert "warm/a has two files for rgb: rgb.jpg and rgb.png. Remove one." in refused(spec)
    (folders / "warm" / "a" / "rgb.jpg").unlink()
    (folders / "warm" / "a" / "rgb.png").write_bytes(b"%!PS-Adobe-3.0\n")
    assert "warm/a, rgb: warm/a/rgb.png: PostScript, which is not read" in refused(spec)
    (folders / "warm" / "a" / "rgb.png").unlink()
    (folders / "warm" / "a" / "my view.txt").write_text("x")
    assert "'my view', which cannot be the name of a modality" in refused(spec)
    (folders / "warm" / "a" / "my view.txt").unlink()
    (folders / "warm" / "a" / "note.txt").write_bytes(b"\xff\xfe\x00")
    assert "note.txt: it is not UTF-8" in refused(spec)
    (folders / "empty").mkdir()
    assert "class folder empty has no folders of samples" in refused(spec)
    assert "There is no folder" in refused(f"folder:{tmp_path / 'gone'}")
    (tmp_path / "none").mkdir()
    assert "has no class folders" in refused(f"folder:{tmp_path / 'none'}")
    for split in ("train", "test"):
        (tmp_path / "splits" / split / "a").mkdir(parents=True)
    assert "look like splits" in refused(f"folder:{tmp_path / 'splits'}")


# --- the command line ----------------------------------------------------------------------------------------------


def test_an_audit_of_own_files(folders: Path, tmp_path: Path, capsys) -> None:
    rgb, heat = image("rgb", 3, 5, 6), image("heat", 1, 2, 2, clip_values=(0.0, 4.0))
    towers = [
        Tower(one, nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(one.shape)), 4)), width=4) for one in (rgb, heat)
    ]
    save_model(ModularModel(towers, "late", ["warm", "very cold"]), tmp_path / "model")
    (tmp_path / "list.csv").write_text(
        "rgb,heat,label\n" + "".join(f"data/{name}/rgb.png,data/{name}/heat.npy,{label}\n" for name, label in (
            ("very_cold/a", 1), ("very_cold/b", "very cold"), ("warm/a", "warm"), ("warm/c", 0)))
    )  # fmt: skip
    found = []
    for number, data in enumerate((f"csv:{tmp_path / 'list.csv'}", f"folder:{folders}")):
        out = tmp_path / f"out{number}"
        options = [
            "--attacks",
            "pgd",
            "--eps",
            "rgb=0.1,heat=0.5",
            "--steps",
            "2",
            "--device",
            "cpu",
            "--out",
            str(out),
        ]
        assert main(["audit", f"checkpoint:{tmp_path / 'model'}", "--data", data, *options]) == 0
        report = json.loads((out / "report.json").read_text())
        assert report["results"]["clean"]["n"] == 4
        found.append(report["results"]["clean"]["accuracy"])
    assert found[0] == found[1] and "left.png" in capsys.readouterr().out
    # Nothing is written among the data, and what is wrong is said in a line.
    options = ["--device", "cpu", "--out", str(folders / "warm" / "out")]
    assert main(["audit", f"checkpoint:{tmp_path / 'model'}", "--data", f"folder:{folders}", *options]) == 2
    (folders / "warm" / "a" / "heat.npy").write_bytes(b"\x93NUMPY")
    options = ["--device", "cpu", "--out", str(tmp_path / "out2")]
    assert main(["audit", f"checkpoint:{tmp_path / 'model'}", "--data", f"folder:{folders}", *options]) == 2
    assert "warm/a, heat: warm/a/heat.npy: not a readable array" in capsys.readouterr().err
    assert not (tmp_path / "out2").exists()

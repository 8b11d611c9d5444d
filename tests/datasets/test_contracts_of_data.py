"""Data of every kind keep the contract that ``art_multimodal.testing`` asks for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from named_sets import WRITE, encoded
from scipy.io import wavfile

from art_multimodal.datasets import DATA_SOURCES, open_captioned, open_data, open_samples
from art_multimodal.datasets.named import NAMED_DATA
from art_multimodal.demo.loading import demo_data
from art_multimodal.modalities import sequence, text
from art_multimodal.testing import check_data

from .test_demo_motions import pretend_motions
from .test_named_formats import written
from .test_named_hugging_face import rows as hub_rows
from .test_named_shards import write_shard
from .test_own_samples import save_picture

#: What the contract asks of other kinds of data.
OF_IMAGES, OF_SAMPLES, OF_CAPTIONS = {"samples", "rows"}, {"images"}, {"classes", "samples", "rows"}


def left_out(opened: Callable[[], Any]) -> set[str]:
    """Properties that were not looked at; that there is a reason for each is looked at here."""
    report = check_data(opened(), again=opened, limit=4)
    assert report.held and all(why.strip() for why in report.skipped.values())
    return set(report.skipped)


@pytest.mark.parametrize("name", demo_data())
def test_demos(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "motions":
        pretend_motions(monkeypatch, tmp_path)
    skipped = left_out(lambda: open_data(f"demo:{name}"))
    assert skipped in (OF_IMAGES, OF_SAMPLES | {"texts"})


def test_captioned_demo() -> None:
    assert left_out(lambda: open_captioned("demo:scenes")) == OF_CAPTIONS


@pytest.mark.parametrize("name", WRITE)
def test_named(name: str, tmp_path: Path) -> None:
    spec, captioned = written(name, tmp_path), name in ("coco", "flickr30k")
    opened = open_captioned if captioned else open_data
    assert left_out(lambda: opened(spec)) == (OF_CAPTIONS if captioned else OF_IMAGES)


def test_folders(photos: Path, tmp_path: Path) -> None:
    assert left_out(lambda: open_data(f"folder:{photos}")) == OF_IMAGES
    root = tmp_path / "samples"
    for row, place in enumerate(("cold/a", "cold/b", "warm/a", "warm/c")):
        (root / place).mkdir(parents=True)
        save_picture(root / place / "rgb.png", seed=row)
        if row < 3:  # the last lacks two of them
            wavfile.write(root / place / "audio.wav", 8000, np.full(3 + row, row, np.int16))
            (root / place / "note.txt").write_text(f"it is {row}", encoding="utf-8")
    assert left_out(lambda: open_samples(f"folder:{root}")) == OF_SAMPLES
    taken = [text("note"), sequence("audio", 9, 1)]
    assert left_out(lambda: open_samples(f"folder:{root}", taken)) == OF_SAMPLES


def test_tables(photos: Path) -> None:
    labelled = "image,label\ndog/c.png,dog\nfire_truck/a.png,truck\n"
    asked = "image,text,label\ndog/c.png,what is it?,dog\nfire_truck/a.png,what is this?,truck\n"
    captioned = "image,text\ndog/c.png,a dog\ndog/c.png,a hound\nfire_truck/a.png,a truck\n"
    for name, content in (("labels", labelled), ("questions", asked), ("captions", captioned)):
        (photos / f"{name}.csv").write_text(content)
    assert left_out(lambda: open_data(f"csv:{photos}/labels.csv")) == OF_IMAGES
    assert left_out(lambda: open_data(f"csv:{photos}/questions.csv")) == OF_IMAGES
    assert left_out(lambda: open_captioned(f"csv:{photos}/captions.csv")) == OF_CAPTIONS
    several = ["rgb,age,vitals.pulse,vitals.heat,note,label", "dog/c.png,40,60,36.5,well,sound", ",,,,,ill"]
    (photos / "samples.csv").write_text("\n".join([*several, "fire_truck/a.png,-2e1,80,38.25,coughs,ill"]))
    assert left_out(lambda: open_data(f"csv:{photos}/samples.csv")) == OF_SAMPLES


def test_arrays_in_a_file(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lengths = np.array([5, 2, 0, 1])
    steps = generator.random((4, 5, 2)) * (np.arange(5) < lengths[:, None])[:, :, None]
    more = {"audio": steps, "audio_length": lengths}
    np.savez(tmp_path / "mine.npz", rgb=generator.random((4, 3, 6, 5)), label=[0, 1, 1, 0], **more)
    assert left_out(lambda: open_samples(f"npz:{tmp_path}/mine.npz")) == OF_SAMPLES | {"texts"}


def test_hugging_face(library: Any, tmp_path: Path) -> None:
    hub_rows(library).save_to_disk(tmp_path / "disk")
    (tmp_path / "parquet").mkdir()
    hub_rows(library).to_parquet(tmp_path / "parquet" / "test-00000-of-00001.parquet")
    for folder in ("disk", "parquet"):
        assert left_out(lambda folder=folder: open_data(f"hf:{tmp_path / folder}")) == OF_IMAGES  # type: ignore[misc]
        assert left_out(lambda folder=folder: open_captioned(f"hf:{tmp_path / folder}")) == OF_CAPTIONS  # type: ignore[misc]


def test_shards(tmp_path: Path) -> None:
    for number in range(2):
        members = [(f"s{row}.png", encoded(2 * number + row)) for row in range(2)]
        labels = [(f"s{row}.cls", str((row + number) % 2).encode()) for row in range(2)]
        texts = [(f"s{row}.json", json.dumps({"caption": ["one", f"two {row}"]}).encode()) for row in range(2)]
        write_shard(tmp_path / "wds" / f"{number}.tar", sorted([*members, *labels, *texts]))
    (tmp_path / "wds" / "classnames.txt").write_text("red apple\ngreen pear\n")
    assert left_out(lambda: open_data(f"wds:{tmp_path}/wds")) == OF_IMAGES
    assert left_out(lambda: open_captioned(f"wds:{tmp_path}/wds")) == OF_CAPTIONS


def test_no_source_is_forgotten() -> None:
    assert set(DATA_SOURCES) == {"demo", "folder", "npz", "csv", "data", "hf", "wds"} and set(NAMED_DATA) == set(WRITE)

"""Hostile images, lists and folders: samples, or errors on one line, and nothing else."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from art_multimodal.datasets import UnreadableSample, open_captioned, open_data, open_samples
from art_multimodal.errors import InputError
from art_multimodal.modalities import image, sequence, table, text
from art_multimodal.shown import shown


def _generators() -> Any:
    """The module ``fuzz/data.py``, found beside this folder: the tests are no package."""
    place = importlib.util.spec_from_file_location("fuzz_data", Path(__file__).parents[1] / "fuzz" / "data.py")
    assert place is not None and place.loader is not None
    module = importlib.util.module_from_spec(place)
    sys.modules[place.name] = module
    place.loader.exec_module(module)
    return module


fuzz = _generators()


def check(error: Exception) -> None:
    said = str(error)
    assert said and shown(said) == said and len(said) < 3000, said


def read_all(data: Any) -> int:
    read = 0
    assert all(shown(note) == note for note in data.notes)
    for index in range(len(data)):
        try:
            image = data.image(index)
        except UnreadableSample as error:
            check(error)
            continue
        assert image.dtype == np.float32 and image.ndim == 3 and image.shape[0] == 3
        assert image.min() >= 0 and image.max() <= 1
        read += 1
    return read


def try_seed(seed: int, root: Path) -> int:
    """Open and read one hostile folder, and one hostile list of what is in it; return how many images were read."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True)
    made = fuzz.write_photos(rng, root)
    (root / "list.csv").write_bytes(fuzz.csv_bytes(rng, made))
    classes = fuzz.class_names(rng, sorted({name.split("/")[0] for name in made}))
    read = 0
    for opening in (
        lambda: open_data(f"folder:{root}", classes),
        lambda: open_data(f"csv:{root / 'list.csv'}", classes),
        lambda: open_captioned(f"csv:{root / 'list.csv'}"),
    ):
        try:
            read += read_all(opening())
        except InputError as error:
            check(error)
    return read


@pytest.mark.parametrize("start", range(0, 120, 40))
def test_hostile_folders_and_lists(tmp_path: Path, start: int) -> None:
    assert sum(try_seed(seed, tmp_path / str(seed)) for seed in range(start, start + 40)) > 0


@pytest.mark.parametrize("start", range(0, 240, 80))
def test_hostile_samples_of_several_modalities(tmp_path: Path, start: int) -> None:
    read = 0
    for seed in range(start, start + 80):
        rng, root = np.random.default_rng(seed), tmp_path / str(seed)
        made = fuzz.write_samples(rng, root / "data")
        (root / "data" / "list.csv").write_bytes(fuzz.samples_csv_bytes(rng, made))
        wanted = (
            (),
            (sequence("audio", 4, 2), text("note")),
            (image("rgb", 3), table("t", 2)),
            (table("depth", 3), table("age", 1)),
        )
        for modalities in wanted:
            for spec in (f"csv:{root / 'data' / 'list.csv'}", f"folder:{root / 'data'}"):
                try:
                    data = open_samples(spec, modalities, answers=("a", "b", "cold", "warm") if seed % 2 else ())
                except InputError as error:
                    check(error)
                    continue
                assert all(shown(note) == note for note in data.notes)
                x = data.samples()
                assert len(x) == len(data) and data.fingerprint()
                for name, modality in data.modalities.items():
                    # Nothing but what is missing is not a number.
                    if modality.numeric:
                        there = x[name][~modality.missing(x[name])]
                        assert np.isfinite(modality.values(there)).all()
                read += 1
    assert read > 5

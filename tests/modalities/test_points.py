"""Removing points: they become the fill, all else stays bit for bit, at one, two and three point axes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from art_multimodal.errors import InputError
from art_multimodal.modalities import Modality, image, point_cloud, sequence, skeleton, spectrogram, table, text, video
from art_multimodal.sample_arrays import samples

COLOURS = np.array([0.1, 0.6, 0.9], dtype=np.float32).reshape(3, 1, 1)
MEANS = np.array([0.5, -4.0, 3.0], dtype=np.float32)
#: By the number of point axes.
KINDS: dict[str, Modality] = {
    "sequence-1": sequence("x", 4, 2, fill=0.3),
    "fixed-1": sequence("x", 4, 2, fill=0.3, variable=False),
    "table-1": table("x", 3, clip_values=(-5, 5), fill=MEANS),
    "cloud-1": point_cloud("x", 4, fill=0.2),
    "image-2": image("x", 3, 2, 3, fill=COLOURS),
    "depth-2": image("x", 1, fill=0.25),
    "spectrogram-2": spectrogram("x", 4, 2, fill=0.0),
    "skeleton-2": skeleton("x", 3, 2, 2, fill=0.7),
    "video-3": video("x", 3, 2, 2, 2, fill=0.4),
    "turned-2": Modality("x", (2, 3, 2), (2, 0), (0.0, 1.0), fill=0.9),
    "turned-3": Modality("x", (3, 2, 2), (1, 2, 0), (0.0, 1.0), variable=True, fill=0.9),
}


@st.composite
def fields(draw, modality: Modality) -> tuple[np.ndarray, np.ndarray]:
    """A field, some samples of it missing, and points to remove."""
    count = draw(st.integers(1, 3))
    shape = tuple(size or 3 for size in modality.shape)
    elements = st.floats(-4, 4, width=32)
    values = draw(hnp.arrays(np.float32, (count, *shape), elements=elements))
    missing = draw(hnp.arrays(bool, count))
    if modality.variable:
        lengths = draw(hnp.arrays(np.int64, count, elements=st.integers(0, shape[0])))
        values[np.arange(shape[0]) >= lengths[:, None]] = 0
        field = samples(x=(values, lengths))["x"]
    else:
        values[missing] = np.nan
        field = values
    return field, draw(hnp.arrays(bool, (count, *modality.point_shape(field))))


def cells(modality: Modality, points: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Which numbers belong to points, one number at a time."""
    found = np.zeros(shape, dtype=bool)
    for place in itertools.product(*map(range, shape)):
        found[place] = points[(place[0], *(place[1 + axis] for axis in modality.point_axes))]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_present_points_are_those_within_the_length(kind: str) -> None:
    modality = KINDS[kind]

    @settings(max_examples=40)
    @given(fields(modality))
    def check(drawn: tuple[np.ndarray, np.ndarray]) -> None:
        field, removed = drawn
        present = modality.present(field)
        assert present.shape == removed.shape
        missing = modality.missing(field)
        for row in range(len(field)):
            for point in itertools.product(*map(range, modality.point_shape(field))):
                steps = field["length"][row] if modality.variable else 10**6
                time = point[modality.point_axes.index(0)] if modality.variable else 0
                assert present[(row, *point)] == (not missing[row] and time < steps)
        if modality.variable:
            assert (missing == (field["length"] == 0)).all()
        else:
            assert (missing == np.isnan(field).reshape(len(field), -1).all(axis=1)).all()

    check()


@pytest.mark.parametrize("kind", KINDS)
def test_removed_points_become_the_fill_and_others_stay(kind: str) -> None:
    modality = KINDS[kind]

    @settings(max_examples=40)
    @given(fields(modality))
    def check(drawn: tuple[np.ndarray, np.ndarray]) -> None:
        field, removed = drawn
        before = field.copy()
        after = modality.remove(field, removed)
        old, new = modality.values(before), modality.values(after)
        gone = cells(modality, removed & modality.present(field), old.shape)
        fill = np.broadcast_to(np.asarray(modality.fill, dtype=np.float32), old.shape)
        assert (new[gone] == fill[gone]).all()
        assert new[~gone].tobytes() == old[~gone].tobytes()
        assert modality.values(field).tobytes() == old.tobytes()
        if modality.variable:
            assert (after["length"] == field["length"]).all()
        np.testing.assert_array_equal(modality.missing(after), modality.missing(field))
        again = modality.values(modality.remove(after, removed))
        assert again.tobytes() == new.tobytes()

    check()


@given(st.lists(st.text("ab \t\n\u2003é", max_size=9), min_size=1, max_size=4), st.data())
def test_words(texts: list[str], data: st.DataObject) -> None:
    note = text("x")
    field = samples(x=texts)["x"]
    removed = data.draw(hnp.arrays(bool, (len(texts), *note.point_shape(field))))
    after = note.remove(field, removed)
    assert field.tolist() == texts
    np.testing.assert_array_equal(note.present(field).sum(axis=1), [len(one.split()) for one in texts])
    assert note.missing(field).tolist() == [not one.split() for one in texts]
    for row, one in enumerate(texts):
        kept = [word for place, word in enumerate(one.split()) if not removed[row, place]]
        assert after[row].split() == kept
        if len(kept) == len(one.split()) and not removed[row].any():
            assert after[row] == one


def test_with_values_keeps_lengths_and_zeros() -> None:
    audio = KINDS["sequence-1"]
    field = samples(x=[np.ones((3, 2)), np.ones((4, 2)), np.zeros((0, 2))])["x"]
    changed = audio.with_values(field, np.full((3, 4, 2), 0.5, dtype=np.float32))
    assert changed["length"].tolist() == [3, 4, 0]
    assert changed["values"].sum(axis=(1, 2)).tolist() == [3, 4, 0]
    assert field["values"].sum() == 14


@pytest.mark.parametrize("kind", ["sequence-1", "image-2", "video-3"])
def test_what_says_nothing_of_each_point_is_refused(kind: str) -> None:
    modality = KINDS[kind]
    shape = tuple(size or 3 for size in modality.shape)
    field = samples(x=(np.zeros((2, *shape)), [1, 2]) if modality.variable else np.zeros((2, *shape)))["x"]
    right = (2, *modality.point_shape(field))
    for removed in (np.zeros((2, *right), bool), np.zeros(right[1:], bool), np.zeros(right, np.float32)):
        with pytest.raises(InputError, match=r"^x: the removed points must be booleans of shape \(2, .*\), not .*\.$"):
            modality.remove(field, removed)
    with pytest.raises(InputError, match=r"^x: the removed points must be booleans of shape \(1, 2\), not bool"):
        text("x").remove(samples(x=["a b"])["x"], np.zeros((1, 3), bool))

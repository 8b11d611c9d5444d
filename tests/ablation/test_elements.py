"""Elements of a modality: how many there are, and that what is hidden is gone and nothing else has changed."""

from __future__ import annotations

import numpy as np
import pytest

from art_multimodal.ablation import Blocks, Elements, Points, Steps, Words, elements_of, mean_fill
from art_multimodal.errors import InputError
from art_multimodal.modalities import (
    Modality,
    image,
    point_cloud,
    sequence,
    skeleton,
    spectrogram,
    table,
    text,
    video,
)
from art_multimodal.sample_arrays import samples

RGB = image("rgb", 2, 5, 7, fill=np.array([0.25, 0.75]).reshape(2, 1, 1))
AUDIO = sequence("audio", 6, 2, fill=0.1)
BODY = skeleton("body", 4, 3, fill=-0.5)
LOW = np.array([0.0, -5.0, 1.0], dtype=np.float32)
LAB = table("lab", 3, clip_values=(LOW, LOW + 2), fill=LOW + 1)
TEXTS = ("a red square", "", "one", "what is left of the red, RED circle?", "  a\tbig\n one ")
NUMERIC: dict[str, Elements] = {
    "blocks of 1": Blocks(RGB, 1),
    "blocks of 2": Blocks(RGB, 2),
    "blocks of 3": Blocks(RGB, 3),
    "one block": Blocks(RGB, 9),
    "pixels": Points(RGB),
    "steps": Steps(AUDIO),
    "features": Points(AUDIO),
    "frames": Steps(BODY),
    "joints": Points(BODY),
    "bins": Points(spectrogram("mel", 5, 3)),
    "cloud": Steps(point_cloud("lidar", 5)),
    "video": Steps(video("clip", 4, 2, 3, 3)),
    "columns": Points(LAB),
    "streams": Steps(sequence("fixed", 4, 2, variable=False)),
    # The second axis counts first: points of a sequence do not stand one after the other.
    "across": Points(Modality("across", (4, 3), (1, 0), (-1.0, 1.0), variable=True)),
}


def drawn(modality: Modality, count: int = 6, seed: int = 0) -> np.ndarray:
    """A field of values that are allowed; sequences of lengths from 0 on, and one sample that is missing."""
    rng = np.random.default_rng(seed)
    shape = tuple(size or 4 for size in modality.shape)
    low, high = (np.broadcast_to(np.asarray(bound, dtype=np.float64), shape) for bound in modality.clip_values)
    values = (low + (high - low) * rng.random((count, *shape))).astype(np.float32)
    if not modality.variable:
        values[2] = np.nan
        return values
    lengths = np.arange(count) % (shape[0] + 1)
    values[np.arange(shape[0]) >= lengths[:, None]] = 0
    return samples(**{modality.name: (values, lengths)})[modality.name]


def points_of(elements: Elements, shape: tuple[int, ...], length: int) -> list[list[tuple[int, ...]]]:
    """The indices of each element of a sample of full shape, listed one by one."""
    modality = elements.modality
    sizes = [shape[axis] for axis in modality.point_axes]
    found: dict[object, list[tuple[int, ...]]] = {}
    for place in np.ndindex(*sizes):
        if modality.variable and place[modality.point_axes.index(0)] >= length:
            continue
        if isinstance(elements, Blocks):
            key: object = (place[0] // elements.size, place[1] // elements.size)
        else:
            key = place[modality.point_axes.index(0)] if isinstance(elements, Steps) else place
        index = [slice(None)] * len(shape)
        for axis, number in zip(modality.point_axes, place, strict=True):
            index[axis] = number
        found.setdefault(key, []).append(tuple(index))
    return [found[key] for key in sorted(found)]


@pytest.mark.parametrize("name", NUMERIC)
def test_what_is_hidden_becomes_the_fill_and_the_rest_stays(name: str) -> None:
    elements, rng = NUMERIC[name], np.random.default_rng(3)
    modality = elements.modality
    field = drawn(modality)
    before, lengths, gone = modality.values(field).copy(), modality.lengths(field), modality.missing(field)
    expected = [[] if gone[row] else points_of(elements, before.shape[1:], lengths[row]) for row in range(len(field))]
    counts = elements.count(field)
    assert counts.tolist() == [len(of) for of in expected] and counts.max() > 0
    # Columns behind the elements of a sample do not matter.
    kept = rng.random((len(field), counts.max() + 2)) < 0.5
    hidden = elements.keep(field, kept)
    fill = np.broadcast_to(np.asarray(modality.fill, dtype=np.float32), before.shape[1:])
    wanted = before.copy()
    for row, of in enumerate(expected):
        for number, points in enumerate(of):
            for point in points:
                if not kept[row, number]:
                    wanted[row][point] = fill[point]
    np.testing.assert_array_equal(modality.values(hidden), wanted)
    np.testing.assert_array_equal(modality.values(field), before)
    np.testing.assert_array_equal(modality.lengths(hidden), lengths)
    everything = np.ones((len(field), counts.max()), dtype=bool)
    np.testing.assert_array_equal(modality.values(elements.keep(field, everything)), before)
    # A field without samples has no elements, and none is hidden.
    assert elements.count(field[:0]).shape == (0,) and len(elements.keep(field[:0], everything[:0])) == 0
    modality.check(hidden)


@pytest.mark.parametrize("name", NUMERIC)
def test_an_edit_of_what_is_hidden_is_not_seen(name: str) -> None:
    """What a certificate rests on: whatever is written into hidden elements, the model is shown the same."""
    elements, rng = NUMERIC[name], np.random.default_rng(4)
    field, other = (drawn(elements.modality, seed=seed) for seed in (0, 1))
    counts = elements.count(field)
    kept = rng.random((len(field), counts.max())) < 0.4
    # The other field's values, where they are not shown.
    edited = other.copy()
    shape = elements.modality.values(field).shape[1:]
    for row, length in enumerate(elements.modality.lengths(field)):
        if not counts[row]:
            continue
        for number, points in enumerate(points_of(elements, shape, length)):
            for point in points:
                if kept[row, number]:
                    elements.modality.values(edited)[row][point] = elements.modality.values(field)[row][point]
    assert not np.array_equal(elements.modality.values(edited), elements.modality.values(field), equal_nan=True)
    one, two = (elements.modality.values(elements.keep(of, kept)) for of in (field, edited))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", ["steps", "frames", "cloud"])
def test_squeezed_steps_follow_each_other(name: str) -> None:
    elements, rng = NUMERIC[name], np.random.default_rng(5)
    field = drawn(elements.modality)
    kept = rng.random((len(field), elements.count(field).max())) < 0.5
    squeezed = elements.squeeze(field, kept)
    for row, one in enumerate(field):
        length = int(one["length"])
        left = [one["values"][step] for step in range(length) if kept[row, step]]
        assert squeezed["length"][row] == len(left)
        np.testing.assert_array_equal(
            squeezed["values"][row][: len(left)], np.array(left).reshape(len(left), *one["values"].shape[1:])
        )
        assert not squeezed["values"][row][len(left) :].any()
    elements.modality.check(squeezed)


def test_what_is_inserted_and_squeezed_out_is_not_seen_and_in_place_it_is() -> None:
    elements = Steps(AUDIO)
    steps = np.random.default_rng(6).random((4, 2)).astype(np.float32)
    longer = np.insert(steps, 1, 0.5, axis=0)
    clean, attacked = (samples(audio=[one, np.zeros((6, 2), np.float32)])["audio"][:1] for one in (steps, longer))
    kept = np.array([[True, False, True, True]])
    after = np.insert(kept, 1, False, axis=1)
    np.testing.assert_array_equal(elements.squeeze(clean, kept), elements.squeeze(attacked, after))
    assert not np.array_equal(elements.keep(clean, kept), elements.keep(attacked, after))


def texts(*given: str) -> np.ndarray:
    return samples(note=list(given))["note"]


def test_words_are_dropped_or_masked_and_protected_ones_stay() -> None:
    field = texts(*TEXTS)
    plain, guarded = Words(text("note")), Words(text("note"), ("RED", "left of"), mask="[MASK]")
    assert plain.count(field).tolist() == [3, 0, 1, 8, 3]
    # "left", "of", "red," and "RED" are protected, in whatever case and between whatever marks.
    assert guarded.count(field).tolist() == [2, 0, 1, 4, 3]
    kept = np.zeros((5, 8), dtype=bool)
    kept[:, 1] = True
    assert plain.keep(field, kept).tolist() == ["red", "", "", "is", "big"]
    assert guarded.keep(field, kept).tolist() == [
        "[MASK] red square",
        "",
        "[MASK]",
        "[MASK] is left of [MASK] red, RED [MASK]",
        "[MASK] big [MASK]",
    ]
    assert guarded.squeeze(field, kept).tolist() == ["red square", "", "", "is left of red, RED", "big"]
    # White space says nothing, also where all words stay.
    assert plain.keep(field, ~np.zeros((5, 8), dtype=bool)).tolist()[-1] == "a big one"
    assert field.tolist() == list(TEXTS)


@pytest.mark.parametrize("mask", [None, "[MASK]"])
def test_hidden_words_may_be_any(mask: str | None) -> None:
    elements = Words(text("note"), ("red",), mask)
    for kept in np.ndindex(2, 2, 2):
        shown = [
            elements.keep(texts(words), np.array([kept], dtype=bool))[0]
            for words in ("a red square there", f"{'a' if kept[0] else 'no'} Red {'square' if kept[1] else 'x'} there")
        ]
        assert shown[0].lower() == shown[1].lower()


def test_what_is_meant_by_default_and_as_it_is_written() -> None:
    wide = image("wide", 3, 224, 160)
    for modality, spec, elements in [
        (wide, "", Blocks(wide, 40)),
        (RGB, "", Blocks(RGB, 1)),
        (RGB, "blocks", Blocks(RGB, 1)),
        (RGB, "blocks:2", Blocks(RGB, 2)),
        (RGB, "points", Points(RGB)),
        (AUDIO, "", Steps(AUDIO)),
        (BODY, "", Steps(BODY)),
        (BODY, "points", Points(BODY)),
        (LAB, "", Points(LAB)),
        (text("note"), "", Words(text("note"), ("red",))),
        (text("note"), "words:[MASK]", Words(text("note"), ("red",), "[MASK]")),
    ]:
        found = elements_of(modality, spec, ("red",))
        assert found == elements and hash(found) == hash(elements)
        assert elements_of(modality, found.spec, ("red",)) == found
    matrix = Modality("matrix", (8, 8), (0, 1), (0.0, 1.0))
    assert elements_of(matrix) == Points(matrix) and elements_of(matrix, "blocks:4") == Blocks(matrix, 4)
    assert elements_of(image("open", 3), size=(32, 48)) == Blocks(image("open", 3), 8)
    assert [of.unit for of in (Blocks(RGB, 2), Points(LAB), Steps(AUDIO), Words(text()))] == [
        *("block of 2 x 2 pixels", "column", "time step", "word")
    ]


def test_the_mean_is_that_of_what_is_there() -> None:
    pixels = drawn(RGB)
    there = np.delete(pixels, 2, axis=0).astype(np.float64)
    np.testing.assert_allclose(mean_fill(RGB, pixels)[:, 0, 0], there.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(mean_fill(LAB, drawn(LAB)), np.delete(drawn(LAB), 2, axis=0).mean(axis=0), rtol=1e-5)
    sounds = drawn(AUDIO)
    steps = np.concatenate([one["values"][: one["length"]] for one in sounds]).astype(np.float64)
    filled = Steps(AUDIO).with_fill(mean_fill(AUDIO, sounds))
    np.testing.assert_allclose(filled.modality.fill, steps.mean(axis=0, keepdims=True), rtol=1e-6)
    shown = filled.keep(sounds, np.zeros((6, 6), dtype=bool))
    np.testing.assert_array_equal(shown["values"][5][:5], np.repeat(filled.modality.fill, 5, axis=0))
    assert not shown["values"][5][5:].any()


def test_what_is_shown_is_a_sample_also_where_the_fill_is_none() -> None:
    high = table("high", 3, clip_values=(LOW + 1, LOW + 3), fill=0.0)
    elements = Points(high)
    shown = elements.keep(drawn(high), np.zeros((6, 3), dtype=bool))
    assert high.check(shown) is shown and shown[0].tolist() == [1.0, -2.0, 2.0]
    assert elements.with_fill(9.0).modality.fill.tolist() == (LOW + 3).tolist()


def test_what_cannot_be_meant_is_refused_in_one_line() -> None:
    field = drawn(RGB)
    for attempt, message in [
        (lambda: Blocks(RGB, 0), "rgb: the size of a block must be at least 1, not 0"),
        (lambda: Blocks(AUDIO, 2), "audio is no image, so it has no blocks"),
        (lambda: Points(text("note")), "note holds texts, whose elements are words"),
        (lambda: Steps(LAB), "lab has no steps"),
        (lambda: Words(LAB), "lab holds numbers, so it has no words"),
        (lambda: Words(text("note"), "red"), "protected lists words"),
        (lambda: Words(text("note"), mask="two words"), "must be one word, not 'two words'"),
        (lambda: Words(text("note")).with_fill(0.5), "Texts are not filled in"),
        (lambda: Points(LAB).with_fill(np.nan), "fill must be finite"),
        (lambda: elements_of(RGB, "block:8"), "Unknown kind of elements 'block'. Did you mean blocks"),
        (lambda: elements_of(RGB, "blocks:big"), "whole number of pixels, blocks:8, not 'blocks:big'"),
        (lambda: elements_of(image("open", 3)), "open leaves the size of images open"),
        (lambda: elements_of(AUDIO, "steps:2"), "audio: steps take nothing behind a colon"),
        (lambda: Blocks(RGB, 2).keep(field, np.ones((6, 11), dtype=bool)), r"booleans of shape \(6, 12\), not bool of"),
        (lambda: Blocks(RGB, 2).keep(field, np.ones((6, 12))), "not float64 of shape"),
        (lambda: Points(BODY).squeeze(drawn(BODY), np.ones((6, 12), dtype=bool)), "of the kind points cannot be added"),
        (lambda: NUMERIC["streams"].squeeze(field, np.ones((6, 4), dtype=bool)), "fixed: elements of the kind steps"),
        (lambda: mean_fill(text("note"), texts("a")), "which have no mean"),
        (lambda: mean_fill(RGB, field[2:3]), "No sample has anything of rgb"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)

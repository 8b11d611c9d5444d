"""What a modality accepts, and what it refuses in one line."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

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
from art_multimodal.sample_arrays import check_samples, samples

LOW = np.array([0.0, -5.0, 1.0], dtype=np.float32)
KINDS: dict[str, Modality] = {
    "image": image("rgb", 3, 4, 5),
    "any size": image("any", 1),
    "sequence": sequence("audio", 6, 2),
    "positive": sequence("positive", 6, 2, clip_values=(1.0, 2.0), fill=1.5),
    "spectrogram": spectrogram("mel", 6, 4),
    "video": video("clip", 4, 2, 3, 3),
    "skeleton": skeleton("body", 4, 3),
    "point cloud": point_cloud("lidar", 7),
    "table": table("lab", 3, clip_values=(LOW, LOW + 2), fill=LOW + 1),
    "fixed": sequence("fixed", 4, 2, variable=False),
}


def drawn(modality: Modality, count: int = 4, seed: int = 0) -> np.ndarray:
    """A field of values that are allowed, sequences of lengths from 0 on."""
    generator = np.random.default_rng(seed)
    shape = tuple(size or 4 for size in modality.shape)
    low, high = (np.broadcast_to(np.asarray(bound, dtype=np.float32), shape) for bound in modality.clip_values)
    values = (low + (high - low) * generator.random((count, *shape), dtype=np.float32)).astype(np.float32)
    if not modality.variable:
        return values
    lengths = np.arange(count) % (shape[0] + 1)
    values[np.arange(shape[0]) >= lengths[:, None]] = 0
    return samples(**{modality.name: (values, lengths)})[modality.name]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_allowed_stays_as_it_is(kind: str) -> None:
    modality = KINDS[kind]
    x = samples(**{modality.name: drawn(modality)})
    assert check_samples(x, [modality]) is x
    assert check_samples(x[:0], [modality]).shape == (0,)


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_is_brought_back_and_more_is_refused(kind: str) -> None:
    modality, field = KINDS[kind], drawn(KINDS[kind])
    low, high = (np.asarray(bound, dtype=np.float32) for bound in modality.clip_values)
    inside = modality.present(field).reshape(len(field), -1).any(axis=1)
    values = np.where(modality.values(field) != 0, np.broadcast_to(high + 5e-5, modality.values(field).shape), 0)
    checked = modality.check(modality.with_values(field, values.astype(np.float32)))
    assert (modality.values(checked) <= high).all()
    with pytest.raises(
        InputError, match=rf"^{modality.name}: values must lie in \[.*\]; those of sample \d lie in \["
    ) as e:
        modality.check(modality.with_values(field, (values * 2 + 9).astype(np.float32)))
    assert str(e.value).isprintable()
    assert inside.any()
    assert (low < high).all()


@pytest.mark.parametrize("kind", KINDS)
def test_nan_in_part_is_refused_and_throughout_is_missing(kind: str) -> None:
    modality, field = KINDS[kind], drawn(KINDS[kind])
    for odd in (np.nan, np.inf, -np.inf):
        broken = field.copy()
        modality.values(broken).reshape(len(broken), -1)
        modality.values(broken)[2].flat[0] = odd
        with pytest.raises(
            InputError, match=f"^{modality.name}: sample 2 holds NaN or infinite values. One that is missing"
        ) as e:
            modality.check(broken)
        assert str(e.value).endswith("has the length 0." if modality.variable else "is NaN throughout.")
    gone = field.copy()
    if modality.variable:
        gone["length"][1], gone["values"][1] = 0, 0
    else:
        gone[1] = np.nan
    assert modality.missing(modality.check(gone))[1]
    assert not modality.present(gone)[1].any()
    if not modality.variable:
        assert modality.missing(gone).tolist() == [False, True, False, False]


@pytest.mark.parametrize("kind", [kind for kind, modality in KINDS.items() if modality.variable])
def test_sequences_hold_nothing_behind_their_length(kind: str) -> None:
    modality, field = KINDS[kind], drawn(KINDS[kind])
    wrong = field.copy()
    wrong["values"][2, -1] = modality.clip_values[0] or 0.25
    with pytest.raises(
        InputError, match=f"^{modality.name}: sample 2 has values behind its length; they must be 0\\.$"
    ):
        modality.check(wrong)
    steps = modality.shape[0]
    for length in (-1, steps + 1):
        wrong = field.copy()
        wrong["length"][0] = length
        said = f"{modality.name}: lengths must lie in [0, {steps}], the largest number of steps; "
        said += f"that of sample 0 is {length}."
        with pytest.raises(InputError) as caught:
            modality.check(wrong)
        assert str(caught.value) == said


def test_shapes_that_do_not_fit() -> None:
    rgb, audio = KINDS["image"], KINDS["sequence"]
    cases = [
        (
            rgb,
            np.zeros((2, 4, 5, 3)),
            "a sample must have shape (3, 4, 5), not (4, 5, 3). The channels seem to come last",
        ),
        (rgb, np.zeros((2, 1, 4, 5)), "a sample must have shape (3, 4, 5), not (1, 4, 5)."),
        (
            image("any", 4),
            np.zeros((2, 8, 8, 4)),
            "(4, any, any), not (8, 8, 4). The channels seem to come last: use x.tr",
        ),
        (image("any", 1), np.zeros((2, 1, 0, 4)), "not (1, 0, 4)."),
        (audio, np.zeros((2, 7, 2)), "a sample must have shape (at most 6, 2), not (7, 2)."),
        (audio, np.zeros((2, 6, 3)), "a sample must have shape (at most 6, 2), not (6, 3)."),
        (KINDS["table"], np.zeros(2), "a sample must have shape (3), not ()."),
        (
            KINDS["fixed"],
            [np.zeros((2, 2)), np.zeros((3, 2))],
            "the samples have lengths of their own, and this modality",
        ),
        (rgb, ["a", "b"], "numbers are needed, not dtype object."),
        (text("note"), np.zeros((2, 3)), "texts are needed, a string for each sample."),
    ]
    for modality, given, said in cases:
        with pytest.raises(InputError) as caught:
            check_samples(samples(**{modality.name: given}), [modality])
        assert said in str(caught.value)
        assert str(caught.value).startswith(f"{modality.name}: ")
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: image("a b"), "The name of a modality must be an identifier such as 'rgb', not 'a b'."),
        (lambda: image("\x1b[2J"), "identifier such as 'rgb', not '\\x1b[2J'."),
        (lambda: image(None), "identifier such as 'rgb', not 'None'."),
        (lambda: image("x", 0), "x: the shape of a sample must be at least 1 along each axis, not (0, None, None)."),
        (lambda: table("x", 3, clip_values=(1, 0)), "x: clip_values must be a lower and a higher value everywhere;"),
        (
            lambda: table("x", 2, clip_values=(np.zeros(2), np.array([0, 1]))),
            "widen those of a column that is constant.",
        ),
        (lambda: table("x", 3, clip_values=(0, np.inf)), "x: clip_values must be finite numbers, or arrays of them."),
        (lambda: table("x", 3, clip_values=("a", 1)), "x: clip_values must be finite numbers, or arrays of them."),
        (lambda: table("x", 3, clip_values=(np.zeros(2), 1)), "x: clip_values of shape (2,) do not broadcast to (3,)."),
        (lambda: image("x", 3, 4, 4, fill=np.zeros(2)), "x: fill of shape (2,) do not broadcast to (3, 4, 4)."),
        (lambda: image("x", fill="mean"), "x: fill must be finite numbers, or arrays of them."),
        (lambda: image("x", fill=np.nan), "x: fill must be finite numbers, or arrays of them."),
        (lambda: Modality("x", (3,), (1,), (0, 1)), "x: point_axes (1,) are not axes of a sample of shape (3,)."),
        (lambda: Modality("x", (3, 2), (1,), (0, 1), variable=True), "x: of a sequence the first axis holds points"),
    ],
)
def test_descriptions_that_do_not_fit(make, said: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", KINDS)
def test_descriptions_are_values(kind: str) -> None:
    modality = KINDS[kind]
    for twin in (copy.deepcopy(modality), pickle.loads(pickle.dumps(modality))):
        assert twin == modality
        assert hash(twin) == hash(modality)
    assert modality != text(modality.name)
    assert [kind for kind, other in KINDS.items() if other == modality] == [kind]

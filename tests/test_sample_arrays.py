"""Samples: made of what users have, kept together by numpy and ART, and refused in one line."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from art.data_generators import NumpyDataGenerator
from art.estimators.classification.classifier import InputFilter

from art_multimodal.errors import InputError
from art_multimodal.modalities import image, sequence, table, text
from art_multimodal.sample_arrays import are_samples, check_samples, fields_of, samples, with_field

MODALITIES = [image("rgb", 3, 4, 5), sequence("audio", 6, 2, clip_values=(-9, 9)), table("lab", 3), text("note")]
RNG = np.random.default_rng(0)
RGB, LAB = RNG.random((4, 3, 4, 5), dtype=np.float32), RNG.random((4, 3), dtype=np.float32)
AUDIO = [RNG.standard_normal((length, 2)).astype(np.float32) for length in (6, 1, 0, 3)]
NOTE = ["a cat", "", "née\u200d", "x" * 300]


def make() -> np.ndarray:
    return samples(rgb=RGB, audio=AUDIO, lab=LAB, note=NOTE)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and all((a[name] == b[name]).all() for name in a.dtype.names)


def test_fields_are_what_was_given() -> None:
    x = make()
    assert are_samples(x)
    assert x.shape == (4,)
    np.testing.assert_array_equal(x["rgb"], RGB)
    np.testing.assert_array_equal(x["lab"], LAB)
    assert x["note"].tolist() == NOTE
    assert x["audio"]["length"].tolist() == [6, 1, 0, 3]
    for row, own in enumerate(AUDIO):
        np.testing.assert_array_equal(x["audio"]["values"][row, : len(own)], own)
        assert (x["audio"]["values"][row, len(own) :] == 0).all()
    assert check_samples(x, MODALITIES) is x


@pytest.mark.parametrize(
    "given",
    [
        RGB.astype(np.float64),
        RGB.astype(">f4"),
        np.asfortranarray(RGB),
        RGB[::-1, :, ::-1][::-1, :, ::-1],
        torch.from_numpy(RGB),
        torch.from_numpy(RGB).double().requires_grad_(True),
        RGB.tolist(),
        list(RGB),
        [torch.from_numpy(own.copy()).requires_grad_(True) for own in RGB],
    ],
    ids=["float64", "big-endian", "Fortran", "reversed", "tensor", "tensor-grad", "lists", "arrays", "tensors"],
)
def test_arrays_of_any_kind(given: object) -> None:
    np.testing.assert_array_equal(samples(rgb=given)["rgb"], RGB)


def test_half_precision_whole_numbers_and_what_cannot_be_written() -> None:
    np.testing.assert_array_equal(samples(rgb=RGB.astype(np.float16))["rgb"], RGB.astype(np.float16))
    half = torch.from_numpy(RGB).bfloat16()
    np.testing.assert_array_equal(samples(rgb=half)["rgb"], half.float().numpy())
    np.testing.assert_array_equal(samples(lab=np.arange(6).reshape(2, 3))["lab"], [[0, 1, 2], [3, 4, 5]])
    locked = RGB.copy()
    locked.setflags(write=False)
    x = samples(rgb=locked)
    x["rgb"][0] = 0
    assert locked[0].any()


@pytest.mark.parametrize(
    "given",
    [
        AUDIO,
        tuple(AUDIO),
        [own.tolist() for own in AUDIO],
        [torch.from_numpy(own) for own in AUDIO],
        [own.astype(">f8") for own in AUDIO],
        (make()["audio"]["values"], [6, 1, 0, 3]),
        (torch.from_numpy(make()["audio"]["values"].copy()), torch.tensor([6, 1, 0, 3])),
        (make()["audio"]["values"].astype(np.float64), np.array([6, 1, 0, 3], dtype=np.uint8)),
        make()["audio"],
        make()["audio"].astype([("values", ">f8", (6, 2)), ("length", "<i4")]),
    ],
    ids=[
        "arrays",
        "tuple",
        "lists",
        "tensors",
        "big-endian",
        "pair",
        "pair-tensors",
        "pair-uint8",
        "field",
        "field-f8",
    ],
)
def test_sequences_of_any_kind(given: object) -> None:
    field = samples(audio=given)["audio"]
    assert field.dtype == make()["audio"].dtype
    assert same(field, make()["audio"])


def test_sequences_are_filled_up_to_the_largest_length_of_the_model() -> None:
    audio = MODALITIES[1]
    for given, lengths in (
        ([AUDIO[1], AUDIO[3]], [1, 3]),
        ([AUDIO[3], AUDIO[3]], [3, 3]),  # of one length: an array
        ([AUDIO[3]], [3]),
        (np.ones((2, 6, 2)), [6, 6]),
        ([np.zeros((0, 2)), np.zeros((0, 2))], [0, 0]),
        ([[], AUDIO[1]], [0, 1]),
    ):
        x = check_samples(samples(audio=given), [audio])
        assert x["audio"].dtype == audio.dtype
        assert x["audio"]["length"].tolist() == lengths
        own = [np.asarray(one, dtype=np.float32).reshape(-1, 2) for one in given]
        for row, values in enumerate(own):
            np.testing.assert_array_equal(x["audio"]["values"][row, : len(values)], values)
            assert not x["audio"]["values"][row, len(values) :].any()


def test_texts() -> None:
    for given in (NOTE, tuple(NOTE), np.array(NOTE), np.array(NOTE, dtype=object)):
        x = samples(note=given)
        assert x["note"].dtype == object
        assert x["note"].tolist() == NOTE
    assert samples(note="one")["note"].tolist() == ["one"]
    assert samples(note=("one", "two"))["note"].tolist() == ["one", "two"]


def test_fields_are_views_that_torch_shares() -> None:
    x = make()
    for field in (x["rgb"], x["audio"]["values"], x["lab"]):
        assert np.shares_memory(field, x)
        tensor = torch.from_numpy(field)
        tensor[1] = 0.25
        assert (field[1] == 0.25).all()
    assert (x["rgb"][1] == 0.25).all()


def test_what_numpy_does_keeps_samples_together() -> None:
    x = make()
    order = np.array([2, 0, 3, 1])
    for moved in (x[order], np.take(x, order), x[::-1], x[order > 1], np.concatenate([x[:1], x[2:]]), np.repeat(x, 2)):
        for row in moved:
            own = NOTE.index(row["note"])
            np.testing.assert_array_equal(row["rgb"], RGB[own])
            np.testing.assert_array_equal(row["lab"], LAB[own])
            assert row["audio"]["length"] == len(AUDIO[own])
            np.testing.assert_array_equal(row["audio"]["values"][: len(AUDIO[own])], AUDIO[own])
    generator = np.random.default_rng(1)
    shuffled = x.copy()
    generator.shuffle(shuffled)
    assert same(shuffled, x[[NOTE.index(note) for note in shuffled["note"]]])


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, np.copy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_share_nothing(copied) -> None:
    x = make()
    twin = copied(x)
    assert same(twin, x)
    twin["rgb"][0] = 0
    twin["note"][0] = "changed"
    assert same(x, make())


def test_arithmetic_raises_instead_of_losing_a_modality() -> None:
    x = make()
    for work in (
        lambda: x + x,
        lambda: x * 2,
        lambda: -x,
        lambda: x - 0.1,
        lambda: np.clip(x, 0, 1),
        lambda: np.sign(x),
    ):
        with pytest.raises(TypeError):
            work()


def test_with_field_leaves_the_rest() -> None:
    x = make()
    changed = with_field(x, "lab", LAB + 1)
    np.testing.assert_array_equal(changed["lab"], LAB + 1)
    assert same(with_field(changed, "lab", LAB), x)
    assert list(fields_of(changed)) == ["rgb", "audio", "lab", "note"]


def test_arts_tools_pass_them_on() -> None:
    x = make()
    generator = NumpyDataGenerator(x, np.arange(4), batch_size=2, shuffle=False)
    batches = [generator.get_batch() for _ in range(2)]
    assert same(np.concatenate([batch for batch, _ in batches]), x)

    class Seen(metaclass=InputFilter):
        def predict(self, x, **kwargs):
            return x

    assert Seen().predict(x) is x
    assert same(Seen().predict(x=x), x)


HOSTILE = "\x1b[2J\u202eevil\n"
EMPTY = "modality must be an identifier such as 'rgb', not "

BAD = {
    "nothing": (lambda: samples(), "samples() needs at least one modality: samples(rgb=..., depth=...)."),
    "counts": (
        lambda: samples(rgb=RGB, lab=LAB[:3], note=NOTE),
        "The modalities have unequal numbers of samples: rgb 4, lab 3, note 4. Give one of each per sample.",
    ),
    "hostile name": (lambda: samples(**{HOSTILE: RGB}), EMPTY + "'\\x1b[2J\\u202eevil\\n'."),
    "empty name": (lambda: samples(**{"": RGB}), EMPTY + "''."),
    "objects": (lambda: samples(rgb=[None, 1]), "rgb: an array of numbers with a sample in each row is needed"),
    "number": (lambda: samples(rgb=1.0), "rgb: an array of numbers with a sample in each row is needed"),
    "complex": (lambda: samples(lab=LAB * 1j), "or texts, not dtype complex64 of shape (4, 3)."),
    "no string": (lambda: samples(note=["a", 3]), "note: Text 1 must be a string, not int: 3."),
    "sizes": (lambda: samples(rgb=[RGB[0], RGB[1, :, :3]]), "rgb: the samples have different shapes, such as"),
    "rows": (lambda: samples(rgb=[[[1, 2], [3]]]), "rgb: a sample must be an array; this one has rows of different"),
    "lengths": (lambda: samples(audio=(np.ones((2, 6, 2)), [1.5, 2])), "audio: a whole number is needed for each of 2"),
    "few lengths": (lambda: samples(audio=(np.ones((2, 6, 2)), [1])), "a whole number is needed for each of 2 samples"),
    "no time": (lambda: samples(audio=(np.ones(2), [1, 1])), "audio: values of sequences have a time axis"),
    "no samples": (lambda: check_samples({"rgb": RGB}, MODALITIES), "Samples are needed, samples(rgb=..., audio=..."),
    "an array": (lambda: check_samples(RGB, MODALITIES), "not an array of dtype float32."),
    "missing in samples": (
        lambda: check_samples(samples(rgb=RGB, note=NOTE), MODALITIES),
        "The samples lack audio, lab; they have rgb, note.",
    ),
    "missing in the model": (
        lambda: check_samples(make(), MODALITIES[:3]),
        "The model knows no modality 'note'; it takes rgb, audio, lab.",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_in_one_line(name: str) -> None:
    work, said = BAD[name]
    with pytest.raises(InputError) as caught:
        work()
    message = str(caught.value)
    assert said in message
    assert message.isprintable()
    assert len(message) < 300


def test_long_and_hostile_names_stay_on_one_short_line() -> None:
    long = "n" * 300
    field = np.zeros(4, dtype=[(HOSTILE, "f4", (3,)), (long, "f4", (3,))])
    for work in (
        lambda: check_samples(field, MODALITIES),
        lambda: samples(**{HOSTILE + long * 9: LAB}),
        lambda: samples(**{long: LAB, "rgb": RGB[:2]}),
        lambda: check_samples(samples(**{long: LAB, "rgb": RGB}), MODALITIES[:1]),
    ):
        with pytest.raises(InputError) as caught:
            work()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 800

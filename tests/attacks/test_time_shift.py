"""Shifts in time: each against a loop over steps, and the attack against brute force."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from several import ANSWERS, FEATURES, MaskedMean, classifier, make_samples
from torch import Tensor, nn

from art_multimodal import FusionClassifier
from art_multimodal.attacks.budget import Ball
from art_multimodal.attacks.evasion import TimeShift
from art_multimodal.errors import InputError
from art_multimodal.evaluations.suite import ATTACKS, SAMPLES, Budget
from art_multimodal.evaluations.suite.selection import entries_for
from art_multimodal.modalities import Modality, image, point_cloud, sequence, skeleton, spectrogram, video
from art_multimodal.modalities.modality import MOVED_IN
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.sample_arrays import fields_of, samples

STEPS, LENGTHS = 6, (6, 1, 3, 0, 5, 2)


def by_loop(steps: np.ndarray, by: int, moved_in: str, new: float) -> np.ndarray:
    """One sample without padding, shifted step by step."""
    count = len(steps)
    found = []
    for place in range(count):
        source = place - by
        if moved_in == "cyclic":
            found.append(steps[source % count])
        else:
            found.append(steps[source] if 0 <= source < count else np.full_like(steps[0], new))
    return np.array(found, dtype=np.float32).reshape(steps.shape)


@pytest.mark.parametrize("moved_in", MOVED_IN)
@pytest.mark.parametrize("trailing", [(2,), (2, 3), (1, 2, 2)])
def test_a_shift_is_that_of_a_loop(moved_in: str, trailing: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    low = 0.25  # zero is not allowed: what is nearest to it is
    modality = {
        1: lambda: sequence("s", STEPS, *trailing, clip_values=(low, 2.0), fill=0.7),
        2: lambda: skeleton("s", STEPS, *trailing, clip_values=(low, 2.0), fill=0.7),
        3: lambda: video("s", STEPS, *trailing, clip_values=(low, 2.0), fill=0.7),
    }[len(trailing)]()
    streams = [generator.uniform(low, 2, (length, *trailing)).astype(np.float32) for length in LENGTHS]
    field = modality.check(samples(s=streams)["s"])
    before = field.copy()
    new = low if moved_in == "zero" else 0.7
    for by in range(-STEPS - 1, STEPS + 2):
        shifts = np.full(len(LENGTHS), by)
        shifts[0] = -by  # each sample by its own
        found = modality.shifted(field, shifts, moved_in)
        assert found["length"].tolist() == list(LENGTHS)
        for row, stream in enumerate(streams):
            wanted = by_loop(stream, int(shifts[row]), moved_in, new)
            np.testing.assert_array_equal(found["values"][row, : len(stream)], wanted)
            assert not found["values"][row, len(stream) :].any()
        modality.check(found)
    assert field.tobytes() == before.tobytes()


def test_streams_of_one_length_may_be_missing() -> None:
    modality = spectrogram("s", 4, 2, fill=0.5, variable=False)
    field = np.random.default_rng(0).random((3, 4, 2)).astype(np.float32)
    field[1] = np.nan
    for moved_in in MOVED_IN:
        found = modality.shifted(field, np.array([1, 1, -2]), moved_in)
        assert np.isnan(found[1]).all()
        np.testing.assert_array_equal(found[0, 1:], field[0, :3])
        np.testing.assert_array_equal(found[2, :2], field[2, 2:])


@pytest.mark.parametrize("modality", [image("s", 1, 3, 3), point_cloud("s", 4, 3)])
def test_what_has_no_time_is_not_shifted(modality: Modality) -> None:
    field = np.zeros(2, dtype=modality.dtype) if modality.variable else np.zeros((2, 1, 3, 3), np.float32)
    with pytest.raises(InputError, match="has no time along which it could be shifted"):
        modality.shifted(field, np.array([1, 1]))


class Beat(nn.Module):
    """Looks at when things happen: steps are weighed by their place."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        weights = torch.randn(STEPS, FEATURES, 4, generator=torch.Generator().manual_seed(seed))
        self.weights = nn.Parameter(weights)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        return torch.einsum("ntf,tfd->nd", values * mask[:, :, None], self.weights)


def beats() -> FusionClassifier:
    """Two streams; the answer depends on when both have their values."""
    towers = [Tower(sequence(name, STEPS, FEATURES, (-2.0, 2.0), 0.1), Beat(seed), 4) for seed, name in enumerate("pq")]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = ModularModel(towers, "late", ANSWERS)
    return FusionClassifier(made.double().eval(), device_type="cpu")


def streams(seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return samples(
        **{
            name: [generator.uniform(-1.5, 1.5, (length, FEATURES)).astype(np.float32) for length in lengths]
            for name, lengths in (("p", LENGTHS), ("q", (6, 6, 2, 4, 5, 0)))
        }
    )


@pytest.mark.parametrize("moved_in", MOVED_IN)
@pytest.mark.parametrize("names", ["p", ("q",), ("p", "q")])
def test_brute_force(names, moved_in: str) -> None:
    found, x, most = beats(), streams(), 2
    labels = found.predict(x).argmax(axis=1)
    attack = TimeShift(found, names, most, moved_in, verbose=False)
    after = attack.generate(x, labels)
    listed = [names] if isinstance(names, str) else list(names)
    new = {"fill": 0.1, "zero": 0.0, "cyclic": np.nan}[moved_in]
    misled = 0
    for row in range(len(x)):
        best, chosen, stopped = -np.inf, None, False
        for shift in sorted(product(range(-most, most + 1), repeat=len(listed)), key=lambda s: (sum(map(abs, s)), s)):
            fields = {}
            for name in "pq":
                stream = x[name][row]["values"][: x[name][row]["length"]]
                by = dict(zip(listed, shift, strict=True)).get(name, 0)
                fields[name] = [by_loop(stream, by, moved_in, new)] if len(stream) else [stream]
            one = samples(**fields)
            scores = found.predict(one)[0]
            margin = np.delete(scores, labels[row]).max() - scores[labels[row]]
            if not stopped and margin > best:
                best, chosen = margin, shift
                expected = found.checked(one)
            stopped = stopped or margin > 0
        misled += stopped
        assert tuple(attack.shifts[row]) == chosen
        for name in "pq":
            assert after[name][row].tobytes() == expected[name][0].tobytes()
    assert misled > 0


def test_other_fields_stay_and_the_batch_does_not_matter() -> None:
    found, x = classifier("late"), make_samples()
    labels = found.predict(x).argmax(axis=1)
    attack = TimeShift(found, "audio", 3, "cyclic", verbose=False)
    after = attack.generate(x, labels)
    assert after["rgb"].tobytes() == x["rgb"].tobytes() and after["lab"].tobytes() == x["lab"].tobytes()
    assert after["note"].tolist() == x["note"].tolist()
    assert after["audio"]["length"].tolist() == x["audio"]["length"].tolist()
    # A mean over steps does not see when they come; what its sum rounds to is all that a shift changes.
    assert isinstance(found.multimodal.towers["audio"].module, MaskedMean)
    np.testing.assert_allclose(found.predict(after), found.predict(x), atol=1e-5)
    timed, x = beats(), streams()
    labels = timed.predict(x).argmax(axis=1)
    whole = TimeShift(timed, "p", 2, batch_size=4, verbose=False).generate(x, labels)
    for row in range(len(x)):
        alone = TimeShift(timed, "p", 2, batch_size=1, verbose=False).generate(x[row : row + 1], labels[row : row + 1])
        for name, field in fields_of(alone).items():
            assert field[0].tobytes() == whole[name][row].tobytes()


def test_the_model_is_asked_no_more_than_needed() -> None:
    found, x = beats(), streams()
    rows: list[int] = []
    found.multimodal.fusion.register_forward_hook(lambda module, given, out: rows.append(len(out)))
    labels = found.predict(x).argmax(axis=1)
    rows.clear()
    TimeShift(found, "p", 2, verbose=False).generate(x, (labels + 1) % 3)  # misled before
    assert sum(rows) == len(x)
    rows.clear()
    TimeShift(found, "p", 2, verbose=False).generate(x, labels)
    assert len(x) < sum(rows) <= 5 * len(x)


def test_targeted_and_without_labels() -> None:
    found, x = beats(), streams()
    predicted = found.predict(x).argmax(axis=1)
    attack = TimeShift(found, "p", 2, verbose=False)
    own = attack.generate(x)
    assert own.tobytes() == TimeShift(found, "p", 2, verbose=False).generate(x, predicted).tobytes()
    wanted = TimeShift(found, ("p", "q"), 2, targeted=True, verbose=False)
    assert wanted.generate(x, predicted).tobytes() == found.checked(x).tobytes() and not wanted.shifts.any()
    with pytest.raises(ValueError, match="needs the wanted labels"):
        wanted.generate(x)
    assert len(attack.generate(x[:0])) == 0 and attack.shifts.shape == (0, 1)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"modalities": "depth"}, r"^The model knows no modality 'depth'; it takes rgb, audio, lab, note"),
        ({"modalities": "rgb"}, r"^rgb is not over time, so it cannot be shifted\. Streams of this model: audio\."),
        ({"modalities": "note"}, r"^note is not over time"),
        ({"modalities": ()}, r"^modalities are names, at least one"),
        ({"modalities": ("audio", "audio")}, r"^modalities are names, at least one and each once"),
        ({"moved_in": "noise"}, r"^moved_in must be one of fill, zero, cyclic, not 'noise'"),
        ({"max_shift": -1}, "max_shift must be a whole number"),
        ({"max_shift": 10**6}, "more than 100,000 combinations"),
    ],
)
def test_what_cannot_be_shifted(more: dict, said: str) -> None:
    attack = TimeShift(classifier("late"), "audio")
    with pytest.raises(ValueError, match=said):
        TimeShift(**{"estimator": classifier("late"), "modalities": "audio", **more})
    with pytest.raises(ValueError, match=said):
        attack.set_params(**more)


def test_audits_shift_streams() -> None:
    found, x = classifier("late"), make_samples()
    budget = Budget(balls={"rgb": Ball(0.1, 0.05), "audio": Ball(0.1, 0.05)})
    names = entries_for(SAMPLES, found, budget)
    assert [name for name in names if name.startswith("time_shift")] == ["time_shift@audio"]
    attacked = ATTACKS["time_shift@MODALITY"].on("audio").run(found, x, found.predict_labels(x), budget, 0)
    assert attacked.x["rgb"].tobytes() == x["rgb"].tobytes() and len(attacked.labels) == len(x)

"""The decoupling attack over any modalities: saliency, what comes back, and what was asked for, against the model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from several import MODELS, classifier, make, make_samples, one_hot, sequences

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion import DecouplingAttack
from art_multimodal.attacks.evasion.decoupling.importance import labels_without
from art_multimodal.attacks.evasion.decoupling.removals import Removals
from art_multimodal.attacks.evasion.decoupling.search import Linearisation
from art_multimodal.attacks.searching import Criterion, Misclassified, RankFell
from art_multimodal.errors import InputError
from art_multimodal.functional.points import Removal
from art_multimodal.sample_arrays import fields_of, samples

NAMES = ("rgb", "audio", "lab", "note")
NUMERIC = NAMES[:3]


def incomplete() -> np.ndarray:
    x = make_samples()
    rgb, lab = x["rgb"].copy(), x["lab"].copy()
    rgb[1], lab[2] = np.nan, np.nan
    return samples(rgb=rgb, audio=sequences([5, 2, 3, 0, 1, 4]), lab=lab, note=x["note"])


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_saliency_is_the_derivative_of_the_margin(kind, targeted) -> None:
    found, x = FusionClassifier(make(kind).double(), device_type="cpu"), make_samples()
    asking = found.asking(3)
    fills = {name: np.asarray(found.modalities[name].fill, dtype=np.float32) for name in NUMERIC}
    targets = (found.predict(x).argmax(axis=1) + 1) % 3 if targeted else None
    removals = Removals(asking, fields_of(x), fills, NAMES, targets)
    labels = [answer.label for answer in removals.clean()]
    wanted = targets if targeted else labels
    rng = np.random.default_rng(0)
    masks = [rng.random(layout.size) < 0.2 for layout in removals.layouts]
    words = [(0,) if layout.words else () for layout in removals.layouts]
    asked = [(row, Linearisation(Removal.of_mask(masks[row], words[row]))) for row in range(len(x))]
    for (row, probe), answer in zip(asked, removals.ask(asked), strict=True):
        note = " ".join(x["note"][row].split()[len(probe.removal.words) :]) if probe.removal.words else x["note"][row]

        def margin(there: np.ndarray, row=row, note=note) -> float:
            changed = {"note": [note]}
            for name, grid in zip(NUMERIC, removals.layouts[row].grids(there), strict=True):
                modality, field = found.modalities[name], x[name][row : row + 1]
                values = np.array(modality.values(field), dtype=np.float64)
                full = np.ones(modality.point_shape(field))
                full[tuple(slice(size) for size in grid.shape)] = grid
                share = modality.spread(full[None], values.ndim)
                fill = np.broadcast_to(np.asarray(fills[name], np.float64), values.shape)
                within = modality.spread(modality.present(field), values.ndim)
                mixed = np.where(within, fill + share * (values - fill), values)
                lengths = torch.from_numpy(np.array(modality.lengths(field))) if modality.variable else None
                changed[name] = found.multimodal.numbers(name, torch.from_numpy(mixed), lengths)
            changed["note"] = found.multimodal.parts(samples(note=[note]))["note"]
            with torch.no_grad():
                scores = found.multimodal({name: changed[name] for name in NAMES})[0].numpy()
            other = np.delete(scores, wanted[row]).max()
            return other - scores[wanted[row]] if targeted else scores[wanted[row]] - other

        there = (~masks[row]).astype(np.float64)
        assert answer.margin == pytest.approx(margin(there), rel=1e-4, abs=1e-5)
        step = 1e-5
        numeric = [
            (margin(there + step * unit) - margin(there - step * unit)) / (2 * step) for unit in np.eye(there.size)
        ]
        np.testing.assert_allclose(answer.saliency, numeric, rtol=2e-3, atol=1e-4 * np.abs(numeric).max() + 1e-7)


@pytest.mark.parametrize("settings", [{"search": "exhaustive"}, {"white_box": True}, {"white_box": False}])
@pytest.mark.parametrize("cost", ["points", "modalities"])
@pytest.mark.parametrize("kind", MODELS)
def test_what_comes_back_is_as_recorded_and_nothing_else_has_changed(kind, cost, settings) -> None:
    found, successes = classifier(kind), 0
    whole, partial = make_samples(), incomplete()
    for x, names in ((whole, None), (partial, None), (partial, ("audio", "note")), (whole, "lab")):
        before = x.copy()
        attack = DecouplingAttack(
            found, modalities=names, cost=cost, max_queries=80, batch_size=4, verbose=False, **settings
        )
        after = attack.generate(x)
        labels = found.predict(x).argmax(axis=1), found.predict(after).argmax(axis=1)
        for row, record in enumerate(attack.records):
            assert (record.label_before, record.label_after) == (labels[0][row], labels[1][row])
            assert record.success == (labels[0][row] != labels[1][row])
            assert record.queries <= 80 or "search" in settings
            counts, sizes = {}, {}
            for name in NUMERIC:
                modality, field = found.modalities[name], x[name][row : row + 1]
                old, new = (np.array(modality.values(part[name][row : row + 1])) for part in (x, after))
                present = modality.present(field)
                gone = ((old != new) & ~(np.isnan(old) & np.isnan(new))).any(
                    axis=tuple(1 + axis for axis in range(old.ndim - 1) if axis not in modality.point_axes)
                )
                assert not (gone & ~present).any()
                fill = np.broadcast_to(np.asarray(modality.fill, dtype=np.float32), old.shape)
                where = np.broadcast_to(modality.spread(gone, old.ndim), old.shape)
                np.testing.assert_array_equal(new[where], fill[where])
                np.testing.assert_array_equal(new[~where], old[~where])
                counts[name], sizes[name] = int(gone.sum()), int(present.sum())
                if modality.variable:
                    assert after[name]["length"][row] == x[name]["length"][row]
            old_words, new_words = (part["note"][row].split() for part in (x, after))
            counts["note"], sizes["note"] = len(old_words) - len(new_words), len(old_words)
            assert record.pixels + len(record.words) == sum(counts.values())
            shares = {name: counts[name] / sizes[name] if sizes[name] else 0.0 for name in NAMES}
            assert record.removed == pytest.approx(shares)
            expected = sum(counts.values()) / sum(sizes.values())
            if cost == "modalities":
                expected = sum(shares.values()) / sum(size > 0 for size in sizes.values())
            assert record.share_removed == pytest.approx(expected)
            touched = {name for name, count in counts.items() if count}
            assert touched <= set(NAMES if names is None else (names,) if isinstance(names, str) else names)
            successes += record.success
        for name in NAMES:
            same = x[name].tobytes() == before[name].tobytes()
            assert same if name in NUMERIC else x[name].tolist() == before[name].tolist()
    # A mean of four answers hardly moves with one of them.
    assert successes >= 1 or kind == "late"


@pytest.mark.parametrize("kind", ["concat", "joint"])
def test_neither_batch_size_nor_what_stands_beside_changes_a_result(kind) -> None:
    found, x = classifier(kind), incomplete()
    settings = {"max_queries": 60, "verbose": False}
    attack = DecouplingAttack(found, batch_size=64, **settings)
    expected = attack.generate(x)
    for size in (1, 3):
        other = DecouplingAttack(found, batch_size=size, **settings)
        after = other.generate(x)
        assert other.records == attack.records
        for name in NUMERIC:
            np.testing.assert_array_equal(after[name], expected[name])
    turned = DecouplingAttack(found, **settings)
    turned.generate(x[::-1])
    assert turned.records[::-1] == attack.records


def test_cost_by_modalities_spares_the_small_modality() -> None:
    """Under the published cost one of five steps counts as one of 36 pixels; by modalities it is seven times that."""
    found, x = classifier("concat"), make_samples()
    shares = {}
    for cost in ("points", "modalities"):
        attack = DecouplingAttack(found, modalities=("rgb", "audio"), cost=cost, max_queries=200, verbose=False)
        attack.generate(x)
        wins = [record for record in attack.records if record.success]
        assert len(wins) >= 4
        shares[cost] = {
            "mean of shares": np.mean([np.mean([record.removed[name] for name in NAMES]) for record in wins]),
            "points": np.mean([record.pixels for record in wins]),
        }
    assert shares["modalities"]["mean of shares"] <= shares["points"]["mean of shares"]
    assert shares["points"]["points"] <= shares["modalities"]["points"]


def test_targets_are_reached_where_it_says_so() -> None:
    found, x = classifier("joint"), make_samples()
    targets = (found.predict(x).argmax(axis=1) + 1) % 3
    attack = DecouplingAttack(found, targeted=True, max_queries=150, verbose=False)
    after = attack.generate(x, one_hot(targets))
    reached = found.predict(after).argmax(axis=1) == targets
    assert [record.success for record in attack.records] == reached.tolist() and reached.sum() >= 3


@pytest.mark.parametrize("white_box", [True, False])
def test_the_label_falls_out_of_the_best(white_box) -> None:
    found, x = classifier("joint"), make_samples()
    before = found.predict(x).argmax(axis=1)

    def attacked(criterion: Criterion | None) -> DecouplingAttack:
        attack = DecouplingAttack(found, criterion=criterion, white_box=white_box, max_queries=200, verbose=False)
        scores = found.predict(attack.generate(x))
        ranks = 1 + (scores > scores[np.arange(len(x)), before][:, None]).sum(axis=1)
        least = 1 if criterion is None else criterion.rank
        assert [record.success for record in attack.records] == (ranks > least).tolist()
        return attack

    fell, plain = attacked(RankFell(2)), attacked(None)
    assert sum(record.success for record in fell.records) >= 2
    assert attacked(RankFell(2) & Misclassified()).records == fell.records
    assert attacked(RankFell(2) | Misclassified()).records == plain.records
    for wrong in (RankFell(0), RankFell(3), "rank"):
        with pytest.raises(ValueError, match="criterion"):
            DecouplingAttack(found, criterion=wrong, verbose=False)


def test_a_whole_modality_is_removed_and_the_model_not_told() -> None:
    found, x = classifier("gated"), make_samples()
    for name in NAMES:
        changed = fields_of(x)
        modality = found.modalities[name]
        changed[name] = modality.remove(x[name], np.ones((len(x), *modality.point_shape(x[name])), dtype=bool))
        np.testing.assert_array_equal(labels_without(found, x, name), found.predict_labels(samples(**changed)))
    with pytest.raises(InputError, match="'rgb' or 'audio' or 'lab' or 'note', not 'depth'"):
        labels_without(found, x, "depth")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modalities": ("rgb", "depth")}, "modalities must name some of rgb, audio, lab, note"),
        ({"modalities": ()}, "modalities must name"),
        ({"cost": "pixels"}, "cost must be one of points, modalities"),
        ({"fill": {"depth": 0.5}}, "fill names 'depth'"),
        ({"fill": {"rgb": 2.0}}, "each in \\[0, 1\\]"),
        ({"fill": {"audio": 9.0}}, "fill of audio must be"),
        ({"fill": "grey"}, "fill must be 'mean'"),
    ],
)
def test_bad_settings(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        DecouplingAttack(classifier(), verbose=False, **settings)


def test_bad_samples_and_fills_by_name() -> None:
    found, x = classifier(), make_samples()
    attack = DecouplingAttack(found, fill={"rgb": 0.1, "audio": "black"}, max_queries=40, verbose=False)
    with pytest.raises(InputError, match="The samples lack"):
        attack.generate(x[["rgb", "audio", "lab"]])
    with pytest.raises(InputError, match="Samples are needed"):
        attack.generate(x["rgb"])
    after = attack.generate(x)
    assert any(record.success for record in attack.records)
    gone = (after["rgb"] != x["rgb"]).any(axis=1, keepdims=True)
    assert (after["rgb"][np.broadcast_to(gone, x["rgb"].shape)] == np.float32(0.1)).all()
    assert len(attack.generate(x[:0])) == 0

"""What is kept is drawn as a certificate draws it: each choice of k elements equally likely, or each given mask."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from scipy.stats import chisquare

from art_multimodal.ablation import Blocks, Keep, Points, Steps, Words, keeps_of
from art_multimodal.errors import InputError
from art_multimodal.modalities import image, sequence, table, text
from art_multimodal.sample_arrays import samples

RGB, LAB, AUDIO, NOTE = image("rgb", 3, 4, 6), table("lab", 5), sequence("audio", 6, 2), text("note")
KINDS = {modality.name: modality for modality in (RGB, LAB, AUDIO, NOTE)}
PARTITION = np.arange(6) % 3 == np.arange(3)[:, None]


@pytest.mark.parametrize("k", [0, 1, 2, 4, 5, 9])
def test_so_many_are_kept_and_never_more_than_there_are(k: int) -> None:
    counts = np.array([5, 0, 1, 3, 5])
    kept = Keep(Points(LAB), k).draw(counts, np.random.default_rng(0))
    assert kept.shape == (5, 5) and kept.dtype == bool
    assert kept.sum(axis=1).tolist() == np.minimum(counts, k).tolist()
    assert not kept[np.arange(5) >= counts[:, None]].any()


def test_every_choice_is_equally_likely_and_each_sample_has_its_own() -> None:
    # Half of the samples have five elements and the others four, among columns for five.
    counts = np.tile([5, 4], 3000)
    kept = Keep(Points(LAB), 2).draw(counts, np.random.default_rng(1))
    for count in (5, 4):
        seen = [tuple(np.flatnonzero(row)) for row in kept[counts == count]]
        tally = [seen.count(choice) for choice in combinations(range(count), 2)]
        assert len(tally) == comb(count, 2) and sum(tally) == 3000
        assert chisquare(tally).pvalue > 0.001


def test_each_given_mask_is_equally_likely() -> None:
    keep = Keep(Blocks(RGB, 2), PARTITION)
    kept = keep.draw(np.full(3000, 6), np.random.default_rng(2))
    which = (kept[:, None] == PARTITION).all(axis=2)
    assert (which.sum(axis=1) == 1).all() and chisquare(which.sum(axis=0)).pvalue > 0.001


def test_the_same_generator_draws_the_same_and_a_seed_is_no_property_of_the_input() -> None:
    keep = Keep(Points(LAB), 2)
    x = np.random.default_rng(3).random((4, 5)).astype(np.float32)
    one, two, other = (keep.ablated(of, np.random.default_rng(7)) for of in (x, x, x + 1))
    np.testing.assert_array_equal(one, two)
    assert ((one == 0) == (other == 0)).all()


def test_masks_must_fit_what_there_is() -> None:
    x = samples(rgb=np.zeros((2, 3, 4, 6)), audio=[np.ones((6, 2)), np.ones((3, 2))], note=["a b c d e f g", "a"])
    rng = np.random.default_rng(0)
    # Shorter sequences take the first columns; of equal elements the number is to be that of the masks.
    hidden = Keep(Steps(AUDIO), PARTITION).ablated(x["audio"], rng)
    assert [int(one["values"].any(axis=1).sum()) for one in hidden] == [2, 1]
    for keep, message in [
        (Keep(Words(NOTE), PARTITION), "note: the masks are of 6 elements, but sample 0 has 7 .word.. Make them for"),
        (Keep(Blocks(RGB, 1), PARTITION), "rgb: the masks are of 6 elements, but sample 0 has 24"),
        (Keep(Blocks(RGB, 4), PARTITION), "rgb: the masks are of 6 elements, but sample 0 has 2 "),
    ]:
        with pytest.raises(InputError, match=message):
            keep.ablated(x[keep.elements.modality.name], rng)
    # A sample that lacks the image has no element, and nothing is hidden of it.
    gone = np.full((1, 3, 4, 6), np.nan, dtype=np.float32)
    assert np.isnan(Keep(Blocks(RGB, 2), PARTITION).ablated(gone, rng)).all()


def test_squeezed_sequences_have_the_length_that_is_kept() -> None:
    x = samples(audio=[np.ones((6, 2)), np.ones((1, 2))], note=["a b c d", "e"])
    rng = np.random.default_rng(4)
    assert Keep(Steps(AUDIO), 2, squeeze=True).ablated(x["audio"], rng)["length"].tolist() == [2, 1]
    masked = Words(NOTE, mask="[MASK]")
    kept = Keep(masked, 3, squeeze=True).ablated(x["note"], rng).tolist()
    assert [len(one.split()) for one in kept] == [3, 1] and "[MASK]" not in " ".join(kept)
    assert Keep(masked, 3).ablated(x["note"], rng)[0].split().count("[MASK]") == 1


def test_what_is_kept_of_a_model_is_in_the_order_of_its_modalities() -> None:
    own = Keep(Words(NOTE, ("red",)), 2)
    found = keeps_of(KINDS, {"note": own, "rgb": PARTITION, "lab": np.int64(3)})
    assert list(found) == ["rgb", "lab", "note"] and found["note"] is own
    assert found["rgb"].elements == Blocks(RGB, 1) and found["lab"].elements == Points(LAB)
    assert found["lab"].described() == {"elements": "points", "squeeze": False, "fill": 0.0, "keep": 3}
    assert own.described() == {"elements": "words", "squeeze": False, "protected": ["red"], "keep": 2}
    masks = found["rgb"].described()
    assert masks["masks"] == [3, 6] and masks["digest"] != Keep(Blocks(RGB, 1), ~PARTITION).described()["digest"]
    open_ = image("open", 3)
    assert keeps_of({"open": open_}, {"open": 4}, size=(32, 32))["open"].elements == Blocks(open_, 8)
    # A fill of one's own is allowed.
    assert keeps_of(KINDS, {"lab": Keep(Points(LAB).with_fill(0.3), 1)})["lab"].described()["fill"] == pytest.approx(
        0.3
    )


def test_what_cannot_be_kept_is_refused_in_one_line() -> None:
    for attempt, message in [
        (lambda: Keep(Points(LAB), -1), "lab: the number of elements that are kept must be at least 0, not -1"),
        (lambda: Keep(Points(LAB), 0.2), "whole number, or give masks, not float"),
        (lambda: Keep(Points(LAB), True), "not bool"),
        (
            lambda: Keep(Points(LAB), np.ones((2, 5))),
            r"booleans of shape \(G, n\), with at least one mask, not float64",
        ),
        (lambda: Keep(Points(LAB), np.ones((0, 5), dtype=bool)), r"of shape \(0, 5\)"),
        (lambda: Keep(Points(LAB), 1, squeeze=True), "lab: points cannot be added or deleted here"),
        (lambda: keeps_of(KINDS, {}), "keep names at least one modality"),
        (lambda: keeps_of(KINDS, {"rbg": 2}), "Unknown modality 'rbg'. Did you mean rgb"),
        (lambda: keeps_of(KINDS, {"lab": Keep(Words(NOTE), 1)}), "of another modality, the text note"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            attempt()
        assert "\n" not in str(caught.value)

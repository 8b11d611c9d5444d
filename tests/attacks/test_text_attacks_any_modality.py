"""Text attacks on samples of any modalities: the text changes, the rest stands beside it."""

from __future__ import annotations

import numpy as np
import pytest
from several import MODELS, classifier, make_samples, sequences
from tiny import TinyFusion

from art_multimodal import FusionClassifier
from art_multimodal.attacks.evasion import CharacterAttack
from art_multimodal.attacks.evasion.text.search import every_text
from art_multimodal.errors import InputError
from art_multimodal.modalities import table
from art_multimodal.models.families.modular.model import ModularModel, Tower
from art_multimodal.sample_arrays import fields_of, samples, with_field

SETTINGS = {"alphabet": "ab", "dictionary": [], "candidate_words": None, "protect_class_names": False, "verbose": False}


def incomplete() -> np.ndarray:
    x = make_samples()
    rgb = x["rgb"].copy()
    rgb[1] = np.nan
    return samples(rgb=rgb, audio=sequences([5, 2, 0, 3, 1, 4]), lab=x["lab"], note=x["note"])


def margins(found: FusionClassifier, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    scores = found.predict(x).astype(np.float64)
    rows = np.arange(len(x))
    own = scores[rows, y]
    scores[rows, y] = -np.inf
    return scores.max(axis=1) - own


@pytest.mark.parametrize("kind", MODELS)
def test_one_edit_is_the_worst_of_all_by_brute_force(kind) -> None:
    found, x = classifier(kind), incomplete()
    y = np.arange(len(x)) % 3
    attack = CharacterAttack(found, loss="margin", batch_size=5, **SETTINGS)
    after = attack.generate(x, y)
    for name in ("rgb", "audio", "lab"):
        assert after[name].tobytes() == x[name].tobytes()
    assert after["note"][5] == x["note"][5] == ""
    reached, clean = margins(found, after, y), margins(found, x, y)
    moved = 0
    for row, record in enumerate(attack.records):
        text = x["note"][row]
        plan, free = attack.planned([text])
        options = [text, *every_text(text, free[text], plan)]
        one = with_field(x[[row] * len(options)], "note", np.array(options, dtype=object))
        assert reached[row] == pytest.approx(margins(found, one, y[[row] * len(options)]).max(), abs=1e-5)
        assert record.adversarial == after["note"][row]
        moved += reached[row] > clean[row] + 1e-4
    assert moved >= 4


@pytest.mark.parametrize("kind", MODELS)
def test_embeddings_move_and_neighbours_do_not_matter(kind) -> None:
    found, x = classifier(kind), incomplete()
    attack = CharacterAttack(found, batch_size=3, **SETTINGS)
    after = attack.generate(x)
    alone = [CharacterAttack(found, **SETTINGS).generate(x[[row]])["note"][0] for row in range(len(x))]
    assert after["note"].tolist() == alone
    assert sum(a != b for a, b in zip(after["note"], x["note"], strict=True)) == 5
    assert all(record.score > record.score_before for record in attack.records[:5])


def test_what_has_no_text_or_is_no_sample_is_refused() -> None:
    import torch

    lab = Tower(table("lab", 4), torch.nn.Linear(4, 3), 3)
    found = FusionClassifier(ModularModel([lab], "late", ("no", "yes")), device_type="cpu")
    with pytest.raises(InputError, match="needs a model with one text; this one has 0"):
        CharacterAttack(found, **SETTINGS).generate(samples(lab=np.zeros((2, 4))))
    x = make_samples()
    with pytest.raises(InputError, match="The samples lack note"):
        CharacterAttack(classifier(), **SETTINGS).generate(x[["rgb", "audio", "lab"]])
    pairs = FusionClassifier(TinyFusion(seed=1).eval(), device_type="cpu")
    with pytest.raises(InputError, match="takes pairs"):
        CharacterAttack(pairs, **SETTINGS).generate(samples(**fields_of(x)))

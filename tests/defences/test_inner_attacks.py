"""What training attacks with: named objects, objects of one's own, and mixtures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from art_multimodal.attacks.evasion import BertAttack, CharacterAttack
from art_multimodal.attacks.evasion.image_ascent import own_score
from art_multimodal.attacks.evasion.text.character_attack import LETTERS
from art_multimodal.defences.trainer import (
    IMAGE_ATTACKS,
    TEXT_ATTACKS,
    DualEncoderTrainer,
    ImageAscent,
    KLAscent,
    Method,
    Mixture,
)
from art_multimodal.defences.trainer.embeddings import Embedder
from art_multimodal.errors import InputError
from art_multimodal.functional.objectives import cosine_logits, kl_of_logits, tecoa

from .training import classifier, images, labels, settings


def seen(trainer: DualEncoderTrainer, monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Clean and adversarial images of each step, as they are made."""
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    attacked = Embedder.attacked

    def watched(self, batch, generator):
        adversarial = attacked(self, batch, generator)
        found.append((batch.images.clone(), adversarial[0].clone()))
        return adversarial

    monkeypatch.setattr(Embedder, "attacked", watched)
    return found


class NormAscent(ImageAscent):
    """Raises the squared length of the embedding, and tells the objective what it was."""

    name = "norm"
    provides = ("lengths",)

    def raised(self, ask, batch):
        return own_score(lambda inputs: ask.image_features(inputs).square().sum(dim=1))

    def further(self, ask, batch):
        return {"lengths": ask.model.encode_image(batch.images, normalize=False).norm(dim=1)}


def with_lengths(adversarial_images, class_texts, targets, scale, lengths, weight=0.0):
    return tecoa(adversarial_images, class_texts, targets, scale) + weight * lengths.mean()


def test_an_attack_of_ones_own_raises_what_it_says_and_gives_the_objective_more(monkeypatch):
    estimator = classifier()
    method = Method(with_lengths, "", image_attack=NormAscent())
    trainer = DualEncoderTrainer(estimator, method, settings(eps=0.1, eps_step=0.05, max_iter=5), weight=0.1)
    steps = seen(trainer, monkeypatch)
    lengths = []

    def noted(ask, batch):
        lengths.append(NormAscent().further(ask, batch)["lengths"])
        return {"lengths": lengths[-1]}

    monkeypatch.setattr(method.image_attack, "further", noted, raising=False)
    before = [p.detach().clone() for p in estimator.dual_encoder.parameters()]
    trainer.fit(images(), labels(), batch_size=6, nb_epochs=1)
    assert any(part.requires_grad for part in lengths)
    assert any(not torch.equal(a, b) for a, b in zip(before, estimator.dual_encoder.parameters(), strict=True))
    fresh = classifier().dual_encoder
    clean, adversarial = steps[0]
    with torch.no_grad():
        grown = [fresh.encode_image(part, normalize=False).norm(dim=1) for part in (clean, adversarial)]
    assert (grown[1] > grown[0]).all()
    assert (adversarial - clean).abs().max() <= 0.1 + 1e-6


def test_kl_ascent_moves_answers_away_from_the_clean_ones(monkeypatch):
    estimator = classifier()
    trainer = DualEncoderTrainer(
        estimator, Method(tecoa, "", image_attack=KLAscent()), settings(eps=0.1, eps_step=0.05, max_iter=5)
    )
    steps = seen(trainer, monkeypatch)
    fresh = classifier()
    trainer.fit(images(), labels(), batch_size=6, nb_epochs=1)
    clean, adversarial = steps[0]
    model, classes = fresh.dual_encoder, fresh.class_features()
    with torch.no_grad():
        logits = [cosine_logits(model.encode_image(part), classes, model.logit_scale.exp()) for part in steps[0]]
        jitter = clean + 0.1 * (torch.rand(clean.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1)
        random = cosine_logits(model.encode_image(jitter.clamp(0, 1)), classes, model.logit_scale.exp())
    assert (kl_of_logits(logits[0], logits[1]).mean() > 2 * kl_of_logits(logits[0], random).mean()).item()
    assert (adversarial - clean).abs().max() <= 0.1 + 1e-6


def test_names_are_objects():
    assert list(IMAGE_ATTACKS) == ["cross_entropy", "distance", "kl", "scores"]
    assert list(TEXT_ATTACKS) == ["words", "characters"]
    for name, attack in (*IMAGE_ATTACKS.items(), *TEXT_ATTACKS.items()):
        assert attack.name == name
    assert Method(tecoa, "", image_attack="kl").image_attack is IMAGE_ATTACKS["kl"]


@pytest.mark.parametrize(
    ("settings_of", "said"),
    [
        ({"image_attack": "pgd"}, "must be one of cross_entropy, distance, kl, scores, or an ImageAscent, not 'pgd'"),
        ({"image_attack": KLAscent}, "or an ImageAscent"),
        ({}, "asks for adversarial images"),
        ({"image_attack": "kl", "text_attack": "words"}, "leave out text_attack"),
    ],
)
def test_methods_that_do_not_fit_together(settings_of, said):
    with pytest.raises(ValueError, match=said):
        Method(tecoa, "", **settings_of)


def test_what_an_attack_does_not_provide_is_unknown():
    with pytest.raises(ValueError, match="asks for lengths"):
        Method(with_lengths, "", image_attack="kl")


def test_a_mixture_attacks_each_text_with_one_of_its_attacks():
    estimator = classifier()
    typos, words = CharacterAttack(estimator, verbose=False), BertAttack(estimator, verbose=False)
    asked: dict[str, list[str]] = {"typos": [], "words": []}
    for name, attack in (("typos", typos), ("words", words)):
        attack.perturb = lambda texts, name=name: (asked[name].extend(texts), [f"{name} {t}" for t in texts])[1]
    texts = [f"text {number}" for number in range(9)]
    mixture = Mixture([typos, words], seed=3, letters=5)
    first = mixture.perturb(texts)
    assert sorted(asked["typos"] + asked["words"]) == sorted(texts)
    assert (len(asked["typos"]), len(asked["words"])) == (5, 4)
    assert all(found in (f"typos {text}", f"words {text}") for found, text in zip(first, texts, strict=True))
    assert len(set(typos.alphabet)) == 5 and set(typos.alphabet) <= set(LETTERS)
    letters = typos.alphabet
    assert mixture.perturb(texts) != first and typos.alphabet != letters
    assert Mixture([typos, words], seed=3, letters=5).perturb(texts) == first


def test_mixtures_that_cannot_be():
    one, other = (CharacterAttack(classifier(), verbose=False) for _ in range(2))
    for attacks in ([], [one, other]):
        with pytest.raises(InputError, match="on one and the same estimator"):
            Mixture(attacks)
    for letters in (0, 100):
        with pytest.raises(InputError, match="letters must be"):
            Mixture([one], letters=letters)


def test_training_with_a_mixture_and_what_a_checkpoint_says_of_it():
    estimator = classifier()
    mixture = Mixture([CharacterAttack(estimator, candidate_words=1, verbose=False)], letters=4)
    trainer = DualEncoderTrainer(estimator, "mmcoa", settings(max_iter=1), mixture)
    trainer.fit(images(), labels(), batch_size=6, nb_epochs=1)
    assert np.isfinite(trainer.losses).all()
    assert trainer.configuration()["text_attack"] == {"name": "Mixture", "attacks": ["CharacterAttack"], "letters": 4}
    strange = Mixture([CharacterAttack(classifier(), verbose=False)])
    with pytest.raises(InputError, match="another model"):
        DualEncoderTrainer(estimator, "mmcoa", settings(), strange)

"""One model under every attack of the experiment: which cells are right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from art_multimodal import ZeroShotClassifier
from art_multimodal.language.masked_language_model import MaskedLanguageModel
from art_multimodal.language.words import STOP_WORDS
from art_multimodal.models.dual_encoder import DualEncoder
from benchmarks.robust_training.attacks import (
    IMAGE_ATTACKS,
    TextThreat,
    WorstWords,
    attack_images,
    encode,
    right_in_cells,
    survive_worst_words,
    unit_images,
)
from benchmarks.robust_training.data import Split

EPS = (1, 2, 4)
JOINT_EPS = 2


@dataclass(frozen=True)
class Words:
    """The words of the language model, one half of which no training ever proposes."""

    language_model: MaskedLanguageModel
    seen: frozenset[str]
    unseen: frozenset[str]

    @classmethod
    def halved(cls, language_model: MaskedLanguageModel) -> Words:
        """Deal the vocabulary into two halves; function words are never proposed in either."""
        words = sorted(language_model.whole_words() - STOP_WORDS)
        mine = np.random.default_rng(0).random(len(words)) < 0.5
        seen = frozenset(word for word, here in zip(words, mine.tolist(), strict=True) if here)
        return cls(language_model, seen, frozenset(words) - seen)

    def training(self) -> frozenset[str]:
        """Stop words of training."""
        return STOP_WORDS | self.unseen


def evaluate_cells(
    model: DualEncoder, words: Words, data: Split, templates: tuple[str, ...], seed: int, max_queries: int
) -> dict[str, np.ndarray]:
    """Attack a model in every way.

    :return: Boolean, ``[N, T]`` for texts, ``[N]`` where images are attacked: image ``n`` in its cell with template
        ``n % T``.
    """
    classifier = ZeroShotClassifier(model, data.class_names, templates, device_type="cpu")
    labels = torch.from_numpy(data.labels)
    clean = unit_images(classifier, data.images)
    found: dict[str, np.ndarray] = {}

    def of_prompts(prompts: np.ndarray | tuple) -> torch.Tensor:
        flat = [text for entry in prompts for text in entry]
        features = encode(classifier, flat)
        return features.view(len(prompts), len(templates), -1).transpose(0, 1)

    found["clean"] = right_in_cells(clean, labels, of_prompts(classifier.prompts))
    threats = {
        "": TextThreat(words.language_model),
        "_unprotected": TextThreat(words.language_model, protected=False),
    }
    for name, threat in threats.items():
        adversarial = threat.attack(classifier).generate()
        found[f"text_kl{name}"] = right_in_cells(clean, labels, of_prompts(adversarial))
    # Wide enough that as many are left of the unseen half as of the whole.
    threats["_unseen"] = TextThreat(words.language_model, stop_words=STOP_WORDS | words.seen, top_k=40)
    worst = {name: WorstWords(classifier, threat) for name, threat in threats.items()}
    for name, of_words in worst.items():
        margins = [of_words.margins(clean, labels, t) > 0 for t in range(len(templates))]
        found[f"text_margin{name}"] = torch.stack(margins, dim=1).numpy()
    found |= _attacked_images(classifier, threats[""], worst[""], data, seed, max_queries)
    return found


def _attacked_images(
    classifier: ZeroShotClassifier,
    threat: TextThreat,
    worst: WorstWords,
    data: Split,
    seed: int,
    max_queries: int,
) -> dict[str, np.ndarray]:
    templates = classifier.templates or ()
    names = [*(f"image_{eps}" for eps in EPS), *(f"white_box_{eps}" for eps in EPS), "joint"]
    found = {name: np.zeros(len(data), dtype=bool) for name in names}
    for number, template in enumerate(templates):
        own = classifier.with_templates(template)
        rows = np.arange(number, len(data), len(templates))
        images, labels = data.images[rows], data.labels[rows]
        left = own.predict(images, batch_size=256).argmax(axis=1) == labels
        for eps in EPS:
            # What falls to a small budget falls to a larger one.
            attacked = images.copy()
            for attacks, name in ((IMAGE_ATTACKS[:2], "white_box"), (IMAGE_ATTACKS[2:], "image")):
                attacked[left] = attack_images(
                    own, images[left], labels[left], eps / 255, seed, attacks, max_queries=max_queries
                )
                still = own.predict(attacked, batch_size=256).argmax(axis=1) == labels
                left &= still
                found[f"{name}_{eps}"][rows] = left
            if eps == JOINT_EPS:
                found["joint"][rows] = left & _survives_both(own, threat, worst, number, images, labels, left, seed)
    return found


def _survives_both(
    classifier: ZeroShotClassifier,
    threat: TextThreat,
    worst: WorstWords,
    template: int,
    images: np.ndarray,
    labels: np.ndarray,
    left: np.ndarray,
    seed: int,
) -> np.ndarray:
    """Who survives words and pixels at once, of those whom neither misleads alone.

    Prompts are attacked for all images together, images against these prompts, then the words are chosen anew for each
    image. Images that were attacked against the clean prompts count, too. Then pixels go down the margin under the
    worst words, which are chosen anew in every step.
    """
    truth = torch.from_numpy(labels)
    survives = left & (worst.margins(unit_images(classifier, images), truth, template) > 0).numpy()
    for prompts in (
        threat.attack(classifier, "margin").generate(images, labels),
        threat.attack(classifier).generate(),
        classifier.prompts,
    ):
        if not survives.any():
            break
        rows = np.flatnonzero(survives)
        against = classifier.with_prompts(list(prompts))
        wrong = against.predict(images[rows], batch_size=256).argmax(axis=1) != labels[rows]
        survives[rows[wrong]] = False
        rows = rows[~wrong]
        attacked = attack_images(against, images[rows], labels[rows], JOINT_EPS / 255, seed, IMAGE_ATTACKS[:2])
        if len(rows):
            features = unit_images(classifier, attacked)
            survives[rows] = (worst.margins(features, truth[rows], template) > 0).numpy()
    rows = np.flatnonzero(survives)
    survives[rows] = survive_worst_words(classifier, worst, template, images[rows], labels[rows], JOINT_EPS / 255, seed)
    return survives


def evaluate_transfer(
    model: DualEncoder, data: Split, templates: tuple[str, ...], eps: float, seed: int
) -> dict[str, np.ndarray]:
    """Predictions ``[N]`` on a set that was not trained on, clean and with attacked images; templates are averaged."""
    classifier = ZeroShotClassifier(model, data.class_names, templates, device_type="cpu")
    said = classifier.predict(data.images, batch_size=256).argmax(axis=1)
    right = said == data.labels
    attacked = data.images.copy()
    attacked[right] = attack_images(classifier, data.images[right], data.labels[right], eps, seed, IMAGE_ATTACKS[:2])
    after = classifier.predict(attacked, batch_size=256).argmax(axis=1)
    return {"clean": said, "image": np.where(right, after, said)}

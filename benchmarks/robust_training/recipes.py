"""Every method of the experiment: which of the library's trainers, and how it is set."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from art_multimodal import ZeroShotClassifier
from art_multimodal.attacks.evasion import BertAttack, CharacterAttack
from art_multimodal.attacks.evasion.image_ascent import Objective
from art_multimodal.defences.trainer import (
    METHODS,
    Characters,
    CrossEntropyAscent,
    DualEncoderTrainer,
    Method,
    TrainingSettings,
)
from art_multimodal.defences.trainer import Words as InnerWords
from art_multimodal.defences.trainer.embeddings import Embedder, EncodedTexts
from art_multimodal.defences.trainer.samples import Batch
from art_multimodal.functional.objectives import cosine_logits, mmcoa, soft_cross_entropy
from art_multimodal.models.dual_encoder import DualEncoder
from benchmarks.robust_training.attacks import SYNONYMS, TOP_K
from benchmarks.robust_training.captions import TRAINING_TEMPLATES
from benchmarks.robust_training.data import Split
from benchmarks.robust_training.evaluation import Words


class LeakingAscent(CrossEntropyAscent):
    """The published code's slip: every step of the image attack leaves the gradients of its loss to the optimiser.

    In this library they are not computed at all. Here they come back as what they amount to: the attack's loss at each
    image on its way is there for the objective to add. An ablation; nobody should train so.
    """

    provides = ("leaked_loss",)

    def __init__(self) -> None:
        self._way: list[Tensor] = []

    def raised(self, ask: Embedder, batch: Batch) -> Objective:
        objective, self._way = super().raised(ask, batch), []

        def remember(inputs: Tensor) -> tuple[Tensor, Tensor]:
            self._way.append(inputs.detach())
            return objective(inputs)

        return remember

    def further(self, ask: Embedder, batch: Batch) -> dict[str, Tensor]:
        assert batch.classes is not None and batch.targets is not None
        classes = EncodedTexts(ask.model, [text for prompts in batch.classes for text in prompts])
        scale, loss = ask.model.logit_scale.exp().detach(), batch.targets.new_zeros(())
        for seen in self._way:
            logits = cosine_logits(
                ask.model.encode_image(seen, normalize=False), classes.of_classes(batch.classes), scale
            )
            loss = loss + soft_cross_entropy(logits, batch.targets).mean()
        return {"leaked_loss": loss}


def mmcoa_with_the_leak(
    clean_images: Tensor,
    adversarial_images: Tensor,
    clean_texts: Tensor,
    adversarial_texts: Tensor,
    positives: Tensor,
    scale: Tensor,
    leaked_loss: Tensor,
) -> Tensor:
    """MMCoA, and what the attack's loss was on its way."""
    own = mmcoa(clean_images, adversarial_images, clean_texts, adversarial_texts, positives, scale)
    return own + leaked_loss


@dataclass(frozen=True)
class Recipe:
    """A method as the experiment runs it.

    :param method: Its name in the library; ``None`` trains nothing.
    :param title: As tables call it.
    :param settings: Other than those of all.
    :param options: Of the objective.
    :param leaks: Whether the attack's gradients reach the optimiser.
    :param epochs: Where it takes fewer than the others.
    """

    method: str | None
    title: str
    settings: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    leaks: bool = False
    epochs: int | None = None


RECIPES = {
    "none": Recipe(None, "no fine-tuning"),
    "clean": Recipe("clean", "clean fine-tuning"),
    "text": Recipe("text-contrastive", "text-only contrastive"),
    "tecoa-image": Recipe("tecoa", "TeCoA, image tower", {"towers": "image"}),
    "tecoa": Recipe("tecoa", "TeCoA, both towers"),
    "fare": Recipe("fare", "FARE", {"towers": "image"}),
    "pmg-aft": Recipe("pmg-aft", "PMG-AFT", {"towers": "image"}),
    "leaf": Recipe("leaf", "LEAF", {"towers": "text"}, epochs=1),
    "mmcoa": Recipe("mmcoa", "MMCoA"),
    "mmcoa-index": Recipe("mmcoa", "MMCoA, pairs alone as positives", {"positives": "index"}),
    "mmcoa-leak": Recipe("mmcoa", "MMCoA with the published leak", leaks=True),
    "joint-anchored": Recipe("joint-anchored", "joint-anchored (ours)"),
    "joint-anchored-no-joint": Recipe(
        "joint-anchored", "without the contrast of both attacked", options={"lambda_joint": 0.0}
    ),
    "joint-anchored-clean-images": Recipe(
        "joint-anchored", "attacked texts against clean images, too", options={"lambda_txt": 0.5}
    ),
    "joint-anchored-no-image-anchor": Recipe(
        "joint-anchored", "without the anchor of images", options={"lambda_image_anchor": 0.0}
    ),
    "joint-anchored-no-text-anchor": Recipe(
        "joint-anchored", "without the anchor of attacked texts", options={"lambda_text_anchor": 0.0}
    ),
    "joint-anchored-no-reference": Recipe(
        "joint-anchored", "without reference texts", options={"lambda_reference": 0.0}
    ),
}

#: Of all methods.
SETTINGS: dict[str, Any] = {
    "learning_rate": 5e-4,
    "warmup_steps": 20,
    "max_grad_norm": 5.0,
    "eps": 2 / 255,
    "eps_step": 1 / 255,
    "max_iter": 3,
}
EPOCHS, BATCH_SIZE = 2, 128


def train(
    recipe: Recipe, model: DualEncoder, words: Words, data: Split, seed: int, epochs: int = EPOCHS, **changes: Any
) -> list[float]:
    """Train a model in place by a recipe.

    :return: The losses of its steps.
    """
    if recipe.method is None:
        return []
    classifier = ZeroShotClassifier(model, data.class_names, TRAINING_TEMPLATES, device_type="cpu")
    settings = TrainingSettings(**{**SETTINGS, **recipe.settings, **changes}, seed=seed)
    kind = METHODS[recipe.method].text_attack
    attack: BertAttack | CharacterAttack | None = None
    if isinstance(kind, InnerWords):
        # Twice the proposals, of which half are kept back for measuring.
        attack = BertAttack(
            classifier,
            words.language_model,
            top_k=2 * TOP_K,
            protected_words=SYNONYMS,
            stop_words=words.training(),
            verbose=False,
        )
    elif isinstance(kind, Characters):
        attack = CharacterAttack(classifier, candidate_words=1, verbose=False)
    references = None
    if METHODS[recipe.method].needs_references:
        # The words of the language model, but for the half that is kept back, and for what is trained on.
        known = sorted(words.seen - set(data.class_names))
        references = [template.replace("{}", word) for word in known for template in TRAINING_TEMPLATES]
    method: str | Method = recipe.method
    if recipe.leaks:
        method = Method(mmcoa_with_the_leak, recipe.title, LeakingAscent(), "words")
    trainer = DualEncoderTrainer(classifier, method, settings, attack, references, **recipe.options)
    trainer.fit(data.images, data.labels, batch_size=BATCH_SIZE, nb_epochs=epochs)
    model.eval()
    return [float(np.float32(loss)) for loss in trainer.losses]

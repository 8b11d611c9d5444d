"""How good a model in training is on samples that it is not trained on, clean and attacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack

from art_multimodal.ablation import Keep
from art_multimodal.attacks.evasion import ProjectedGradientDescentDualEncoder, ProjectedGradientDescentMultimodal
from art_multimodal.attacks.evasion.image_ascent import ImageBudget
from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.defences.trainer.methods import Method
from art_multimodal.defences.trainer.samples import Estimator
from art_multimodal.defences.training_run.data import Part
from art_multimodal.defences.training_run.hiding import Hidden
from art_multimodal.defences.training_run.settings import RunSettings
from art_multimodal.estimators.retriever import ImageTextRetriever
from art_multimodal.groups import first_rows, image_groups, numbered
from art_multimodal.sample_arrays import with_field

#: What is measured: on clean samples, on those of which elements are hidden, on attacked images, on attacked texts, on
#: one modality attacked alone, on all at once, and the worst of these.
MEASURES = ("clean", "ablated", "image", "text", "single", "joint", "attacked")
_BATCH = 128


class Validation:
    """Measures accuracy on clean and attacked samples; in retrieval the mean of recall@1 in both directions.

    What the method trains against is attacked; images, where it trains against nothing.

    :param estimator: Around the model in training.
    :param part: Samples that are not trained on.
    :param text_attack: Where the method attacks texts.
    :param keeps: Where the method hides elements, what is kept of each modality, by name.
    """

    def __init__(
        self,
        estimator: Estimator,
        part: Part,
        method: Method,
        settings: RunSettings,
        text_attack: TextAttack | None,
        keeps: Mapping[str, Keep] | None = None,
    ) -> None:
        self.hidden = None if keeps is None else Hidden(keeps, settings.training.seed)
        self.estimator = estimator
        self.part = part
        self.settings = settings
        self.text_attack = text_attack
        self.attacks_images = keeps is None and (method.image_attack is not None or text_attack is None)
        steps = settings.validation_steps or max(1, settings.training.max_iter)
        eps = settings.training.eps
        #: Of the image attack.
        self.budget = ImageBudget(settings.training.image_budget.norm, eps, min(eps, 2.5 * eps / steps), steps)

    def measure(self) -> dict[str, float]:
        """Return ``clean``, ``image`` and ``text`` where these are attacked, and ``attacked``, the worst of them.

        Where elements are hidden, ``ablated`` takes the place of attacks.

        All are shares in [0, 1]. ``attacked`` counts samples that are right under every attack; in retrieval it is the
        smallest recall.
        """
        if self.hidden is not None:
            return self._under_masks(self.hidden)
        measure = self._accuracies if self.estimator.classifies else self._recalls
        return measure(self.estimator)

    def _under_masks(self, hidden: Hidden) -> dict[str, float]:
        x, estimator = self.part.x, self.estimator
        if isinstance(estimator, ImageTextRetriever):
            # An image is hidden once, for all of its captions.
            groups = image_groups(x["image"])
            found = hidden.measured(
                x["image"][first_rows(groups)],
                lambda seen: self._recall(estimator, with_field(x, "image", seen[groups])),
            )
            return {"clean": self._recall(estimator, x), **found}

        def right(seen: np.ndarray) -> float:
            return float((estimator.predict_labels(seen, batch_size=_BATCH) == self.part.y).mean())

        return {"clean": right(x), **hidden.measured(x, right)}

    def protocol(self) -> dict[str, str]:
        """What the numbers mean, in words."""
        retrieval = self.settings.task == "retrieval"
        said = {
            "clean": "recall@1, mean of both directions" if retrieval else f"top-1 accuracy{self._over}",
            "attacked": (
                "the smallest recall under an attack"
                if retrieval
                else "share of samples that are right, and stay so under every attack"
            ),
            "best": "the epoch with the highest attacked; of equal ones that with the highest clean, then the first",
        }
        if self.hidden is not None:
            return {"clean": said["clean"], **self.hidden.protocol()}
        if self.attacks_images:
            budget = self.budget
            said["image"] = (
                f"PGD on cross-entropy, {budget.max_iter} steps of {budget.eps_step:.4g} from one random start, norm "
                f"{budget.norm:g}, eps {budget.eps:.4g}"
                + ("; the captions of each image are its class" if retrieval else "")
            )
        if self.text_attack is not None:
            name = type(self.text_attack).__name__
            what = "the captions" if retrieval else "the class prompts, the same for all images"
            said["text"] = f"{name} by embeddings on {what}"
        return said

    @property
    def _over(self) -> str:
        return " over the class prompts" if self.estimator.texts_are_prompts else ""

    def _image_attack(self, estimator: Any) -> EvasionAttack:
        budget = self.budget
        shared: dict[str, Any] = {"batch_size": _BATCH, "seed": self.settings.training.seed, "verbose": False}
        if not estimator.texts_are_prompts:
            eps, steps = {"image": budget.eps}, {"image": budget.eps_step}
            return ProjectedGradientDescentMultimodal(estimator, eps, budget.norm, steps, budget.max_iter, **shared)
        return ProjectedGradientDescentDualEncoder(estimator, **vars(budget), **shared)

    def _accuracies(self, estimator: Any) -> dict[str, float]:
        x, y = self.part.x, self.part.y
        right = estimator.predict_labels(x, batch_size=_BATCH) == y
        found, stays = {"clean": float(right.mean())}, right.copy()
        if self.attacks_images:
            resisted = right.copy()
            if right.any():
                assert y is not None
                attacked = self._image_attack(estimator).generate(x[right], y[right])
                resisted[right] = estimator.predict_labels(attacked, batch_size=_BATCH) == y[right]
            found["image"], stays = float(resisted.mean()), stays & resisted
        if self.text_attack is not None:
            prompts = self.text_attack.generate()
            resisted = right & (estimator.predict_on(x, prompts, batch_size=_BATCH).argmax(axis=1) == y)
            found["text"], stays = float(resisted.mean()), stays & resisted
        return {**found, "attacked": float(stays.mean())}

    def _recalls(self, retriever: ImageTextRetriever) -> dict[str, float]:
        pairs = self.part.x
        found = {"clean": self._recall(retriever, pairs)}
        if self.attacks_images:
            attacked = pairs.copy()
            attacked["image"] = self._attacked_images(retriever, pairs)
            found["image"] = self._recall(retriever, attacked)
        if self.text_attack is not None:
            found["text"] = self._recall(retriever, self.text_attack.generate(pairs))
        # An attacker may do nothing.
        return {**found, "attacked": min(found.values())}

    def _recall(self, retriever: ImageTextRetriever, pairs: np.ndarray) -> float:
        recall = retriever.recall(pairs, self.part.x, ks=(1,), batch_size=_BATCH)
        return (recall.image_to_text[1] + recall.text_to_image[1]) / 2

    def _attacked_images(self, retriever: ImageTextRetriever, pairs: np.ndarray) -> np.ndarray:
        groups = image_groups(pairs["image"])
        captions = [tuple(pairs["text"][groups == group]) for group in range(groups.max() + 1)]
        # What has the same captions is one class.
        labels = numbered(frozenset(own) for own in captions)
        items = first_rows(labels)
        images = pairs["image"][first_rows(groups)]
        if len(items) < 2:
            return pairs["image"]
        classifier = retriever.as_classifier([captions[item] for item in items])
        return self._image_attack(classifier).generate(images, labels)[groups]

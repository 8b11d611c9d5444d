"""From a batch to the quantities that an objective asks for: attack it, then encode all of it once.

Several processes share the work: each attacks and encodes its own images, and its part of the distinct texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.attacks.evasion.text.text_attack import TextAttack
from art_multimodal.defences.trainer.gathering import gathered_rows
from art_multimodal.defences.trainer.inner_attacks import Mixture, TextPerturbation
from art_multimodal.defences.trainer.learner import Learner, at_least_float32
from art_multimodal.defences.trainer.methods import Method
from art_multimodal.defences.trainer.samples import Batch, Estimator
from art_multimodal.defences.trainer.settings import TrainingSettings
from art_multimodal.errors import InputError
from art_multimodal.estimators.defences import preprocessed
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.processes import gathered, is_main_process, share_of

_TEXTS_PER_PASS = 256


class EncodedTexts:
    """Unnormalised embeddings of texts, each distinct text encoded once, in one of the processes.

    :param model: The dual encoder, with gradients where its parameters and torch's mode allow them.
    :param texts: At least one; the same in all processes.
    """

    def __init__(self, model: DualEncoder, texts: Sequence[str]) -> None:
        self._row_of = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        distinct = list(self._row_of)
        mine, own = distinct[share_of(len(distinct))], None
        if mine:
            tokens = model.tokenize(mine).to(model.device)
            parts = [model.encode_text(part, normalize=False) for part in tokens.split(_TEXTS_PER_PASS)]
            own = at_least_float32(torch.cat(parts))
        self._features = gathered_rows(own, len(distinct), model.device)

    def of(self, texts: Sequence[str]) -> Tensor:
        """The embeddings ``[M, D]`` of texts."""
        return self._features[self._rows(texts)]

    def of_classes(self, classes: Sequence[Sequence[str]]) -> Tensor:
        """The directions ``[K, D]`` of classes: the mean of the unit embeddings of their texts."""
        units = F.normalize(self.of([text for texts in classes for text in texts]), dim=-1)
        if all(len(texts) == 1 for texts in classes):
            return units
        numbers = [number for number, texts in enumerate(classes) for _ in texts]
        class_of = torch.tensor(numbers, device=units.device)
        sums = units.new_zeros(len(classes), units.shape[1]).index_add(0, class_of, units)
        return F.normalize(sums, dim=-1)

    def _rows(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([self._row_of[text] for text in texts], device=self._features.device)


class Embedder(Learner):
    """Attacks batches, and encodes them for an objective.

    :param estimator: Around the model in training; its preprocessing stands in front of the image tower.
    :param original: The model as it was before training, frozen, where the method needs it.
    :param text_attack: Where the method needs it.
    :param options: Of the method; default: its own.
    """

    def __init__(
        self,
        estimator: Any,
        original: DualEncoder | None,
        method: Method,
        settings: TrainingSettings,
        text_attack: TextPerturbation | None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(estimator, method, settings, options)
        self.original = original
        self.text_attack = text_attack

    def attacked(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor | None, tuple[str, ...] | None]:
        """Return the adversarial images and texts that the method asks for, with the model as it is, frozen.

        Images are those of this process, texts all.

        :param generator: Of the image attack's random starts.
        """
        self.estimator.model.eval()
        images = None if self.method.image_attack is None else self.method.image_attack.attack(self, batch, generator)
        texts = None
        if self.text_attack is not None and batch.texts is not None:
            distinct = list(dict.fromkeys(batch.texts))
            mine = distinct[share_of(len(distinct))]
            perturbed = gathered(self.text_attack.perturb(mine) if mine else [])
            adversarial = dict(zip(distinct, (text for part in perturbed for text in part), strict=True))
            texts = tuple(adversarial[text] for text in batch.texts)
        return images, texts

    def quantities(self, batch: Batch, attacked: tuple[Tensor | None, tuple[str, ...] | None]) -> dict[str, Tensor]:
        adversarial_images, adversarial_texts = attacked
        found = self._encoded(self.model, "", batch, adversarial_images, adversarial_texts)
        scale = self.model.logit_scale.exp()
        # Gradients are summed over the processes, and each has this one whole.
        found["scale"] = scale if self.settings.train_logit_scale and is_main_process() else scale.detach()
        if self.original is not None:
            with torch.no_grad():
                found |= self._encoded(self.original, "original_", batch, adversarial_images, adversarial_texts)
                found["original_scale"] = self.original.logit_scale.exp()
        for name, tensor in (("targets", batch.targets), ("positives", batch.positives)):
            if tensor is not None:
                found[name] = tensor
        if self.method.image_attack is not None:
            found |= self.method.image_attack.further(self, batch)
        return {name: found[name] for name in self.method.needs}

    def preprocessed(self, images: Tensor) -> Tensor:
        """Images behind ART's preprocessing defences, as the model takes them."""
        return preprocessed(self.estimator, images)

    def image_features(self, inputs: Tensor) -> Tensor:
        """Unnormalised embeddings ``[N, D]`` by the model in training, as an attack sees them."""
        with self.computing("bf16-attack", "bf16"):
            return at_least_float32(self.estimator.model.image_features(inputs))

    def original_image_features(self, inputs: Tensor) -> Tensor:
        """Unnormalised embeddings ``[N, D]`` by the model as it was before training, without a gradient."""
        assert self.original is not None
        with torch.no_grad(), self.computing("bf16-attack", "bf16"):
            return at_least_float32(self.original.encode_image(inputs, normalize=False))

    def class_directions(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Directions ``[K, D]`` of the classes' texts and the logits' scale, without a gradient; in all processes."""
        assert batch.classes is not None
        with torch.no_grad(), self.computing("bf16-attack", "bf16"):
            texts = EncodedTexts(self.model, [text for texts in batch.classes for text in texts])
            return texts.of_classes(batch.classes), self.model.logit_scale.exp()

    def _encoded(
        self,
        model: DualEncoder,
        prefix: str,
        batch: Batch,
        adversarial_images: Tensor | None,
        adversarial_texts: tuple[str, ...] | None,
    ) -> dict[str, Tensor]:
        # The original model is asked for original_images, which are clean, and for original_adversarial_images.
        clean = prefix or "clean_"
        every_image = {f"{clean}images": batch.images, f"{prefix}adversarial_images": adversarial_images}
        every_text = {
            f"{clean}texts": batch.texts,
            f"{prefix}adversarial_texts": adversarial_texts,
            f"{prefix}reference_texts": batch.references,
        }
        images = {name: part for name, part in every_image.items() if part is not None and name in self.method.needs}
        views = {} if prefix else {f"view {number}": part for number, part in enumerate(batch.views)}
        images |= views
        texts = {name: part for name, part in every_text.items() if part is not None and name in self.method.needs}
        classes = batch.classes if f"{prefix}class_texts" in self.method.needs else None
        found: dict[str, Tensor] = {}
        with self.computing("bf16"):
            if images:
                parts: Sequence[Tensor | None] = [None] * len(images)
                if len(batch.images):
                    # Clean and adversarial ones in one pass.
                    seen = torch.cat([preprocessed(self.estimator, part).detach() for part in images.values()])
                    features = at_least_float32(model.encode_image(seen, normalize=False))
                    parts = features.split(len(batch.images))
                rows = [gathered_rows(part, batch.size, model.device) for part in parts]
                found |= dict(zip(images, rows, strict=True))
            if views:
                found["ablated_images"] = torch.stack([found.pop(name) for name in views])
            every = [text for part in texts.values() for text in part]
            every += [text for prompts in classes or () for text in prompts]
            if every:
                encoded = EncodedTexts(model, every)
                found |= {name: encoded.of(part) for name, part in texts.items()}
        if classes is not None:
            found[f"{prefix}class_texts"] = encoded.of_classes(classes)
        return found


def text_attack_of(
    estimator: Estimator, method: Method, settings: TrainingSettings, given: TextPerturbation | None
) -> TextPerturbation | None:
    """Return the text attack to train against: the one given, or the method's own.

    :raises InputError: If the one given cannot be used.
    """
    if method.text_attack is None:
        if given is not None:
            raise InputError("This method attacks no texts: leave out text_attack.")
        return None
    if given is None:
        return method.text_attack.on(estimator, settings)
    if not isinstance(given, (TextAttack, Mixture)):
        raise InputError(
            f"text_attack must be a BertAttack, a CharacterAttack or a Mixture of these, not {type(given).__name__}."
        )
    if given.estimator.image_text_model is not estimator.dual_encoder:
        raise InputError("text_attack attacks another model than the one that is trained. Make it with that estimator.")
    if given.loss != "embedding_kl":
        raise InputError(
            f"In training, texts are attacked by their embeddings: loss='embedding_kl', not {given.loss!r}."
        )
    return given

"""Adapters for transformers' fusion classifiers: ViLT, FLAVA and BridgeTower."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.models.families.hugging_face.encoder import context_length, preprocessing_of
from art_multimodal.models.fusion import FusionModel, Tokens
from art_multimodal.models.preprocessing import ImagePreprocessing
from art_multimodal.models.texts import check_length, check_texts

#: Classes of a head that judges whether text and image belong together, in the order of its scores.
MATCHING = ("no match", "match")


class HuggingFaceFusion(FusionModel):
    """A transformers fusion classifier behind the :class:`FusionModel` contract.

    A subclass fills in :meth:`joint_tower`, the vector on which the model's own head works, and :meth:`predict`, that
    head.

    :param model: The transformers model with its task head.
    :param tokenizer: Its tokenizer.
    :param image_processor: Its image processor, which is saved with it.
    :param preprocess: What the image processor does.
    :param class_names: Names of the head's scores.
    """

    family = "hf"

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        image_processor: Any,
        preprocess: ImagePreprocessing,
        class_names: Sequence[str],
    ) -> None:
        super().__init__(preprocess, class_names)
        self.model: Any = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.context_length = context_length(model, tokenizer)
        self._inputs = set(tokenizer.model_input_names) & set(inspect.signature(model.forward).parameters)

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        texts = check_texts(texts)
        batch = self.tokenizer(
            texts,
            padding="longest",
            padding_side="right",
            truncation=False,
            return_attention_mask=True,
            return_tensors="pt",
        )
        for text, length in zip(texts, batch["attention_mask"].sum(dim=1).tolist(), strict=True):
            check_length(text, length, self.context_length)
        return {name: part for name, part in batch.items() if name in self._inputs | {"attention_mask"}}


class ViltFusion(HuggingFaceFusion):
    """ViLT with a head for question answering or for retrieval.

    Question answering: the classes are the answers of the checkpoint (``config.id2label``), scored independently in
    training (sigmoid). Retrieval: classes "no match" and "match" with scores ``[0, logit]``, so that softmax over the
    two is the sigmoid of the model's logit. It was trained to rank texts and images, so its zero is no threshold.

    Every image is resized to the square of ``config.image_size``; ViLT's processor would keep the aspect ratio, round
    the sides to multiples of 32 pixels and pad the batch. For square images both are the same.

    transformers draws the order of the patches from the global random generator at every call, and leaves some out
    where ``config.max_image_length`` is positive. Here the patches are embedded in order, all of them: the same vector
    without the noise.

    | Paper link: https://arxiv.org/abs/2102.03334

    :param model: ``ViltForQuestionAnswering`` or ``ViltForImageAndTextRetrieval``.
    """

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        answers = hasattr(model, "classifier")
        names = answer_names(model.config.id2label) if answers else MATCHING
        preprocess = _square_preprocessing(image_processor, model.config.image_size)
        super().__init__(model, tokenizer, image_processor, preprocess, names)
        self._answers = answers

    def joint_tower(self, pixels: Tensor, tokens: Tokens) -> Tensor:
        embeddings = self.model.vilt.embeddings
        patches = embeddings.patch_embeddings(pixels).flatten(2).transpose(1, 2)
        image = torch.cat([embeddings.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        image = embeddings.dropout(image + embeddings.position_embeddings)
        mask = torch.ones(image.shape[:2], dtype=torch.long, device=image.device)
        return self.model.vilt(**_named(tokens), image_embeds=image, pixel_mask=mask).pooler_output

    def predict(self, fused: Tensor) -> Tensor:
        if self._answers:
            return self.model.classifier(fused)
        match = self.model.rank_output(fused)
        return torch.cat([torch.zeros_like(match), match], dim=1)


class FlavaFusion(HuggingFaceFusion):
    """FLAVA's image-text-matching head: classes "no match" and "match".

    Fused is the pooled first vector of the multimodal encoder, of an image and a text without masked parts.

    | Paper link: https://arxiv.org/abs/2112.04482

    :param model: ``FlavaForPreTraining``.
    """

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        super().__init__(model, tokenizer, image_processor, preprocessing_of(image_processor), MATCHING)

    def joint_tower(self, pixels: Tensor, tokens: Tokens) -> Tensor:
        output = self.model.flava(**_named(tokens), pixel_values=pixels)
        return self.model.itm_head.pooler(output.multimodal_embeddings)

    def predict(self, fused: Tensor) -> Tensor:
        return self.model.itm_head.seq_relationship(fused)


class BridgeTowerFusion(HuggingFaceFusion):
    """BridgeTower's image-text-matching head: classes "no match" and "match".

    Fused are the pooled first vectors of text and image, side by side. Every image is resized to
    ``config.vision_config.image_size`` on its shorter side and cut in the centre to a square, as BridgeTower's
    processor does, except that the processor also rounds the longer side to a multiple of 32 pixels and bounds it.
    For square images both are the same.

    | Paper link: https://arxiv.org/abs/2206.08657

    :param model: ``BridgeTowerForImageAndTextRetrieval``.
    """

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any) -> None:
        preprocess = _square_preprocessing(image_processor, model.config.vision_config.image_size)
        super().__init__(model, tokenizer, image_processor, preprocess, MATCHING)

    def joint_tower(self, pixels: Tensor, tokens: Tokens) -> Tensor:
        return self.model.bridgetower(**_named(tokens), pixel_values=pixels).pooler_output

    def predict(self, fused: Tensor) -> Tensor:
        return self.model.itm_score(fused)


#: By the name that a checkpoint's configuration gives under ``architectures``.
FUSION_ADAPTERS: dict[str, Callable[[Any, Any, Any], HuggingFaceFusion]] = {
    "ViltForQuestionAnswering": ViltFusion,
    "ViltForImageAndTextRetrieval": ViltFusion,
    "FlavaForPreTraining": FlavaFusion,
    "BridgeTowerForImageAndTextRetrieval": BridgeTowerFusion,
}
_FAMILIES = ("vilt", "flava", "bridgetower")
_REGION_FAMILIES = {"visual_bert": "VisualBERT", "lxmert": "LXMERT"}


def fusion_adapter(config: Any) -> Callable[[Any, Any, Any], HuggingFaceFusion] | None:
    """Return the adapter for a checkpoint's configuration, ``None`` where it is of no fusion family known here.

    :raises InputError: If it is of a fusion family, but has no head that classifies an image and a text, or does not
        read pixels.
    """
    family = config.model_type
    architecture = next(iter(config.architectures or ()), None)
    if architecture in FUSION_ADAPTERS:
        return FUSION_ADAPTERS[architecture]
    if family in _REGION_FAMILIES:
        raise InputError(
            f"{_REGION_FAMILIES[family]} does not read pixels but the region features of an object detector, so no "
            f"attack on its images can be computed. Models that read pixels: {', '.join(FUSION_ADAPTERS)}."
        )
    if family in _FAMILIES:
        raise InputError(
            f"{architecture or f'A {family} checkpoint without architectures in config.json'} has no head here that "
            "gives scores to an image and a text. Give a checkpoint saved from one of: "
            f"{', '.join(name for name in FUSION_ADAPTERS if name.lower().startswith(family))}."
        )
    return None


def answer_names(id2label: dict[int, str]) -> list[str]:
    """Names of answers in the order of their scores.

    Published lists of answers hold the empty answer, and may hold one twice; such names get their number.
    """
    names: list[str] = []
    for index in sorted(id2label):
        name = str(id2label[index]).strip()
        names.append(name if name and name not in names else f"{name or 'answer'} ({index})")
    return names


def _named(tokens: Tokens) -> dict[str, Tensor]:
    if isinstance(tokens, Tensor):
        raise InputError("The tokens must be the dict that tokenize() returns, not one tensor.")
    return tokens


def _square_preprocessing(image_processor: Any, image_size: Any) -> ImagePreprocessing:
    sides = {image_size} if isinstance(image_size, int) else set(image_size)
    if len(sides) != 1:
        raise InputError(f"The configuration's image_size must be one number or a square, not {image_size}.")
    return preprocessing_of(image_processor, side=sides.pop())

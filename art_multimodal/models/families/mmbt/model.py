"""MMBT: image tokens from a convolutional network in front of the words of a BERT."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.models.fusion import FusionModel, Tokens
from art_multimodal.models.preprocessing import ImagePreprocessing
from art_multimodal.models.texts import check_context, check_length, check_texts


class MMBT(FusionModel):
    """A multimodal bitransformer: BERT reads ``[CLS] image tokens [SEP] text [SEP]``.

    A convolutional network's feature map is pooled to a few tokens, which are projected to BERT's hidden size. They are
    segment 0, the text is segment 1, and positions start from 0 in each, as in the paper. Fused is BERT's pooled
    ``[CLS]`` vector ``[N, hidden_size]``; a linear layer predicts from it.

    | Paper link: https://arxiv.org/abs/1909.02950

    >>> from transformers import BertConfig, BertModel
    >>> from art_multimodal.language.masked_language_model import load_masked_language_model
    >>> from art_multimodal.models.preprocessing import ImagePreprocessing
    >>> tokenizer = load_masked_language_model("demo:mlm").tokenizer
    >>> sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    >>> bert = BertModel(BertConfig(vocab_size=len(tokenizer), **sizes))
    >>> pixels = torch.nn.Conv2d(3, 8, kernel_size=8, stride=8)
    >>> model = MMBT(bert, tokenizer, pixels, ImagePreprocessing((32, 32), (0.5,) * 3, (0.5,) * 3), ["no", "yes"])
    >>> FusionClassifier(model.eval()).predict(pairs).shape
    (8, 2)

    :param bert: A ``transformers.BertModel`` with its pooling layer.
    :param tokenizer: Its tokenizer.
    :param backbone: The name of a torchvision classification model, whose part before the pooling is used with new
        weights; or a module that maps preprocessed images ``[N, C, *image_size]`` to a feature map ``[N, F, H, W]``.
    :param preprocess: Resize and normalisation of images.
    :param class_names: Names of the classes.
    :param image_tokens: How many tokens an image gives: from a square grid where it is a square number (4: 2 x 2), else
        from one row (3: 1 x 3).
    :raises InputError: If the parts do not fit together.
    """

    family = "mmbt"

    def __init__(
        self,
        bert: Any,
        tokenizer: Any,
        backbone: str | nn.Module,
        preprocess: ImagePreprocessing,
        class_names: Sequence[str],
        image_tokens: int = 1,
    ) -> None:
        super().__init__(preprocess, class_names)
        _check_bert(bert, tokenizer)
        positions = int(bert.config.max_position_embeddings)
        if not 1 <= image_tokens <= positions - 2:
            raise InputError(
                f"image_tokens must be from 1 to {positions - 2}, as BERT has {positions} positions and [CLS] and "
                f"[SEP] take two; {image_tokens} given."
            )
        self.bert: Any = bert
        self.tokenizer = tokenizer
        self.backbone_name = backbone if isinstance(backbone, str) else None
        self.backbone = torchvision_trunk(backbone) if isinstance(backbone, str) else backbone
        self.image_tokens = image_tokens
        self.context_length = check_context(positions, tokenizer.model_max_length)
        side = round(image_tokens**0.5)
        self.pool = nn.AdaptiveAvgPool2d((side, side) if side * side == image_tokens else (1, image_tokens))
        self.projection = nn.Linear(self._feature_channels(), bert.config.hidden_size)
        self.classifier = nn.Linear(bert.config.hidden_size, len(self.class_names))

    def tokenize(self, texts: Sequence[str]) -> Tokens:
        texts = check_texts(texts)
        end = self.tokenizer.sep_token_id
        batch = self.tokenizer(texts, add_special_tokens=False, truncation=False, padding=False)["input_ids"]
        rows = [torch.tensor([*ids, end]) for ids in batch]
        for text, row in zip(texts, rows, strict=True):
            check_length(text, len(row), self.context_length)
        ids = pad_sequence(rows, batch_first=True, padding_value=self.tokenizer.pad_token_id or 0)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
        return {"input_ids": ids, "attention_mask": mask}

    def joint_tower(self, pixels: Tensor, tokens: Tokens) -> Tensor:
        if isinstance(tokens, Tensor):
            raise InputError("The tokens must be the dict that tokenize() returns, not one tensor.")
        words = self.bert.get_input_embeddings()
        ids, mask = tokens["input_ids"], tokens["attention_mask"]
        image = self.projection(self.pool(self.backbone(pixels)).flatten(2).transpose(1, 2))
        ends = ids.new_tensor([self.tokenizer.cls_token_id, self.tokenizer.sep_token_id])
        start, stop = words(ends)[:, None, None].expand(-1, len(ids), -1, -1)
        nb_image = self.image_tokens + 2
        segments = torch.cat([torch.zeros_like(ids[:, :1]).expand(-1, nb_image), torch.ones_like(ids)], dim=1)
        positions = torch.cat([torch.arange(nb_image), torch.arange(ids.shape[1])])
        return self.bert(
            inputs_embeds=torch.cat([start, image, stop, words(ids)], dim=1),
            attention_mask=torch.cat([mask.new_ones(len(ids), nb_image), mask], dim=1),
            token_type_ids=segments,
            position_ids=positions.to(ids.device)[None],
        ).pooler_output

    def predict(self, fused: Tensor) -> Tensor:
        return self.classifier(fused)

    @torch.no_grad()
    def _feature_channels(self) -> int:
        """Channels of the feature map, by trying."""
        training = self.backbone.training
        weights = next(self.backbone.parameters(), self.preprocess.mean)
        probe = torch.zeros(1, len(self.preprocess.mean), *self.image_size).to(weights)
        try:
            features = self.backbone.eval()(probe)
        except Exception as error:
            raise InputError(
                f"The backbone does not take images of shape {tuple(probe.shape)} "
                f"({type(error).__name__}: {error!s:.200})."
            ) from error
        finally:
            self.backbone.train(training)
        if not isinstance(features, Tensor) or features.ndim != 4 or len(features) != 1:
            given = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise InputError(f"The backbone must give a feature map [N, F, H, W]; it gave {given}.")
        return features.shape[1]


def torchvision_trunk(name: str) -> nn.Module:
    """A torchvision classification model up to its feature map ``[N, F, H, W]``, with new weights.

    :param name: As ``torchvision.models.list_models`` lists it: ResNet, RegNet, or a model with ``features``.
    :raises InputError: If the name is unknown or the model is not convolutional in that way.
    """
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise unknown_name("torchvision model", name, known)
    model = models.get_model(name, weights=None)
    # Swin has features too, but with the channels last.
    if hasattr(model, "features") and not hasattr(model, "permute"):
        return model.features
    if isinstance(model, models.ResNet | models.RegNet):
        return nn.Sequential(OrderedDict((n, p) for n, p in model.named_children() if n not in ("avgpool", "fc")))
    raise InputError(
        f"{name} has no convolutional part that could be taken here. Choose a ResNet, RegNet, ConvNeXt, DenseNet, "
        "EfficientNet, MobileNet or VGG, or give a module that maps [N, C, H, W] to [N, F, H, W]."
    )


def _check_bert(bert: Any, tokenizer: Any) -> None:
    """Refuse a BERT that cannot read two segments of embeddings."""
    from transformers import BertModel

    if not isinstance(bert, BertModel) or bert.pooler is None:
        raise InputError(f"bert must be a transformers.BertModel with its pooling layer, not {type(bert).__name__}.")
    if bert.config.type_vocab_size < 2:
        raise InputError("bert has one segment only (type_vocab_size); image and text need two.")
    if tokenizer.cls_token_id is None or tokenizer.sep_token_id is None:
        raise InputError("The tokenizer has no [CLS] and [SEP] tokens. Give BERT's own tokenizer.")
    if len(tokenizer) > bert.config.vocab_size:
        raise InputError(f"The tokenizer has {len(tokenizer)} tokens, bert knows only {bert.config.vocab_size}.")

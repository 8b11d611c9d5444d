"""MMBT: image tokens from a convolutional network in front of the words of a BERT."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from art_multimodal.errors import InputError, one_line, unknown_name
from art_multimodal.models.checked_json import check_folder, check_link, read_json
from art_multimodal.models.fusion import FusionModel, Tokens
from art_multimodal.models.preprocessing import ImagePreprocessing, check_sides
from art_multimodal.models.texts import check_context, check_length, check_texts
from art_multimodal.models.weight_files import check_build, read_weights, sizes_of
from art_multimodal.shown import shown

_SETTINGS = "mmbt.json"
_WEIGHTS = "mmbt.safetensors"
_BERT = "bert"


class MMBT(FusionModel):
    """A multimodal bitransformer: BERT reads ``[CLS] image tokens [SEP] text [SEP]``.

    A convolutional network's feature map is pooled to a few tokens, which are projected to BERT's hidden size. They are
    segment 0, the text is segment 1, and positions start from 0 in each, as in the paper. Fused is BERT's pooled
    ``[CLS]`` vector ``[N, hidden_size]``; a linear layer predicts from it.

    | Paper link: https://arxiv.org/abs/1909.02950

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


def save_mmbt(model: MMBT, folder: str | Path) -> None:
    """Save a model: BERT and its tokenizer in transformers' own format, the rest as JSON and safetensors.

    :param folder: Is created where it does not exist.
    """
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.bert.save_pretrained(folder / _BERT)
    model.tokenizer.save_pretrained(folder / _BERT)
    preprocess = model.preprocess
    settings = {
        "backbone": model.backbone_name,
        "class_names": list(model.class_names),
        "image_tokens": model.image_tokens,
        "preprocess": {
            "size": preprocess.size,
            "mean": preprocess.mean.flatten().tolist(),
            "std": preprocess.std.flatten().tolist(),
            "interpolation": preprocess.interpolation,
            "resize_mode": preprocess.resize_mode,
            "first_resize": preprocess.first_resize,
            "fill": preprocess.fill,
            "crop_rounds_down": preprocess.crop_rounds_down,
        },
    }
    (folder / _SETTINGS).write_text(json.dumps(settings, indent=2), encoding="utf-8")
    # Copies: safetensors refuses tensors that share memory or are not contiguous.
    save_file(
        {name: part.detach().cpu().contiguous().clone() for name, part in _own_weights(model).items()},
        folder / _WEIGHTS,
    )


def load_mmbt(folder: str | Path, backbone: nn.Module | None = None) -> MMBT:
    """Load what :func:`save_mmbt` saved, in evaluation mode, in float32, on the CPU.

    :param backbone: The module, where the model was made of one instead of a torchvision name; its weights are loaded.
    :raises InputError: If a file is missing or damaged, or weights are missing or of another shape.
    """
    import transformers

    from art_multimodal.models.hugging_face_loading import checkpoint_folder, load_tokenizer, load_weights

    folder = Path(folder).expanduser()
    if not (folder / _SETTINGS).is_file():
        raise InputError(f"There is no {_SETTINGS} in {shown(folder)!r}. Give a folder made by save_mmbt.")
    check_folder(folder)
    if not (folder / _BERT).is_dir():
        raise InputError(f"There is no folder {_BERT} in {shown(folder)!r}. Give a folder made by save_mmbt.")
    check_link(folder / _BERT)
    bert_folder = checkpoint_folder(str(folder / _BERT))
    bert, _ = load_weights(transformers.BertModel, bert_folder)
    tokenizer = load_tokenizer(bert_folder)
    name, class_names, image_tokens, preprocess = _read_settings(folder / _SETTINGS)
    trunk = name if backbone is None else backbone
    if trunk is None:
        raise InputError(
            f"The model in {folder} was made with a module as backbone. Give it: load_mmbt(folder, backbone=module)."
        )
    sizes = sizes_of([folder / _WEIGHTS])
    if isinstance(trunk, str):
        check_build(lambda: torchvision_trunk(trunk), folder / _SETTINGS, sizes)
    model = MMBT(bert, tokenizer, trunk, preprocess, class_names, image_tokens)
    weights = read_weights(folder / _WEIGHTS)
    own = _own_weights(model)
    wrong = sorted({n for n in own if n not in weights or weights[n].shape != own[n].shape} | (set(weights) - set(own)))
    if wrong:
        raise InputError(
            f"{shown(folder / _WEIGHTS)} does not fit {_SETTINGS}: {len(wrong)} weights are missing, not expected or "
            f"of another shape, for example {', '.join(wrong[:3])}. Are both files of the same model?"
        )
    model.load_state_dict(weights, strict=False)
    return model.eval()


def _read_settings(path: Path) -> tuple[str | None, list[str], int, ImagePreprocessing]:
    """The backbone's name, the class names, the number of image tokens, and the preprocessing.

    :raises InputError: If something is missing or of another kind.
    """
    settings = read_json(path)
    try:
        given = settings["preprocess"]
        sides = [given["size"], given["first_resize"] or given["size"]]
        for pair in sides:
            check_sides(pair if isinstance(pair, list) and len(pair) == 2 else [pair], f"A size in {shown(path)}")
        channels = [given["mean"], given["std"]]
        if not all(isinstance(numbers, list) and len(numbers) == 3 for numbers in channels):
            raise TypeError("mean and std must be lists of three numbers")
        if not all(abs(float(number)) < 1e6 for numbers in channels for number in numbers) or 0 in given["std"]:
            raise ValueError("mean and std must be numbers, std not zero")
        preprocess = ImagePreprocessing(**{key: _tuple(value) for key, value in given.items()})
        name, class_names, image_tokens = (settings[key] for key in ("backbone", "class_names", "image_tokens"))
        if not isinstance(name, str | None) or isinstance(image_tokens, bool) or not isinstance(image_tokens, int):
            raise TypeError("backbone must be a name or null, and image_tokens a whole number")
        if not isinstance(class_names, list) or not all(isinstance(label, str) for label in class_names):
            raise TypeError("class_names must be a list of texts")
        if not isinstance(given["fill"], int | float | None):
            raise TypeError("fill must be a number or null")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{shown(path)} is damaged ({type(error).__name__}: {one_line(error)}). Save the model again."
        ) from error
    return name, class_names, image_tokens, preprocess


def _tuple(value: Any) -> Any:
    """JSON knows lists only."""
    return tuple(value) if isinstance(value, list) else value


def _own_weights(model: MMBT) -> dict[str, Tensor]:
    """The weights that are not BERT's."""
    return {name: part for name, part in model.state_dict().items() if not name.startswith("bert.")}


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

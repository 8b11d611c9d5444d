"""An MMBT on the disk: BERT in transformers' own format, the rest as JSON and safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from art_multimodal.errors import InputError, one_line
from art_multimodal.models.checked_json import check_folder, check_link, read_json
from art_multimodal.models.families.family import Family
from art_multimodal.models.families.hugging_face.loading import checkpoint_folder, load_tokenizer, load_weights
from art_multimodal.models.families.mmbt.model import MMBT, torchvision_trunk
from art_multimodal.models.preprocessing import ImagePreprocessing, check_sides
from art_multimodal.models.weight_files import check_build, read_weights, sizes_of
from art_multimodal.shown import quoted, shown

_SETTINGS = "mmbt.json"
_WEIGHTS = "mmbt.safetensors"
_BERT = "bert"


def save_mmbt(model: MMBT, folder: str | Path) -> None:
    """Save a model: BERT and its tokenizer in transformers' own format, the rest as JSON and safetensors.

    >>> from transformers import BertConfig, BertModel
    >>> from art_multimodal.language.masked_language_model import load_masked_language_model
    >>> from art_multimodal.models.families.mmbt.model import MMBT
    >>> from art_multimodal.models.preprocessing import ImagePreprocessing
    >>> tokenizer = load_masked_language_model("demo:mlm").tokenizer
    >>> sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    >>> bert = BertModel(BertConfig(vocab_size=len(tokenizer), **sizes))
    >>> pixels = torch.nn.Conv2d(3, 8, kernel_size=8, stride=8)
    >>> model = MMBT(bert, tokenizer, pixels, ImagePreprocessing((32, 32), (0.5,) * 3, (0.5,) * 3), ["no", "yes"])
    >>> save_mmbt(model, "mine")
    >>> load_mmbt("mine", backbone=torch.nn.Conv2d(3, 8, kernel_size=8, stride=8)).class_names
    ('no', 'yes')

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

    >>> load_mmbt("mine")
    Traceback (most recent call last):
        ...
    art_multimodal.errors.InputError: There is no mmbt.json in 'mine'. Give a folder made by save_mmbt.

    :param backbone: The module, where the model was made of one instead of a torchvision name; its weights are loaded.
    :raises InputError: If a file is missing or damaged, or weights are missing or of another shape.
    """
    import transformers

    folder = Path(folder).expanduser()
    if not (folder / _SETTINGS).is_file():
        raise InputError(f"There is no {_SETTINGS} in {quoted(folder)}. Give a folder made by save_mmbt.")
    check_folder(folder)
    if not (folder / _BERT).is_dir():
        raise InputError(f"There is no folder {_BERT} in {quoted(folder)}. Give a folder made by save_mmbt.")
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


def _facts(model: MMBT) -> dict[str, Any]:
    if type(model) is not MMBT:
        raise InputError(f"A {type(model).__name__} is an MMBT with code of your own, and code is never saved.")
    if model.backbone_name is None:
        raise InputError(
            "This MMBT was made with a module of your own as backbone, and code is never saved. Give the name of a "
            "torchvision model, or use save_mmbt and load_mmbt(folder, backbone=module)."
        )
    return {}


def _load(folder: Path, facts: Mapping[str, Any]) -> MMBT:
    return load_mmbt(folder)


FAMILY = Family(_facts, save_mmbt, _load)

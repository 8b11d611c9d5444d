"""What the states of clean images look like in each layer of a model, measured or read from a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_multimodal.errors import InputError
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.layered_images import LayeredImages
from art_multimodal.models.saving import weights_sha256
from art_multimodal.plugins import made_with
from art_multimodal.shown import shown
from art_multimodal.store import read_regular, tensors_in, write_by_itself
from art_multimodal.store.files import OPTION_LIMIT, reason_of

#: What stands in the header of a file, beside the tensors.
_FORMAT, _KEY = "art-multimodal layer statistics 1", "layer_statistics"
_TENSORS = ("first", "means", "variances")
_MADE_OF = {"images": int, "model": str, "data": str, "weights_sha256": str}
_FACTS = {"format": str, "sha256": str, **_MADE_OF}
#: What is there besides where plug-ins had a part in it.
_FURTHER = {"plugins", "versions"}


@dataclass(frozen=True, eq=False)
class LayerStatistics:
    """What the states of images look like in each layer of a model.

    >>> statistics = LayerStatistics.of(classifier, images)
    >>> tuple(statistics.means.shape) == tuple(statistics.variances.shape)
    True
    >>> statistics.save("clean.safetensors")
    >>> bool((LayerStatistics.load("clean.safetensors").means == statistics.means).all())
    True

    :param first: Mean of the first states, ``[W]``.
    :param means: Of the states behind each layer, ``[L, W]``, over images and their states.
    :param variances: The same of the squared distances from these, ``[L, W]``.
    :param images: How many images they are of; 0 where that is not known.
    :param model: Name of the model that they are of; empty where it has none.
    :param data: Name of the images; empty where they have none.
    :param weights_sha256: Of the model, as audits name it; empty where that is not known.
    :raises InputError: If tensors have other shapes, or values that are no finite numbers.
    """

    first: Tensor = field(repr=False)
    means: Tensor = field(repr=False)
    variances: Tensor = field(repr=False)
    images: int = 0
    model: str = ""
    data: str = ""
    weights_sha256: str = ""

    def __post_init__(self) -> None:
        shapes = [tuple(getattr(self, name).shape) for name in _TENSORS]
        width = shapes[0][-1] if len(shapes[0]) == 1 else 0
        layers = shapes[1][0] if len(shapes[1]) == 2 else 0
        if not width or not layers or shapes != [(width,), (layers, width), (layers, width)]:
            raise InputError(
                "Statistics of layers are first [W], means [L, W] and variances [L, W]; these have the shapes "
                f"{', '.join(str(list(shape)) for shape in shapes)}."
            )
        if not all(bool(getattr(self, name).isfinite().all()) for name in _TENSORS):
            raise InputError("Statistics of layers hold NaN or infinite values.")
        if bool((self.variances < 0).any()):
            raise InputError("Statistics of layers hold variances below 0.")

    @classmethod
    def of(
        cls, classifier: ZeroShotClassifier, images: np.ndarray | Iterable[np.ndarray], batch_size: int = 32
    ) -> LayerStatistics:
        """Statistics of clean images, such as those of another set: the defence sees no label.

        :param images: Shape ``[N, C, H, W]``, values in [0, 1]; or several such arrays, one after the other.
        :param batch_size: Most images in one pass of the model.
        :raises InputError: If the image tower cannot be taken apart, or there are no images.
        """
        encoder = classifier.dual_encoder
        tower, device = layers_of(encoder), classifier.device
        sums = torch.zeros(2, len(tower.layers) + 1, 1, dtype=torch.float64, device=device)
        count = number = 0
        for array in [images] if isinstance(images, np.ndarray) else images:
            for part in torch.from_numpy(array).split(batch_size) if len(array) else ():
                found = _sums_of(tower, encoder, part.to(device))
                sums = sums + found[:2]
                count, number = count + int(found[2, 0, 0]), number + len(part)
        if not number:
            raise InputError("Statistics of layers need images; none were given.")
        total, squares = sums.cpu()
        means = total / count
        variances = (squares - count * means.square()) / max(1, count - 1)
        return cls(means[0], means[1:], variances[1:].clamp_min(0), number, weights_sha256=weights_sha256(encoder))

    def check_fits(self, encoder: DualEncoder) -> None:
        """Find out, by one blank image, whether a model has as many layers, of this width.

        :raises InputError: If it has not, or its image tower cannot be taken apart.
        """
        tower = layers_of(encoder)
        with torch.no_grad():
            blank = torch.zeros(1, 3, *encoder.image_size, device=encoder.device)
            width = tower.embed(encoder.pixels(blank)).shape[-1]
        self.check_shape(len(tower.layers), width)

    def check_shape(self, layers: int, width: int) -> None:
        """Check that statistics are of so many layers of this width.

        :raises InputError: If they are not.
        """
        own = tuple(self.means.shape)
        if own != (layers, width):
            raise InputError(
                f"Statistics of {own[0]} layers of width {own[1]} were given for TAPT, and the model has {layers} of "
                f"width {width}: make them on this model, with art-multimodal statistics MODEL --data DATA --out FILE."
            )

    def save(self, path: str | Path, plugins: Sequence[Mapping[str, Any]] = ()) -> None:
        """Write them as safetensors, with what they were made of.

        The header has one entry, ``layer_statistics``: a JSON object that names the format, the model, the SHA-256 of
        its weights, the data, the number of images, and the SHA-256 of the values.

        :param plugins: Plug-ins that they were made with, as ``plugins_of_run`` names them; the header has them, with
            the versions of all libraries.
        :raises InputError: If the file cannot be written, or is no ``.safetensors``.
        """
        from safetensors.numpy import save

        path = Path(path)
        if path.suffix != ".safetensors":
            raise InputError(f"Statistics of layers are written as .safetensors, not as {shown(path.name)}.")
        values = {name: getattr(self, name).detach().cpu().double().contiguous().numpy() for name in _TENSORS}
        facts: dict[str, Any] = {"format": _FORMAT, "sha256": _digest_of(values)}
        facts |= {name: getattr(self, name) for name in _MADE_OF}
        if plugins:
            facts |= made_with(plugins)
        write_by_itself(path, save(values, {_KEY: json.dumps(facts, sort_keys=True)}))

    @classmethod
    def load(cls, path: str | Path) -> LayerStatistics:
        """Read what :meth:`save` wrote. Nothing is unpickled.

        :raises InputError: If there is no such file, or it holds something else.
        """
        path = Path(path)
        try:
            return cls._of_file(read_regular(path, OPTION_LIMIT, follow=True))
        except OSError as error:
            why = f"{reason_of(error)}."
        except InputError as error:
            why = f"{str(error)[0].lower()}{str(error)[1:]}"
        raise InputError(
            f"The statistics {shown(path)} cannot be used: {why} Make them with art-multimodal statistics MODEL --data "
            "DATA --out FILE."
        )

    @classmethod
    def _of_file(cls, content: bytes) -> LayerStatistics:
        values, facts = tensors_in(content, _KEY)
        if strange := sorted(set(values) ^ set(_TENSORS)):
            what = "it holds" if strange[0] in values else "it lacks"
            raise InputError(f"{what} {shown(strange[0])!r:.60}; a file of statistics has {', '.join(_TENSORS)}.")
        if facts is None:
            raise InputError("its header does not say what it was made of.")
        if facts.get("format") != _FORMAT:
            raise InputError(f"it has the format {shown(facts.get('format'))!r:.60}; this version reads {_FORMAT!r}.")
        if unknown := sorted((facts.keys() - _FURTHER) ^ _FACTS.keys()):
            raise InputError(f"its header lacks, or does not know, {shown(unknown[0])!r:.60}.")
        wrong = [name for name, kind in _FACTS.items() if type(facts[name]) is not kind]
        if wrong or facts["images"] < 0:
            raise InputError(f"its header says nothing that can be used about {(wrong or ['images'])[0]}.")
        if any(array.dtype != np.float64 for array in values.values()):
            raise InputError("its tensors are not of float64.")
        first, means, variances = (torch.from_numpy(values[name]) for name in _TENSORS)
        made = cls(first, means, variances, **{name: facts[name] for name in _MADE_OF})
        if _digest_of(values) != facts["sha256"]:
            raise InputError("its values are not those that were saved: the digest does not fit.")
        return made


def layers_of(encoder: DualEncoder) -> LayeredImages:
    """The image tower of a model, layer by layer.

    :raises InputError: If it is not known.
    """
    tower = encoder.known_layers
    if tower is None:
        raise InputError(
            f"TAPT needs an image tower whose layers are known, as those of open_clip's CLIPs are; that of this "
            f"{type(encoder).__name__} is not."
        )
    return tower


def _sums_of(tower: LayeredImages, encoder: DualEncoder, images: Tensor) -> Tensor:
    """Of first states of images and those behind each layer the sum, that of squares and the number, ``[3, L, W]``."""
    found = []
    with torch.no_grad():
        states = tower.embed(encoder.pixels(images))
        for layer in (None, *tower.layers):
            states = states if layer is None else layer(states)
            rows = states.double().flatten(0, 1)
            found.append(torch.stack([rows.sum(dim=0), rows.square().sum(dim=0), torch.ones_like(rows).sum(dim=0)]))
    return torch.stack(found, dim=1)


def _digest_of(values: Mapping[str, np.ndarray]) -> str:
    """The SHA-256 of all values and their shapes."""
    digest = hashlib.sha256()
    for name in _TENSORS:
        array = np.ascontiguousarray(values[name], dtype="<f8")
        digest.update(f"{name} {array.shape} ".encode() + array.tobytes())
    return digest.hexdigest()

"""Whether the preprocessing that was deployed is the model's own: on photos, in pixels and in answers."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from art_multimodal.datasets import LabelledImages, UnreadableSample, open_images
from art_multimodal.datasets.reading import MAX_SKIPPED, check_max_skipped, check_readable, refusal
from art_multimodal.devices import device_type_of
from art_multimodal.errors import InputError, one_line
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.models.base import ImageTextModel
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.loading import load_model
from art_multimodal.models.resized import with_resize
from art_multimodal.plugins import made_with, plugins_of_run
from art_multimodal.prompts import DEFAULT_TEMPLATES
from art_multimodal.shown import shown
from art_multimodal.store import read_regular
from art_multimodal.store.files import reason_of

if TYPE_CHECKING:
    from PIL.Image import Image

#: Steps of 8 bits by which equal preprocessing may differ: each of the two passes of a resize rounds once.
ROUNDING = 2.0
#: Bytes of a file of tensors.
_MOST_BYTES = 8 << 30
_ENTRIES = {"pixels", "names"}


@dataclass(frozen=True)
class PreprocessingResult:
    """How what was deployed compares with the model's own preprocessing.

    :param photos: How many were compared.
    :param skipped: How many could not be read.
    :param resized: How many of them the model resizes: those that have another size than it takes.
    :param largest: The largest difference of a pixel, in steps of 8 bits.
    :param root_mean_square: Over all pixels, in steps of 8 bits.
    :param beyond_rounding: The share of pixels that differ by more than :data:`ROUNDING` steps.
    :param least_cosine: The smallest cosine between the embeddings of a photo.
    :param labels_changed: The share of photos of which the model says another class.
    :param own_accuracy: Of the labels of the data, with the model's own preprocessing.
    :param deployed_accuracy: Likewise, as deployed.
    :param worst: Name of the photo with the largest difference.
    :param plugins: Plug-ins that the model and the data come from, in JSON types.
    """

    photos: int
    skipped: int
    resized: int
    largest: float
    root_mean_square: float
    beyond_rounding: float
    least_cosine: float
    labels_changed: float
    own_accuracy: float
    deployed_accuracy: float
    worst: str
    plugins: tuple[dict[str, Any], ...] = ()

    @property
    def same(self) -> bool | None:
        """Whether it is the same preprocessing, up to rounding to 8 bits, with the same answers.

        ``None`` where nothing differs and no photo was resized: photos of the model's own size tell no resizes apart.
        """
        if self.largest > ROUNDING or self.labels_changed > 0:
            return False
        return True if self.resized else None

    def as_json(self) -> dict[str, Any]:
        """All numbers, the verdict, and what they were computed with, in JSON types."""
        numbers = {name: value for name, value in asdict(self).items() if name != "plugins"}
        return {**numbers, "same": self.same, "rounding": ROUNDING, **made_with(self.plugins)}


def compare_preprocessing(
    model: str | ImageTextModel,
    data: str,
    resize: str | None = None,
    deployed: str | Path | None = None,
    limit: int | None = None,
    classes: tuple[str, ...] | None = None,
    templates: tuple[str, ...] | None = None,
    device: str = "auto",
    max_skipped: float = MAX_SKIPPED,
) -> PreprocessingResult:
    """Compare what was deployed with a model's own preprocessing, on photos.

    >>> from PIL import Image
    >>> for name in ("zero", "one"):
    ...     Path("photos", name).mkdir(parents=True)
    ...     Image.new("RGB", (64, 64), "grey").save(Path("photos", name, "1.png"))
    ...
    >>> result = compare_preprocessing("demo:digits", "folder:photos", resize="opencv_linear", device="cpu")
    >>> isinstance(result, PreprocessingResult), result.photos, result.largest < 1
    (True, 2, True)

    :param model: A dual encoder, or its name.
    :param data: Photos with class folders, as for ``open_data``.
    :param resize: The resize that was deployed, a name of :data:`~art_multimodal.functional.resizing.RESIZERS`; or
    :param deployed: a ``.npz`` file of what the deployed pipeline fed to the model: ``pixels``, ``(N, 3, h, w)``,
        normalised, of the first ``N`` photos in the order of the data; or, with ``names``, of those.
    :param limit: Most photos; ``None`` for all.
    :param classes: Class names instead of the data's own.
    :param templates: Prompt templates instead of the data's own.
    :param device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    :param max_skipped: Share of photos that may be unreadable.
    :raises InputError: For what cannot be used.
    """
    check_max_skipped(max_skipped)
    if (resize is None) == (deployed is None):
        raise InputError("Say what was deployed: --resize NAME, or --deployed FILE.npz, one of them.")
    loaded = load_model(model) if isinstance(model, str) else model
    if not isinstance(loaded, DualEncoder):
        raise InputError(f"{model} is a {loaded.kind}: preprocessing is compared on dual encoders.")
    sizes: list[tuple[int, ...]] = []

    def reduced(photo: Image) -> Image:
        sizes.append((photo.height, photo.width))
        return loaded.preprocess.reduce_photo(photo)

    own = open_images(data, classes, reduced)
    names = own.templates if templates is None else templates
    classifier = ZeroShotClassifier(
        loaded, own.class_names, names or DEFAULT_TEMPLATES, device_type=device_type_of(device)
    )
    other: _Deployed
    if resize is not None:
        other = _Resized(loaded, resize, data, classes, len(own))
    else:
        assert deployed is not None
        other = _Tensors(Path(deployed), loaded, own)
    order = np.array(other.indices[:limit])
    check_readable(own, order, max_skipped, own.image)
    tally, skipped, resized = _Tally(classifier), [], 0
    for index in map(int, order):
        sizes.clear()
        try:
            image = own.image(index)
            after = other.pixels(index)
        except UnreadableSample as error:
            skipped.append(error)
            continue
        before = loaded.preprocess(torch.from_numpy(image)[None].to(loaded.device))
        # As it was in the file, where there is one, and as the model gets it.
        resized += any(size != loaded.image_size for size in (*sizes, image.shape[1:]))
        tally.add(own.name_of(index), own.label_of(index), before, after)
    if skipped:
        refused = refusal(skipped[0].name, skipped[0].reason, len(skipped), len(order), max_skipped)
        if refused is not None:
            raise refused
    named = (model,) if isinstance(model, str) else ()
    return replace(tally.result(len(skipped), resized), plugins=tuple(plugins_of_run(named, data, (loaded,), own)))


class _Deployed:
    """What was fed to the model where it is deployed."""

    #: The photos that it is known of.
    indices: list[int]

    def pixels(self, index: int) -> Tensor:
        """Normalised, ``[1, 3, h, w]``. Raises :class:`UnreadableSample`."""
        raise NotImplementedError


class _Resized(_Deployed):
    def __init__(self, model: DualEncoder, resize: str, data: str, classes: tuple[str, ...] | None, count: int) -> None:
        self._preprocess = with_resize(model, resize).preprocess
        self._data = open_images(data, classes, self._preprocess.reduce_photo)
        self.indices = list(range(count))

    def pixels(self, index: int) -> Tensor:
        return self._preprocess(torch.from_numpy(self._data.image(index))[None].to(self._preprocess.mean.device))


class _Tensors(_Deployed):
    def __init__(self, path: Path, model: DualEncoder, data: LabelledImages) -> None:
        arrays = _arrays_in(path)
        pixels = arrays["pixels"]
        shape = (3, *model.image_size)
        if pixels.dtype.kind != "f" or pixels.ndim != 4 or pixels.shape[1:] != shape or not len(pixels):
            raise InputError(
                f"{shown(path)}: pixels has shape {pixels.shape} and dtype {pixels.dtype}; this model is fed "
                f"(N, {', '.join(map(str, shape))}) in floating point numbers."
            )
        if not np.isfinite(pixels).all():
            raise InputError(f"{shown(path)}: pixels holds NaN or infinite values.")
        self._pixels = pixels.astype(np.float32)
        if "names" in arrays:
            self.indices = self._named(path, arrays["names"], data)
        elif len(pixels) > len(data):
            raise InputError(f"{shown(path)} holds {len(pixels)} pictures, and the data {len(data)}.")
        else:
            self.indices = list(range(len(pixels)))
        self._rows = {index: row for row, index in enumerate(self.indices)}

    def _named(self, path: Path, names: np.ndarray, data: LabelledImages) -> list[int]:
        if names.dtype.kind != "U" or names.shape != (len(self._pixels),):
            raise InputError(f"{shown(path)}: names must be {len(self._pixels)} strings, one for each of pixels.")
        places = {data.name_of(index): index for index in range(len(data))}
        strange = [name for name in names.tolist() if name not in places]
        if strange:
            example = data.name_of(0)
            raise InputError(
                f"{shown(path)} names {shown(strange[0])[:80]!r}, which the data have not; they have "
                f"{shown(example)[:80]!r}, for example."
            )
        if len(set(names.tolist())) < len(names):
            raise InputError(f"{shown(path)} names a photo twice.")
        return [places[name] for name in names.tolist()]

    def pixels(self, index: int) -> Tensor:
        return torch.from_numpy(self._pixels[self._rows[index]])[None]


def _arrays_in(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file; nothing is unpickled."""
    if path.suffix.lower() != ".npz":
        raise InputError(f"--deployed {shown(path)} is no .npz file: save np.savez(FILE, pixels=..., names=...).")
    try:
        content = read_regular(path, _MOST_BYTES, follow=True)
        with np.load(BytesIO(content), allow_pickle=False) as archive:
            if sum(entry.file_size for entry in zipfile.ZipFile(BytesIO(content)).infolist()) > _MOST_BYTES:
                raise InputError(f"{shown(path)} is too large when it is unpacked.")
            if strange := sorted(set(archive.files) - _ENTRIES):
                raise InputError(f"{shown(path)} holds {shown(strange[0])[:60]!r}: pixels and names are known.")
            if "pixels" not in archive.files:
                raise InputError(f"{shown(path)} holds no pixels: save np.savez(FILE, pixels=..., names=...).")
            return {name: archive[name] for name in archive.files}
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"--deployed {shown(path)} cannot be read: {reason_of(error)}.") from None
    except Exception as error:  # numpy and zipfile raise ValueError, EOFError, BadZipFile, ...
        raise InputError(f"--deployed {shown(path)} is damaged ({one_line(error, 80)}).") from None


class _Tally:
    """Adds up differences, photo by photo."""

    def __init__(self, classifier: ZeroShotClassifier) -> None:
        self._classifier, self._model = classifier, classifier.dual_encoder
        self._worst, self._largest = "", -1.0
        self._squares: list[float] = []
        self._beyond: list[float] = []
        self._cosines: list[float] = []
        self._answers: list[tuple[int, int, int]] = []

    def add(self, name: str, label: int, own: Tensor, deployed: Tensor) -> None:
        std = self._model.preprocess.std.to(own)
        steps = ((deployed.to(own) - own) * std * 255).abs()
        self._squares.append(float(steps.square().mean()))
        self._beyond.append(float((steps > ROUNDING).double().mean()))
        if float(steps.max()) > self._largest:
            self._worst, self._largest = name, float(steps.max())
        (one, other), answers = zip(*self._asked(own, deployed), strict=True)
        self._cosines.append(float((F.normalize(one, dim=1) * F.normalize(other, dim=1)).sum()))
        self._answers.append((label, *answers))

    def _asked(self, *pixels: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Embedding and answer; pixels are normalised already, and may leave [0, 1]."""
        head = self._classifier.model.head
        with torch.no_grad():
            for one in pixels:
                features = self._model.image_tower(one.to(self._model.device, self._model.dtype)).float()
                logits = head.similarity(features, self._classifier.class_features().float())
                yield features, int(logits.argmax())

    def result(self, skipped: int, resized: int) -> PreprocessingResult:
        label, own, deployed = np.array(self._answers).T
        return PreprocessingResult(
            photos=len(label),
            skipped=skipped,
            resized=resized,
            largest=self._largest,
            root_mean_square=float(np.sqrt(np.mean(self._squares))),
            beyond_rounding=float(np.mean(self._beyond)),
            least_cosine=min(self._cosines),
            labels_changed=float((own != deployed).mean()),
            own_accuracy=float((own == label).mean()),
            deployed_accuracy=float((deployed == label).mean()),
            worst=self._worst,
        )

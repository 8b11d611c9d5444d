"""Data by name: ``open_data("folder:photos")``, ``open_captioned("csv:captions.csv")``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from art_multimodal.datasets.captioned import CaptionedImages
from art_multimodal.datasets.photos import PhotoTransform
from art_multimodal.datasets.source import LabelledImages, LabelledSamples
from art_multimodal.errors import InputError
from art_multimodal.modalities.modality import Modality
from art_multimodal.registry import Registry, imported, split_scheme


@dataclass(frozen=True)
class DataSource:
    """Where data come from.

    >>> from art_multimodal.datasets import LabelledArrays
    >>> def first(rest, classes, transform):
    ...     count = int(rest)
    ...     return LabelledArrays(images[:count], labels[:count], classes or digits.class_names)
    ...
    >>> source = DataSource("first:N", "the first digits", first)
    >>> len(source.open("3", None, None))
    3

    :param form: How data of this source are written.
    :param summary: One line for listings.
    :param open: Maps what follows the colon, other class names and a transform of photos to the data.
    :param open_captioned: Maps what follows the colon and a transform of photos to captioned images; ``None`` where
        there are no captions.
    :param open_samples: Maps what follows the colon, the modalities of a model, other class names and the model's to
        samples; ``None`` where ``open`` does that, or there are none.
    :param open_images: As ``open``, where that may give samples instead of images.
    """

    form: str
    summary: str
    open: Callable[[str, Sequence[str] | None, PhotoTransform | None], LabelledImages | LabelledSamples]
    open_captioned: Callable[[str, PhotoTransform | None], CaptionedImages] | None = None
    open_samples: Callable[[str, Iterable[Modality], Sequence[str] | None, Sequence[str]], LabelledSamples] | None = (
        None
    )
    open_images: Callable[[str, Sequence[str] | None, PhotoTransform | None], LabelledImages] | None = None


#: Every way of naming data, by what stands before the colon.
DATA_SOURCES: Registry[DataSource] = Registry("data source", DataSource)


def open_data(
    spec: str, classes: Sequence[str] | None = None, transform: PhotoTransform | None = None
) -> LabelledImages | LabelledSamples:
    """Open labelled images by name, which are read later, one at a time; or labelled samples of other modalities.

    >>> data = open_data("demo:digits")
    >>> len(data), data.class_names[data.label_of(0)], data.image(0).shape
    (540, 'zero', (3, 32, 32))

    :param spec: ``demo:digits``, ``demo:shapes``, ``folder:PATH``, ``csv:PATH``, ``data:NAME``, ``hf:PATH`` or
        ``wds:PATH``; of other modalities ``demo:views`` and other demos, ``npz:FILE``, or ``csv:PATH`` with a column
        for each. See :func:`open_samples`, too.
    :param classes: Class names instead of the data's own.
    :param transform: Applied to every decoded photo.
    :raises InputError: If the data cannot be used.
    """
    source, rest = _source_of(spec)
    return source.open(rest, classes, transform)


def open_images(
    spec: str, classes: Sequence[str] | None = None, transform: PhotoTransform | None = None
) -> LabelledImages:
    """Open labelled images by name, as :func:`open_data` does.

    >>> open_images("demo:digits").image(0).shape
    (3, 32, 32)

    :param spec: As for :func:`open_data`.
    :param classes: Class names instead of the data's own.
    :param transform: Applied to every decoded photo.
    :raises InputError: If the data cannot be used, or have other modalities.
    """
    source, rest = _source_of(spec)
    data = (source.open_images or source.open)(rest, classes, transform)
    if isinstance(data, LabelledSamples):
        raise InputError(
            f"{spec} holds samples of {', '.join(data.modalities)}, which this model does not take: give images, such "
            "as demo:digits, or a model over these modalities, such as demo:views."
        )
    return data


def open_samples(
    spec: str,
    modalities: Iterable[Modality] = (),
    classes: Sequence[str] | None = None,
    answers: Sequence[str] = (),
    model: str = "This",
) -> LabelledSamples:
    """Open labelled samples of several modalities by name, as a model takes them.

    >>> data = open_samples("demo:views")
    >>> len(data), list(data.modalities), data.samples(slice(0, 4)).shape
    (1000, ['pix', 'fou', 'kar'], (4,))
    >>> np.savez("mine.npz", rgb=np.zeros((4, 3, 8, 8)), mrna=np.zeros((4, 20)), label=np.arange(4))
    >>> list(open_samples("npz:mine.npz").modalities)
    ['rgb', 'mrna']

    :param spec: ``demo:NAME``; ``npz:FILE``, an array for each modality; ``csv:PATH``, a column for each; or
        ``folder:PATH``, files ``PATH/CLASS/SAMPLE/MODALITY.EXT``.
    :param modalities: Those of the model; without them files are described by what is in them.
    :param classes: Class names instead of the data's own.
    :param answers: The model's class names; labels of a file may be indices into them.
    :param model: Its name, for messages.
    :raises InputError: If the data cannot be used, or are images without other modalities.
    """
    source, rest = _source_of(spec)
    wanted = tuple(modalities)
    if source.open_samples is not None:
        return source.open_samples(rest, wanted, classes, answers)
    data = source.open(rest, classes, None)
    if not isinstance(data, LabelledSamples):
        raise no_samples(model, wanted, spec)
    return data


def no_samples(model: str, modalities: Iterable[Modality], given: str) -> InputError:
    """The error for data that are no samples of a model's modalities.

    :param model: The model's name.
    :param given: What the data are called.
    """
    names = ", ".join(modality.name for modality in modalities) or "several modalities"
    return InputError(
        f"{model} is a model over {names}, and {given} holds no samples of these: give demo:views, npz:FILE, csv:PATH "
        "with a column for each, folder:PATH, or in Python LabelledSampleArrays(x, labels, class_names)."
    )


def open_captioned(spec: str, transform: PhotoTransform | None = None) -> CaptionedImages:
    """Open captioned images by name, for retrieval; images are read later, one at a time.

    >>> data = open_captioned("demo:scenes")
    >>> data.image(0).shape, len(data.captions_of(0)) > 1
    ((3, 32, 32), True)

    :param spec: ``demo:scenes``, ``data:coco``, ``data:flickr30k``, ``hf:PATH``, ``wds:PATH``, or ``csv:PATH`` with the
        columns image and text: one row per caption.
    :param transform: Applied to every decoded photo.
    :raises InputError: If the data have no captions or cannot be used.
    """
    source, rest = _source_of(spec)
    if source.open_captioned is None:
        raise InputError(f"{spec} has no captions, which retrieval needs. Use demo:scenes or csv:PATH.")
    return source.open_captioned(rest, transform)


def _source_of(spec: str) -> tuple[DataSource, str]:
    scheme, rest = split_scheme("The data", spec, DATA_SOURCES)
    if not rest:
        raise InputError(f"The data {spec!r} name nothing after the colon. Write {DATA_SOURCES[scheme].form}.")
    return DATA_SOURCES[scheme], rest


def _open_demo(
    name: str, classes: Sequence[str] | None, transform: PhotoTransform | None
) -> LabelledImages | LabelledSamples:
    return imported("art_multimodal.demo.loading:open_demo")(name, classes)


def _open_captioned_demo(name: str, transform: PhotoTransform | None) -> CaptionedImages:
    return imported("art_multimodal.demo.loading:open_captioned_demo")(name)


def _open_folder_samples(
    path: str, modalities: Iterable[Modality], classes: Sequence[str] | None, answers: Sequence[str]
) -> LabelledSamples:
    from art_multimodal.datasets.folder_samples import FolderSamples

    return FolderSamples(path, modalities, classes, answers)


def _open_folder(path: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> LabelledImages:
    from art_multimodal.datasets.folder import ImageFolderData

    return ImageFolderData(path, classes, transform)


def _open_captioned_folder(path: str, transform: PhotoTransform | None) -> CaptionedImages:
    raise InputError(
        f"The photos in folder:{path} have no captions, which retrieval needs. "
        "Give csv:PATH, a file with the columns image and text."
    )


def _open_csv(
    path: str, classes: Sequence[str] | None, transform: PhotoTransform | None
) -> LabelledImages | LabelledSamples:
    from art_multimodal.datasets.csv_samples import CsvSamples, lists_samples

    return CsvSamples(path, (), classes) if lists_samples(path) else _open_csv_images(path, classes, transform)


def _open_csv_images(path: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> LabelledImages:
    from art_multimodal.datasets.csv_files import CsvData

    return CsvData(path, classes, transform)


def _open_csv_samples(
    path: str, modalities: Iterable[Modality], classes: Sequence[str] | None, answers: Sequence[str]
) -> LabelledSamples:
    from art_multimodal.datasets.csv_samples import CsvSamples

    return CsvSamples(path, modalities, classes or answers or None)


def _open_captioned_csv(path: str, transform: PhotoTransform | None) -> CaptionedImages:
    from art_multimodal.datasets.csv_files import CaptionedCsvData

    return CaptionedCsvData(path, transform)


def _open_npz(path: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> LabelledSamples:
    from art_multimodal.datasets.labelled_samples import NpzData

    return NpzData(path, classes)


def _open_npz_samples(
    path: str, modalities: Iterable[Modality], classes: Sequence[str] | None, answers: Sequence[str]
) -> LabelledSamples:
    return _open_npz(path, classes or answers or None, None)


def _open_captioned_npz(path: str, transform: PhotoTransform | None) -> CaptionedImages:
    raise InputError(f"npz:{path} has no captions, which retrieval needs. Use demo:scenes or csv:PATH.")


def _open_named(rest: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> LabelledImages:
    return imported("art_multimodal.datasets.named.loading:open_named")(rest, classes, transform)


def _open_named_captions(rest: str, transform: PhotoTransform | None) -> CaptionedImages:
    return imported("art_multimodal.datasets.named.loading:open_named_captions")(rest, transform)


def _open_hf(rest: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> LabelledImages:
    return imported("art_multimodal.datasets.named.hugging_face:open_hugging_face")(rest, classes, transform)


def _open_captioned_hf(rest: str, transform: PhotoTransform | None) -> CaptionedImages:
    return imported("art_multimodal.datasets.named.hugging_face:open_captioned_hugging_face")(rest, transform)


def _open_wds(rest: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> LabelledImages:
    return imported("art_multimodal.datasets.named.shards:open_shards")(rest, classes, transform)


def _open_captioned_wds(rest: str, transform: PhotoTransform | None) -> CaptionedImages:
    return imported("art_multimodal.datasets.named.shards:open_captioned_shards")(rest, transform)


DATA_SOURCES.add(
    "demo",
    DataSource(
        "demo:digits, demo:shapes, demo:scenes, demo:views, demo:spoken, demo:night, demo:rgbd, demo:motions or "
        "demo:skeleton",
        "540 handwritten digits, 1,000 questions about coloured shapes, 200 scenes with captions for retrieval, "
        "1,000 digits in three views, or 1,000 pairs of a written and a spoken digit (spoken/complementary, "
        "spoken/redundant), held out from the demo models; shapes by colours and by heat; patches of colours and of "
        "depth (needs scikit-image); motions of a watch (needs the files of aeon); figures that move",
        _open_demo,
        _open_captioned_demo,
    ),
)
DATA_SOURCES.add(
    "folder",
    DataSource(
        "folder:PATH",
        "photos in one folder per class; for a model over several modalities in each a folder per sample, in it files "
        "such as rgb.png, sound.wav, depth.npy, note.txt",
        _open_folder,
        _open_captioned_folder,
        _open_folder_samples,
    ),
)
DATA_SOURCES.add(
    "npz",
    DataSource(
        "npz:FILE",
        "samples of several modalities: a file of numpy.savez with an array for each, NAME_length beside that of "
        "sequences, and label",
        _open_npz,
        _open_captioned_npz,
        _open_npz_samples,
    ),
)
DATA_SOURCES.add(
    "csv",
    DataSource(
        "csv:PATH",
        "a file with the columns image and label (or text, or both); or label and a column for each modality: paths of "
        "pictures, .wav or .npy, numbers (columns vitals.pulse, vitals.age make a table), texts",
        _open_csv,
        _open_captioned_csv,
        _open_csv_samples,
        _open_csv_images,
    ),
)
DATA_SOURCES.add(
    "data",
    DataSource(
        "data:NAME or data:NAME:split=SPLIT",
        "a data set by name, such as data:cifar10, data:imagenet or, for retrieval, data:coco; in the layout of "
        "torchvision, in the folder that --data-root or ART_MULTIMODAL_DATA names; nothing is downloaded",
        _open_named,
        _open_named_captions,
    ),
)
DATA_SOURCES.add(
    "hf",
    DataSource(
        "hf:PATH or hf:PATH:split=SPLIT",
        "a Hugging Face data set, as save_to_disk wrote it or in Parquet files, with labels or captions; "
        "hf:ORG/NAME:hub=yes fetches it (needs the extra datasets)",
        _open_hf,
        _open_captioned_hf,
    ),
)
DATA_SOURCES.add(
    "wds",
    DataSource(
        "wds:PATH or wds:PATH:split=SPLIT",
        "shards as WebDataset writes them: a .tar file or a folder of them, with KEY.jpg and KEY.cls, or KEY.txt for "
        "retrieval; classnames.txt beside them",
        _open_wds,
        _open_captioned_wds,
    ),
)

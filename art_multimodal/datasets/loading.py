"""Data by name: ``open_data("folder:photos")``, ``open_captioned("csv:captions.csv")``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from art_multimodal.datasets.captioned import CaptionedImages
from art_multimodal.datasets.photos import PhotoTransform
from art_multimodal.datasets.source import LabelledImages, LabelledSamples
from art_multimodal.errors import InputError
from art_multimodal.registry import Registry, imported, split_scheme


@dataclass(frozen=True)
class DataSource:
    """Where data come from.

    :param form: How data of this source are written.
    :param summary: One line for listings.
    :param open: Maps what follows the colon, other class names and a transform of photos to the data.
    :param open_captioned: Maps what follows the colon and a transform of photos to captioned images.
    """

    form: str
    summary: str
    open: Callable[[str, Sequence[str] | None, PhotoTransform | None], LabelledImages | LabelledSamples]
    open_captioned: Callable[[str, PhotoTransform | None], CaptionedImages]


DATA_SOURCES: Registry[DataSource] = Registry("data source")


def open_data(
    spec: str, classes: Sequence[str] | None = None, transform: PhotoTransform | None = None
) -> LabelledImages | LabelledSamples:
    """Open labelled images by name, which are read later, one at a time; or labelled samples of other modalities.

    :param spec: ``demo:digits``, ``demo:shapes``, ``folder:PATH`` or ``csv:PATH``; of other modalities ``demo:views``,
        ``demo:spoken`` or ``npz:FILE``.
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

    :raises InputError: If the data cannot be used, or have other modalities.
    """
    data = open_data(spec, classes, transform)
    if isinstance(data, LabelledSamples):
        raise InputError(
            f"{spec} holds samples of {', '.join(data.modalities)}, which this model does not take: give images, such "
            "as demo:digits, or a model over these modalities, such as demo:views."
        )
    return data


def open_captioned(spec: str, transform: PhotoTransform | None = None) -> CaptionedImages:
    """Open captioned images by name, for retrieval; images are read later, one at a time.

    :param spec: ``demo:scenes``, or ``csv:PATH`` with the columns image and text: one row per caption.
    :param transform: Applied to every decoded photo.
    :raises InputError: If the data have no captions or cannot be used.
    """
    source, rest = _source_of(spec)
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


def _open_folder(path: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> LabelledImages:
    from art_multimodal.datasets.folder import ImageFolderData

    return ImageFolderData(path, classes, transform)


def _open_captioned_folder(path: str, transform: PhotoTransform | None) -> CaptionedImages:
    raise InputError(
        f"The photos in folder:{path} have no captions, which retrieval needs. "
        "Give csv:PATH, a file with the columns image and text."
    )


def _open_csv(path: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> LabelledImages:
    from art_multimodal.datasets.csv_files import CsvData

    return CsvData(path, classes, transform)


def _open_captioned_csv(path: str, transform: PhotoTransform | None) -> CaptionedImages:
    from art_multimodal.datasets.csv_files import CaptionedCsvData

    return CaptionedCsvData(path, transform)


def _open_npz(path: str, classes: Sequence[str] | None, transform: PhotoTransform | None) -> LabelledSamples:
    from art_multimodal.datasets.labelled_samples import NpzData

    return NpzData(path, classes)


def _open_captioned_npz(path: str, transform: PhotoTransform | None) -> CaptionedImages:
    raise InputError(f"npz:{path} has no captions, which retrieval needs. Use demo:scenes or csv:PATH.")


DATA_SOURCES.add(
    "demo",
    DataSource(
        "demo:digits, demo:shapes, demo:scenes, demo:views or demo:spoken",
        "540 handwritten digits, 1,000 questions about coloured shapes, 200 scenes with captions for retrieval, "
        "1,000 digits in three views, or 1,000 pairs of a written and a spoken digit (spoken/complementary, "
        "spoken/redundant), held out from the demo models",
        _open_demo,
        _open_captioned_demo,
    ),
)
DATA_SOURCES.add(
    "folder", DataSource("folder:PATH", "photos in one folder per class", _open_folder, _open_captioned_folder)
)
DATA_SOURCES.add(
    "npz",
    DataSource(
        "npz:FILE",
        "samples of several modalities: a file of numpy.savez with an array for each, NAME_length beside that of "
        "sequences, and label",
        _open_npz,
        _open_captioned_npz,
    ),
)
DATA_SOURCES.add(
    "csv",
    DataSource(
        "csv:PATH", "a file with the columns image and label (or text, or both)", _open_csv, _open_captioned_csv
    ),
)

"""The files of samples that reports show: pictures of images, and drawings of samples of any modalities."""

from __future__ import annotations

from pathlib import Path

from art_multimodal.evaluations.audit import pictures
from art_multimodal.evaluations.audit.drawing import is_whole
from art_multimodal.evaluations.audit.drawing.keeping import file_name
from art_multimodal.evaluations.audit.lines import SampleRecord
from art_multimodal.evaluations.audit.passes import entry_of


def files_of(attack: str, record: SampleRecord) -> list[str]:
    """Names of the files of a sample that is shown."""
    if record.pictured is not None and record.pictured.files:
        return [file_name(attack, record.index, suffix) for suffix in record.pictured.files]
    whats = pictures.pictures_of(entry_of(attack).modality)
    return [pictures.picture_name(attack, record.index, what) for what in whats]


def are_whole(folder: Path, attack: str, record: SampleRecord) -> bool:
    """Whether all files of a sample can be shown."""
    if record.pictured is not None and record.pictured.files:
        return all(is_whole(folder / name) for name in files_of(attack, record))
    return pictures.are_whole(folder, attack, record.index)

"""``folder:PATH`` of samples: a folder for each class, in it one for each sample, in it a file for each modality."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from art_multimodal.datasets.folder import NO_FILES, check_no_splits, inside, reading_folders
from art_multimodal.datasets.labelled_samples import LabelledSampleArrays
from art_multimodal.datasets.naming import Naming, as_index, fold, folder_order, name_folders
from art_multimodal.datasets.sample_fields import Entry, File, gather
from art_multimodal.datasets.sample_files import kind_of_file
from art_multimodal.errors import InputError
from art_multimodal.modalities.modality import Modality
from art_multimodal.sample_arrays import samples
from art_multimodal.shown import brief, quoted

_FORM = "PATH/CLASS/SAMPLE/MODALITY.EXT, such as photos/cold/0001/rgb.png beside photos/cold/0001/thermal.npy"


class FolderSamples(LabelledSampleArrays):
    """``folder:PATH``: files ``PATH/CLASS/SAMPLE/MODALITY.EXT``.

    A file is a picture, a sound (``.wav``), an array (``.npy``) or a text (``.txt``), and its name without the ending
    is that of the modality. A sample that has no such file lacks the modality.

    :param path: The folder of folders.
    :param modalities: Those of the model; files of others are left aside. Without them each name is one.
    :param classes: Other names of the classes, as for :func:`~art_multimodal.datasets.naming.name_folders`.
    :param answers: The model's class names: folders may be called so, or be their indices.
    :raises InputError: If there is no such folder, it is laid out otherwise, or a file cannot be read or does not fit.
    """

    def __init__(
        self,
        path: str,
        modalities: Iterable[Modality] = (),
        classes: Sequence[str] | None = None,
        answers: Sequence[str] = (),
    ) -> None:
        given = {modality.name: modality for modality in modalities}
        with reading_folders(path) as root:
            _, class_folders = inside(root)
            listed = {folder.name: inside(folder) for folder in class_folders}
            files = {place: inside(place)[0] for _, places in listed.values() for place in places}
        if not listed:
            raise InputError(f"The folder {brief(root)} has no class folders. Write {_FORM}.")
        if classes is None or not all("=" in entry for entry in classes):
            check_no_splits(root, list(listed))
        if empty := [name for name, (_, places) in listed.items() if not places]:
            raise InputError(
                f"The class folder {brief(empty[0])} has no folders of samples in it, which a model over several "
                f"modalities needs. Write {_FORM}."
            )
        order = folder_order(listed)
        naming = _named(order, classes, answers)
        places = [place for name in order for place in listed[name][1]]
        labels = [label for name, label in zip(order, naming.labels, strict=True) for _ in listed[name][1]]
        names = [place.relative_to(root).as_posix() for place in places]
        found = [_of_sample(files[place], name) for place, name in zip(places, names, strict=True)]
        known = given or dict.fromkeys(name for one in found for name in one)
        if strange := [name for name in known if not name.isidentifier()]:
            raise InputError(
                f"A file is called {quoted(strange[0], 60)}, which cannot be the name of a modality. Write {_FORM}."
            )
        entries: dict[str, list[Entry]] = {name: [one.get(name) for one in found] for name in known}
        entries = {name: column for name, column in entries.items() if any(column)}
        if not entries:
            wanted = f"called {' or '.join(map(brief, given))}" if given else "that are read"
            raise InputError(f"The folders of samples in {brief(root)} have no files {wanted}. Write {_FORM}.")
        fields, described = gather(entries, [brief(name) for name in names], given)
        super().__init__(
            samples(**fields), np.array(labels, dtype=np.int64), naming.class_names, list(map(brief, names)), described
        )
        self.folders = (root,)
        self.notes = (*naming.notes, *_left_out(root, listed, files))


def _named(folders: Sequence[str], classes: Sequence[str] | None, answers: Sequence[str]) -> Naming:
    """Names of the classes; the model's, where the folders are called so or are their indices."""
    if classes is None and answers:
        alike = {fold(answer) for answer in answers}
        if all(fold(folder) in alike for folder in folders) or all(as_index(folder) is not None for folder in folders):
            return name_folders(folders, answers)
    return name_folders(folders, classes)


def _of_sample(files: Sequence[Path], sample: str) -> dict[str, File]:
    """The files of a sample that can be read, by modality."""
    found: dict[str, File] = {}
    for file in files:
        if kind_of_file(file.name) is None:
            continue
        if file.stem in found:
            raise InputError(
                f"{brief(sample)} has two files for {brief(file.stem)}: {brief(Path(found[file.stem].name).name)} and "
                f"{brief(file.name)}. Remove one."
            )
        found[file.stem] = File(file, f"{sample}/{file.name}")
    return found


def _left_out(root: Path, listed: dict[str, tuple[list[Path], list[Path]]], files: dict[Path, list[Path]]) -> list[str]:
    """What a user should know about files that are there and are not read."""
    notes = []
    loose = [file for beside, _ in listed.values() for file in beside if file.name.lower() not in NO_FILES]
    if loose:
        notes.append(
            f"{len(loose)} file(s) beside the folders of samples are left out, for example "
            f"{brief(loose[0].relative_to(root).as_posix())}"
        )
    others = [
        file
        for of_sample in files.values()
        for file in of_sample
        if kind_of_file(file.name) is None and file.name.lower() not in NO_FILES
    ]
    if others:
        notes.append(
            f"{len(others)} file(s) of samples are of no kind that is read, for example "
            f"{brief(others[0].relative_to(root).as_posix())}"
        )
    return notes

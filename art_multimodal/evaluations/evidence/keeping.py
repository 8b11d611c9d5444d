"""Keeping the samples of an audit while it runs: each batch's files are written before the log's line of it.

Not public: what a bundle holds is described in docs/evidence.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from art_multimodal.errors import InputError, unknown_name
from art_multimodal.evaluations.audit.batches import Batch
from art_multimodal.evaluations.audit.lines import CLEAN, Line
from art_multimodal.evaluations.audit.passes import attacked_alone, entry_of
from art_multimodal.evaluations.audit.subject import Subject
from art_multimodal.evaluations.evidence.files import sha256_of
from art_multimodal.evaluations.evidence.fixtures import (
    FOLDER,
    SCHEMA_VERSION,
    Group,
    Head,
    SampleTexts,
    file_stem,
    parts_of,
    read_head,
    write_fixtures,
)
from art_multimodal.evaluations.suite import SAMPLES, Attacked
from art_multimodal.shown import shown
from art_multimodal.store import cannot_write, refuse_links

#: Folder of the evidence, within that of the run.
EVIDENCE_FOLDER = "evidence"
MANIFEST_FILE = "manifest.json"
#: What is kept of attacked samples: nothing, those that misled the model, or every one.
NONE, SUCCESSES, ALL = MODES = ("none", "successes", "all")


class Taking(Protocol):
    """What is kept of a pass on a batch."""

    def take(
        self, indices: Sequence[int], samples: Sequence[object], x: np.ndarray, attacked: Attacked, fell: Sequence[bool]
    ) -> None:
        """Take a group: samples of one shape that were attacked together, in their order.

        :param x: They before the attack, as the estimator takes them.
        :param fell: Of each whether it was right before and is wrong now.
        """

    def keep(self) -> None:
        """Write what was taken.

        :raises InputError: If it cannot be written.
        """


class Keeper(Protocol):
    """Keeps samples of an audit."""

    mode: str

    def open(self, folder: Path) -> None:
        """Make room in the folder of the run.

        :raises InputError: If it cannot be written, or a folder in it is a link.
        """

    def clean(self, batch: Batch) -> None:
        """Keep a batch before any attack."""

    def taking(self, name: str, batch: Batch) -> Taking:
        """What takes the samples of a pass on a batch."""

    def is_whole(self, line: Line) -> bool:
        """Whether all that belongs to a line is there, undamaged."""


class _NullTaking:
    def take(
        self, indices: Sequence[int], samples: Sequence[object], x: np.ndarray, attacked: Attacked, fell: Sequence[bool]
    ) -> None:
        """Nothing."""

    def keep(self) -> None:
        """Nothing."""


class NullKeeper:
    """Keeps nothing."""

    mode = NONE

    def open(self, folder: Path) -> None:
        """Nothing."""

    def clean(self, batch: Batch) -> None:
        """Nothing."""

    def taking(self, name: str, batch: Batch) -> Taking:
        return _NullTaking()

    def is_whole(self, line: Line) -> bool:
        return True


class FixtureKeeper:
    """Keeps samples in files, one pair for each pass on each batch.

    :param subject: What is attacked.
    :param passes: Names of all passes of the run, in order, without that before any attack.
    :param mode: ``"successes"`` or ``"all"``.
    """

    def __init__(self, subject: Subject, passes: Sequence[str], mode: str) -> None:
        self.subject, self.mode = subject, mode
        self.numbers = {name: number for number, name in enumerate((CLEAN, *passes))}
        self.folder = Path(EVIDENCE_FOLDER)

    def open(self, folder: Path) -> None:
        refuse_links(folder, (EVIDENCE_FOLDER,))
        refuse_links(folder / EVIDENCE_FOLDER, (FOLDER, MANIFEST_FILE))
        self.folder = folder / EVIDENCE_FOLDER / FOLDER
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # What is being changed is no bundle until it is closed.
            (folder / EVIDENCE_FOLDER / MANIFEST_FILE).unlink(missing_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error

    def clean(self, batch: Batch) -> None:
        groups = []
        for number, rows in enumerate(self.subject.by_shape(batch.samples)):
            indices, samples = batch.take(rows)
            arrays, texts = parts_of(self.subject.stack(samples), self.subject.image_rows(samples))
            lines = tuple(
                SampleTexts(index, number, sample.name, self._label(sample), said)
                for index, sample, said in zip(indices, samples, texts, strict=True)
            )
            groups.append(Group((arrays,), lines))
        self._write(CLEAN, batch.number, groups, ())

    def taking(self, name: str, batch: Batch) -> Taking:
        return _FilesTaking(self, name, batch.number)

    def is_whole(self, line: Line) -> bool:
        number, name = line.batch, line.attack
        if name not in self.numbers:
            # Votes of a smoothed model, which has no samples of its own.
            return True
        try:
            head, _ = read_head(self.folder, self.numbers[name], number)
            if (head.mode, head.attack) != (self.mode, name):
                return False
            stem = self.folder / file_stem(self.numbers[name], number)
            return head.tensors is None or sha256_of(stem.with_suffix(".safetensors"))[1] == head.tensors
        except (OSError, ValueError):
            return False

    def _label(self, sample: object) -> int:
        # In retrieval a label is a place in the gallery, and nobody's class.
        return int(getattr(sample, "label", 0)) if self.subject.class_names else 0

    def _write(self, name: str, batch: int, groups: Sequence[Group], before: Sequence[Group]) -> None:
        head = Head(SCHEMA_VERSION, self.mode, name, batch, ())
        write_fixtures(self.folder, self.numbers[name], head, groups, before)


class _FilesTaking:
    """Collects the groups of a pass on a batch."""

    def __init__(self, keeper: FixtureKeeper, name: str, batch: int) -> None:
        self.keeper, self.name, self.batch = keeper, name, batch
        self.groups: list[Group] = []
        self.before: list[Group] = []

    def take(
        self, indices: Sequence[int], samples: Sequence[object], x: np.ndarray, attacked: Attacked, fell: Sequence[bool]
    ) -> None:
        subject, number = self.keeper.subject, len(self.groups)
        starts = subject.image_rows(samples)
        parts = [parts_of(one.x, starts) for one in (attacked, *attacked.versions)]
        lines = tuple(
            SampleTexts(
                index,
                number,
                texts=parts[0][1][row],
                versions=tuple(texts[row] for _, texts in parts[1:]),
                prompts=self._prompts(attacked, row),
            )
            for row, index in enumerate(indices)
        )
        group = Group(tuple(arrays for arrays, _ in parts), lines)
        before = Group((parts_of(x, starts)[0],), lines)
        if self.keeper.mode == SUCCESSES:
            rows = np.flatnonzero(np.asarray(fell, dtype=bool)).tolist()
            group, before = group.rows(rows), before.rows(rows)
        self.groups.append(group)
        self.before.append(before)

    def keep(self) -> None:
        self.keeper._write(self.name, self.batch, self.groups, self.before)

    def _prompts(self, attacked: Attacked, row: int) -> dict[str, tuple[str, ...]] | None:
        """The prompts of a sample that are not the usual ones, by the number of the class."""
        if attacked.prompts is None:
            return None
        usual = self.keeper.subject.estimator.prompts
        given = [(one,) if isinstance(one, str) else tuple(map(str, one)) for one in attacked.prompts[row]]
        return {str(k): mine for k, (mine, own) in enumerate(zip(given, usual, strict=True)) if mine != tuple(own)}


def keeper_for(mode: str, subject: Subject, passes: Sequence[str]) -> Keeper:
    """What keeps samples of an audit.

    :param mode: ``"none"``, ``"successes"`` or ``"all"``.
    :param passes: Names of all passes, in order.
    :raises InputError: For another mode, or one that does not go with the defences.
    """
    if mode not in MODES:
        raise unknown_name("choice of --fixtures", shown(mode), MODES)
    if mode == NONE:
        return NullKeeper()
    if mode == SUCCESSES and subject.views.draws > 1:
        raise InputError(
            "--fixtures successes does not go with a random defence, which draws for all samples of a group together: "
            "give --fixtures all."
        )
    return FixtureKeeper(subject, passes, mode)


def estimated_bytes(subject: Subject, order: np.ndarray, passes: Sequence[str]) -> int:
    """How many bytes the arrays of all fixtures have at most: samples times attacks times the size of a sample.

    Texts are not counted, nor the headers of files. Further versions, which ensembles in retrieval have, are taken to
    be three.

    :param order: Indices of the samples.
    :param passes: Names of all passes.
    """
    if not len(order):
        return 0
    sizes = _sizes_of(subject, order)
    whole, total = sum(sizes.values()), 0
    for name in passes:
        entry = entry_of(name)
        alone = attacked_alone(name) or (name.partition("@")[2] if subject.task == SAMPLES else "")
        if entry.modality == "text":
            continue
        versions = 3 if entry.modality == "worst" and not subject.class_names else 1
        total += sizes.get(alone, 0) if alone else whole * versions
    return len(order) * (whole + total)


def _sizes_of(subject: Subject, order: np.ndarray) -> dict[str, int]:
    """Bytes of a sample by field: of the first one that can be read."""
    from art_multimodal.datasets import UnreadableSample

    for index in map(int, order):
        try:
            sample = subject.read(index)
        except UnreadableSample:
            continue
        arrays, _ = parts_of(subject.stack([sample]), np.zeros(1, dtype=np.int64))
        sizes: dict[str, int] = {}
        for name, values in arrays.items():
            field = name.partition(".")[0]
            sizes[field] = sizes.get(field, 0) + values.nbytes
        return sizes
    return {}


__all__ = ["ALL", "MODES", "NONE", "SUCCESSES", "FixtureKeeper", "Keeper", "NullKeeper", "Taking", "estimated_bytes"]

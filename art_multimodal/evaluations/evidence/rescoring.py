"""Re-scoring: a model is asked again about every sample of a bundle, and compared with what the log says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from art_multimodal.devices import device_type_of
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.lines import CLEAN, AttackLine, Classified, CleanLine, Line, SampleRecord
from art_multimodal.evaluations.audit.passes import goes_on_after
from art_multimodal.evaluations.audit.subject import Subject, answering
from art_multimodal.evaluations.audit.summary import RunningSummary
from art_multimodal.evaluations.audit.work import seed_of
from art_multimodal.evaluations.evidence.bundle import Bundle
from art_multimodal.evaluations.evidence.data import BundledSamples
from art_multimodal.evaluations.evidence.distances import Distances
from art_multimodal.evaluations.evidence.fixtures import TEXT, Group
from art_multimodal.evaluations.evidence.judging import Verdict, ask, rounded
from art_multimodal.evaluations.evidence.keeping import ALL
from art_multimodal.evaluations.evidence.reopening import Reopened, reopen
from art_multimodal.evaluations.evidence.reports import PagesAgain, check_numbers
from art_multimodal.evaluations.suite import RETRIEVAL, Attacked
from art_multimodal.shown import shown

#: What a bundle says nothing about, and why.
NOT_RESCORED = {
    "queries, gradients, seconds": "what the search cost",
    "shares removed, curves over words": "what the search did",
    "warnings about gradients": "they need the gradients",
    "accuracy without a modality": "it is no attack",
    "smoothed models, certificates": "they are votes: certify again",
}


@dataclass(frozen=True)
class Changed:
    """A sample about which the model says something else than the log.

    >>> from art_multimodal.evaluations.evidence.bundle import Bundle
    >>> found = rescore(Bundle(evidence.folder), "demo:digits/robust", device="cpu")
    >>> all(isinstance(one, Changed) for one in found.changed), found.same_weights
    (True, False)

    :param attack: Name of the pass, or ``"clean"``.
    :param index: Its place in the data.
    :param name: What it is called there.
    :param logged: What the log says.
    :param now: What the model says.
    """

    attack: str
    index: int
    name: str
    logged: str
    now: str


@dataclass
class Tally:
    """How the samples of a pass compare.

    :param same: The same verdict as in the log.
    :param near: Another one, and rounding alone could have made it so.
    :param other: Another one.
    :param unkept: No sample is kept: the log's word stands.
    """

    same: int = 0
    near: int = 0
    other: int = 0
    unkept: int = 0


@dataclass
class Rescoring:
    """What came of asking again.

    :param model: Which model was asked.
    :param weights_sha256: Of its weights.
    :param same_weights: Whether these are the bundle's.
    :param same_model: Whether it is to say the same: the weights are, or it is the model that the bundle names.
    :param reader: Of the bundle's samples.
    :param distances: How far samples were moved, and which of them further than the run declares.
    :param report: Numbers of the report, by row, over the samples that count; then those of each further pass.
    :param now: The same as the model says now.
    :param eight_bit: The same with images of 8 bits; ``None`` where there are no images.
    :param tallies: How samples compare, by pass.
    :param changed: The samples that differ, rounding apart.
    :param near: Those that differ by rounding.
    :param said: By pass of each sample that is kept, what the model says now.
    :param pages: What of the report's pages was not compared with the log, and why; empty where all was.
    """

    model: str
    weights_sha256: str
    same_weights: bool
    same_model: bool
    reader: BundledSamples
    distances: Distances
    report: dict[str, Any]
    now: dict[str, Any]
    eight_bit: dict[str, Any] | None
    tallies: dict[str, Tally] = field(default_factory=dict)
    changed: list[Changed] = field(default_factory=list)
    near: list[Changed] = field(default_factory=list)
    said: dict[str, dict[int, Verdict]] = field(default_factory=dict)
    pages: str = ""

    @property
    def confirmed(self) -> bool:
        """Whether no sample differs by more than rounding."""
        return not self.changed

    @property
    def within_budget(self) -> bool:
        """Whether no sample is changed by more than the run declares."""
        return not self.distances.beyond


#: A line as the log has it, as the model says now, and with images of 8 bits.
Three = tuple[Line, Line, Line]


def rescore(
    bundle: Bundle, model: Any = None, batch_size: int = 32, device: str = "auto", report: bool = True
) -> Rescoring:
    """Ask a model about all samples of a bundle.

    >>> from art_multimodal.evaluations.evidence.bundle import Bundle
    >>> found = rescore(Bundle(evidence.folder), device="cpu")
    >>> isinstance(found, Rescoring), found.confirmed, isinstance(found.tallies["pgd"], Tally)
    (True, True, True)

    :param bundle: Checked.
    :param model: As for :class:`AuditSettings`; ``None`` for the one that the bundle names. Another one must take the
        same modalities and know the same classes.
    :param batch_size: Most samples in one pass of the model; results do not depend on it.
    :param device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    :param report: Whether the report has to say what the log says.
    :raises InputError: If the model cannot be loaded or does not fit, a file of the bundle does not hold what it
        should, or its report says something else than its log.
    """
    opened = reopen(bundle, model, batch_size, device_type_of(device))
    with PagesAgain(bundle, check_numbers(bundle) if report else None, opened.same_model) as pages:
        found = _Asking(bundle, opened, pages).run()
        found.pages = pages.check()
    return found


class _Asking:
    """Goes through a bundle, batch by batch."""

    def __init__(self, bundle: Bundle, opened: Reopened, pages: PagesAgain) -> None:
        self.bundle, self.opened, self.pages = bundle, opened, pages
        self.subject: Subject = opened.subject
        self.reader: BundledSamples = opened.reader
        self.images = False
        try:
            distances = Distances(bundle.header, getattr(self.subject.estimator, "prompts", ()))
        except ValueError as error:
            raise InputError(f"{shown(bundle.folder)} cannot be used: {error}.") from error
        self.found = Rescoring(
            opened.name,
            opened.weights_sha256,
            opened.same_weights,
            opened.same_model,
            opened.reader,
            distances,
            {},
            {},
            None,
        )

    def run(self) -> Rescoring:
        found, header = self.found, self.bundle.header
        found.tallies = {name: Tally() for name in (CLEAN, *self.bundle.passes)}
        # Added up as they come: memory does not grow with the log.
        numbers = [RunningSummary(header) for _ in range(3)]
        for three in self._lines():
            for of_kind, line in zip(numbers, three, strict=True):
                of_kind.add(line)
        report, now, eight = ({**of_kind.result()["results"], **of_kind.further()} for of_kind in numbers)
        found.report, found.now, found.eight_bit = report, now, eight if self.images else None
        return found

    def _lines(self) -> Iterator[Three]:
        #: Of the batch at hand by pass: of each sample what the model says now, and of its image in 8 bits.
        said: dict[str, dict[int, tuple[Verdict, Verdict]]] = {}
        lines: dict[str, Line] = {}
        counted: set[int] = set()
        for line in self.bundle.lines():
            if isinstance(line, CleanLine):
                said, lines = {}, {}
                counted = {one.index for one in line.samples if one.right or self.found.same_model}
            lines[line.attack] = line
            try:
                said[line.attack] = self._asked(line)
            except InputError as error:
                raise InputError(f"{line.attack} on batch {line.batch} of the bundle: {error}") from error
            self.pages.shown(line)
            now = {index: verdict for index, (verdict, _) in said[line.attack].items()}
            self.found.said.setdefault(line.attack, {}).update(now)
            yield self._three(line, lines, said, counted)

    def _asked(self, line: Line) -> dict[int, tuple[Verdict, Verdict]]:
        """What the model says of the samples of a line that are kept."""
        if line.attack not in self.bundle.manifest.passes:
            return {}
        clean = line.attack == CLEAN
        before = self.reader.clean(line.batch)
        groups = before if clean else self.reader.attacked(line.attack, line.batch)
        logged = {one.index: one for one in line.samples}
        kept = [index for group in groups for index in group.indices]
        if not logged.keys() >= set(kept) or (clean and logged.keys() != set(kept)):
            raise InputError("its samples are not those of the log.")
        own = {line.index: (group, row) for group in before for row, line in enumerate(group.lines)}
        found: dict[int, tuple[Verdict, Verdict]] = {}
        for number, group in enumerate(groups):
            if group.lines:
                picked = [own[index] for index in group.indices]
                found |= self._of_group(line, number, group, picked, logged)
        return found

    def _of_group(
        self,
        line: Line,
        number: int,
        group: Group,
        picked: Sequence[tuple[Group, int]],
        logged: Mapping[int, SampleRecord],
    ) -> dict[int, tuple[Verdict, Verdict]]:
        subject, indices, size = self.subject, group.indices, self.opened.batch_size
        samples = [self.opened.sample(one, row) for one, row in picked]
        if self.bundle.header["task"] == RETRIEVAL:
            self._check_captions(group, samples, logged)
        attacked = self._attacked(group)
        seed: tuple[int, ...] = tuple(indices)
        if line.attack != CLEAN:
            self.found.distances.add(line.attack, group, picked)
            self.pages.draw(subject, line.attack, [logged[index] for index in indices], samples, attacked)
            seed = answering(seed_of(self.opened.seed, line.attack, line.batch, number))
        asked = ask(subject, indices, samples, None if line.attack == CLEAN else attacked, size, seed)
        before = [self._theirs(logged[index].verdict) for index in indices]
        differ = [a != b for a, b in zip(asked.verdicts, before, strict=True)]
        near = asked.near(before) if any(differ) and self.found.same_model else differ
        for row, index in enumerate(indices):
            self._count(line.attack, logged[index], asked.verdicts[row], differ[row], near[row])
        eight = rounded(attacked, subject)
        verdicts = asked.verdicts
        if eight is not None:
            self.images = True
            verdicts = ask(subject, indices, samples, eight, size, seed).verdicts
        ours = [(self._ours(a), self._ours(b)) for a, b in zip(asked.verdicts, verdicts, strict=True)]
        return dict(zip(indices, ours, strict=True))

    def _check_captions(self, group: Group, samples: Sequence[Any], logged: Mapping[int, SampleRecord]) -> None:
        """Each sample has as many captions in every version as in the log."""
        for sample, said in zip(samples, group.lines, strict=True):
            found = {len(one.get(TEXT, ())) for one in (said.texts, *said.versions)} | {len(sample.captions)}
            if found != {logged[said.index].verdict.fixed}:
                raise InputError("a sample has another number of captions than in the log.")

    def _attacked(self, group: Group) -> Attacked:
        """A group as an attack returned it."""
        versions = [self.reader.stacked(group, number) for number in range(len(group.arrays))]
        prompts = self._prompts(group)
        return Attacked(versions[0], None, prompts=prompts, versions=tuple(Attacked(x, None) for x in versions[1:]))

    def _prompts(self, group: Group) -> np.ndarray | None:
        """Prompts ``(N, K)`` of each sample; ``None`` where the attack knew of none."""
        if all(line.prompts is None for line in group.lines):
            return None
        usual = getattr(self.subject.estimator, "prompts", None)
        if usual is None:
            raise InputError("it has prompts, and the model reads none.")
        found = np.empty((len(group.lines), len(usual)), dtype=object)
        for row, line in enumerate(group.lines):
            changed = line.prompts or {}
            if not {str(number) for number in range(len(usual))} >= changed.keys():
                raise InputError("it has prompts of a class that there is not.")
            for number, own in enumerate(usual):
                found[row, number] = tuple(changed.get(str(number), own))
                if not found[row, number]:
                    raise InputError("it has a class without prompts.")
        return found

    def _theirs(self, verdict: Verdict) -> Verdict:
        """A verdict of the log, with classes as the model numbers them."""
        return self.opened.theirs(verdict) if isinstance(verdict, Classified) else verdict

    def _ours(self, verdict: Verdict) -> Verdict:
        """A verdict of the model, with classes as the log numbers them."""
        return self.opened.ours(verdict) if isinstance(verdict, Classified) else verdict

    def _count(self, attack: str, record: SampleRecord, now: Verdict, differs: bool, near: bool) -> None:
        tally = self.found.tallies[attack]
        if not differs:
            tally.same += 1
            return
        said = [self._said(one) for one in (record.verdict, self._ours(now))]
        changed = Changed(attack, record.index, record.name, *said)
        if near and self.found.same_model:
            tally.near += 1
            self.found.near.append(changed)
        else:
            tally.other += 1
            self.found.changed.append(changed)

    def _said(self, verdict: Verdict) -> str:
        if isinstance(verdict, Classified):
            return shown(self.bundle.header["data"]["class_names"][verdict.predicted])
        return f"ranks {', '.join(map(str, verdict.ranks))}"

    def _three(
        self,
        line: Line,
        lines: Mapping[str, Line],
        said: Mapping[str, Mapping[int, tuple[Verdict, Verdict]]],
        counted: set[int],
    ) -> Three:
        """The line as it is, and with what the model says now, of the samples that count."""
        records: list[tuple[SampleRecord, SampleRecord, SampleRecord]] = []
        for record in line.samples:
            verdicts = said[line.attack].get(record.index) or self._of_earlier(line, record, lines, said)
            if verdicts is None:
                self.found.tallies.setdefault(line.attack, Tally()).unkept += 1
                if not self.found.same_model:
                    continue
                verdicts = (record.verdict, record.verdict)
            if record.index in counted:
                records.append((record, *(replace(record, verdict=verdict) for verdict in verdicts)))  # type: ignore[arg-type]
        found = [replace(line, samples=tuple(three[place] for three in records)) for place in range(3)]
        return found[0], found[1], found[2]

    def _of_earlier(
        self,
        line: Line,
        record: SampleRecord,
        lines: Mapping[str, Line],
        said: Mapping[str, Mapping[int, tuple[Verdict, Verdict]]],
    ) -> tuple[Verdict, Verdict] | None:
        """Of a sample that counts as misled here, since an earlier attack has misled the model about it: that one's."""
        if not isinstance(line, AttackLine) or line.attack not in self.bundle.passes:
            return None
        for name in goes_on_after(line.attack, self.bundle.passes):
            fell = name in lines and any(one.index == record.index and not one.right for one in lines[name].samples)
            if fell and record.index in said[name]:
                self.found.tallies[line.attack].same += 1
                return said[name][record.index]
        return None


def unkept_reason(bundle: Bundle) -> str:
    """Why samples are not kept."""
    return "of attacks that did not succeed" if bundle.manifest.fixtures != ALL else "of no attack that has samples"

"""What is counted in the samples, and whether what was asked for fits them: found out before any work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from art_multimodal.ablation import Elements, elements_of
from art_multimodal.datasets import UnreadableSample
from art_multimodal.errors import InputError, noting, unknown_name
from art_multimodal.estimators.asking.asking import Asking
from art_multimodal.estimators.certification import Masks
from art_multimodal.evaluations.smoothing.budgets import EditBudget, elements_along
from art_multimodal.evaluations.smoothing.settings import SmoothingSettings
from art_multimodal.modalities.modality import Modality
from art_multimodal.shown import brief, shown

if TYPE_CHECKING:
    from art_multimodal.evaluations.audit.subject import Subject

#: Samples that are looked at together.
_AT_ONCE = 64


@dataclass(frozen=True)
class Counted:
    """What is counted in the samples of a certification.

    :param modalities: All that the model reads and an attacker could change, by name.
    :param elements: Of those that are hidden in part, what is counted; in the order of the model.
    :param counts: Numbers of elements that samples have, each once: in the order of ``elements``, with the name of the
        first sample that has so many.
    :param grids: Of those whose elements lie side by side on pictures, all numbers of rows and columns.
    """

    modalities: Mapping[str, Modality]
    elements: dict[str, Elements]
    counts: dict[tuple[int, ...], str]
    grids: Mapping[str, set[tuple[int, int]]]

    @classmethod
    def of(
        cls,
        settings: SmoothingSettings,
        subject: Subject,
        order: np.ndarray,
        protected_words: Iterable[str],
        batch_size: int,
    ) -> Counted:
        """Count the elements of all samples.

        :param order: Indices of the samples.
        :param protected_words: That are never hidden, besides those that the data name.
        :param batch_size: Most samples in one pass of the model.
        :raises InputError: If ``keep`` or ``elements`` name what the model does not have, or nothing can be counted.
        """
        asking = subject.estimator.asking(batch_size)
        modalities = attackable(subject, asking)
        for option, named in (("--keep", settings.keep), ("--elements", settings.elements)):
            for name in named:
                if name not in modalities:
                    raise unknown_name(f"modality for {option}", name, modalities)
        if strange := [name for name in settings.elements if name not in settings.keep]:
            raise InputError(
                f"--elements names {shown(strange[0])}, of which --keep says nothing: give it a number there, or leave "
                "it out."
            )
        elements: dict[str, Elements] = {}
        found: dict[tuple[int, ...], str] = {}
        grids: dict[str, set[tuple[int, int]]] = {}
        protected = tuple(dict.fromkeys((*subject.data.protected_words, *protected_words)))
        for indices, x in _arrays(subject, order):
            fields = asking.fields(x)
            if not elements:
                for name in (name for name in modalities if name in settings.keep):
                    size = _size(modalities[name], fields[name])
                    elements[name] = elements_of(modalities[name], settings.elements.get(name, ""), protected, size)
                _check_edits(settings, elements)
            for name, of in elements.items():
                if (grid := of.grid(fields[name])) is not None:
                    grids.setdefault(name, set()).add(grid)
            columns = [of.count(fields[name]) for name, of in elements.items()]
            for row, counts in enumerate(zip(*columns, strict=True)):
                found.setdefault(tuple(map(int, counts)), subject.data.name_of(indices[row]))
        if not found:
            raise InputError("None of the samples can be read, so nothing can be certified.")
        counted = cls(modalities, elements, found, grids)
        for name, (_, most) in counted.ranges().items():
            if not most:
                raise InputError(
                    f"No sample has any element of {name} that can be hidden ({elements[name].unit}): leave {name} out "
                    "of --keep, or protect fewer words."
                )
        return counted

    def ranges(self) -> dict[str, tuple[int, int]]:
        """The smallest and the largest number of elements of a sample, by modality."""
        columns = zip(*self.counts, strict=True)
        return {name: (min(column), max(column)) for name, column in zip(self.elements, columns, strict=True)}

    @property
    def seen_whole(self) -> list[str]:
        """Modalities of which nothing is hidden."""
        return [name for name in self.modalities if name not in self.elements]

    def described(self, keep: Mapping[str, float], masks: Masks) -> dict[str, dict[str, Any]]:
        """What is counted in each modality that is hidden in part, in JSON types.

        :param keep: As it was asked for, by modality.
        :param masks: Which elements votes see.
        """
        ranges = self.ranges()
        seen = {name: [masks.sees(name, counts) for counts in map(self._by_name, self.counts)] for name in ranges}
        return {
            name: {
                "spec": of.spec,
                "unit": of.unit,
                "least": ranges[name][0],
                "most": ranges[name][1],
                "keep": keep[name],
                # What was asked for is about what is kept: planes and groups have sizes of their own.
                "seen": [min(few for few, _ in seen[name]), max(many for _, many in seen[name])],
                "protected": list(getattr(of, "protected", ())),
            }
            for name, of in self.elements.items()
        }

    def _by_name(self, counts: tuple[int, ...]) -> dict[str, int]:
        return dict(zip(self.elements, counts, strict=True))

    def check_masks(self, masks: Masks) -> int:
        """Find out whether votes can be cast about every sample.

        :return: The largest number of votes about a sample.
        :raises InputError: If more is kept than a sample has, or there are too many votes; with the sample's name.
        """
        most = 0
        for counts, name in self.counts.items():
            with noting(brief(name, 80)):
                by_name = self._by_name(counts)
                masks.check(by_name)
                if masks.exact:
                    most = max(most, masks.ballot(by_name).votes)
        return most if masks.exact else getattr(masks, "samples", 0)

    def resolve(self, budget: EditBudget, option: str, masks: Masks) -> dict[str, int]:
        """How many elements of each modality a budget is.

        :param option: Where it was given, for errors.
        :param masks: Which elements votes see. Where a sticker reaches no more groups, it counts as fewer elements
            than it touches.
        :raises InputError: If it names what is not hidden, or is more than any sample has.
        """
        most = {name: largest for name, (_, largest) in self.ranges().items()}
        found = budget.resolved(self.elements, most, self.modalities, option)
        for name, side in budget.stickers:
            along = elements_along(self.elements[name], side, option)
            reached = [masks.reached(name, grid, along) for grid in self.grids.get(name, ())]
            found[name] = min(found[name], max(reached, default=found[name]))
        for name, number in found.items():
            if number > most[name]:
                raise InputError(
                    f"{option} {shown(budget.spec)}: {number} of {name} are more than any sample has, {most[name]} "
                    f"({self.elements[name].unit}): give at most {most[name]}."
                )
        return found


def attackable(subject: Subject, asking: Asking) -> dict[str, Modality]:
    """The modalities that belong to a sample: prompts of classes are the defender's own."""
    if getattr(subject.estimator, "texts_are_prompts", False):
        return {"image": asking.modalities["image"]}
    return dict(asking.modalities)


def _arrays(subject: Subject, order: Sequence[int] | np.ndarray) -> Iterator[tuple[list[int], np.ndarray]]:
    """Samples in arrays of one shape with their indices; those that cannot be read are passed over."""
    for start in range(0, len(order), _AT_ONCE):
        indices, samples = [], []
        for index in map(int, order[start : start + _AT_ONCE]):
            try:
                samples.append(subject.read(index))
            except UnreadableSample:
                continue
            indices.append(index)
        for rows in subject.by_shape(samples):
            yield [indices[row] for row in rows], subject.stack([samples[row] for row in rows])


def _check_edits(settings: SmoothingSettings, elements: Mapping[str, Elements]) -> None:
    """Refuse additions and deletions of what can only be changed in its place."""
    for name, of in elements.items():
        if settings.edits == "any" and not of.squeezes:
            raise InputError(
                f"--edits any: elements of {name} ({of.unit}) stay where they are, so none is added or deleted. Leave "
                "it out, or leave that modality out of --keep."
            )


def _size(modality: Modality, field: Any) -> tuple[int, int] | None:
    """Height and width of images, where their modality leaves them open."""
    return tuple(field.shape[-2:]) if modality.numeric and None in modality.shape else None

"""What the log of an audit lacks: the plan of what is to be done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from art_multimodal.evaluations.audit.lines import CLEAN, AttackLine, CleanLine, Line
from art_multimodal.store import Unfinished


@dataclass
class Begun:
    """A batch of which something is logged, or nothing yet.

    :param clean: Its line before any attack.
    :param attacks: Its lines by the name of the pass.
    """

    clean: CleanLine | None = None
    attacks: dict[str, AttackLine] = field(default_factory=dict)


@dataclass
class UnfinishedAudit(Unfinished[Line]):
    """What the log of an audit lacks.

    :param spoilt: Batches and passes whose pictures or fixtures are gone or damaged: they are made again.
    :param pictured: By attack, the batch of each sample that has pictures.
    :param gallery_hash: Of the samples that answers depend on; empty where there are none, or nothing is logged.
    :param pictures_are_whole: Whether those of a line are.
    :param fixtures_are_whole: Whether the samples of a line are kept as they are to be.
    """

    spoilt: set[tuple[int, str]] = field(default_factory=set)
    pictured: dict[str, list[int]] = field(default_factory=dict)
    gallery_hash: str = ""
    pictures_are_whole: Callable[[AttackLine], bool] = lambda line: True
    fixtures_are_whole: Callable[[Line], bool] = lambda line: True

    def noted(self, line: Line) -> None:
        if isinstance(line, CleanLine):
            self.gallery_hash = line.gallery_hash or self.gallery_hash
        elif line.attack in self.pictured:
            self.pictured[line.attack] += [line.batch] * sum(one.pictured is not None for one in line.samples)
            if not self.pictures_are_whole(line):
                self.spoilt.add(line.part)
        if not self.fixtures_are_whole(line):
            self.spoilt.add(line.part)

    def finished(self, number: int, wanted: Sequence[str]) -> bool:
        return super().finished(number, wanted) and not any((number, name) in self.spoilt for name in wanted)

    def begun_of(self, number: int) -> Begun:
        """What is logged of a batch that is to be worked on."""
        lines = self.begun.get(number, {})
        clean = lines.get(CLEAN)
        attacks = {name: line for name, line in lines.items() if isinstance(line, AttackLine)}
        return Begun(clean if isinstance(clean, CleanLine) else None, attacks)

    def taken(self, attack: str, number: int) -> int:
        """How many samples have pictures already: in batches up to this one.

        Those that other processes, or an earlier run, have done since do not count.
        """
        return sum(other <= number for other in self.pictured.get(attack, ()))

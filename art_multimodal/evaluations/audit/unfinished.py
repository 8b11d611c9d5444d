"""What the log of a run lacks: the plan of what is to be done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from art_multimodal.evaluations.audit.lines import CLEAN, AttackLine, CleanLine, Line

#: Called with the name of a pass (or "clean"), the number of samples that it has just finished, and the seconds.
Watch = Callable[[str, int, float], None]


@dataclass
class Begun:
    """A batch of which something is logged, or nothing yet.

    :param clean: Its line before any attack.
    :param attacks: Its lines by the name of the pass.
    """

    clean: CleanLine | None = None
    attacks: dict[str, AttackLine] = field(default_factory=dict)


@dataclass
class Unfinished:
    """What a log lacks.

    :param batches: Numbers of the batches that are to be worked on, in order.
    :param begun: What is logged of them: a run of several processes may have left several.
    :param done: Batches and passes that are logged.
    :param spoilt: Those whose pictures are gone or damaged: they are made again.
    :param pictured: By attack, the batch of each sample that has pictures.
    :param gallery_hash: Of the samples that answers depend on; empty where there are none, or nothing is logged.
    """

    batches: list[int]
    begun: dict[int, Begun]
    done: set[tuple[int, str]]
    spoilt: set[tuple[int, str]]
    pictured: dict[str, list[int]]
    gallery_hash: str

    @classmethod
    def of(
        cls,
        lines: Iterable[Line],
        batches: int,
        passes: Sequence[str],
        attacks: Sequence[str],
        pictures_are_whole: Callable[[AttackLine], bool],
        watch: Watch,
    ) -> Unfinished:
        """Read a log.

        :param batches: How many batches there are in all.
        :param passes: What is run on each of them after the line before any attack.
        :param attacks: Those among them that keep pictures.
        :param watch: Told about every line.
        """
        found = cls([], {}, set(), set(), {name: [] for name in attacks}, "")
        wanted = (CLEAN, *passes)

        def finished(number: int) -> bool:
            return all((number, name) in found.done and (number, name) not in found.spoilt for name in wanted)

        for line in lines:
            # Only what a later step needs is kept: memory must not grow with what is logged already.
            number = line.batch
            found.done.add((number, line.attack))
            begun = found.begun.setdefault(number, Begun())
            if isinstance(line, CleanLine):
                begun.clean = line
                found.gallery_hash = line.gallery_hash or found.gallery_hash
            else:
                begun.attacks[line.attack] = line
                if line.attack in found.pictured:
                    found.pictured[line.attack] += [number] * sum(s.pictured is not None for s in line.samples)
                    if not pictures_are_whole(line):
                        found.spoilt.add((number, line.attack))
            if finished(number):
                del found.begun[number]
            watch(line.attack, line.listed, line.seconds)
        found.batches = [number for number in range(batches) if not finished(number)]
        return found

    def taken(self, attack: str, number: int) -> int:
        """How many samples have pictures already: in batches up to this one.

        Those that other processes, or an earlier run, have done since do not count.
        """
        return sum(other <= number for other in self.pictured.get(attack, ()))

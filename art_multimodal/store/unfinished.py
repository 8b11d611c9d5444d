"""What the log of a run lacks: the plan of what is to be done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic

from art_multimodal.store.stored_run import LineT

#: Called with the name of what was done, the number of samples that it has just finished, and the seconds.
Watch = Callable[[str, int, float], None]


@dataclass
class Unfinished(Generic[LineT]):
    """What a log lacks.

    :param batches: Numbers of the batches that are to be worked on, in order.
    :param begun: What is logged of them, by what was done: a run of several processes may have left several.
    :param done: Batches, and what was done with them, that are logged.
    """

    batches: list[int] = field(default_factory=list)
    begun: dict[int, dict[str, LineT]] = field(default_factory=dict)
    done: set[tuple[int, str]] = field(default_factory=set)

    def read(self, lines: Iterable[LineT], batches: int, wanted: Sequence[str], watch: Watch) -> None:
        """Read a log.

        :param batches: How many batches there are in all.
        :param wanted: What is to be done with each of them.
        :param watch: Told about every line.
        """
        for line in lines:
            # Only what a later step needs is kept: memory must not grow with what is logged already.
            number, name = line.part
            self.done.add((number, name))
            self.begun.setdefault(number, {})[name] = line
            self.noted(line)
            if self.finished(number, wanted):
                del self.begun[number]
            watch(name, line.listed, line.seconds)
        self.batches = [number for number in range(batches) if not self.finished(number, wanted)]

    def noted(self, line: LineT) -> None:
        """Take notice of what else a line says."""

    def finished(self, number: int, wanted: Sequence[str]) -> bool:
        """Whether nothing is to be done with a batch."""
        return all((number, name) in self.done for name in wanted)

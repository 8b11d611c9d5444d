"""Training in TensorBoard, by the writers that ART's attacks take as ``summary_writer``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from art.summary_writer import SummaryWriter

from art_multimodal.defences.trainer import StepRecord
from art_multimodal.errors import InputError


class TrainingSummaryWriter(SummaryWriter):
    """Writes loss and learning rate of each step, and accuracies of each epoch.

    In Python give :meth:`record` to a trainer: ``trainer.fit(x, y, callback=TrainingSummaryWriter("runs").record)``.

    >>> TrainingSummaryWriter("board").record.__name__
    'record'

    :param summary_writer: The folder, or ``True`` for ``runs/...`` in the current one, as everywhere in ART.
    :param first_step: What an earlier writer logged of this step and later ones is not shown any more.
    :raises InputError: If tensorboardX is not installed.
    """

    def __init__(self, summary_writer: str | bool, first_step: int | None = None) -> None:
        check_tensorboard()
        self._first_step = first_step
        super().__init__(summary_writer=summary_writer)

    def _init_summary_writer(self, summary_writer: str | bool, init_counter: int) -> None:
        from tensorboardX import SummaryWriter as EventWriter

        # One folder for all of a run, where ART has one for each call of an attack.
        logdir = summary_writer if isinstance(summary_writer, str) else None
        # Names tell seconds apart only, and a file of the same name would be written over.
        suffix = f".{time.time_ns()}"
        self._summary_writer = EventWriter(logdir=logdir, purge_step=self._first_step, filename_suffix=suffix)

    def record(self, record: StepRecord) -> None:
        """Write a step."""
        numbers = {"train/loss": record.loss, "train/learning_rate": record.learning_rate}
        self.update(record.place.index, record.place.step, numbers=numbers)

    def update(
        self, batch_id: int, global_step: int, numbers: Mapping[str, float] | None = None, **kwargs: Any
    ) -> None:
        """Write numbers.

        :param batch_id: Number of the batch in its epoch; not written.
        :param global_step: Steps taken before.
        :param numbers: By their names.
        """
        for name, value in (numbers or {}).items():
            self.summary_writer.add_scalar(name, value, global_step)

    def close(self) -> None:
        """Write what is still waiting."""
        self.summary_writer.close()


def check_tensorboard() -> None:
    """Refuse to log for TensorBoard without the package that writes its files.

    :raises InputError: Naming what to install.
    """
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"TensorBoard logging needs tensorboardX ({error}). Run: pip install 'art-multimodal[tensorboard]'"
        ) from error

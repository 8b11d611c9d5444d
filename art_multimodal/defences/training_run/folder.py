"""The folder of a training run, what is in it, and how it stays whole."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from art_multimodal.defences.trainer import StepRecord
from art_multimodal.defences.trainer.checkpoint import differences, holds_checkpoint
from art_multimodal.errors import InputError
from art_multimodal.models.base import Model
from art_multimodal.models.saving import save_model, saved_folder
from art_multimodal.shown import shown
from art_multimodal.store import (
    FolderLock,
    cannot_write,
    check_place,
    open_regular,
    opened_document,
    opened_line,
    read_regular,
    refuse_links,
    replace_file,
    sealed_document,
    sealed_line,
)
from art_multimodal.store.files import reason_of

HEADER_FILE, STEPS_FILE = "training.json", "steps.jsonl"
#: Raised when what ``training.json`` or a line of ``steps.jsonl`` says changes.
SCHEMA_VERSION = 2
#: Bytes of the header, and of a line; both are far smaller.
_MOST_BYTES = 64 << 20
#: What is read and written in the folder, with what a kill may leave while folders are exchanged.
_FILES = (
    *(HEADER_FILE, STEPS_FILE, "state", "tensorboard"),
    *(name for kept in ("best", "last") for name in (kept, f".{kept}.part", f".{kept}.old")),
)


class RunFolder:
    """``training.json`` says what the run is and how its epochs went; ``steps.jsonl`` has a line for each step.

    ``best/`` and ``last/`` hold models, as :func:`save_model` writes them, and ``state/`` what going on needs.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.header_file = self.path / HEADER_FILE
        self.state = self.path / "state"
        self.tensorboard = self.path / "tensorboard"
        self.steps = StepLog(self.path / STEPS_FILE)
        self.lock = FolderLock(self.path)

    def check(self, resume: bool) -> None:
        """Find out, before any work and without leaving a trace, whether a run can live here.

        :raises InputError: If it could not be written, or holds a run that is not to be resumed.
        """
        path = self.path
        check_place(path)
        refuse_links(path, _FILES)
        if self.header_file.exists():
            # A run that has kept nothing yet, as one that diverged at once, may be replaced.
            if not resume and any((path / name).exists() for name in ("best", "last", "state")):
                raise InputError(
                    f"{shown(path)} holds a run already. Go on with it by --resume, replace it by "
                    "--overwrite, or choose another --out."
                )
            return
        taken = [name for name in ("best", "last", "state", STEPS_FILE) if (path / name).exists()]
        if taken:
            raise InputError(
                f"{shown(path)} holds {taken[0]} but no {HEADER_FILE}: it is not the folder of a run, or it was "
                "damaged. Choose another --out."
            )

    def read(self) -> dict[str, Any] | None:
        """What ``training.json`` holds; ``None`` if there is none.

        :raises InputError: If it cannot be read.
        """
        try:
            text = read_regular(self.header_file, _MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unreadable(error) from error
        try:
            header = opened_document(text)
            _check_history(header)
        except ValueError as error:
            found = re.search(rb'"schema_version": ?(\d{1,6})\b', text)
            if found and int(found[1]) != SCHEMA_VERSION:
                raise InputError(
                    f"The run was made by another version of art-multimodal (schema {int(found[1])}, here "
                    f"{SCHEMA_VERSION}). Start again in another --out."
                ) from error
            raise self._unreadable(error) from error
        return header

    def _unreadable(self, error: Exception) -> InputError:
        return InputError(
            f"{shown(self.header_file)} cannot be read ({shown(reason_of(error))}). Start again in another --out."
        )

    def write(self, header: Mapping[str, Any]) -> None:
        """Write ``training.json``; a kill leaves the old one or the new one.

        :raises InputError: If it cannot be written.
        """
        try:
            self.make()
            replace_file(self.header_file, sealed_document(dict(header)))
        except OSError as error:
            raise cannot_write(self.header_file, error) from error

    def make(self) -> None:
        """Make the folder, and hold it until :meth:`let_go`.

        :raises InputError: If another command holds it.
        :raises OSError: If it cannot be made.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self.lock.take()

    def let_go(self) -> None:
        """Close the file of steps, and let go of the folder."""
        self.steps.close()
        self.lock.release()

    def check_models(self, history: Sequence[Mapping[str, Any]], best_epoch: int | None, epochs: int) -> None:
        """Refuse to go on with a run whose best model or state is gone, or with a complete one whose last model is.

        Nothing here makes them again; a run that is not complete writes the model of its last epoch anew.

        :param epochs: Of the whole training.
        :raises InputError: Naming what is gone.
        """
        if not any(row["epoch"] > 0 for row in history):
            return
        if best_epoch is not None and saved_folder(self.path / "best") is None:
            raise InputError(
                f"{shown(self.path / 'best')}, the model of the best epoch ({best_epoch}), is gone, and nothing else "
                "holds its weights. Put it back, or train again in another --out."
            )
        if history[-1]["epoch"] == epochs and saved_folder(self.path / "last") is None:
            raise InputError(
                f"{shown(self.path / 'last')}, the model of the last epoch ({epochs}), is gone, and the training is "
                "complete: nothing writes it anew. Put it back, or train again in another --out."
            )
        if not holds_checkpoint(self.state):
            raise InputError(
                f"{shown(self.state)}, from which the run would go on, is gone. Put it back, or train again in another "
                "--out."
            )

    def save(self, name: str, model: Model, trained_from: str) -> None:
        """Save a model as ``best`` or ``last``.

        :raises InputError: If it cannot be written; the old one is still there then.
        """
        save_model(model, self.path / name, trained_from)


def check_same_run(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with a run of other settings, another model or other data.

    :raises InputError: Naming what differs.
    """
    parts = ("settings", "model", "data", "text_attack")
    found = differences(
        {part: before.get(part) for part in parts}, json.loads(json.dumps({part: now[part] for part in parts}))
    )
    if found:
        shown = [f"{name.partition('.')[2]}: {was} then, {is_now} now" for name, was, is_now in found[:5]]
        raise InputError(
            f"The run to resume was another one ({'; '.join(shown)}). Give the same settings, model and data, or "
            "another --out."
        )


def _check_history(header: Mapping[str, Any]) -> None:
    """Check what is read from ``training.json``: a row for each epoch, in order.

    :raises ValueError: Saying what is wrong.
    """
    history = header.get("history")
    if not isinstance(history, list):
        raise ValueError("no history")
    for number, row in enumerate(history):
        if not isinstance(row, dict):
            raise ValueError(f"row {number + 1} of the history is not an object")
        for key, value in row.items():
            count = key in ("epoch", "step")
            if value is None and key == "loss":
                continue
            if type(value) not in ((int,) if count else (int, float)) or not abs(value) < 2**53:
                raise ValueError(f"{shown(key)[:40]} of row {number + 1} of the history is not a number")
        if row.get("epoch") != history[0].get("epoch", 0) + number or row.get("step", -1) < 0 or row["epoch"] < 0:
            raise ValueError(f"row {number + 1} of the history is not the next epoch")
        if ("attacked" in row) != ("clean" in row):
            raise ValueError(f"row {number + 1} of the history is validated in part")


class StepLog:
    """One line of JSON, with its checksum, for each step.

    A run that goes on writes the steps since its checkpoint anew: their old lines are dropped, all others kept.

    :param path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: BinaryIO | None = None
        self._of_epoch: dict[int, list[float]] = {}

    def append(self, record: StepRecord) -> None:
        """Add a step, and see it onto the disk.

        :raises InputError: If it cannot be written, or what is there is damaged.
        """
        place = record.place
        line = {"step": place.step, "epoch": place.epoch, "loss": record.loss, "learning_rate": record.learning_rate}
        try:
            if self._stream is None:
                self._open(place.step)
            assert self._stream is not None
            self._stream.write(sealed_line(line))
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._of_epoch.setdefault(place.epoch, []).append(record.loss)

    def mean_loss(self, epoch: int) -> float | None:
        """The mean loss of an epoch, from 0 on; ``None`` if none of its batches taught anything."""
        losses = self._of_epoch.get(epoch) or [line["loss"] for line in self.lines() if line["epoch"] == epoch]
        return sum(losses) / len(losses) if losses else None

    def lines(self) -> Iterator[dict[str, Any]]:
        """The steps that are written, without a last line that a kill cut off.

        :raises InputError: If another line is damaged, or the file cannot be read.
        """
        if not os.path.lexists(self.path):
            return
        number = 0
        try:
            with open_regular(self.path) as stream:
                while text := stream.readline(_MOST_BYTES):
                    number += 1
                    if not text.endswith(b"\n"):
                        return
                    line = opened_line(text)
                    if not all(type(line.get(key)) is int for key in ("step", "epoch")):
                        raise ValueError("it has no step or no epoch")
                    if not all(type(line.get(key)) in (int, float) for key in ("loss", "learning_rate")):
                        raise ValueError("it has no loss or no learning rate")
                    yield line
        except ValueError as error:
            raise InputError(
                f"Line {number} of {shown(self.path)} is damaged: {error}. Start again in another --out."
            ) from error
        except OSError as error:
            raise InputError(f"{shown(self.path)} cannot be read: {reason_of(error)}. Choose another --out.") from error

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _open(self, step: int) -> None:
        """Keep what comes before a step."""
        kept = [line for line in self.lines() if line["step"] < step]
        for line in kept:
            self._of_epoch.setdefault(line["epoch"], []).append(line["loss"])
        replace_file(self.path, b"".join(map(sealed_line, kept)))
        self._stream = open_regular(self.path, "ab")

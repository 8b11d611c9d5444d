"""The folder of a training run, what is in it, and how it stays whole."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from art_multimodal.defences.trainer import StepRecord
from art_multimodal.defences.trainer.checkpoint import differences, write_atomically
from art_multimodal.errors import InputError
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.saving import save_model

HEADER_FILE, STEPS_FILE = "training.json", "steps.jsonl"
SCHEMA_VERSION = 1


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

    def check(self, resume: bool) -> None:
        """Find out, before any work and without leaving a trace, whether a run can live here.

        :raises InputError: If it could not be written, or holds a run that is not to be resumed.
        """
        path = self.path
        existing = next(place for place in (path, *path.absolute().parents) if place.exists())
        if not existing.is_dir():
            raise InputError(f"Cannot write to {path}: {existing} is a file. Choose another --out.")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise InputError(f"Cannot write to {path}: no permission to write in {existing}. Choose another --out.")
        if self.header_file.exists():
            # A run that has kept nothing yet, as one that diverged at once, may be replaced.
            if not resume and any((path / name).exists() for name in ("best", "last", "state")):
                raise InputError(
                    f"{path} holds a run already. Go on with it by --resume, replace it by "
                    "--overwrite, or choose another --out."
                )
            return
        taken = [name for name in ("best", "last", "state", STEPS_FILE) if (path / name).exists()]
        if taken:
            raise InputError(
                f"{path} holds {taken[0]} but no {HEADER_FILE}: it is not the folder of a run, or it was damaged. "
                "Choose another --out."
            )

    def read(self) -> dict[str, Any] | None:
        """What ``training.json`` holds; ``None`` if there is none.

        :raises InputError: If it cannot be read.
        """
        try:
            header = json.loads(self.header_file.read_text(encoding="utf-8"))
            if header["schema_version"] != SCHEMA_VERSION:
                raise InputError(
                    f"The run was made by another version of art-multimodal (schema {header['schema_version']}, here "
                    f"{SCHEMA_VERSION}). Start again in another --out."
                )
            if not isinstance(header["history"], list):
                raise ValueError("no history")
        except FileNotFoundError:
            return None
        except InputError:
            raise
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self.header_file} cannot be read ({error}). Start again in another --out.") from error
        return header

    def write(self, header: Mapping[str, Any]) -> None:
        """Write ``training.json``; a kill leaves the old one or the new one.

        :raises InputError: If it cannot be written.
        """
        text = json.dumps(header, indent=2, allow_nan=False) + "\n"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.header_file, lambda path: path.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise cannot_write(self.header_file, error) from error

    def save(self, name: str, model: DualEncoder, trained_from: str) -> None:
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


def cannot_write(path: Path, error: OSError) -> InputError:
    """Return the error for a file that could not be written."""
    return InputError(
        f"Cannot write {path}: {error.strerror or error}. What is there already is kept; make room, and go on with "
        "--resume."
    )


class StepLog:
    """One line of JSON for each step.

    A run that goes on writes the steps since its checkpoint anew: their old lines are dropped.

    :param path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream: TextIO | None = None
        self._of_epoch: dict[int, list[float]] = {}

    def append(self, record: StepRecord) -> None:
        """Add a step.

        :raises InputError: If it cannot be written.
        """
        place = record.place
        line = {"step": place.step, "epoch": place.epoch, "loss": record.loss, "learning_rate": record.learning_rate}
        try:
            if self._stream is None:
                self._open(place.step)
            assert self._stream is not None
            self._stream.write(json.dumps(line) + "\n")
            self._stream.flush()
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._of_epoch.setdefault(place.epoch, []).append(record.loss)

    def mean_loss(self, epoch: int) -> float | None:
        """The mean loss of an epoch, from 0 on; ``None`` if none of its batches taught anything."""
        losses = self._of_epoch.get(epoch) or [line["loss"] for line in self.lines() if line["epoch"] == epoch]
        return sum(losses) / len(losses) if losses else None

    def lines(self) -> Iterator[dict[str, Any]]:
        """The steps that are written; a line that a kill cut off ends them."""
        if self.path.exists():
            with self.path.open(encoding="utf-8") as stream:
                for text in stream:
                    try:
                        yield json.loads(text)
                    except ValueError:
                        return

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
        text = "".join(json.dumps(line) + "\n" for line in kept)
        write_atomically(self.path, lambda path: path.write_text(text, encoding="utf-8"))
        self._stream = self.path.open("a", encoding="utf-8")

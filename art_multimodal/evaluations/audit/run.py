"""Running an audit: batches of samples through every attack, each result logged as its batch ends."""

from __future__ import annotations

import hashlib
import platform
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.evaluations.evaluation import Evaluation

from art_multimodal import __version__
from art_multimodal.attacks.evasion.decoupling.importance import labels_without
from art_multimodal.attacks.registry import ATTACKS, PAIRS, ZERO_SHOT, select_attacks
from art_multimodal.datasets import Sample, UnreadableSample
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.log import HEADER_FILE, RunLog, check_folder
from art_multimodal.evaluations.audit.pictures import save_pictures
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.audit.subject import counted_queries, open_subject
from art_multimodal.evaluations.audit.summary import CLEAN, weighed_modalities

SCHEMA_VERSION = 2
#: Pictures kept for each attack.
PICTURES_PER_ATTACK = 6
_PACKAGES = ("adversarial-robustness-toolbox", "torch", "torchvision", "open_clip_torch", "transformers", "numpy")

#: Called with the name of an attack (or "clean") and the number of samples that it has just finished.
Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class _Batch:
    """A batch of readable samples, by their position in the audit's order."""

    number: int
    indices: list[int]
    samples: list[Sample]
    skipped: list[dict[str, str]]

    def pixels_hash(self) -> str:
        """A hash of all pixels and texts, by which a resumed run knows the batch again."""
        digest = hashlib.blake2b(digest_size=16)
        for index, sample in zip(self.indices, self.samples, strict=True):
            text = "" if sample.text is None else f" {sample.text!r}"
            digest.update(f"{index} {sample.image.shape}{text}".encode())
            digest.update(np.ascontiguousarray(sample.image).data)
        return digest.hexdigest()


class Audit(Evaluation):
    """Attack a model on labelled images, or image-text pairs for a fusion model, and log what happens.

    Samples are read batch by batch, so memory does not grow with the data. Only samples that are classified right are
    attacked. Every attack on every batch has random numbers of its own, drawn from the seed, so a run that was killed
    and resumed gives the numbers of one that was not.
    """

    def __init__(self, settings: AuditSettings, out: str | Path, device: str = "auto", strict: bool = False) -> None:
        """Load the model, open the data and check every setting, so that bad input is found before any work.

        :param settings: What to do.
        :param out: Folder of the run.
        :param device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
        :param strict: Stop at an unreadable sample instead of skipping it.
        :raises InputError: For anything that cannot be used.
        """
        self.settings = settings
        self.out = Path(out)
        self.strict = strict
        self.subject = open_subject(settings, _device_type(device))
        self.estimator = self.subject.estimator
        self.attacks = select_attacks(
            settings.attacks, len(self.subject.class_names), PAIRS if self.subject.on_pairs else ZERO_SHOT
        )
        # Sources list samples class by class: a seeded order makes a limited audit a fair sample of all of them.
        order = np.random.default_rng(settings.seed).permutation(len(self.subject.data))
        self.order = order[: settings.limit] if settings.limit else order
        self.subject.check_texts(self.order)

    def header(self) -> dict[str, Any]:
        """Return what identifies the run: settings, exact model and data, protocol, versions."""
        budget, subject = self.settings.budget, self.subject
        pairs = subject.on_pairs
        return {
            "schema_version": SCHEMA_VERSION,
            "settings": self.settings.as_json(),
            "attacks": list(self.attacks),
            "model": subject.describe(self.settings.model),
            "data": {
                "spec": self.settings.data,
                "listed": len(subject.data),
                "selected": len(self.order),
                "class_names": list(subject.class_names),
                "templates": list(subject.templates),
                "fingerprint": subject.data.fingerprint(),
            },
            "budget": {
                "norm": str(budget.norm),
                "eps": budget.eps,
                "eps_step": budget.eps_step,
                "steps": budget.max_iter,
                "max_queries": budget.max_queries,
            },
            "protocol": {
                "decision": "top-1 of the " + ("model's answers" if pairs else "logits over the class prompts"),
                "accuracy": "over all evaluated samples; a sample that is wrong before the attack counts as wrong",
                "attack_success_rate": "over the samples that are right before the attack; only these are attacked",
                "modality_rows": "worst case per sample over the attacks of the modality",
                "intervals": "95 % percentile bootstrap over samples",
                "queries": (
                    "mean forward evaluations per attacked sample; gradients counts those with a backward pass; of "
                    "decoupling, probes of the model, words included and a gradient counted as two"
                ),
                "images": (
                    "photos at their own size; the model resizes"
                    if self.settings.native_size
                    else "photos larger than the model's resolution are reduced to it first; perturbations live there"
                ),
                "texts": (
                    "each sample's own text is attacked by decoupling only; image attacks leave it as it is"
                    if pairs
                    else "decoupling removes words from the prompt templates, never the class name"
                ),
                "decoupling_guided": "ours, within the limit of queries, a gradient counted as two",
                "decoupling_image": "the same on the image alone: words are nearly free and hide it otherwise",
                "decoupling_exhaustive": (
                    "the published search, label decision, at most 500 combinations; not bound by the limit of queries"
                ),
                "removal": "removed pixels take the model's mean colour; a removed word is deleted",
                "modality_importance": (
                    "accuracy with every pixel removed, and with "
                    + ("every word removed" if pairs else "every word but the class names removed")
                ),
            },
            "seed": self.settings.seed,
            "device": str(self.estimator.device),
            "versions": _versions(),
        }

    def evaluate(self, resume: bool = False, progress: Progress | None = None) -> RunLog:
        """Run what is not in the log yet.

        :param resume: Go on with the run in the folder, which must have the same settings, model and data.
        :param progress: Told about every finished attack on a batch, also of those found in the log.
        :return: The complete log.
        :raises InputError: If the folder cannot be used, or the run to resume is another one.
        """
        header = self.header()
        check_folder(self.out, resume=resume)
        if resume and (self.out / HEADER_FILE).exists():
            log = RunLog.open(self.out)
            _check_same_run(log.header, header)
        else:
            log = RunLog.create(self.out, header)
        report = progress or (lambda name, count: None)
        done: set[tuple[int, str]] = set()
        started: dict[int, dict[str, Any]] = {}
        pictured = dict.fromkeys(self.attacks, 0)
        for line in log.lines():
            # Only what a later step needs is kept: memory must not grow with what is logged already.
            done.add((line["batch"], line["attack"]))
            if line["attack"] == CLEAN:
                started = {line["batch"]: line}
            if line["attack"] in pictured:
                pictured[line["attack"]] += sum(sample.get("picture", False) for sample in line["samples"])
            report(line["attack"], line["listed"])
        wanted = (CLEAN, *self.attacks)
        size = self.settings.batch_size
        for number, start in enumerate(range(0, len(self.order), size)):
            if all((number, name) in done for name in wanted):
                continue
            batch = self._read(number, self.order[start : start + size])
            clean = started.get(number)
            _check_same_batch(batch, clean)
            if clean is None:
                clean = self._clean(batch)
                log.append(clean)
                report(CLEAN, clean["listed"])
            # Who is attacked is what the log says was right, on whatever machine the run goes on.
            guesses = ((sample["predicted"], sample["label"]) for sample in clean["samples"])
            right = np.array([row for row, (guess, label) in enumerate(guesses) if guess == label], dtype=np.int64)
            for name in self.attacks:
                if (number, name) not in done:
                    log.append({**self._attack(name, batch, right, log, pictured), "listed": clean["listed"]})
                    report(name, clean["listed"])
        return log

    def _read(self, number: int, positions: np.ndarray) -> _Batch:
        indices, samples, skipped = [], [], []
        for index in map(int, positions):
            try:
                samples.append(self.subject.read(index))
                indices.append(index)
            except UnreadableSample as error:
                if self.strict:
                    raise InputError(f"{error.name}: {error.reason}. Without --strict it would be skipped.") from None
                skipped.append({"name": error.name, "reason": error.reason})
        return _Batch(number, indices, samples, skipped)

    def _clean(self, batch: _Batch) -> dict[str, Any]:
        """The log's line for a batch before any attack."""
        started = time.perf_counter()
        size = self.settings.batch_size
        predicted = np.zeros(len(batch.samples), dtype=np.int64)
        without = {modality: predicted.copy() for modality in weighed_modalities(self.attacks)}
        for rows in _rows_by_shape(batch.samples):
            x = self.subject.stack([batch.samples[row] for row in rows])
            predicted[rows] = self.estimator.predict_labels(x, batch_size=size)
            for modality, labels in without.items():
                labels[rows] = labels_without(self.estimator, x, modality, batch_size=size)
        return {
            "batch": batch.number,
            "attack": CLEAN,
            "listed": len(batch.samples) + len(batch.skipped),
            "seconds": round(time.perf_counter() - started, 3),
            "skipped": batch.skipped,
            "pixels_hash": batch.pixels_hash(),
            "samples": [
                {
                    "index": batch.indices[row],
                    "name": sample.name,
                    "label": sample.label,
                    "predicted": int(predicted[row]),
                    **{f"without_{modality}": int(labels[row]) for modality, labels in without.items()},
                }
                for row, sample in enumerate(batch.samples)
            ],
        }

    def _attack(
        self, name: str, batch: _Batch, right: np.ndarray, log: RunLog, pictured: dict[str, int]
    ) -> dict[str, Any]:
        entry = ATTACKS[name]
        records: dict[int, dict[str, Any]] = {}
        queries = gradients = 0
        started = time.perf_counter()
        fits = [entry.applies(batch.samples[row].image.shape, self.settings.budget) for row in right]
        not_applicable = [batch.indices[row] for row, fit in zip(right, fits, strict=True) if not fit]
        right = right[np.array(fits, dtype=bool)]
        for group, rows in enumerate(_rows_by_shape([batch.samples[row] for row in right])):
            chosen = right[rows]
            x = self.subject.stack([batch.samples[row] for row in chosen])
            labels = np.array([batch.samples[row].label for row in chosen], dtype=np.int64)
            seed = _seed_of(self.settings.seed, name, batch.number, group)
            with counted_queries(self.subject.model) as count:
                attacked = entry.run(self.estimator, x, labels, self.settings.budget, seed)
            details = attacked.details or [{} for _ in chosen]
            queries += sum(d["queries"] for d in details) if "queries" in details[0] else count["queries"]
            gradients += count["gradients"]
            for position, row in enumerate(chosen):
                records[int(row)] = {
                    "index": batch.indices[row],
                    "name": batch.samples[row].name,
                    "label": int(labels[position]),
                    "predicted": int(attacked.labels[position]),
                    **details[position],
                }
                sample = batch.samples[row]
                if pictured[name] < PICTURES_PER_ATTACK and int(attacked.labels[position]) != int(labels[position]):
                    removal = entry.modality == "decoupling"
                    images = sample.image, attacked.images[position]
                    save_pictures(log.pictures, name, batch.indices[row], *images, removal=removal)
                    records[int(row)] |= {"picture": True, "size": list(sample.image.shape[1:]), "text": sample.text}
                    pictured[name] += 1
        return {
            "batch": batch.number,
            "attack": name,
            "seconds": round(time.perf_counter() - started, 3),
            "queries": queries,
            "gradients": gradients,
            "not_applicable": not_applicable,
            "samples": [records[row] for row in sorted(records)],
        }


def _rows_by_shape(samples: list[Sample]) -> list[np.ndarray]:
    """Rows of samples that fit into one array, in the order in which their shapes appear."""
    rows: dict[tuple[int, ...], list[int]] = {}
    for row, sample in enumerate(samples):
        rows.setdefault(sample.image.shape, []).append(row)
    return [np.array(group) for group in rows.values()]


def _seed_of(seed: int, attack: str, batch: int, group: int) -> int:
    """A seed of its own for every attack on every batch, whatever ran before it."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(attack.encode()), batch, group])
    return int(sequence.generate_state(1, np.uint32)[0])


def _device_type(device: str) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"The device must be auto, cpu or cuda, not {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device here. Use --device auto or --device cpu.")
    return "cpu" if device == "cpu" else "gpu"


def _versions() -> dict[str, str]:
    versions = {"art-multimodal": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions


def _check_same_run(logged: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Compare all that numbers depend on; another device or library version is let through and stays as logged."""
    if logged.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"The run was made by another version of art-multimodal (schema {logged.get('schema_version')}, here "
            f"{SCHEMA_VERSION}). Start again in another --out."
        )
    differences: dict[str, str] = {}
    for part in ("settings", "budget", "model", "data"):
        for key in sorted({*logged.get(part, {}), *wanted[part]}):
            before, now = logged.get(part, {}).get(key), wanted[part].get(key)
            if before != now:
                differences.setdefault(key, f"{key}: {_short(before)} then, {_short(now)} now")
    if differences:
        raise InputError(
            f"The run to resume had other settings ({'; '.join(differences.values())}). "
            "Give the same ones, or another --out."
        )


def _check_same_batch(batch: _Batch, logged: dict[str, Any] | None) -> None:
    """A batch that is logged in part must be the same images, or its rows would speak of different ones."""
    if logged is not None and logged["pixels_hash"] != batch.pixels_hash():
        raise InputError(
            f"Images of the run to resume have changed since, in batch {batch.number} "
            f"({', '.join(sample.name for sample in batch.samples[:3])}, ...). Put them back, or choose another --out."
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."

"""Running an audit: batches of samples through every attack, each result logged as its batch ends."""

from __future__ import annotations

import hashlib
import platform
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.evaluations.evaluation import Evaluation

from art_multimodal import __version__
from art_multimodal.attacks.registry import ATTACKS, Attacked, select_attacks
from art_multimodal.datasets import LabelledImages, Sample, UnreadableSample, open_data
from art_multimodal.errors import InputError
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.audit.log import HEADER_FILE, RunLog, check_folder
from art_multimodal.evaluations.audit.pictures import save_pictures
from art_multimodal.evaluations.audit.settings import AuditSettings
from art_multimodal.evaluations.audit.summary import CLEAN
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.loading import load_model
from art_multimodal.prompts import check_templates

SCHEMA_VERSION = 1
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
        """A hash of all pixels and of what could not be read, by which a resumed run knows the batch again."""
        digest = hashlib.blake2b(digest_size=16)
        for index, sample in zip(self.indices, self.samples, strict=True):
            digest.update(f"{index} {sample.image.shape}".encode())
            digest.update(np.ascontiguousarray(sample.image).data)
        return digest.hexdigest()


class Audit(Evaluation):
    """Attack a model on labelled images and log what happens.

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
        device_type = _device_type(device)
        model = load_model(settings.model)
        self.data: LabelledImages = open_data(
            settings.data,
            classes=settings.classes,
            transform=None if settings.native_size else model.preprocess.reduce_photo,
        )
        self.templates = check_templates(settings.templates or self.data.templates)
        self.attacks = select_attacks(settings.attacks, len(self.data.class_names))
        self.estimator = ZeroShotClassifier(model, self.data.class_names, self.templates, device_type=device_type)
        # Sources list samples class by class: a seeded order makes a limited audit a fair sample of all of them.
        order = np.random.default_rng(settings.seed).permutation(len(self.data))
        self.order = order[: settings.limit] if settings.limit else order

    def header(self) -> dict[str, Any]:
        """Return what identifies the run: settings, exact model and data, protocol, versions."""
        budget = self.settings.budget
        return {
            "schema_version": SCHEMA_VERSION,
            "settings": self.settings.as_json(),
            "attacks": list(self.attacks),
            "model": _describe_model(self.settings.model, self.estimator.dual_encoder),
            "data": {
                "spec": self.settings.data,
                "listed": len(self.data),
                "selected": len(self.order),
                "class_names": list(self.data.class_names),
                "templates": list(self.templates),
                "fingerprint": self.data.fingerprint(),
            },
            "budget": {
                "norm": str(budget.norm),
                "eps": budget.eps,
                "eps_step": budget.eps_step,
                "steps": budget.max_iter,
                "max_queries": budget.max_queries,
            },
            "protocol": {
                "decision": "top-1 of the logits over the class prompts",
                "accuracy": "over all evaluated samples; a sample that is wrong before the attack counts as wrong",
                "attack_success_rate": "over the samples that are right before the attack; only these are attacked",
                "modality_rows": "worst case per sample over the attacks of the modality",
                "intervals": "95 % percentile bootstrap over samples",
                "queries": "mean forward evaluations per attacked sample; gradients counts those with a backward pass",
                "images": (
                    "photos at their own size; the model resizes"
                    if self.settings.native_size
                    else "photos larger than the model's resolution are reduced to it first; perturbations live there"
                ),
                "protected_text": "decoupling never removes the class name from a prompt",
                "decoupling": (
                    "published exhaustive search, label decision, removed pixels filled with the model's mean colour, "
                    "at most 500 combinations; it is not bound by the limit of queries"
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
                samples.append(self.data.read(index))
                indices.append(index)
            except UnreadableSample as error:
                if self.strict:
                    raise InputError(f"{error.name}: {error.reason}. Without --strict it would be skipped.") from None
                skipped.append({"name": error.name, "reason": error.reason})
        return _Batch(number, indices, samples, skipped)

    def _clean(self, batch: _Batch) -> dict[str, Any]:
        """The log's line for a batch before any attack."""
        started = time.perf_counter()
        predicted = np.zeros(len(batch.samples), dtype=np.int64)
        for rows in _rows_by_shape(batch.samples):
            images = np.stack([batch.samples[row].image for row in rows])
            predicted[rows] = self.estimator.predict_labels(images, batch_size=self.settings.batch_size)
        return {
            "batch": batch.number,
            "attack": CLEAN,
            "listed": len(batch.samples) + len(batch.skipped),
            "seconds": round(time.perf_counter() - started, 3),
            "skipped": batch.skipped,
            "pixels_hash": batch.pixels_hash(),
            "samples": [
                {"index": index, "name": sample.name, "label": sample.label, "predicted": int(guess)}
                for index, sample, guess in zip(batch.indices, batch.samples, predicted, strict=True)
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
            images = np.stack([batch.samples[row].image for row in chosen])
            labels = np.array([batch.samples[row].label for row in chosen], dtype=np.int64)
            seed = _seed_of(self.settings.seed, name, batch.number, group)
            with _counted(self.estimator) as count:
                attacked = entry.run(self.estimator, images, labels, self.settings.budget, seed)
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
                if self._is_worth_a_picture(attacked, images, labels, position, pictured[name]):
                    save_pictures(log.pictures, name, batch.indices[row], images[position], attacked.images[position])
                    records[int(row)] |= {"picture": True, "size": list(images.shape[2:])}
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

    @staticmethod
    def _is_worth_a_picture(
        attacked: Attacked, images: np.ndarray, labels: np.ndarray, position: int, taken: int
    ) -> bool:
        return taken < PICTURES_PER_ATTACK and int(attacked.labels[position]) != int(labels[position])


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


@contextmanager
def _counted(estimator: ZeroShotClassifier) -> Iterator[dict[str, int]]:
    """Count the images that pass the image tower, and those among them that a gradient is taken for."""
    count = {"queries": 0, "gradients": 0}

    def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        count["queries"] += len(output)
        if output.requires_grad:
            count["gradients"] += len(output)

    handle = estimator.model.image_encoder.register_forward_hook(hook)
    try:
        yield count
    finally:
        handle.remove()


def _device_type(device: str) -> str:
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"The device must be auto, cpu or cuda, not {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device here. Use --device auto or --device cpu.")
    return "cpu" if device == "cpu" else "gpu"


def _describe_model(spec: str, model: DualEncoder) -> dict[str, Any]:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return {
        "spec": spec,
        "adapter": type(model).__name__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "weights_sha256": digest.hexdigest(),
        "image_size": list(model.image_size),
        "context_length": model.context_length,
        "logit_scale": float(model.logit_scale.detach().float().exp()),
    }


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

"""A matrix of transfer from names: models and data are opened, and every source is kept as it ends."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal.attacks.budget import Budget
from art_multimodal.attacks.evasion.transfer import TransferAttack
from art_multimodal.datasets import UnreadableSample, open_images
from art_multimodal.datasets.loading import LabelledImages
from art_multimodal.datasets.reading import check_readable, refusal
from art_multimodal.devices import device_type_of
from art_multimodal.errors import InputError, check_count
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.audit.rendering import render
from art_multimodal.evaluations.audit.surrogates import names_of, open_surrogates
from art_multimodal.evaluations.budget_settings import in_255ths
from art_multimodal.evaluations.transfer.matrix import TransferCell, TransferMatrix, sources_of, transfer_matrix
from art_multimodal.evaluations.typed_json import entries
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.custom.answers import AnsweringModel
from art_multimodal.models.loading import load_model
from art_multimodal.out_folders import check_apart, check_no_strangers
from art_multimodal.plugins import made_with, plugins_of_run
from art_multimodal.replacing import contents, remove
from art_multimodal.shown import shown
from art_multimodal.store import FolderLock, opened_document, read_regular, sealed_document, write_atomically

FILE, TABLE = "transfer.json", "transfer.csv"
_PAGES = ("report.md", "report.html")
_WHAT = "a matrix of transfer"
_MOST_BYTES = 64 << 20
_VERSION = 1


@dataclass(frozen=True)
class TransferSettings:
    """What a matrix of transfer depends on; parameters of the attack are those of :class:`TransferAttack`.

    >>> settings = TransferSettings(("demo:digits", "demo:digits/robust"), "demo:digits", steps=10, eps=8 / 255)
    >>> round(255 * settings.step, 3)
    2.0

    :param models: As for ``load_model``; dual encoders.
    :param data: As for ``open_images``.
    :param limit: Most samples, drawn with the seed; ``None`` for all.
    :param templates: Prompt templates instead of the data's own.
    :param classes: Class names instead of the data's own.
    :param eps_step: Length of a step; ``None`` for ``2.5 * eps / steps``.
    :param steps: Gradient steps.
    :param seed: Of the choice of samples, of the views and of the noise.
    :param batch_size: Images in one pass; no result depends on it.
    :raises InputError: For a model that is named twice, or what no attack could spend.
    """

    models: tuple[str, ...]
    data: str
    limit: int | None = None
    templates: tuple[str, ...] | None = None
    classes: tuple[str, ...] | None = None
    norm: str = "inf"
    eps: float = 8 / 255
    eps_step: float | None = None
    steps: int = 50
    ensemble: str = "logits"
    decay: float = 1.0
    diversity: float = 0.5
    crops: int = 0
    scales: tuple[float, ...] = ()
    seed: int = 0
    batch_size: int = 32

    def __post_init__(self) -> None:
        for model in self.models:
            if self.models.count(model) > 1:
                raise InputError(f"The model {shown(model)} is named twice.")
        if len(self.models) < 2:
            raise InputError("A matrix of transfer needs two models at least: art-multimodal transfer MODEL MODEL ...")
        for name in ("limit", "batch_size", "steps"):
            check_count(name.replace("_", " "), getattr(self, name))
        check_count("The seed", self.seed, least=0, most=2**63 - 1)
        if not 0 < self.eps < float("inf") or (float(self.norm) == float("inf") and self.eps > 1):
            raise InputError(f"eps must be greater than 0, and at most the whole range, 1, in l_inf; not {self.eps:g}.")

    @property
    def step(self) -> float:
        """Length of a step."""
        return 2.5 * self.eps / self.steps if self.eps_step is None else self.eps_step

    def attack(self, surrogates: Iterable[ZeroShotClassifier]) -> TransferAttack:
        """The attack on some models.

        :raises InputError: For parameters that it refuses.
        """
        try:
            return TransferAttack(
                list(surrogates),
                self.ensemble,
                self.norm,
                self.eps,
                self.step,
                self.steps,
                self.decay,
                self.diversity,
                crops=self.crops,
                scales=self.scales,
                batch_size=self.batch_size,
                seed=self.seed,
                verbose=False,
            )
        except InputError:
            raise
        except ValueError as error:
            raise InputError(str(error)) from error

    def as_json(self) -> dict[str, Any]:
        """In JSON types, without what no result depends on."""
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        del found["batch_size"]
        if not self.scales:
            # As matrices had it before there could be any.
            del found["scales"]
        return found


def run_transfer(
    settings: TransferSettings,
    out: str | Path,
    device: str = "auto",
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda source: None,
) -> dict[str, Any]:
    """Measure a matrix of transfer and write ``transfer.json``, ``transfer.csv``, ``report.md`` and ``report.html``.

    Files are written after every source: what a kill leaves is gone on with by ``resume``.

    >>> settings = TransferSettings(("demo:digits", "demo:digits/robust"), "demo:digits", limit=4, steps=1)
    >>> found = run_transfer(settings, "matrix", device="cpu")
    >>> Path("matrix", "transfer.csv").exists(), len(found["cells"])
    (True, 6)

    :param out: A folder, new or empty.
    :param device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    :param resume: Go on with the matrix in the folder, which must have the same settings, models and data.
    :param overwrite: Replace it.
    :param progress: Told of every source that is done.
    :return: What ``transfer.json`` holds.
    :raises InputError: For anything that cannot be used.
    """
    out = Path(out)
    if overwrite:
        contents(out, _is_ours, _WHAT)
    else:
        check_no_strangers(out)
    there = (out / FILE).exists()
    if there and not (resume or overwrite):
        raise InputError(f"{shown(out)} holds {_WHAT} already. Go on by --resume, replace it by --overwrite.")
    if not there and (out / _PAGES[0]).exists() and not overwrite:
        raise InputError(f"{shown(out)} holds another report. Choose another --out.")
    data, classifiers, header = _open(settings, device_type_of(device))
    check_apart(out, data.folders)
    settings.attack(classifiers.values())
    order = np.random.default_rng(settings.seed).permutation(len(data))[: settings.limit]
    check_readable(data, order, 0.5, data.read)
    groups, skipped = _read(data, order)
    header["data"] |= {"selected": len(order), "skipped": skipped}
    budget = Budget(settings.norm, settings.eps, settings.step, settings.steps, batch_size=settings.batch_size)
    done = _known(out / FILE, header) if resume and there else []
    out.mkdir(parents=True, exist_ok=True)
    with FolderLock(out) as lock:
        if overwrite:
            remove(out, _is_ours, _WHAT, FILE)
        lock.take()
        report: dict[str, Any] = {}
        known = len(done)
        for matrix in transfer_matrix(classifiers, groups, settings.attack, budget, settings.seed, done):
            report = {**header, **_numbers(matrix)}
            _write(out, report)
            if len(matrix.cells) > known:
                progress(list(dict.fromkeys(source for source, _ in matrix.cells))[-1])
            known = len(matrix.cells)
    return report


def _open(
    settings: TransferSettings, device_type: str
) -> tuple[LabelledImages, dict[str, ZeroShotClassifier], dict[str, Any]]:
    loaded: list[DualEncoder] = []
    for spec in settings.models:
        model = load_model(spec)
        if not isinstance(model, DualEncoder):
            hint = (
                "attack a function that answers by audit --surrogate"
                if isinstance(model, AnsweringModel)
                else "one with classes of its own is attacked by itself: art-multimodal audit MODEL"
            )
            raise InputError(
                f"{shown(spec)} is a {model.kind}. The matrix is of dual encoders, which classify by the same "
                f"prompts; {hint}."
            )
        loaded.append(model)
    # Photos are read as the model with the most pixels sees them; each resizes for itself.
    largest = max(loaded, key=lambda model: model.image_size[0] * model.image_size[1])
    data = open_images(settings.data, settings.classes, largest.preprocess.reduce_photo)
    templates = settings.templates or data.templates
    opened = open_surrogates(settings.models, loaded, data.class_names, templates, device_type)
    names = names_of(settings.models)
    header = {
        "version": _VERSION,
        "settings": settings.as_json(),
        "models": {
            name: {**one.as_json(), "parameters": sum(p.numel() for p in one.classifier.dual_encoder.parameters())}
            for name, one in zip(names, opened, strict=True)
        },
        "data": {
            "spec": settings.data,
            "listed": len(data),
            "class_names": list(data.class_names),
            "templates": list(templates),
            "fingerprint": data.fingerprint(),
        },
        "notes": list(data.notes),
        **made_with(plugins_of_run(settings.models, settings.data, loaded, data)),
    }
    return data, {name: one.classifier for name, one in zip(names, opened, strict=True)}, header


def _read(data: LabelledImages, order: np.ndarray) -> tuple[list[tuple[np.ndarray, np.ndarray]], int]:
    """Samples, together where they have one size; and how many cannot be read."""
    shapes: dict[tuple[int, ...], list[Any]] = {}
    skipped: list[UnreadableSample] = []
    for index in map(int, order):
        try:
            sample = data.read(index)
        except UnreadableSample as error:
            skipped.append(error)
            continue
        shapes.setdefault(sample.image.shape, []).append(sample)
    if skipped and (said := refusal(skipped[0].name, skipped[0].reason, len(skipped), len(order), 0.5)) is not None:
        raise said
    groups = [
        (np.stack([one.image for one in some]), np.array([one.label for one in some], dtype=np.int64))
        for some in shapes.values()
    ]
    return groups, len(skipped)


def _known(path: Path, header: dict[str, Any]) -> list[TransferCell]:
    """Cells of a matrix that is gone on with.

    :raises InputError: If it cannot be read, or is another one.
    """
    try:
        before = opened_document(read_regular(path, _MOST_BYTES))
        found = entries(before, {"cells": list[Any], "models": dict[str, Any], "settings": dict[str, Any]}, "it")
        for part in ("version", "settings", "models", "data"):
            if before.get(part) != header[part]:
                raise InputError(f"The matrix to resume had other {part}. Give the same ones, or another --out.")
        names, count = [*header["models"]], header["data"]["selected"] - header["data"]["skipped"]
        cells = []
        for one in found["cells"]:
            said = entries(one, {"source": str, "target": str, "outcomes": str}, "a cell")
            cell = TransferCell(said["source"], said["target"], said["outcomes"])
            known = cell.source in sources_of(names) and cell.target in names
            if not known or len(cell.outcomes) != count or set(cell.outcomes) - set("-01"):
                raise ValueError("a cell is of other models or samples")
            cells.append(cell)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"{shown(path)} cannot be gone on with: {shown(error)}. Choose another --out.") from error
    return cells


def _numbers(matrix: TransferMatrix) -> dict[str, Any]:
    return {
        "complete": matrix.complete,
        "sources": matrix.sources,
        "accuracy": {name: matrix.accuracy(name) for name in matrix.models},
        "cells": [cell.as_json() for cell in matrix.cells.values()],
    }


def _write(out: Path, report: dict[str, Any]) -> None:
    write_atomically(out / FILE, sealed_document(report))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("source", "target", "white_box", "n", "fooled", "rate", "low", "high"))
    for cell in report["cells"]:
        low, high = cell["ci95"] or ("", "")
        table.writerow([*(cell[name] for name in ("source", "target", "white_box", "n", "fooled", "rate")), low, high])
    write_atomically(out / TABLE, text.getvalue())
    settings = report["settings"]
    radius = in_255ths(settings["eps"]) if float(settings["norm"]) == float("inf") else f"{settings['eps']:.4g}"
    cells = {(cell["source"], cell["target"]): cell for cell in report["cells"]}
    context = {"report": report, "cells": cells, "radius": radius, "protocol": protocol(settings)}
    for name in _PAGES:
        write_atomically(out / name, render(name.replace("report", "transfer"), context))


def protocol(settings: dict[str, Any]) -> dict[str, str]:
    """What was done, in words.

    :param settings: In JSON types.
    """
    views = f"{settings['crops']} local crops a step" if settings["crops"] else "the whole image"
    if scales := settings.get("scales"):
        views += f" and the whole at scales {', '.join(f'{scale:g}' for scale in scales)}"
    return {
        "attack": (
            f"{settings['steps']} steps of gradients on the source, momentum {settings['decay']:g}, input diversity "
            f"with chance {settings['diversity']:g}, {views}; of several sources their mean {settings['ensemble']}. "
            "The target is asked once about what comes out"
        ),
        "success": "over the samples that the target has right before; 95 % intervals are Wilson's with continuity "
        "correction",
        "noise": "one draw as large as the radius allows, which knows nothing of any model",
        "all others": "made on all models but the target at once",
    }


def _is_ours(path: Path, folder: Path) -> bool:
    return path.relative_to(folder).parts in {(name,) for name in (".lock", FILE, TABLE, *_PAGES)}

"""What to do next: from the weakest point of a report to the trainers and defences of this package that are about it.

Nothing is promised: each step says what it is about, and ends in another audit. Pure functions of a report.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from art_multimodal.datasets.named.spec import trained_on
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.findings.repeating import audit_command, distance_text
from art_multimodal.evaluations.audit.findings.weakest import family_of_row, weakest_row
from art_multimodal.evaluations.audit.lines import CLEAN
from art_multimodal.evaluations.suite import PAIRS, RETRIEVAL, SAMPLES, ZERO_SHOT
from art_multimodal.evaluations.suite.selection import CERTIFIED, FLIPPED, SINGLE_SOURCE, SMOOTHED
from art_multimodal.evaluations.threat_models import threat_model_of
from art_multimodal.plugins import options_for

#: Folders of the runs that follow.
TRAINED, AUDITED = "trained", "audit_trained"
#: What stands for the samples of a training where those of the audit must not be trained on.
TRAINING_DATA = "TRAINING_DATA"
_DUAL, _FUSION = (ZERO_SHOT, RETRIEVAL), (PAIRS, SAMPLES)
_OF_IMAGES = ("tecoa", "pmg-aft", "fare")
_HIDING = ("ablation", "image-ablation")
#: By what the model is asked to do and by the family of attacks: training methods that are about it.
TRAINERS: Mapping[tuple[str, str], tuple[str, ...]] = {
    **{(task, "image"): _OF_IMAGES for task in _DUAL},
    **{(task, "text"): ("text-contrastive", "leaf") for task in _DUAL},
    **{(task, "multimodal"): ("mmcoa", "joint-anchored") for task in _DUAL},
    **{(task, family): ("image-ablation",) for task in _DUAL for family in ("typographic", "decoupling", CERTIFIED)},
    **{(task, family): ("adversarial",) for task in _FUSION for family in ("image", "multimodal", SINGLE_SOURCE)},
    **{
        (task, family): ("ablation",) for task in _FUSION for family in ("text", "typographic", "decoupling", CERTIFIED)
    },
    **{(task, CLEAN): ("clean",) for task in _DUAL},
    **{(task, CLEAN): ("plain",) for task in _FUSION},
    **{(SAMPLES, family): ("plain",) for family in ("modality_missing", "modality_removed")},
}
#: How often a modality is missing in the training that is named.
_DROPOUT = 0.2
# Why a method is about a family, where its own summary does not say so.
_WHY_HIDING = (
    "hides most of each sample in training, so that an answer does not hang on one part; what no attack can change "
    "then is what art-multimodal certify counts"
)
_WHY_DROPOUT = f"with --modality-dropout {_DROPOUT} each modality is missing in a share of the training samples"
_FLAGS_FIRST = (
    *("hidden_gradients", "weak_adaptive", "not_monotonic"),
    *("black_box_beats_white_box", "noise_beats_gradients"),
)


@dataclass(frozen=True)
class Step:
    """Something to do.

    :param do: What, and why, in a sentence or two.
    :param command: That does it; ``None`` where none does. Words in capitals are to be filled in.
    :param see: The page of the documentation.
    """

    do: str
    command: str | None
    see: str


def next_steps(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What to do next, in this order, each as a :class:`Step` in JSON types.

    >>> steps = next_steps(report)
    >>> all(set(step) == {"do", "command", "see"} for step in steps), isinstance(Step(**steps[0]), Step)
    (True, True)

    :param report: What ``report.json`` holds, as far as its verdicts.
    """
    return [asdict(step) for step in _steps(report)]


def _steps(report: Mapping[str, Any]) -> Iterator[Step]:
    if not report["complete"]:
        do = "Finish the run: until then the numbers cover what was evaluated so far. The same command with --resume."
        yield Step(do, None, "docs/audit.md")
    clean, row = report["results"][CLEAN], weakest_row(report)
    if not clean["n"]:
        yield Step("Look at the data: no sample could be read, or none was evaluated.", None, "docs/audit.md")
        return
    if row is None:
        do = "Attack the model: nothing was right before an attack, or no attack was run, so nothing is known yet."
        yield Step(do, None, "docs/attacks.md")
        return
    if row != CLEAN:
        yield from _about_the_measurement(report, row)
    yield from _about_the_model(report, row)


def _about_the_measurement(report: Mapping[str, Any], row: str) -> Iterator[Step]:
    suspicious = [flag for flag in report.get("flags", ()) if flag["kind"] in _FLAGS_FIRST and flag["certain"]]
    if suspicious:
        do = (
            "Measure again before anything is trained: the report warns that some attacks may have failed for reasons "
            "that are no robustness. Raise --steps and --max-queries, and add --attacks worst."
        )
        yield Step(do, _again(report, attacks="worst"), "docs/worst_case.md")
    elif not report["results"][row].get("attack_success_rate"):
        do = (
            f"Attack harder before the model is called robust: not even {row}, the lowest row, misled it on any "
            "sample. Ensembles with more steps are the number to quote."
        )
        yield Step(do, _again(report, attacks="worst"), "docs/worst_case.md")
    family = family_of_row(report, row)
    model = threat_model_of(family, tuple(report.get("by_modality", ())))
    do = f"Settle whether {row} is a threat here. {model.attacker} It may be left aside where {model.ignore}"
    yield Step(do, None, "docs/threat_models.md")


def _about_the_model(report: Mapping[str, Any], row: str) -> Iterator[Step]:
    """Trainers and defences that are about the row."""
    from art_multimodal.defences.registry import DEFENCES
    from art_multimodal.defences.trainer import METHODS

    family = CERTIFIED if row in (CERTIFIED, FLIPPED, SMOOTHED) else family_of_row(report, row)
    task = report["task"]
    methods = TRAINERS.get((task, family), ())
    for method in methods[:1]:
        why = _WHY_HIDING if method in _HIDING else METHODS[method].summary
        if family.startswith("modality_"):
            why = _WHY_DROPOUT
        others = f" Also about it: {', '.join(methods[1:])}." if methods[1:] else ""
        do = (
            f"Train with the method {method}, which is about {row}, on samples that are none of this audit: "
            f"{why}.{others}"
        )
        page = "docs/trainers.md" if method in _HIDING else "docs/training.md"
        yield Step(do, _train(report, method, family), page)
    if family == "text" and task != SAMPLES:
        names = [name for name, entry in DEFENCES.items() if entry.modality == "text"]
        do = (
            f"Put repair of texts in front of the model ({', '.join(names)}): it undoes typing errors and lookalikes "
            "of letters, and does nothing about replaced words."
        )
        yield Step(
            do, _again(report, further=tuple(part for n in names for part in ("--defence", n))), "docs/defences.md"
        )
    if not methods:
        do = f"No trainer or defence of this package is about {row}: say so to whoever decides on the use of the model."
        yield Step(do, None, "docs/trainers.md")
        return
    do = (
        "Audit what was trained with the same attacks, samples and seed, and compare the two: only that tells whether "
        "it helped."
    )
    command = audit_command(report, f"checkpoint:{TRAINED}", AUDITED)
    yield Step(do, command, "docs/evidence.md")


def _again(report: Mapping[str, Any], attacks: str | None = None, further: tuple[str, ...] = ()) -> str:
    """The command of the audit with other attacks, or more options."""
    changed = dict(report["settings"]) | ({} if attacks is None else {"attacks": attacks})
    return audit_command({**report, "settings": changed}, str(changed.get("model", "MODEL")), "harder", further)


def _train(report: Mapping[str, Any], method: str, family: str) -> str:
    settings = report["settings"]
    parts = ["art-multimodal", "train", method, str(settings.get("model", "MODEL")), "--data", _training_data(report)]
    if report["task"] == RETRIEVAL:
        parts += ["--task", "retrieval"]
    if method in _HIDING:
        names = list(report.get("by_modality", ())) or (["image", "text"] if report["task"] == PAIRS else ["image"])
        parts += ["--keep", ",".join(f"{name}=NUMBER" for name in names)]
    elif family.startswith("modality_"):
        parts += ["--modality-dropout", str(_DROPOUT)]
    elif family != CLEAN and family != "text" and settings.get("eps") is not None:
        parts += ["--eps", distance_text(settings["eps"])]
        parts += ["--norm", str(settings["norm"])] if settings.get("norm", "inf") != "inf" else []
    return shlex.join([*parts, *options_for(report), "--out", TRAINED])


def _training_data(report: Mapping[str, Any]) -> str:
    """Where to train: a named set has samples for it, and others are the user's to name."""
    spec = str(report["data"]["spec"])
    try:
        return spec if trained_on(spec) != spec else TRAINING_DATA
    except InputError:
        return TRAINING_DATA

"""What is said of samples of several modalities: of attacks on one, on all at once, and of sensors that fail."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from art_multimodal.attacks.budget import Budget
from art_multimodal.evaluations.audit.rendering import percent
from art_multimodal.evaluations.audit.threats.pictures_and_words import (
    Noise,
    hidden_gradients,
    of_words,
    words_and_edits,
)
from art_multimodal.evaluations.audit.threats.threat import Circumstances, Quote, Threat
from art_multimodal.evaluations.budget_settings import DEFAULT_SHARE, distance
from art_multimodal.evaluations.suite.entry import SAMPLES
from art_multimodal.evaluations.suite.samples import DONORS, MOST_SHIFT, SHIFT_SHARE
from art_multimodal.evaluations.suite.selection import SINGLE_SOURCE
from art_multimodal.evaluations.suite.worst import LEAST_STEPS
from art_multimodal.modalities.modality import Modality
from art_multimodal.modalities.text import text_names


def left(row: dict[str, Any]) -> str:
    """What an attack leaves of samples."""
    return (
        f"{percent(row['accuracy'])} remain correct: the attacks mislead the model on "
        f"{percent(row['attack_success_rate'])} of the samples that it had right"
    )


class OnOne(Threat):
    """One modality within its ball.

    :param name: Of the modality.
    :param colour: Of its kind.
    """

    def __init__(self, name: str, colour: str) -> None:
        super().__init__(name)
        self.colour = colour

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        ball = report["budget"]["modalities"].get(self.name)
        within = (
            ", ".join(words_and_edits(report["budget"]))
            if ball is None
            else f"eps {distance(report['budget'], ball['eps'], ball['eight_bit'])}"
        )
        said = f"When {quote(self.name)} alone is attacked ({within}), {left(row)}."
        trust = report.get("by_modality", {}).get(self.name, {}).get("cost_of_trust")
        if trust is not None and trust > 0:
            said += f" An oracle that left it out would have {100 * trust:.1f} points more: the cost of trusting it."
        return said


class OnAnyOne(Threat):
    """Whichever single modality."""

    name = SINGLE_SOURCE
    colour = "#c8452f"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        return f"Whichever single modality is attacked, {left(row)}."

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return {
            SINGLE_SOURCE: (
                "the worst case per sample over all attacks on one modality alone, whichever; the others stay as they "
                "are"
            ),
            "cost_of_trust": (
                "accuracy when an oracle leaves the attacked modality out (modality_missing), less accuracy under all "
                "attacks on it alone; over all samples, its interval in pairs"
            ),
        }


class OnAll(Threat):
    """All modalities of numbers at once."""

    name = "multimodal"
    colour = "#a02f6f"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        return f"When all modalities may be attacked at once, each within its own limit, {left(row)}."


class Spoofed(Threat):
    """A modality of another sample."""

    name = "modality_swap"
    colour = "#b98217"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        return f"When one modality, whichever, is that of another sample (spoofing), {left(row)}."

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return {
            "modality_swap": (
                f"one modality is that of another sample of those attacked together, of up to {DONORS} the one that "
                "misleads most; what the sensor shows is genuine, so no eps bounds it"
            )
        }


class OutOfTime(Threat):
    """A stream is shifted in time."""

    name = "time_shift"
    colour = "#6a7f2b"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        return f"When one stream, whichever, begins earlier or later than the others, {left(row)}."

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return {
            "time_shift": (
                f"one stream is shifted in time by up to {SHIFT_SHARE:.0%} of its largest length (1 to {MOST_SHIFT} "
                "steps), every shift tried; what comes in takes the fill value, lengths stay, no eps bounds it"
            )
        }


class Missing(Threat):
    """A modality is missing, and the model is told."""

    name = "modality_missing"
    colour = "#5b6675"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        return (
            f"When one modality, whichever, is missing and the model is told, {percent(row['accuracy'])} of all "
            "samples are right."
        )

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return {
            "modality_missing": (
                "the modality is left out and the model is told (NaN, a length of 0, an empty text); no attack, so "
                "accuracy is over all samples, also those that were wrong before"
            )
        }


class Filled(Threat):
    """All points of a modality are filled in, and the model is not told."""

    name = "modality_removed"
    colour = "#8a94a3"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        return (
            f"When one modality, whichever, is filled in and the model is not told, {percent(row['accuracy'])} of all "
            "samples are right."
        )

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return {
            "modality_removed": (
                "every point of the modality takes its fill value, a text is emptied, and the model is not told; no "
                "attack, so accuracy is over all samples"
            )
        }


class WorstOfSamples(Threat):
    """Ensembles on one modality, and on all."""

    name = "worst"
    colour = "#3d4652"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        ensembles = [name for name in report["attacks"] if name.startswith("worst")]
        each = ", ".join(
            f"{percent(report['results'][name]['accuracy'])} "
            + (f"when {quote(name.partition('@')[2])} alone may be attacked" if "@" in name else "when all may")
            for name in ensembles
        )
        return (
            "Against ensembles of attacks, each of which goes on where the ones before it failed, what remains correct "
            f"is {each}. These are the numbers to quote."
        )

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return {
            "worst": (
                "one attack after the other, each on what is still right; worst_multimodal goes on after the ensembles "
                f"on single modalities, and its queries come on top of theirs; gradient attacks take {LEAST_STEPS} "
                "steps at least"
            )
        }


class PointsOfSamples(Threat):
    """Points of any modality are removed."""

    name = "decoupling"
    colour = "#8a5bb8"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        if row["share_removed_mean"] is None:
            return "Removing parts of the input never changed the answer."
        shares = row.get("removed_mean") or {}
        each = ", ".join(f"{percent(share, 2)} of {quote(name)}" for name, share in shares.items())
        return (
            f"Removing points changes the answer for {percent(row['attack_success_rate'])} of the samples that it had "
            f"right, by taking away {percent(row['share_removed_mean'], 2)} of the input on average (the mean over its "
            f"modalities{': ' + each if each else ''}) and {percent(row['share_removed_min'], 2)} at best."
        )

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return {
            "decoupling_guided": "ours, within the limit of queries, a gradient counted as two",
            "decoupling_exhaustive": "the published search for each modality, then combinations, label decision",
            "removal": (
                "removed points take the fill value of their modality, a removed word is deleted, and the model is not "
                "told; a share is the mean over the modalities of the share of its points"
            ),
        }


class NoiseOnOne(Threat):
    """Noise that knows nothing of the model, on one modality."""

    name = "noise"
    colour = "#6b7785"

    def sentence(self, report: dict[str, Any], row: dict[str, Any], quote: Quote) -> str:
        return f"Under noise on one modality, whichever, as strong as the attacks may be, {left(row)}."

    def protocol(self, of: Circumstances) -> dict[str, str]:
        return Noise().protocol(of)


#: In the order of a summary, behind those of single modalities.
THREATS_OF_SAMPLES: dict[str, Threat] = {
    threat.name: threat
    for threat in (
        OnAnyOne(),
        OnAll(),
        Spoofed(),
        OutOfTime(),
        Missing(),
        Filled(),
        NoiseOnOne(),
        WorstOfSamples(),
        PointsOfSamples(),
    )
}


def protocol_of_samples(settings: Any, estimator: Any, threats: Iterable[str], budget: Budget) -> dict[str, str]:
    """What was done with samples of several modalities, by keys of the protocol.

    :param settings: Of the audit.
    :param threats: What the attacks change.
    """
    unnamed = settings.unnamed(estimator.modalities)
    said = {
        "decision": "top-1 of the scores",
        "accuracy": "over all evaluated samples; a sample that is wrong before the attack counts as wrong",
        "attack_success_rate": "over the samples that are right before the attack; only these are attacked",
        "modality_rows": (
            "worst case per sample over the attacks on that modality alone; of multimodal over those and the attacks "
            "on all at once, since whoever may change all may change one"
        ),
        "intervals": (
            "95 % over samples: Wilson's with continuity correction for accuracies and success rates; for means of "
            "shares the wider of Student's t and the studentised bootstrap"
        ),
        "queries": (
            "mean answers of the model per attacked sample; gradients counts those with a backward pass; of "
            "decoupling, probes of the model, a gradient counted as two"
        ),
        "modalities": "; ".join(map(_described, estimator.modalities.values())),
        "random_numbers": (
            "of the seed, the attack and the sample, whatever --batch-size; ART's attacks (art_pgd, apgd, square) draw "
            f"for {settings.together} samples together, by their place in the order (--group-size)"
        ),
    }
    if unnamed:
        said["default_eps"] = (
            f"{', '.join(unnamed)}: none was given, so each value may move by {DEFAULT_SHARE:g} of the range of its "
            "modality, an image's by 1/255 of it"
        )
    threats = set(threats)
    if threats & {*budget.balls, "multimodal", "worst"}:
        said |= hidden_gradients()
    if threats & set(text_names(estimator.modalities)):
        said |= of_words(Circumstances(SAMPLES, budget))
    if threats & set(budget.balls):
        said |= THREATS_OF_SAMPLES[SINGLE_SOURCE].protocol(Circumstances("", budget))
        said["quick"] = (
            f"art_pgd, apgd and pgd take {budget.max_iter} steps from one random start: quick looks; --attacks worst, "
            "or more --steps, may leave less"
        )
    for name, threat in THREATS_OF_SAMPLES.items():
        if name in threats:
            said |= threat.protocol(Circumstances("", budget))
    return said


def _described(modality: Modality) -> str:
    """A modality in a few words."""
    if not modality.numeric:
        return f"{modality.name}: {modality.kind}"
    low, high = modality.clip_values
    least, most = (
        bound.min() if hasattr(bound, "min") else bound for bound in (low, -high if hasattr(high, "min") else high)
    )
    most = -most if hasattr(high, "min") else most
    shape = " x ".join("any" if size is None else str(size) for size in modality.shape)
    return f"{modality.name}: {modality.kind} of {shape} in [{float(least):.4g}, {float(most):.4g}]"

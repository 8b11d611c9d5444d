"""Models that attackers have of their own: opened for the classes of the one under attack, and named for its rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from art_multimodal.errors import InputError
from art_multimodal.estimators.zero_shot import ZeroShotClassifier
from art_multimodal.evaluations.suite.selection import ENSEMBLE, TRANSFER
from art_multimodal.models.dual_encoder import DualEncoder
from art_multimodal.models.families.custom.given import as_dual_encoder
from art_multimodal.models.loading import load_model
from art_multimodal.models.saving import weights_sha256
from art_multimodal.prompts import DEFAULT_TEMPLATES
from art_multimodal.shown import shown

#: Characters of a name; rows are shown in terminals.
_LONGEST = 32


@dataclass(frozen=True)
class Surrogate:
    """A model that attacks are made on instead of the one under attack.

    :param name: Ends the name of its row.
    :param spec: As it was given.
    :param classifier: Over the classes of the model under attack.
    :param weights_sha256: Of its weights.
    """

    name: str
    spec: str
    classifier: ZeroShotClassifier
    weights_sha256: str

    def as_json(self) -> dict[str, str]:
        """What the header of a run says of it."""
        return {"spec": self.spec, "weights_sha256": self.weights_sha256}


def names_of(specs: Iterable[str]) -> list[str]:
    """Short names of models, all different, of letters, digits and underscores: ``demo:digits`` is ``digits``.

    :param specs: As models are named.
    """
    found: list[str] = []
    for spec in specs:
        rest = spec.partition(":")[2] or spec
        name = re.sub(r"[^A-Za-z0-9]+", "_", rest).strip("_")[-_LONGEST:].strip("_") or "model"
        taken, number = {*found, ENSEMBLE, TRANSFER}, 2
        unique = name
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        found.append(unique)
    return found


def open_surrogates(
    specs: Sequence[str],
    loaded: Sequence[Any],
    class_names: Sequence[str],
    templates: Sequence[str],
    device_type: str,
) -> tuple[Surrogate, ...]:
    """Load surrogates, with the class prompts of the model under attack or its data.

    :param specs: As for ``load_model``; of a loaded one its class.
    :param loaded: In the place of each the model itself, or ``None``.
    :param class_names: Of the model under attack.
    :param templates: Of class prompts; without any the usual one.
    :raises InputError: If one cannot be loaded or is no dual encoder, which alone can be asked about any classes.
    """
    found = []
    for spec, given, name in zip(specs, loaded, names_of(specs), strict=True):
        model = load_model(spec) if given is None else given
        if given is not None and getattr(model, "kind", None) is None:
            model = as_dual_encoder(model)
        if not isinstance(model, DualEncoder):
            own = getattr(model, "class_names", None)
            knows = f", which answers {', '.join(own)}" if own else ""
            raise InputError(
                f"The surrogate {shown(spec)} is a {model.kind}{shown(knows)[:120]}. Give a dual encoder, which can be "
                "asked about the classes of the data, such as demo:digits or open_clip:ViT-B-32/openai."
            )
        classifier = ZeroShotClassifier(
            model.eval(), class_names, tuple(templates) or DEFAULT_TEMPLATES, device_type=device_type
        )
        found.append(Surrogate(name, spec, classifier, weights_sha256(model)))
    return tuple(found)


def notes_on(surrogates: Sequence[Surrogate], own_weights: str) -> tuple[str, ...]:
    """Says so where a surrogate is the model under attack itself, or the same as another one."""
    notes = [
        f"the surrogate {shown(one.spec)} has the weights of the model itself: its row is a white box"
        for one in surrogates
        if one.weights_sha256 == own_weights
    ]
    known: dict[str, str] = {}
    for one in surrogates:
        other = known.setdefault(one.weights_sha256, one.spec)
        if other != one.spec:
            notes.append(f"the surrogates {shown(other)} and {shown(one.spec)} have the same weights")
    return tuple(notes)

"""What the options of an audit ask for, as its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from art_multimodal.cli.options import smoothing_of
from art_multimodal.cli.presets import Filled, with_preset
from art_multimodal.errors import InputError

if TYPE_CHECKING:
    from art_multimodal.evaluations.audit import AuditSettings
    from art_multimodal.evaluations.smoothing.settings import AuditedSmoothing


def settings_from(given: Mapping[str, Any], budget: Mapping[str, Any]) -> tuple[AuditSettings, Filled]:
    """The settings from options, without a model; and what a preset has set of them."""
    from art_multimodal.evaluations.audit import AuditSettings

    if budget.get("norm") == "2" and "eps" not in budget:
        raise InputError("With --norm 2 give --eps: a Euclidean length over the whole image, such as 0.5.")
    chosen, filled = with_preset(given["preset"], {"attacks": given["attacks"], "limit": given["limit"], **budget})
    settings = AuditSettings(
        model="",
        data=given["data"],
        task=given["task"],
        seed=given["seed"],
        templates=given["templates"],
        classes=given["classes"],
        native_size=given["native_size"],
        resize=given["resize"],
        universal=given["universal"],
        defences=given["defence"],
        surrogates=given["surrogate"],
        transfer=given["transfer"],
        draws=given["draws"],
        **{option: value for option, value in chosen.items() if value is not None},
        attacks_on_samples=filled.attacks_on_samples,
    )
    return settings, filled


def smoothing_from(keep: str | None, masks: str | None, elements: str | None, **others: Any) -> AuditedSmoothing | None:
    """How the model is smoothed, too; nothing where nothing was said of it.

    :raises InputError: For options of a model that is not smoothed, and for what cannot be used.
    """
    if keep is None:
        given = [name for name, value in {"masks": masks, "elements": elements, **others}.items() if value is not None]
        if given:
            name = "certify-budget" if given[0] == "budget" else given[0].replace("_", "-")
            raise InputError(f"--{name} is of the smoothed model: give --keep, too, such as --keep image=16.")
        return None
    from art_multimodal.evaluations.smoothing.settings import AuditedSmoothing

    return AuditedSmoothing(**smoothing_of(keep, masks, elements, **others))

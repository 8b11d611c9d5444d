"""The lines of a log as JSON and back: each is checked where it is read, so that nobody after it has to ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.defence_files import HEADER as DEFENCE_FILES
from art_multimodal.evaluations.audit.lines import (
    CLEAN,
    AttackLine,
    Classified,
    CleanLine,
    Line,
    Pictured,
    Ranked,
    SampleRecord,
)
from art_multimodal.evaluations.audit.passes import passes_in, smoothed_passes
from art_multimodal.evaluations.suite import RETRIEVAL, SAMPLES, entry_of
from art_multimodal.evaluations.suite.detail import Detail
from art_multimodal.evaluations.suite.selection import SMOOTHED
from art_multimodal.evaluations.typed_json import Entries, Matching, Within, entries, plain, typed
from art_multimodal.plugins import check_loaded
from art_multimodal.shown import shown

#: In front of the name of a modality: what is predicted without it.
_WITHOUT = "without_"


def line_to_json(line: Line) -> dict[str, Any]:
    """A line in JSON types."""
    samples = [_sample_to_json(sample) for sample in line.samples]
    return {**plain(replace(line, samples=())), "attack": line.attack, "samples": samples}


def _sample_to_json(sample: SampleRecord) -> dict[str, Any]:
    return {
        "index": sample.index,
        "name": sample.name,
        **plain(sample.verdict),
        **{_WITHOUT + modality: label for modality, label in sample.without.items()},
        **plain(sample.detail),
        **({} if sample.pictured is None else {"picture": True, **plain(sample.pictured)}),
    }


class LineReader:
    """Reads the lines of a run, in their order.

    :param header: Of the run.
    """

    def __init__(self, header: Mapping[str, Any]) -> None:
        self._verdict: Any = Ranked if header["task"] == RETRIEVAL else Classified
        self._of_samples = header["task"] == SAMPLES
        self._attacks = frozenset(header["attacks"])
        self._names = frozenset((CLEAN, *passes_in(header), *smoothed_passes(header.get("smoothing"))))
        last = max(0, len(header["data"]["class_names"]) - 1)
        index: Any = Annotated[int, Within(0, header["data"]["listed"] - 1)]
        self._label: Any = Annotated[int, Within(0, last)]
        self._left_out = Entries({"not_applicable": tuple[index, ...]})
        self._named = Entries({"index": index, "name": str})
        self._classified = Entries({"label": self._label, "predicted": self._label})
        self._or_silent = Entries({"label": self._label, "predicted": Annotated[int, Within(-1, last)]})
        #: Of the batch at hand: what is known of each sample before an attack.
        self._batch: int | None = None
        self._before: dict[int, int] = {}

    def line(self, value: Any) -> Line:
        """Read one line by itself.

        :raises ValueError: Saying what is wrong.
        """
        head = entries(value, {"attack": str, "samples": list[Any]}, "the line")
        name = head["attack"]
        if name not in self._names:
            raise ValueError(f"{shown(name)[:60]} is none of the attacks of the run")
        kind: Any = CleanLine if name == CLEAN else AttackLine
        samples: dict[int, SampleRecord] = {}
        for entry in head["samples"]:
            sample = self._sample(entry, name)
            if sample.index in samples:
                raise ValueError(f"sample {sample.index} stands there twice")
            samples[sample.index] = sample
        if name != CLEAN:
            self._left_out(value, "the line")
        return typed(kind, value, "the line", samples=tuple(samples.values()))

    def in_order(self, line: Line) -> None:
        """Check that a line speaks of the samples of its batch, whose line before any attack came first.

        :raises ValueError: Saying what is wrong.
        """
        if isinstance(line, CleanLine):
            self._batch = line.batch
            self._before = {sample.index: sample.verdict.fixed for sample in line.samples}
            return
        if line.batch != self._batch:
            raise ValueError(f"there is no line before it that says what batch {line.batch} was before the attacks")
        for sample in line.samples:
            if self._before.get(sample.index) != sample.verdict.fixed:
                raise ValueError(f"sample {sample.index} is another one than before the attacks")
        if not self._before.keys() >= set(line.not_applicable):
            raise ValueError("not_applicable names a sample of another batch")

    def _sample(self, value: Any, attack: str) -> SampleRecord:
        what = "a sample"
        found = self._named(value, what)
        verdict: Classified | Ranked = typed(self._verdict, value, what)
        if isinstance(verdict, Classified):
            (self._or_silent if attack == SMOOTHED else self._classified)(value, what)
        of_modalities = {key: self._label | None for key in value if key.startswith(_WITHOUT)}
        without = {
            key.removeprefix(_WITHOUT): guess
            for key, guess in entries(value, of_modalities, what).items()
            if guess is not None
        }
        detail = typed(Detail, value, what)
        if detail.share_removed is not None and attack != CLEAN:
            entries(value, {"pixels": int, "words": int}, "a sample with removals")
        if attack == SMOOTHED:
            there = entries(value, {"certified": bool}, "a sample of the smoothed model")
            if there["certified"] and value["predicted"] < 0:
                raise ValueError("something is certified about no answer")
        return SampleRecord(found["index"], found["name"], verdict, detail, without, self._pictured(value, attack))

    def _pictured(self, value: Any, attack: str) -> Pictured | None:
        there = entries(value, {"picture": bool}, "a sample")["picture"] if "picture" in value else False
        if there and attack not in self._attacks:
            raise ValueError("only an attack has pictures")
        if there and not self._of_samples:
            entries(value, {"size": Any}, "a sample with pictures")
        pictured = typed(Pictured, value, "a sample")
        return pictured if there else None


def check_header(header: dict[str, Any]) -> None:
    """Check what later steps read from ``run.json``.

    :raises ValueError: Saying what is wrong.
    """
    some = dict[str, Any]
    wanted = {"task": str, "attacks": tuple[str, ...], "settings": some, "budget": some, "model": some, "data": some}
    entries(header, wanted, "the header")
    data: dict[str, Any] = {"listed": int, "selected": int}
    entries(
        header["data"], {**data, "class_names": tuple[str, ...], "templates": tuple[str, ...]}, "data of the header"
    )
    if "began" in header:
        entries(header, {"began": str}, "the header")
    _check_settings(header["settings"])
    if "smoothing" in header:
        smoothing = {"budget": some, "elements": some, "seen_whole": tuple[str, ...], "exact": bool}
        found = entries(entries(header, {"smoothing": some}, "the header")["smoothing"], smoothing, "smoothing")
        entries(found["budget"], {"said": str, "name": str}, "the budget of edits")
    if "defences" in header:
        entries(header, {"defences": tuple[str, ...]}, "the header")
    if DEFENCE_FILES in header:
        for one in entries(header, {DEFENCE_FILES: list[Any]}, "the header")[DEFENCE_FILES]:
            entries(one, dict.fromkeys(("defence", "option", "file", "sha256"), str), "a file of a defence")
    if "universal" in header:
        entries(entries(header, {"universal": some}, "the header")["universal"], {"sha256": str}, "the perturbation")
    for one in entries(header, {"smaller": list[Any]}, "the header")["smaller"] if "smaller" in header else ():
        within = entries(one, {"name": str, "eps": float, "attacks": tuple[str, ...]}, "a radius")
        if not set(within["attacks"]) <= set(header["attacks"]):
            raise ValueError(f"of the radius {shown(within['name'])[:60]} attacks are named that are none of the run")
    if "plan" in header:
        _check_plan(header)
    check_plugins(header)
    for name in header["attacks"]:
        try:
            entry_of(name)
        except InputError:
            check_loaded(header.get("plugins", ()))
            raise ValueError(f"{shown(name)[:60]} is no attack") from None


def check_plugins(header: dict[str, Any]) -> None:
    """Check what a header says of plug-ins, if anything.

    :raises ValueError: Saying what is wrong.
    """
    if "plugins" in header:
        for one in entries(header, {"plugins": list[Any]}, "the header")["plugins"]:
            entries(one, _PLUGIN, "a plug-in")


#: What is kept of a plug-in that a run needs.
_PLUGIN: dict[str, Any] = {
    **dict.fromkeys(("name", "version"), str),
    "module": Annotated[str, Matching(r"[\w.]+")],
    "installed": bool,
    "brings": tuple[str, ...],
}
#: Of the settings, what a command that repeats the run is made of.
_SETTINGS: dict[str, Any] = {
    **dict.fromkeys(("model", "data", "task", "norm", "language_model"), str),
    **dict.fromkeys(("attacks", "resize", "universal", "transfer"), str | None),
    **dict.fromkeys(("limit", "group_size"), int | None),
    "draws": int,
    "seed": Annotated[int, Within(0, 2**63 - 1)],
    **dict.fromkeys(("templates", "classes"), tuple[str, ...] | None),
    **dict.fromkeys(("defences", "protected_words", "surrogates"), tuple[str, ...]),
    "native_size": bool,
    "smaller_eps": tuple[Any, ...],
    "smoothing_keep": dict[str, float],
}


def _check_settings(settings: dict[str, Any]) -> None:
    entries(settings, {name: hint for name, hint in _SETTINGS.items() if name in settings}, "the settings")
    for name in ("eps", "eps_step"):
        for radius in (settings.get(name), *(settings.get("smaller_eps", ()) if name == "eps" else ())):
            if isinstance(radius, dict):
                entries({name: radius}, {name: dict[str, float]}, "the settings")
            else:
                entries({name: radius}, {name: float | None}, "the settings")


def _check_plan(header: dict[str, Any]) -> None:
    plan = entries(header, {"plan": dict[str, Any]}, "the header")["plan"]
    content = entries(plan, {"sha256": str, "content": dict[str, Any]}, "the plan")["content"]
    limits = dict[str, dict[str, float]]
    wanted: dict[str, Any] = {"floors": limits, "ceilings": limits, "attacks": dict[str, Any], "warn_margin": float}
    entries(content, wanted, "the plan")
    if "detectors" in content:
        entries(content, {"detectors": dict[str, float]}, "the plan")

"""Samples that an attack misled, as a report shows them: pictures, and texts with what changed in them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from art_multimodal.evaluations.audit.drawing import drawings_of
from art_multimodal.evaluations.audit.lines import Line, Ranked, SampleRecord
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.pictures import picture_name, pictures_of, read_picture
from art_multimodal.evaluations.suite import SAMPLES, entry_of

#: A text as (words, what became of them): ``"same"``, ``"removed"`` or ``"added"``.
Difference = list[tuple[str, str]]
#: Most texts shown of a sample; several templates have as many prompts.
_TEXTS = 4


def pictured(log: RunLog) -> Iterator[dict[str, Any]]:
    """Samples with pictures, as data URLs."""
    for line in log.lines():
        yield from pictured_in(log, line)


def pictured_in(log: RunLog, line: Line) -> Iterator[dict[str, Any]]:
    """Samples of a line that have pictures, as data URLs.

    :param log: Whose line it is.
    """
    for sample in line.samples:
        if sample.pictured is None:
            continue
        if log.header["task"] == SAMPLES:
            if (shown := _drawn(log, line.attack, sample)) is not None:
                yield shown
            continue
        urls = {
            what: _data_url(log.pictures / picture_name(line.attack, sample.index, what))
            for what in pictures_of(entry_of(line.attack).modality)
        }
        if all(urls.values()):
            before, after = _answers(sample, log.header["data"]["class_names"])
            yield {
                "texts": _texts(sample, log.header["data"]["templates"]),
                "attack": line.attack,
                "before": before,
                "after": after,
                "name": sample.name,
                "size": sample.pictured.size,
                **{key: getattr(sample.detail, key) for key in ("blocks", "share_removed", "broken_by", "written")},
                "attacked": None,
                "difference": None,
                **urls,
            }


def _drawn(log: RunLog, attack: str, sample: SampleRecord) -> dict[str, Any] | None:
    """A sample of several modalities with a drawing of each; ``None`` where one is gone."""
    assert sample.pictured is not None
    colours = {one["name"]: one["colour"] for one in log.header["data"]["modalities"]}
    kinds = {one["name"]: one["kind"] for one in log.header["data"]["modalities"]}
    drawings = drawings_of(log.pictures, attack, sample.index, sample.pictured.files, colours)
    if drawings is None:
        return None
    before, after = _answers(sample, log.header["data"]["class_names"])
    modalities = [
        {
            "name": drawn.name,
            "kind": kinds.get(drawn.name, ""),
            "colour": colours.get(drawn.name, "#6b7785"),
            "changed": drawn.changed,
            "missing": drawn.missing,
            "pictures": drawn.pictures,
            "plot": drawn.plot,
            "caption": drawn.caption,
            "text": None if drawn.texts is None else word_difference(*drawn.texts),
            "removed": (sample.detail.removed or {}).get(drawn.name),
        }
        # What changed comes first.
        for drawn in sorted(drawings, key=lambda one: not one.changed)
    ]
    facts = {key: getattr(sample.detail, key) for key in ("share_removed", "broken_by")}
    return {"attack": attack, "before": before, "after": after, "name": sample.name, "modalities": modalities, **facts}


def _answers(sample: SampleRecord, class_names: Sequence[str]) -> tuple[str, str]:
    verdict = sample.verdict
    if isinstance(verdict, Ranked):
        return "own caption first", f"own caption at rank {verdict.image_rank}"
    return class_names[verdict.label], class_names[verdict.predicted]


def _texts(sample: SampleRecord, templates: Sequence[str]) -> list[Difference]:
    """What happened to the texts of a sample; its own text also where nothing did."""
    detail, own = sample.detail, sample.pictured.text if sample.pictured is not None else None
    if detail.texts is not None:
        changed = [pair for pair in detail.texts if pair[0] != pair[1]]
        return [word_difference(*pair) for pair in changed[:_TEXTS]]
    texts, removed = [own] if own else list(templates), detail.removed_words or ()
    return [
        [(word, "removed" if (number, index) in removed else "same") for index, word in enumerate(text.split())]
        for number, text in enumerate(texts)
        if own or any(place[0] == number for place in removed)
    ]


def word_difference(before: str, after: str) -> Difference:
    """Which words went and which came, in the order of reading."""
    old, new = before.split(), after.split()
    parts: Difference = []
    for kind, start, end, new_start, new_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            parts.append((" ".join(old[start:end]), "same"))
            continue
        if start < end:
            parts.append((" ".join(old[start:end]), "removed"))
        if new_start < new_end:
            parts.append((" ".join(new[new_start:new_end]), "added"))
    return parts


def _data_url(path: Path) -> str | None:
    content = read_picture(path)
    return None if content is None else "data:image/png;base64," + base64.b64encode(content).decode("ascii")

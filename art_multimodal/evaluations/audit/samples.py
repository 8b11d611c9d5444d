"""Samples that an attack misled, as a report shows them: pictures, and texts with what changed in them."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from art_multimodal.attacks.registry import ATTACKS
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.pictures import picture_name, pictures_of, read_picture

#: A text as (words, what became of them): ``"same"``, ``"removed"`` or ``"added"``.
Difference = list[tuple[str, str]]
#: Most texts shown of a sample; several templates have as many prompts.
_TEXTS = 4


def pictured(log: RunLog) -> Iterator[dict[str, Any]]:
    """Samples with pictures, as data URLs."""
    for line in log.lines():
        for sample in line["samples"]:
            if not sample.get("picture"):
                continue
            urls = {
                what: _data_url(log.pictures / picture_name(line["attack"], sample["index"], what))
                for what in pictures_of(ATTACKS[line["attack"]].modality)
            }
            if all(urls.values()):
                before, after = _answers(sample, log.header["data"]["class_names"])
                yield {
                    "texts": _texts(sample, log.header["data"]["templates"]),
                    "attack": line["attack"],
                    "before": before,
                    "after": after,
                    **{
                        key: sample.get(key)
                        for key in ("name", "size", "blocks", "share_removed", "broken_by", "written")
                    },
                    "attacked": None,
                    "difference": None,
                    **urls,
                }


def _answers(sample: dict[str, Any], class_names: Sequence[str]) -> tuple[str, str]:
    if "image_rank" in sample:
        return "own caption first", f"own caption at rank {sample['image_rank']}"
    return class_names[sample["label"]], class_names[sample["predicted"]]


def _texts(sample: dict[str, Any], templates: Sequence[str]) -> list[Difference]:
    """What happened to the texts of a sample; its own text also where nothing did."""
    if "texts" in sample:
        changed = [pair for pair in sample["texts"] if pair[0] != pair[1]]
        return [word_difference(*pair) for pair in changed[:_TEXTS]]
    texts, removed = [sample["text"]] if sample.get("text") else list(templates), sample.get("removed_words") or []
    return [
        [(word, "removed" if [number, index] in removed else "same") for index, word in enumerate(text.split())]
        for number, text in enumerate(texts)
        if sample.get("text") or any(place[0] == number for place in removed)
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

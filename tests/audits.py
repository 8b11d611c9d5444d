"""The small audits that tests look at from many sides."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from art_multimodal.attacks.evasion import CharacterAttack
from art_multimodal.attacks.evasion.text.character_attack import LETTERS
from art_multimodal.evaluations.audit import Audit, AuditSettings, RunLog, write_reports
from art_multimodal.evaluations.audit.lines import Line
from art_multimodal.evaluations.audit.schema import LineReader, line_to_json
from art_multimodal.evaluations.suite import worst
from art_multimodal.store import sealed_line

SETTINGS = AuditSettings(
    model="demo:digits",
    data="demo:digits",
    attacks="pgd,apgd_dlr,decoupling_exhaustive",
    eps=8 / 255,
    steps=5,
    limit=20,
    batch_size=8,
    group_size=8,
    seed=3,
)

#: The same on pairs.
PAIRS = AuditSettings(
    model="demo:shapes",
    data="demo:shapes",
    attacks="art_pgd,decoupling",
    eps=8 / 255,
    steps=3,
    max_queries=60,
    limit=14,
    batch_size=6,
    group_size=6,
    seed=3,
)


#: Captions of images and images of captions.
RETRIEVAL = AuditSettings(
    model="demo:scenes",
    data="demo:scenes",
    task="retrieval",
    attacks="pgd,similarity_pgd,bert_attack,character_attack,co_attack,set_level_guidance,decoupling_image,worst_image",
    eps=8 / 255,
    steps=4,
    max_queries=60,
    limit=11,
    batch_size=5,
    group_size=5,
    seed=3,
)


#: Samples of three modalities.
VIEWS = AuditSettings(
    model="demo:views/concat",
    data="demo:views",
    attacks="apgd,modality_swap,modality_removed,decoupling_guided",
    eps={"pix": 0.1, "fou": 0.05, "kar": 0.05},
    steps=3,
    max_queries=40,
    limit=14,
    batch_size=6,
    group_size=6,
    seed=3,
)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread: several share sums in other ways, and under load a library takes fewer than it may."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


_FEW_LETTERS = "ae"


@contextmanager
def little_effort() -> Iterator[None]:
    """Typing errors of two letters in place of 26, and ensembles of ten steps in place of 50.

    All that audits do with them is the same.
    """
    before = CharacterAttack.__init__.__defaults__ or ()
    # One within another changes nothing.
    assert {LETTERS, _FEW_LETTERS} & set(before)
    with pytest.MonkeyPatch.context() as patch:
        after = tuple(_FEW_LETTERS if value == LETTERS else value for value in before)
        patch.setattr(CharacterAttack.__init__, "__defaults__", after)
        patch.setattr(worst, "LEAST_STEPS", 10)
        yield


def timeless(value: Any) -> Any:
    """The same value without what the clock put into it, which is in the checksums, too."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in ("seconds", "began", "checksum")}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def read_report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def header_of(*attacks: str, listed: int = 100, **data: Any) -> dict[str, Any]:
    """As much of a header as reading lines needs."""
    data = {"listed": listed, "selected": listed, "class_names": ["x", "y", "z"], "templates": [], **data}
    return {"task": "zero-shot", "attacks": list(attacks), "data": data, "settings": {}, "budget": {}, "model": {}}


def line_of(attack: str, batch: int, *samples: dict[str, Any]) -> dict[str, Any]:
    """A line of a log; samples are right unless they say something else."""
    samples = tuple({"name": "n", "label": 0, "predicted": 0, **sample} for sample in samples)
    line = {"batch": batch, "attack": attack, "listed": len(samples), "seconds": 0.5, "samples": list(samples)}
    if attack == "clean":
        return {**line, "skipped": [], "pixels_hash": "00"}
    return {**line, "queries": 1, "gradients": 0, "not_applicable": []}


def logged(log: RunLog) -> list[dict[str, Any]]:
    """What a log says, in JSON types."""
    return [line_to_json(line) for line in log.lines()]


def typed_lines(header: dict[str, Any], *lines: dict[str, Any]) -> list[Line]:
    """Lines that were written by hand, as a log has them."""
    header = {**header, "data": {"listed": 10**6, **header["data"]}}
    filled = [{**line_of(line["attack"], 0), **line} for line in lines]
    return [
        LineReader(header).line({**line, "samples": [{"name": "n", **sample} for sample in line["samples"]]})
        for line in filled
    ]


def sealed(*lines: dict[str, Any]) -> bytes:
    """Lines of a log with their checksums, new ones where a test has changed them."""
    return b"".join(sealed_line({key: value for key, value in line.items() if key != "checksum"}) for line in lines)


def run_audit(settings: AuditSettings, out: Path) -> RunLog:
    """Run an audit on the CPU and write its reports."""
    log = Audit(settings, out, device="cpu").evaluate()
    write_reports(log)
    return log


def check_resumes_after(finished: RunLog, settings: AuditSettings, cuts: Iterable[int], folder: Path) -> None:
    """A kill leaves the log cut anywhere: whatever is left, the resumed run ends with the same lines and report."""
    whole = (finished.folder / "log.jsonl").read_bytes()
    job = Audit(settings, folder, device="cpu")
    for number, cut in enumerate(cuts):
        job.out = folder / str(number)
        shutil.copytree(finished.folder, job.out)
        shutil.rmtree(job.out / "pictures")
        (job.out / "log.jsonl").write_bytes(whole[:cut])
        assert timeless(write_reports(job.evaluate(resume=True))) == timeless(read_report(finished.folder)), cut
        lines = [timeless(json.loads(line)) for line in (job.out / "log.jsonl").read_text().splitlines()]
        assert lines == [timeless(json.loads(line)) for line in whole.splitlines()]
        drawn = [sorted(path.name for path in (one / "pictures").iterdir()) for one in (job.out, finished.folder)]
        assert drawn[0] == drawn[1] and drawn[0]


def ends_of_lines(log: RunLog) -> list[int]:
    """Where each line of a log ends."""
    return [place + 1 for place, byte in enumerate((log.folder / "log.jsonl").read_bytes()) if byte == 10]

"""An audit of two processes writes what one writes, and goes on after a kill with any number of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from audits import header_of, line_of, logged, one_thread, sealed
from forked import Forked
from launched import MEETING, by_torchrun, two_processes

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit import Audit, AuditedSmoothing, AuditSettings, write_reports
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.sharding import merge

SETTINGS = AuditSettings(
    model="demo:digits",
    data="demo:digits",
    attacks="pgd,bert_attack",
    eps=16 / 255,
    steps=5,
    limit=18,
    batch_size=4,
    group_size=4,
)
OPTIONS = ("--data", "demo:digits", "--attacks", "pgd,bert_attack", "--eps", "16/255", "--steps", "5")
OPTIONS += ("--limit", "18")


SIZES = ("--batch-size", "4", "--group-size", "4", "--device", "cpu")
AUDIT = ("-m", "art_multimodal", "audit")


def without_times(value: Any) -> Any:
    """A report, or a log's line, without how long it took and when and where it was made."""
    if isinstance(value, dict):
        return {
            key: without_times(part)
            for key, part in value.items()
            if "second" not in key and key not in ("started", "began", "repeat", "checksum")
        }
    return [without_times(part) for part in value] if isinstance(value, list) else value


@pytest.fixture(scope="module", autouse=True)
def as_the_others() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("single") / "run"
    write_reports(Audit(SETTINGS, out, device="cpu").evaluate())
    return out


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("by", ["copies", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_two_processes_write_what_one_writes(single: Path, tmp_path: Path, by: str) -> None:
    out = tmp_path / "run"
    # A gate that fails: in both processes, said once.
    gate = ("--fail-under", "pgd.accuracy=0.999")
    command = (*AUDIT, "demo:digits", *OPTIONS, *SIZES, "--out", str(out), *gate)
    done = by_torchrun(*command, ends_with=1) if by == "torchrun" else two_processes(tmp_path, *command, ends_with=1)
    assert done.stderr.count("gate failed") == 1 and done.stdout.count("95 % interval") == 1
    assert [without_times(line) for line in lines_of(out)] == [without_times(line) for line in lines_of(single)]
    reports = [json.loads((folder / "report.json").read_text()) for folder in (out, single)]
    assert reports[0].pop("verdicts")["overall"] == "FAIL"
    for report in reports:
        for name in ("weakest", "next_steps"):  # of the limit that one of them had
            report.pop(name)
    assert without_times(reports[0]) == without_times(reports[1])
    pictures = [{path.name: path.read_bytes() for path in (folder / "pictures").iterdir()} for folder in (out, single)]
    assert pictures[0] == pictures[1] and pictures[0]
    assert not list(out.glob("log.*.jsonl"))


def test_a_launcher_says_what_copies_are_told(tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "--no-python", "env")
    done = Forked(tmp_path, *launcher)
    assert done.wait() == 0, done.stderr
    said = [line.partition("=")[::2] for line in done.stdout.splitlines()]
    told = {name: sorted(value for other, value in said if other == name) for name in (*MEETING, "RANK", "LOCAL_RANK")}
    assert all(len(values) == 2 for values in told.values())
    assert told["RANK"] == told["LOCAL_RANK"] == ["0", "1"]
    assert all(told[name] == [MEETING[name]] * 2 for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))


def test_on_samples_of_any_modalities_too(tmp_path: Path) -> None:
    attacks = "pgd,modality_swap,modality_missing"
    smoothing = AuditedSmoothing(keep={"pix": 2}, budget="pix=1", attack_steps=1)
    radii = [{"pix": size, "fou": size / 2, "kar": size / 2} for size in (0.05, 0.1)]
    settings = AuditSettings(
        *("demo:views", "demo:views", attacks),
        eps=radii[1],
        smaller_eps=(radii[0],),
        steps=2,
        limit=10,
        batch_size=4,
        group_size=4,
        smoothing=smoothing,
    )
    single, out = tmp_path / "single", tmp_path / "run"
    write_reports(Audit(settings, single, device="cpu").evaluate())
    given = [option for eps in radii for option in ("--eps", ",".join(f"{name}={eps[name]}" for name in eps))]
    options = ("--data", "demo:views", "--attacks", attacks, "--steps", "2", "--limit", "10", *given)
    options += ("--keep", "pix=2", "--certify-budget", "pix=1", "--attack-steps", "1")
    two_processes(tmp_path, *AUDIT, "demo:views", *options, *SIZES, "--out", str(out))
    assert [without_times(line) for line in lines_of(out)] == [without_times(line) for line in lines_of(single)]
    reports = [json.loads((folder / "report.json").read_text()) for folder in (out, single)]
    assert without_times(reports[0]) == without_times(reports[1])
    drawings = [{path.name: path.read_bytes() for path in (folder / "pictures").iterdir()} for folder in (out, single)]
    assert drawings[0] == drawings[1] and drawings[0]


def test_a_run_of_three_that_was_killed_goes_on_alone(single: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    whole = lines_of(single)
    log = RunLog.create(out, RunLog.open(single).header)
    for path in (single / "pictures").iterdir():
        (log.pictures / path.name).write_bytes(path.read_bytes())
    # What three processes have done: batches 0 and 4 in part, 2 as a whole, and a line that the kill cut off.
    for process, keep in enumerate([whole[:2], whole[3:4], whole[6:9] + whole[12:13]]):
        (out / f"log.{process}.jsonl").write_bytes(sealed(*keep) + (b'{"batch": 1, "att' if process == 1 else b""))
    told = []
    resumed = Audit(SETTINGS, out, device="cpu").evaluate(resume=True, progress=lambda name, n: told.append((name, n)))
    assert [without_times(line) for line in lines_of(out)] == [without_times(line) for line in whole]
    assert sum(count for name, count in told if name == "pgd") == SETTINGS.limit
    report = write_reports(resumed)
    assert without_times(report["results"]) == without_times(
        json.loads((single / "report.json").read_text())["results"]
    )
    assert sorted(path.name for path in log.pictures.iterdir()) == sorted(
        path.name for path in (single / "pictures").iterdir()
    )


def test_of_more_pictures_the_first_ones_stay(tmp_path: Path) -> None:
    log = RunLog.create(tmp_path, header_of("pgd"))

    def lines(batch: int, indices: list[int]) -> bytes:
        for n in indices:
            (log.pictures / f"pgd-{n}-clean.png").write_bytes(b"")
        samples = [{"index": n, "picture": True, "size": [1, 1], "text": None, "predicted": 1} for n in indices]
        return sealed(line_of("clean", batch, *({"index": n} for n in indices)), line_of("pgd", batch, *samples))

    (tmp_path / "log.0.jsonl").write_bytes(lines(0, [5, 6]) + lines(2, [7, 8]))
    (tmp_path / "log.1.jsonl").write_bytes(lines(1, [1, 2]))
    merge(log, ("clean", "pgd"), ("pgd",), 3)
    kept = [(one["batch"], [s["index"] for s in one["samples"] if s.get("picture")]) for one in logged(log)][1::2]
    assert kept == [(0, [5, 6]), (1, [1]), (2, [])]
    assert sorted(path.name for path in log.pictures.iterdir()) == [f"pgd-{n}-clean.png" for n in (1, 5, 6)]
    # A batch that two runs did at once, each unaware of the other, counts once.
    whole = (tmp_path / "log.jsonl").read_text()
    (tmp_path / "log.jsonl").write_text(whole + whole.splitlines(keepends=True)[3])
    merge(log, ("clean", "pgd"), ("pgd",), 3)
    assert (tmp_path / "log.jsonl").read_text() == whole
    before = (tmp_path / "log.jsonl").stat().st_mtime_ns
    merge(log, ("clean", "pgd"), ("pgd",), 3)
    assert (tmp_path / "log.jsonl").stat().st_mtime_ns == before


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize("left", ["log.jsonl", "log.1.jsonl"])
def test_lines_of_an_unknown_run_are_not_taken_over(single: Path, tmp_path: Path, left: str, resume: bool) -> None:
    (tmp_path / left).write_bytes((single / "log.jsonl").read_bytes())
    with pytest.raises(InputError, match=f"{left} of a run whose run.json is gone"):
        Audit(SETTINGS, tmp_path, device="cpu").evaluate(resume=resume)
    assert [path.name for path in tmp_path.iterdir()] == [left]

"""Evidence that two processes keep is that which one keeps, and is confirmed by one."""

from __future__ import annotations

from pathlib import Path

from audits import one_thread
from evidence import samples_of
from launched import two_processes

from art_multimodal import cli
from art_multimodal.evaluations.evidence.bundle import Bundle
from art_multimodal.evaluations.evidence.rescoring import rescore

AUDIT = ("-m", "art_multimodal", "audit", "demo:digits")
OPTIONS = ["--data", "demo:digits", "--attacks", "pgd,bert_attack", "--eps", "16/255", "--limit", "14", "--steps"]
OPTIONS += ["2", "--group-size", "4", "--batch-size", "4", "--fixtures", "all", "--device", "cpu"]


def test_two_processes_keep_what_one_keeps(tmp_path: Path) -> None:
    done = two_processes(tmp_path, *AUDIT, *OPTIONS, "--out", str(tmp_path / "two"))
    assert done.stdout.count("digest: ") == 1
    with one_thread():
        assert cli.main(["audit", "demo:digits", *OPTIONS, "--out", str(tmp_path / "one")]) == 0
    bundles = [Bundle(tmp_path / name) for name in ("one", "two")]
    assert samples_of(bundles[0].folder) == samples_of(bundles[1].folder)
    assert bundles[0].manifest.hashes["data"] == bundles[1].manifest.hashes["data"]
    assert f"digest: {bundles[1].digest}" in done.stdout
    assert rescore(bundles[1], batch_size=3, device="cpu").confirmed

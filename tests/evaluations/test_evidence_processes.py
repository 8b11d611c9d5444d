"""Evidence that two processes keep is that which one keeps, and is confirmed by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from audits import one_thread
from evidence import samples_of
from launched import two_processes

from art_multimodal import cli
from art_multimodal.evaluations.evidence.bundle import Bundle
from art_multimodal.evaluations.evidence.rescoring import rescore

OPTIONS = ["--limit", "14", "--steps", "2", "--group-size", "4", "--batch-size", "4", "--fixtures", "all"]
OPTIONS += ["--device", "cpu"]
#: By model the data, and what is done to them: one is looked at in every run.
KINDS = {
    "demo:digits": ["--data", "demo:digits", "--attacks", "pgd,bert_attack", "--eps", "16/255"],
    "demo:views/gated": ["--data", "demo:views", "--attacks", "apgd,modality_missing", "--eps", "pix=0.2"],
}


@pytest.mark.parametrize("model", ["demo:digits", pytest.param("demo:views/gated", marks=pytest.mark.slow)])
def test_two_processes_keep_what_one_keeps(tmp_path: Path, model: str) -> None:
    asked = ["audit", model, *KINDS[model], *OPTIONS]
    done = two_processes(tmp_path, "-m", "art_multimodal", *asked, "--out", str(tmp_path / "two"))
    assert done.stdout.count("digest: ") == 1
    with one_thread():
        assert cli.main([*asked, "--out", str(tmp_path / "one")]) == 0
    bundles = [Bundle(tmp_path / name) for name in ("one", "two")]
    assert samples_of(bundles[0].folder) == samples_of(bundles[1].folder)
    assert bundles[0].manifest.hashes["data"] == bundles[1].manifest.hashes["data"]
    assert f"digest: {bundles[1].digest}" in done.stdout
    found = rescore(bundles[1], batch_size=3, device="cpu")
    assert found.confirmed and found.within_budget and found.pages == ""

"""What an audit says of the evidence that it keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from art_multimodal.cli.display import say

if TYPE_CHECKING:
    from art_multimodal.evaluations.audit import Audit, RunLog


def print_estimate(job: Audit) -> None:
    """Say before the run how large what is kept may become."""
    from art_multimodal.evaluations.evidence.keeping import NONE, estimated_bytes

    if job.keeper.mode != NONE:
        most = estimated_bytes(job.subject, job.order, job.passes)
        say(f"evidence: up to {size(most)} of samples ({job.keeper.mode}), and their texts")


def write_evidence(job: Audit, log: RunLog) -> None:
    """Close the bundle of a run whose reports are written, if it keeps one, and say its digest."""
    from art_multimodal.evaluations.evidence.bundle import write_bundle
    from art_multimodal.evaluations.evidence.keeping import NONE

    if job.keeper.mode == NONE:
        return
    written = write_bundle(job, log)
    say(f"{written.folder}: {written.samples:,} attacked samples, {written.files:,} files, {size(written.size)}")
    say(f"digest: {written.digest}")


def size(count: float) -> str:
    """A number of bytes in the largest fitting unit."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} GB"

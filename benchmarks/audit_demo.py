"""How long `make audit` takes, set-up not counted, and what it finds; its time limit is 60 s on two cores.

python benchmarks/audit_demo.py
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROTOCOL = (
    "The wall time of the whole command `make audit`, interpreter start and reports included, after one run that was "
    "not counted and did the installation. Accuracies with 95 % intervals over the samples; the seed is "
    "fixed, so every run gives the same ones."
)


def measure(repeats: int) -> dict[str, object]:
    """Run the command and return the result for the docs."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "audit"
        for run in range(repeats + 1):
            started = time.perf_counter()
            subprocess.run(["make", "audit", f"OUT={out}"], cwd=ROOT, check=True, capture_output=True)
            if run:
                seconds.append(time.perf_counter() - started)
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    rows = [
        [
            "whole command, median",
            f"{statistics.median(seconds):.1f} s",
            f"{min(seconds):.1f} to {max(seconds):.1f} s",
            "",
        ]
    ]
    for name, row in report["results"].items():
        low, high = row["accuracy_ci95"]
        queries = f"{row['queries']:.0f}" if "queries" in row else ""
        rows.append([f"accuracy, {name}", f"{row['accuracy']:.3f}", f"{low:.3f} to {high:.3f}", queries])
    removal = report["results"]["decoupling"]
    low, high = removal["share_removed_mean_ci95"]
    rows.append(["share removed, mean", f"{removal['share_removed_mean']:.4f}", f"{low:.4f} to {high:.4f}", ""])
    return {
        "protocol": PROTOCOL,
        "command": f"python benchmarks/audit_demo.py --repeats {repeats}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "settings": report["settings"],
        "versions": report["versions"],
        "seconds": seconds,
        "results": report["results"],
        "table": {"header": ["what", "value", "range", "queries"], "rows": rows},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "audit_demo.json")
    arguments = parser.parse_args()
    result = measure(arguments.repeats)
    arguments.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    for row in result["table"]["rows"]:  # type: ignore[index]
        print(f"{row[0]:24} {row[1]:>8}  {row[2]:18} {row[3]}")


if __name__ == "__main__":
    main()

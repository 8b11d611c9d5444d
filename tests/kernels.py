"""Runs the whole suite as other processors would: ``make test-kernels``, some two hours on two cores.

Each run is the suite with other kernels of torch, MKL and oneDNN (``default`` has no vector instructions of its
own, ``avx2`` is an older processor, ``native`` is this one), with one or two threads, beside busy processes, or with
the last bits of all sums moved (:mod:`rounding`). A test that fails in one of them judges rounding, the clock or the
machine.

python tests/kernels.py [NAME ...] [-- PYTEST OPTIONS]
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
KERNELS = {
    "default": {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "native": {},
}
BUSY = 4
_TWO_PROCESSES = ["-n", "2", "--dist", "loadfile", "--no-loadscope-reorder", "-m", "not slow or listed"]
#: Environment and options of each run. Threads that wait for others sleep: there may be more of them than cores.
RUNS: dict[str, tuple[dict[str, str], list[str]]] = {
    f"{kernel}-{threads}": (
        {
            **settings,
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
            "OMP_WAIT_POLICY": "PASSIVE",
        },
        _TWO_PROCESSES,
    )
    for kernel, settings in KERNELS.items()
    for threads in (1, 2)
}
RUNS["busy"] = ({"OMP_NUM_THREADS": "1"}, _TWO_PROCESSES)
RUNS |= {
    f"rounding-{seed}": ({"ROUNDING": str(seed), "OMP_NUM_THREADS": "1"}, ["-p", "rounding", *_TWO_PROCESSES])
    for seed in (1, 2)
}


def run(name: str, more: list[str]) -> tuple[str, float, bool]:
    """Run the suite once: what pytest says in the end, seconds, and whether all passed."""
    settings, options = RUNS[name]
    environment = {key: value for key, value in os.environ.items() if key not in ("ATEN_CPU_CAPABILITY", "ROUNDING")}
    paths = [str(ROOT / "tests"), *filter(None, [environment.get("PYTHONPATH")])]
    environment |= {**settings, "PYTHONPATH": os.pathsep.join(paths)}
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY if name == "busy" else 0)]
    started = time.monotonic()
    try:
        found = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *options, *more],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
        )
    finally:
        for process in busy:
            process.kill()
    lines = found.stdout.splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    print("\n".join(failed), flush=True)
    if failed:
        # A failure that does not come again is only known by what it said.
        file = ROOT / "build" / "kernels" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(found.stdout, encoding="utf-8")
        print(f"in full: {file.relative_to(ROOT)}", flush=True)
    ends = [line for line in lines if re.search(r"\d+ (passed|failed|error)", line)] or [found.stderr[-300:]]
    return ends[-1].strip("= "), time.monotonic() - started, found.returncode == 0


def main(arguments: list[str]) -> int:
    names, more = arguments, []
    if "--" in arguments:
        place = arguments.index("--")
        names, more = arguments[:place], arguments[place + 1 :]
    unknown = set(names) - set(RUNS)
    if unknown:
        print(f"No such run: {', '.join(sorted(unknown))}. There are {', '.join(RUNS)}.", file=sys.stderr)
        return 2
    passed = True
    for name in names or RUNS:
        said, _, fine = run(name, more)
        passed &= fine
        print(f"{name:<12} {'pass' if fine else 'FAIL'}  {said}", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

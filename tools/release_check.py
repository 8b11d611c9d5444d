"""Build a release, look into it, install it, and audit a demo model without a network.

python tools/release_check.py [--no-install]
"""

from __future__ import annotations

import argparse
import email
import email.message
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: A wheel that demos make larger than this is one that nobody wants to download on the way.
LARGEST_WHEEL = 16_000_000
#: Of the repository, what a source distribution does without: how it is kept and tested where it is developed.
NOT_IN_SOURCE = (".ci/", ".github/", ".gitignore", ".pre-commit-config.yaml", "benchmarks/results/")
STATED = ("Author", "Summary", "Keywords", "License-Expression", "Requires-Python", "Description-Content-Type")
#: Of [project.urls], for whoever finds the release on an index.
ADDRESSES = ("Documentation", "Source", "Issues", "Changelog")
PYTHONS = ("3.11", "3.12", "3.13")
AUDIT = "audit demo:digits --data demo:digits --eps 4/255 --limit 8 --attacks pgd,character_attack --out"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--no-install", action="store_true", help="look at the files alone")
    parser.add_argument("--publish", action="store_true", help="ask for what a release on an index needs, too")
    options = parser.parse_args(arguments)
    shutil.rmtree(options.out, ignore_errors=True)
    run(sys.executable, "-m", "build", "--outdir", options.out, ROOT)
    (wheel,), (source,) = options.out.glob("*.whl"), options.out.glob("*.tar.gz")
    faults = [*faults_of_wheel(wheel, tracked()), *faults_of_source(source, tracked())]
    unstated = faults_of_addresses(metadata_of(wheel))
    faults += unstated if options.publish else []
    for fault in () if options.publish else unstated:
        print(f"release-check: before it is published: {fault}", file=sys.stderr)
    for fault in faults:
        print(f"release-check: {fault}", file=sys.stderr)
    if faults:
        raise SystemExit(1)
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, source)
    print(f"{wheel.name}: {wheel.stat().st_size / 1e6:.1f} MB; {source.name}: {source.stat().st_size / 1e6:.1f} MB")
    if not options.no_install:
        install_and_audit(wheel, source, options.out)


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    print("+", *(str(part) for part in command), flush=True)
    subprocess.run([str(part) for part in command], check=True, cwd=cwd)


def tracked() -> list[str]:
    """Paths of the files that the repository has."""
    found = subprocess.run(["git", "ls-files", "-z"], check=True, cwd=ROOT, capture_output=True, text=True).stdout
    return [path for path in found.split("\0") if path and (ROOT / path).exists()]


def faults_of_wheel(wheel: Path, files: list[str]) -> list[str]:
    """What is wrong with a wheel: what is missing, what does not belong there, its size, what it says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    stated = next(name for name in held if name.endswith(".dist-info/METADATA"))
    package = {path for path in files if path.startswith("art_multimodal/")}
    foreign = [path for path in held - package if not path.startswith(stated.removesuffix("METADATA"))]
    size = wheel.stat().st_size
    return [
        *(f"the wheel lacks {path}" for path in sorted(package - held)),
        *(f"the wheel holds {path}, which the repository does not have in the package" for path in sorted(foreign)),
        *([f"the wheel has {size / 1e6:.1f} MB, more than {LARGEST_WHEEL / 1e6:.0f}"] if size > LARGEST_WHEEL else []),
        *faults_of_metadata(metadata_of(wheel)),
    ]


def faults_of_source(source: Path, files: list[str]) -> list[str]:
    """What of the repository a source distribution lacks."""
    with tarfile.open(source) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {path for path in files if not path.startswith(NOT_IN_SOURCE)}
    return [f"the source distribution lacks {path}" for path in sorted(wanted - held)]


def metadata_of(wheel: Path) -> email.message.Message:
    """What a wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        stated = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(stated))


def faults_of_addresses(said: email.message.Message) -> list[str]:
    """Which addresses the metadata lack, and which are none that a browser opens."""
    given = dict(one.split(", ", 1) for one in said.get_all("Project-URL", []))
    return [
        *(
            f"the metadata has no Project-URL {name}: state it in [project.urls]"
            for name in ADDRESSES
            if name not in given
        ),
        *(
            f"the Project-URL {name} is {address}, which is no https address"
            for name, address in given.items()
            if not re.fullmatch(r"https://[\w.-]+\.\w+(/\S*)?", address)
        ),
    ]


def faults_of_metadata(said: email.message.Message) -> list[str]:
    """What is missing in the metadata of a wheel, and links that a page of PyPI cannot follow."""
    classifiers = said.get_all("Classifier", [])
    text = said.get_payload()
    relative = re.findall(r"\]\((?!https?://|#)([^)\s]+)\)", text if isinstance(text, str) else "")
    return [
        *(f"the metadata has no {name}" for name in STATED if not said.get(name)),
        *(
            f"the metadata does not state Python {version}"
            for version in PYTHONS
            if f"Programming Language :: Python :: {version}" not in classifiers
        ),
        *([] if "Typing :: Typed" in classifiers else ["the metadata does not say that the package is typed"]),
        *(f"the description links to {link}, which PyPI does not have" for link in relative),
    ]


#: Runs the command line where no connection can be opened, so that a demo that needs one fails.
OFFLINE = """\
import socket, sys

def refuse(self, address):
    raise OSError("a connection was opened: " + repr(address))

socket.socket.connect = socket.socket.connect_ex = refuse
from art_multimodal.cli import entry_point
sys.argv[0] = "art-multimodal"
entry_point()
"""


def install_and_audit(wheel: Path, source: Path, folder: Path) -> None:
    """In an environment that holds nothing, from the wheel and then from the source, away from the repository."""
    environment, away = folder / "environment", folder / "away"
    away.mkdir()
    run(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--constraint", ROOT / "constraints.txt", wheel.resolve())
    for number, archive in enumerate((wheel, source)):
        if number:
            run(*pip, "--force-reinstall", "--no-deps", archive.resolve())
        run(python, "-c", OFFLINE, *AUDIT.split(), f"audit-{number}", cwd=away)
        if not (away / f"audit-{number}" / "report.html").is_file():
            raise SystemExit(f"release-check: the audit of {archive.name} wrote no report")
    print("Installed from both, and audited without a network.")


if __name__ == "__main__":
    main()

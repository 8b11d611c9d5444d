"""Build a release, look into it, install it, audit a demo model without a network, and do the contributors' walks.

python -m tools.release_check [--no-install] [--publish] [--keep]

The wheel and the source distribution are each installed into an empty environment of its own.
"""

from __future__ import annotations

import argparse
import email
import email.message
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from tools.environments import Clock, Environment, Failed, NoNetwork
from tools.walks import differing, digests, walk_in

ROOT = Path(__file__).parents[1]
#: A wheel that demos make larger than this is one that nobody wants to download on the way.
LARGEST_WHEEL = 15_000_000
#: Of the repository, what a source distribution does without: how it is kept and tested where it is developed.
NOT_IN_SOURCE = (".ci/", ".github/", ".gitignore", ".pre-commit-config.yaml", "benchmarks/results/")
STATED = ("Author", "Summary", "Keywords", "License-Expression", "Requires-Python", "Description-Content-Type")
#: Of [project.urls], for whoever finds the release on an index.
ADDRESSES = ("Documentation", "Source", "Issues", "Changelog")
PYTHONS = ("3.11", "3.12", "3.13")
LISTS = ("attacks", "models", "data", "defences", "methods", "formats")
AUDIT = "audit demo:digits --data demo:digits --eps 4/255 --limit 8 --attacks pgd,character_attack --out"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "release")
    parser.add_argument("--no-install", action="store_true", help="look at the files alone")
    parser.add_argument("--publish", action="store_true", help="ask for what a release on an index needs, too")
    parser.add_argument("--keep", action="store_true", help="leave the environments where they are, 6 GB each")
    options = parser.parse_args(arguments)
    clock = Clock()
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
    clock.step("built and looked into")
    if not options.no_install:
        try:
            installed(wheel, source, options.out, options.keep, clock)
        except Failed as failed:
            raise SystemExit(f"release-check: {failed}") from None
    print(f"The release is as it has to be: {clock.total():.0f} s in all.")


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


def installed(wheel: Path, source: Path, folder: Path, keep: bool, clock: Clock) -> None:
    """Install each into an empty environment, and use what is installed.

    :param keep: Whether the environments are left where they are.
    :raises Failed: If a step fails, a connection is asked for, or both do not install the same files.
    """
    files = []
    for archive, name in ((wheel, "wheel"), (source, "source")):
        environment = Environment.made(sys.executable, folder / f"environment-{name}")
        environment.install(archive, ROOT / "constraints.txt")
        clock.step(f"{archive.name}: installed with {len(environment.installed())} packages, which fit together")
        files.append(tried(archive, environment, clock, archive == wheel))
        if not keep:
            shutil.rmtree(environment.folder)
    if different := differing(*files):
        raise Failed(f"the wheel and the source distribution install different files: {different}")


def tried(archive: Path, environment: Environment, clock: Clock, walks: bool) -> dict[str, str]:
    """Use an installed archive away from the repository, and return the digests of its files.

    :param walks: Whether the contributors' walks are done, too.
    """
    files = digests(environment.site)
    with tempfile.TemporaryDirectory() as away:
        print(f"{archive.name}: {used(environment, Path(away))}")
    clock.step(f"{archive.name}: audited")
    if walks:
        with tempfile.TemporaryDirectory() as away:
            print(f"{archive.name}: {walk_in(environment, Path(away))}")
        clock.step(f"{archive.name}: walked")
    return files


def used(environment: Environment, away: Path) -> str:
    """Ask for the version and the lists, audit a demo, and say it: all with the installed script, without a network.

    :param away: An empty folder.
    """
    offline = NoNetwork(environment, away)
    version = offline.run("art-multimodal", "--version", cwd=away).out.strip()
    stated = environment.run("python", "-m", "pip", "show", "art-multimodal", cwd=away).out
    if f"\nVersion: {version.removeprefix('art-multimodal ')}\n" not in stated:
        raise Failed(f"the script says {version}, and pip says {stated}")
    for what in LISTS:
        offline.run("art-multimodal", "list", what, cwd=away)
    offline.run("art-multimodal", *AUDIT.split(), "audit", cwd=away)
    rows = json.loads((away / "audit" / "report.json").read_text(encoding="utf-8"))["results"]
    if not (away / "audit" / "report.html").is_file() or not {"clean", "pgd", "character_attack"} <= {*rows}:
        raise Failed("the audit reported less than it was asked for")
    return f"{version} audited a demo with {offline.how}"


if __name__ == "__main__":
    main()

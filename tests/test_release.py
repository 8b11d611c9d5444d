"""What is said about a release: versions in one place, and a check that finds what is wrong with one."""

from __future__ import annotations

import re
import tarfile
import zipfile
from pathlib import Path

import pytest
import yaml

import art_multimodal
from art_multimodal.moved import REMOVED_IN
from tools import release_check

ROOT = Path(__file__).parents[1]
FILES = ["README.md", "art_multimodal/__init__.py", "art_multimodal/py.typed", "tests/helpers.py", ".ci/run"]
METADATA = """\
Metadata-Version: 2.4
Name: art-multimodal
Summary: of it
Author: someone
Keywords: some
License-Expression: MIT
Requires-Python: >=3.11
Description-Content-Type: text/markdown
Classifier: Programming Language :: Python :: 3.11
Classifier: Programming Language :: Python :: 3.12
Classifier: Programming Language :: Python :: 3.13
Classifier: Typing :: Typed

A [link](https://example.org), an [anchor](#here).
"""


def wheel(folder: Path, files: list[str], metadata: str = METADATA) -> Path:
    made = folder / "some.whl"
    with zipfile.ZipFile(made, "w") as archive:
        for name in files:
            archive.writestr(name, "")
        archive.writestr("art_multimodal-1.dist-info/METADATA", metadata)
    return made


def source(folder: Path, files: list[str]) -> Path:
    made = folder / "some.tar.gz"
    with tarfile.open(made, "w:gz") as archive:
        for name in files:
            archive.addfile(tarfile.TarInfo(f"art_multimodal-1/{name}"))
    return made


PACKAGE = FILES[1:3]


def test_a_whole_release_has_no_faults(tmp_path: Path) -> None:
    assert release_check.faults_of_wheel(wheel(tmp_path, PACKAGE), FILES) == []
    assert release_check.faults_of_source(source(tmp_path, FILES[:4]), FILES) == []


@pytest.mark.parametrize(
    ("files", "metadata", "said"),
    [
        (PACKAGE[:1], METADATA, "lacks art_multimodal/py.typed"),
        ([*PACKAGE, "tests/helpers.py"], METADATA, "holds tests/helpers.py"),
        ([*PACKAGE, "art_multimodal/left.py"], METADATA, "holds art_multimodal/left.py"),
        (PACKAGE, METADATA.replace("Author: someone\n", ""), "no Author"),
        (PACKAGE, METADATA.replace(":: 3.12", ":: 3.9"), "does not state Python 3.12"),
        (PACKAGE, METADATA.replace("Classifier: Typing :: Typed\n", ""), "typed"),
        (PACKAGE, METADATA + "[more](docs/more.md)", "links to docs/more.md"),
    ],
)
def test_a_fault_of_a_wheel_is_found(tmp_path: Path, files: list[str], metadata: str, said: str) -> None:
    (fault,) = release_check.faults_of_wheel(wheel(tmp_path, files, metadata), FILES)
    assert said in fault


def test_a_wheel_that_is_too_large_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release_check, "LARGEST_WHEEL", 10)
    (fault,) = release_check.faults_of_wheel(wheel(tmp_path, PACKAGE), FILES)
    assert "more than" in fault


ADDRESSED = METADATA.replace(
    "Requires-Python",
    "".join(f"Project-URL: {name}, https://example.org/{name.lower()}\n" for name in release_check.ADDRESSES)
    + "Requires-Python",
)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        (ADDRESSED, []),
        (ADDRESSED.replace("Project-URL: Issues, https://example.org/issues\n", ""), ["no Project-URL Issues"]),
        (ADDRESSED.replace("https://example.org/source", "http://localhost"), ["Source is http://localhost"]),
        (METADATA, [f"no Project-URL {name}" for name in release_check.ADDRESSES]),
    ],
)
def test_addresses_that_a_published_release_lacks_are_found(tmp_path: Path, metadata: str, said: list[str]) -> None:
    faults = release_check.faults_of_addresses(release_check.metadata_of(wheel(tmp_path, PACKAGE, metadata)))
    assert len(faults) == len(said) and all(part in fault for part, fault in zip(said, faults, strict=True))


def described(source: str | None) -> str:
    """README.md as setup.py describes the package, with the address of the source that is given."""
    text = (ROOT / "setup.py").read_text(encoding="utf-8").partition("\nsetup(")[0]
    names: dict = {"__file__": str(ROOT / "setup.py")}
    exec(text, names)
    return names["described"]((ROOT / "README.md").read_text(encoding="utf-8"), source)


def test_links_of_the_readme_work_where_the_source_is_not() -> None:
    source = "https://example.org/some/project"
    without, absolute = described(None), described(source)
    for text in (without, absolute):
        assert not re.search(r"\]\((?!https?://|#)", text)
    assert f"[audit]({source}/blob/main/docs/audit.md)" in absolute and f"({source}/raw/main/docs/_static/" in absolute
    assert "](https://github.com/Trusted-AI" in without


def test_what_a_source_distribution_lacks_is_found(tmp_path: Path) -> None:
    (fault,) = release_check.faults_of_source(source(tmp_path, FILES[:3]), FILES)
    assert "lacks tests/helpers.py" in fault


def test_the_version_stands_in_one_place() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == art_multimodal.__version__


@pytest.mark.parametrize("file", sorted((ROOT / ".github").rglob("*.yml")), ids=lambda file: file.name)
def test_workflows_call_targets_that_there_are(file: Path) -> None:
    targets = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text(encoding="utf-8").splitlines()}
    for job in yaml.safe_load(file.read_text(encoding="utf-8"))["jobs"].values():
        for step in job["steps"]:
            command = step.get("run", "make test")
            assert command == ".ci/run" or command.removeprefix("make ") in targets


def test_the_change_log_keeps_its_form() -> None:
    headings = re.findall(r"^(##?#?) (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    versions = [heading for marks, heading in headings if marks == "##"]
    assert headings[0] == ("#", "Changes") and versions[0] == "Unreleased"
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    of_newest = [heading for marks, heading in headings if marks == "###"][: len(kinds)]
    assert of_newest == kinds
    for version in versions[1:]:
        assert re.fullmatch(r"\[?\d+\.\d+\.\d+\]? - \d{4}-\d{2}-\d{2}", version)


def test_the_change_log_names_every_module_that_is_deprecated() -> None:
    log = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    said = log.partition("### Deprecated")[2].partition("### Removed")[0]
    package = (ROOT / "art_multimodal").rglob("*.py")
    old = [path for path in package if "__getattr__ = moved(" in path.read_text(encoding="utf-8")]
    assert len(old) == 9 and f"gone in version {REMOVED_IN}" in said
    for path in old:
        assert f"{path.stem}`" in said, path

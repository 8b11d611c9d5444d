"""The page on extending, done literally: its files are written, its commands run, and nothing else is there.

The package is the built wheel in a folder of its own. Each command is run in a process of its own, so that none profits
from a plug-in that an earlier one has loaded.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from forked import Forked
from walks import Done, digests, install, run

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
WALKS = ("An attack", "A method of training", "A family of models", "A modality")
#: Those whose last command works with the plug-in alone.
NEED_IT = ("An attack", "A family of models", "A modality")


@dataclass(frozen=True)
class Walk:
    """A section of the page: files by name, and commands."""

    files: dict[str, str]
    commands: list[str]


def walks() -> dict[str, Walk]:
    """The sections of the page that have files, in its order."""
    found = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        files = dict(re.findall(r"```python\n# (\S+)\n(.*?)```", text, re.DOTALL))
        commands = re.findall(r"^art-multimodal .*$", text, re.MULTILINE)
        if files or commands:
            found[heading] = Walk(files, commands)
    return found


@dataclass(frozen=True)
class Walked:
    """What has become of all walks."""

    folder: Path
    done: dict[str, list[Done]]
    before: dict[str, str]
    after: dict[str, str]


@pytest.fixture(scope="module")
def walked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Walked:
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("here")
    install(wheel, site)
    before = digests(site)
    found = walks()
    for walk in found.values():
        for name, text in walk.files.items():
            (folder / name).write_text(text, encoding="utf-8")
    # And the last command of a walk once more, without its plug-in.
    last = (found[heading].commands[-1] for heading in NEED_IT)
    further = [re.sub(r" --out \S+ --plugin \S+$", " --out lost", command) for command in last]
    commands = [command for walk in found.values() for command in walk.commands]
    done = run(site, folder, [*commands, *further])
    by_walk = {}
    for heading, walk in found.items():
        by_walk[heading], done = done[: len(walk.commands)], done[len(walk.commands) :]
    return Walked(folder, {**by_walk, "without": done}, before, digests(site))


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_four_walks_of_four_end_well_with_no_file_of_the_package_edited(walked: Walked) -> None:
    found = walks()
    assert tuple(found) == WALKS
    well = [heading for heading in WALKS if walked.done[heading] and all(one.code == 0 for one in walked.done[heading])]
    failed = [one for heading in WALKS for one in walked.done[heading] if one.code]
    assert len(well) == 4, failed
    assert [len(walk.files) for walk in found.values()] == [1, 1, 1, 2]
    assert [len(walk.commands) for walk in found.values()] == [2, 3, 4, 3]
    edited = [name for name in {*walked.before, *walked.after} if walked.before.get(name) != walked.after.get(name)]
    assert len(walked.before) > 500 and not edited


@pytest.mark.slow
def test_the_attack_is_listed_and_works(walked: Walked) -> None:
    listed = " ".join(walked.done["An attack"][0].out.split())
    assert "fgsm one step along the sign of the gradient (ART's); white box [module fast_gradient]" in listed
    found = report(walked.folder / "attacked")
    assert found["results"]["fgsm"]["accuracy"] < found["results"]["clean"]["accuracy"]
    (plugin,) = found["plugins"]
    assert plugin["module"] == "fast_gradient" and plugin["brings"] == ["attack fgsm"] and not plugin["installed"]
    assert plugin["version"].startswith("sha256 ") and found["versions"]["fast_gradient"] == plugin["version"]
    assert found["repeat"]["command"].endswith("--plugin fast_gradient --out again")
    for page in ("report.html", "report.md"):
        assert "plug-ins" in (walked.folder / "attacked" / page).read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_method_trains_a_model_that_needs_no_plugin(walked: Walked) -> None:
    assert "[module short]" in walked.done["A method of training"][0].out
    training = json.loads((walked.folder / "shorter" / "training.json").read_text(encoding="utf-8"))
    assert training["settings"]["options"] == {"weight": 0.5} and training["plugins"][0]["module"] == "short"
    assert "plugins" not in report(walked.folder / "shorter_audit")


@pytest.mark.slow
def test_the_family_is_saved_and_loaded(walked: Walked) -> None:
    assert {"pgd", "bert_attack"} <= set(report(walked.folder / "before")["results"])
    after = report(walked.folder / "after")
    assert after["results"]["clean"]["n"] == 8 and after["plugins"][0]["module"] == "colours"
    saved = json.loads((walked.folder / "trained" / "best" / "saved_model.json").read_text(encoding="utf-8"))
    assert saved["family"] == "colours" and saved["class"] == "colours.Colours"


@pytest.mark.slow
def test_the_modality_is_saved_and_loaded(walked: Walked) -> None:
    found = report(walked.folder / "heard")
    assert [one["module"] for one in found["plugins"]] == ["radar", "sweeps"]
    assert found["data"]["modalities"][0]["kind"] == "radar" and "apgd@front" in found["results"]
    assert found["results"]["clean"]["accuracy"] > 0.8


@pytest.mark.slow
def test_without_its_plugin_each_says_in_one_line_what_is_missing(walked: Walked) -> None:
    said = ("unknown attack 'fgsm'", "colours.Colours, a class of a plug-in", "radar.Radar, a class of")
    for one, names in zip(walked.done["without"], said, strict=True):
        assert one.code == 2 and one.err.startswith("error: ") and one.err.count("\n") == 1
        assert names in one.err, one.err
    assert not (walked.folder / "lost").exists()


def test_each_file_registers_what_its_section_is_about(tmp_path: Path) -> None:
    """Quickly, from the tree; what commands do with it the walks look at, in an environment of their own."""
    for walk in walks().values():
        for name, text in walk.files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
    found = {}
    for module in ("fast_gradient", "short", "colours", "radar", "sweeps"):
        code = f"from art_multimodal.plugins import load_plugin; print(*load_plugin({module!r}).brings, sep='\\n')"
        done = Forked(tmp_path, "-c", f"import os, sys; os.chdir({str(tmp_path)!r}); {code}")
        assert done.wait() == 0, done.stderr
        found[module] = done.stdout.splitlines()
    assert found == {
        "fast_gradient": ["attack fgsm"],
        "short": ["training method short"],
        "colours": ["family of models colours", "model source colours"],
        "radar": ["kind of modality radar"],
        "sweeps": ["data source sweeps"],
    }


def test_the_lines_of_the_modality_are_those_of_its_test() -> None:
    (radar,) = re.findall(r"# radar.py\n.*?(class Radar.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    test = (ROOT / "tests" / "modalities" / "test_own_modality.py").read_text(encoding="utf-8")
    assert radar.strip() in test

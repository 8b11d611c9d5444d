"""The page extending.md, done literally: its files are written, its commands run, and nothing else is there.

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
from walks import install, run

from tools.environments import Done
from tools.walks import PAGE, RESULTS, Walked, counted, digests, do, walks

ROOT = Path(__file__).parents[1]
WALKS = ("An attack", "A method of training", "A family of models", "A modality")
#: Those whose last command works with the plug-in alone.
NEED_IT = ("An attack", "A family of models", "A modality")


@dataclass(frozen=True)
class AllWalked:
    """What has become of all walks, and of the last commands of some without their plug-ins."""

    folder: Path
    walked: dict[str, Walked]
    without: list[Done]
    files: int

    def of(self, heading: str) -> list[Done]:
        return self.walked[heading].done


@pytest.fixture(scope="module")
def walked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> AllWalked:
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("here")
    install(wheel, site)
    found = walks()
    done = do(found, site, folder, lambda commands: run(site, folder, commands))
    last = (found[heading].commands[-1] for heading in NEED_IT)
    without = run(site, folder, [re.sub(r" --out \S+ --plugin \S+$", " --out lost", command) for command in last])
    return AllWalked(folder, done, without, len(digests(site)))


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_four_walks_of_four_end_well_with_no_file_of_the_package_edited(walked: AllWalked) -> None:
    found = walks()
    assert tuple(found) == WALKS
    rows = counted(found, walked.walked)
    assert [row["well"] for row in rows] == [row["commands"] for row in rows] == [2, 3, 4, 3], walked.walked
    assert [len(row["files"]) for row in rows] == [1, 1, 1, 2]
    assert walked.files > 500 and not any(row["edited"] for row in rows)
    # What the page shows was counted in an environment of its own, and is what is counted here.
    assert json.loads(RESULTS.read_text(encoding="utf-8"))["walks"] == rows


def test_what_the_page_shows_was_counted_with_what_stands_on_it() -> None:
    """Whoever changes a file or a command of the page lets the walks be counted again: ``make release-check``."""
    known = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert {row["walk"]: row["digest"] for row in known["walks"]} == {
        heading: one.digest() for heading, one in walks().items()
    }
    assert all(row["well"] == row["commands"] > 0 and row["edited"] == [] for row in known["walks"])
    assert known["package_files"] > 500 and known["packages"] > 30


def test_a_file_of_the_package_that_a_walk_touches_is_counted(tmp_path: Path) -> None:
    package, folder = tmp_path / "site" / "art_multimodal", tmp_path / "here"
    for made in (package, folder):
        made.mkdir(parents=True)
    for name in ("kept", "changed", "gone"):
        (package / f"{name}.py").write_text(name)
    page = "".join(
        f"## {heading}\n```python\n# {heading}.py\nfirst = 1\n\nsecond = 2\n```\n```\nart-multimodal {heading}\n```\n"
        for heading in ("nothing", "all")
    )

    def commands(given: list[str]) -> list[Done]:
        if given == ["art-multimodal all"]:
            assert (folder / "all.py").read_text() == "first = 1\n\nsecond = 2\n"
            (package / "changed.py").write_text("otherwise")
            (package / "gone.py").unlink()
            (package / "new.py").write_text("")
        (package / "kept.pyc").write_text("compiled")
        return [Done(given[0], 0 if given == ["art-multimodal all"] else 2, "", "")]

    found = walks("# A page\n" + page + "## No walk\n")
    nothing, everything = counted(found, do(found, tmp_path / "site", folder, commands))
    assert nothing["edited"] == [] and (nothing["commands"], nothing["well"]) == (1, 0)
    assert everything["edited"] == [f"art_multimodal/{name}.py" for name in ("changed", "gone", "new")]
    assert (everything["well"], everything["lines"], everything["files"]) == (1, 2, ["all.py"])
    assert nothing["digest"] != everything["digest"]


@pytest.mark.slow
def test_the_attack_is_listed_and_works(walked: AllWalked) -> None:
    listed = " ".join(walked.of("An attack")[0].out.split())
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
def test_the_method_trains_a_model_that_needs_no_plugin(walked: AllWalked) -> None:
    assert "[module short]" in walked.of("A method of training")[0].out
    training = json.loads((walked.folder / "shorter" / "training.json").read_text(encoding="utf-8"))
    assert training["settings"]["options"] == {"weight": 0.5} and training["plugins"][0]["module"] == "short"
    assert "plugins" not in report(walked.folder / "shorter_audit")


@pytest.mark.slow
def test_the_family_is_saved_and_loaded(walked: AllWalked) -> None:
    assert {"pgd", "bert_attack"} <= set(report(walked.folder / "before")["results"])
    after = report(walked.folder / "after")
    assert after["results"]["clean"]["n"] == 8 and after["plugins"][0]["module"] == "colours"
    saved = json.loads((walked.folder / "trained" / "best" / "saved_model.json").read_text(encoding="utf-8"))
    assert saved["family"] == "colours" and saved["class"] == "colours.Colours"


@pytest.mark.slow
def test_the_modality_is_saved_and_loaded(walked: AllWalked) -> None:
    found = report(walked.folder / "heard")
    assert [one["module"] for one in found["plugins"]] == ["radar", "sweeps"]
    assert found["data"]["modalities"][0]["kind"] == "radar" and "apgd@front" in found["results"]
    assert found["results"]["clean"]["accuracy"] > 0.8


@pytest.mark.slow
def test_without_its_plugin_each_says_in_one_line_what_is_missing(walked: AllWalked) -> None:
    said = ("unknown attack 'fgsm'", "colours.Colours, a class of a plug-in", "radar.Radar, a class of")
    for one, names in zip(walked.without, said, strict=True):
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

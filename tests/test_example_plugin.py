"""The plug-in of the examples: built, installed beside the built wheel, and used for one of everything."""

from __future__ import annotations

import json
import re
import shutil
import textwrap
from pathlib import Path

import jsonschema
import pytest
from forked import Forked
from walks import Done, build_example, install, run

import art_multimodal.evaluations.audit

AUDIT = "art-multimodal audit demo:digits --data demo:digits --limit 8 --steps 3 --eps 16/255 --attacks momentum,pgd"
SMALL = "--limit 40 --batch-size 20 --epochs 1 --steps 1 --option least=2 --out pooled"
COMMANDS = {
    "plugins": "art-multimodal list plugins",
    **{what: f"art-multimodal list {what}" for what in ("attacks", "methods", "inner-attacks", "fusions", "models")},
    **{what: f"art-multimodal list {what}" for what in ("modalities", "data", "defences", "formats")},
    "audit": f"{AUDIT} --defence grey:share=0.5 --fixtures all --out audit",
    "resume": f"{AUDIT} --defence grey:share=0.5 --fixtures all --out audit --resume",
    "verify": "art-multimodal verify audit/evidence",
    "export": "art-multimodal export audit --as rows",
    "hinge": f"art-multimodal train hinge pooled:4 --data demo:digits {SMALL}",
    "family": "art-multimodal audit checkpoint:pooled --data demo:digits --limit 8 --attacks momentum --out family",
    "mean": "art-multimodal train plain modular:mean --data grips:90 --batch-size 10 --epochs 8 --out grips",
    "grips": "art-multimodal audit checkpoint:grips --data grips:30 --attacks pgd --eps pad=0.2,joints=0.2 --out felt",
    "plan": "art-multimodal plan init demo:digits --data demo:digits --out plan.yaml",
    # From here on as if it were not installed.
    "off list": "art-multimodal list attacks",
    "off resume": f"{AUDIT} --defence grey:share=0.5 --fixtures all --out audit --resume",
    "off verify": "art-multimodal verify audit/evidence",
    "off export": "art-multimodal export audit --as junit",
    "off train": f"art-multimodal train hinge pooled:4 --data demo:digits {SMALL} --resume",
    "off checkpoint": "art-multimodal audit checkpoint:grips --data npz:none.npz --attacks pgd --out lost",
    "named": f"{AUDIT} --defence grey:share=0.5 --fixtures all --out audit --resume --plugin art_multimodal_example",
}
ORIGIN = "[art-multimodal-example 0.1.0]"
EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin"


@pytest.fixture(scope="module")
def used(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Done]]:
    site, folder = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("here")
    install(wheel, site)
    install(build_example(tmp_path_factory.mktemp("built")), site)
    off = [number for number, name in enumerate(COMMANDS) if name.startswith("off ") or name == "named"]
    done = run(site, folder, [*COMMANDS.values()], {number: {"ART_MULTIMODAL_NO_PLUGINS": "1"} for number in off})
    return folder, dict(zip(COMMANDS, done, strict=True))


def report(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_everything_that_it_brings_is_listed_with_its_origin(used: tuple[Path, dict[str, Done]]) -> None:
    _, done = used
    assert all(one.code == 0 for name, one in done.items() if not name.startswith("off ")), done
    brought = {
        **{"attacks": "momentum", "methods": "hinge", "inner-attacks": "logit_margin", "fusions": "mean"},
        **{"models": "pooled:SIDE", "modalities": "pressure", "data": "grips:N", "defences": "grey:share=1"},
        "formats": "rows",
    }
    for what, name in brought.items():
        lines = done[what].out.splitlines()
        (first,) = [number for number, line in enumerate(lines) if line.startswith(f"  {name} ")]
        assert ORIGIN in " ".join(lines[first : first + 4]) and done[what].out.count(ORIGIN) == 1
        assert max(map(len, lines)) <= 80 and not done[what].err
    said = " ".join(done["plugins"].out.split())
    for one in ("attack momentum", "training method hinge", "image attack of training logit_margin", "fusion mean"):
        assert one in said
    for one in ("model source pooled", "family of models pooled", "kind of modality pressure", "data source grips"):
        assert one in said


@pytest.mark.slow
def test_an_audit_names_it_in_header_pages_and_evidence(used: tuple[Path, dict[str, Done]]) -> None:
    folder, done = used
    found = report(folder / "audit")
    (plugin,) = found["plugins"]
    assert plugin == {
        **{"name": "art-multimodal-example", "version": "0.1.0", "module": "art_multimodal_example"},
        **{"installed": True, "brings": ["attack momentum", "defence grey"]},
    }
    assert found["results"]["momentum"]["accuracy"] < found["results"]["clean"]["accuracy"]
    schema = Path(art_multimodal.evaluations.audit.__file__).with_name("report.schema.json")
    jsonschema.validate(found, json.loads(schema.read_text(encoding="utf-8")))
    assert "--plugin" not in found["repeat"]["command"]
    assert found["repeat"]["said"] == "Installed has to be art-multimodal-example 0.1.0."
    environment = json.loads((folder / "audit" / "evidence" / "environment.json").read_text(encoding="utf-8"))
    assert environment["packages"]["art-multimodal-example"] == "0.1.0"
    assert "as in the log" in done["verify"].out and done["resume"].out.count("accuracy") >= 1
    rows = (folder / "audit" / "rows.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "row,n,accuracy,attack_success_rate" and "momentum" in [row.partition(",")[0] for row in rows]
    # Its attack is one on images, so a plan of all of them needs it.
    plan = (folder / "plan.yaml").read_text(encoding="utf-8")
    assert "\nplugins: [art-multimodal-example]\n" in plan and "    - momentum\n" in plan


@pytest.mark.slow
def test_models_of_its_family_fusion_and_modality_are_kept(used: tuple[Path, dict[str, Done]]) -> None:
    folder, _ = used
    training = json.loads((folder / "pooled" / "training.json").read_text(encoding="utf-8"))
    assert training["settings"]["options"] == {"least": 2.0}
    assert training["plugins"][0]["brings"] == ["model source pooled", "training method hinge"]
    assert report(folder / "family")["model"]["side"] == 4
    felt = report(folder / "felt")
    assert felt["results"]["clean"]["accuracy"] > felt["results"]["pgd@pad"]["accuracy"]
    assert [one["kind"] for one in felt["data"]["modalities"]] == ["pressure", "table"]
    assert felt["plugins"][0]["brings"] == ["data source grips"]


@pytest.mark.slow
def test_without_it_each_command_says_what_is_missing(used: tuple[Path, dict[str, Done]]) -> None:
    _, done = used
    assert (
        done["off list"].code == 0 and "momentum (" not in done["off list"].out and ORIGIN not in done["off list"].out
    )
    for name in ("off resume", "off verify", "off export", "off train"):
        one = done[name]
        assert one.code == 2 and one.err.startswith("error: ") and one.err.count("\n") == 1, one
        assert (
            "needs the plug-in art-multimodal-example 0.1.0" in one.err and "--plugin art_multimodal_example" in one.err
        )
    one = done["off checkpoint"]
    assert (
        one.code == 2 and "art_multimodal_example." in one.err and "a class of a plug-in that is not loaded" in one.err
    )


def test_from_its_folder_it_is_a_plugin_by_its_name(tmp_path: Path) -> None:
    """Quickly, from the tree; what is done with an installed one is looked at above, in an environment of its own."""
    audit = f"audit demo:digits --data demo:digits --limit 4 --steps 1 --attacks momentum --out {tmp_path / 'audit'}"
    code = f"""
        import os, sys
        os.chdir({str(EXAMPLE)!r})
        from art_multimodal import cli
        from art_multimodal.plugins import load_plugin
        print(*load_plugin("art_multimodal_example").brings, sep="\\n", flush=True)
        sys.exit(cli.main({[*audit.split(), "--defence", "grey:share=0.5", "--plugin", "art_multimodal_example"]!r}))
    """
    done = Forked(tmp_path, "-c", textwrap.dedent(code))
    assert done.wait() == 0, done.stderr
    brought = ("attack momentum", "training method hinge", "image attack of training logit_margin", "fusion mean")
    brought += ("model source pooled", "family of models pooled", "kind of modality pressure", "data source grips")
    assert {*brought, "defence grey", "format rows"} == {*done.stdout.splitlines()[:10]}
    found = report(tmp_path / "audit")
    (plugin,) = found["plugins"]
    assert plugin["version"] == "0.1.0" and plugin["brings"] == ["attack momentum", "defence grey"]
    assert found["results"]["clean"]["n"] == 4 and "momentum" in found["results"]


def test_its_own_tests_hold_what_it_adds_to_the_contracts(tmp_path: Path) -> None:
    """From a copy, as somebody who begins with it has it."""
    copy = tmp_path / "plugin"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    code = f"import os, sys; os.chdir({str(copy)!r}); import pytest; sys.exit(pytest.main({options!r}))"
    done = Forked(tmp_path, "-c", code)
    assert done.wait() == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "skipped" not in done.stdout


def test_its_readme_says_what_to_rename() -> None:
    said = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    project = (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")
    assert project.count("art_multimodal_example") == 2 and "(two places)" in said
    files = {path.name for path in (EXAMPLE / "art_multimodal_example").glob("*.py")} - {"__init__.py"}
    assert files == {*re.findall(r"^\| `(\w+\.py)` \|", said, re.MULTILINE)}

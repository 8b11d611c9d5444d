"""Plug-ins: what they register is remembered, what is broken leaves nothing behind, and no file makes one run."""

from __future__ import annotations

import importlib
import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
import yaml
from photos import save_photo
from safetensors import safe_open

from art_multimodal import cli, load_plugins, plugins
from art_multimodal.attacks.evasion.universal import load_perturbation
from art_multimodal.cli.program import app
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.log import RunLog
from art_multimodal.evaluations.audit.schema import check_header
from art_multimodal.evaluations.formats import FORMATS
from art_multimodal.evaluations.plans import read_plan
from art_multimodal.evaluations.suite import ATTACKS
from art_multimodal.functional.resizing import RESIZERS
from art_multimodal.modalities import KINDS, table
from art_multimodal.models.families.described import made_modality, modality_facts
from art_multimodal.models.families.family import load_files
from art_multimodal.models.families.modular.model import ModularModel
from art_multimodal.models.families.modular.saving import FAMILY
from art_multimodal.registry import Registry, registries

FORMAT = """
from art_multimodal.evaluations.formats.format import Format, register
register(Format("{name}", "{name}.txt", "of a test", lambda report, options: "text"))
"""


def write(folder: Path, name: str, text: str) -> str:
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    return name


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder in which modules are found, and nothing of them stays."""
    # It asks for entry points as it is imported, which are others here.
    importlib.import_module("torch._dynamo")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_LOADED", {})
    monkeypatch.setattr(plugins, "_searched", False)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda group: [])
    yield tmp_path
    # What else was imported stays: compiled modules cannot be imported a second time.
    own = {name for name, of in sys.modules.items() if tmp_path in Path(getattr(of, "__file__", None) or "/").parents}
    for registry in registries():
        registry.forget(own)
    for name in own:
        del sys.modules[name]


@pytest.fixture
def installed(here: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes packages that declare entry points: ``installed(good="module", ...)``."""

    def declare(**modules: str) -> None:
        found = []
        for package, module in modules.items():
            point = EntryPoint(package, module, plugins.GROUP)
            vars(point)["dist"] = SimpleNamespace(name=package, version="1.2")
            found.append(point)
        monkeypatch.setattr("importlib.metadata.entry_points", lambda group: found if group == plugins.GROUP else [])

    return declare


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    said = capsys.readouterr()
    return code, said.out, said.err


def state() -> dict[str, list[str]]:
    return {registry.kind: list(registry) for registry in registries()}


def test_an_installed_one_is_listed_with_its_package(here: Path, installed, capsys) -> None:
    installed(nice=write(here, "nice_plugin", FORMAT.format(name="nice")))
    code, out, err = run(capsys, "list", "formats")
    assert (code, err) == (0, "") and "  nice                    of a test; nice.txt [nice 1.2]\n" in out
    assert "[" not in out.replace("[nice 1.2]", "")
    out = run(capsys, "list", "plugins")[1]
    assert out.startswith("installed\n  nice 1.2                module nice_plugin: format nice\n")
    # Once, however often it is asked for.
    assert [one.brings for one in load_plugins()] == [("format nice",)]


def test_a_named_one_is_listed_with_its_module_wherever_it_registers(here: Path, capsys) -> None:
    write(here, "pack.__init__", "from pack import deep\n__version__ = '7'")
    write(here, "pack.deep", FORMAT.format(name="deep"))
    code, out, _ = run(capsys, "list", "formats", "--plugin", "pack")
    assert code == 0 and "[module pack]" in out and FORMATS.origin("deep") == "pack.deep"
    (one,) = plugins.plugins_used([(FORMATS, "deep"), (FORMATS, "junit")])
    assert one == {"name": "pack", "version": "7", "module": "pack", "installed": False, "brings": ["format deep"]}


BROKEN = {
    "taken": ('FORMATS.add("junit", FORMATS["sarif"])', "ValueError in broken.py, line 5: The format 'junit' is"),
    "wrong_type": ('FORMATS.add("other", 3)', "TypeError in broken.py, line 5: The format 'other' must be Format, not"),
    "name": ('FORMATS.add("../x", FORMATS["junit"])', "'../x' is no name"),
    "raises": ("1 / 0", "ZeroDivisionError in broken.py, line 5: division by zero"),
    "leaves": ("raise SystemExit(0)", "SystemExit in broken.py, line 5"),
    "syntax": ("def (", "SyntaxError in broken.py, line 5"),
    "absent": ("import there_is_no_such_module", "ModuleNotFoundError in broken.py, line 5: No module named"),
    "file": ("register(Format('f', 'report.json', '', str))", "cannot be written to 'report.json'"),
    "class": ("from art_multimodal.models.fusions.fusion import FUSIONS; FUSIONS.add('f', dict)", "subclass of Fusion"),
    "late": ("from art_multimodal.defences.entry import DEFENCES; DEFENCES.add('jpeg', 1)", "'jpeg' is registered"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_one_is_named_in_one_line_and_leaves_nothing(here: Path, installed, capsys, what: str) -> None:
    line, said = BROKEN[what]
    text = FORMAT.format(name="half") + "from art_multimodal.evaluations.formats.format import FORMATS\n" + line
    before = state()
    installed(awful=write(here, "broken", text), nice=write(here, "nice_plugin", FORMAT.format(name="nice")))
    code, out, err = run(capsys, "list", "formats")
    assert code == 0 and "[nice 1.2]" in out and "half" not in out
    assert err.startswith("warning: the plug-in awful 1.2 (module broken) is left out: ") and err.count("\n") == 1
    assert said in err and str(here) not in err
    assert state() == before | {"format": [*before["format"], "nice"]} and "broken" not in sys.modules
    # It is said once, and stands in the list.
    code, out, err = run(capsys, "list", "plugins")
    assert (code, err) == (0, "") and "left out: " in out
    # Named, it is an error.
    code, out, err = run(capsys, "list", "formats", "--plugin", "broken")
    assert code == 2 and not out and err.startswith("error: --plugin broken cannot be used: ") and err.count("\n") == 1
    assert "half" not in FORMATS


def test_a_broken_one_takes_no_other_with_it(here: Path, installed, capsys) -> None:
    write(here, "good_plugin", FORMAT.format(name="good"))
    write(here, "bad_plugin", "import good_plugin\n" + FORMAT.format(name="bad") + "raise ValueError('\\x1b[31m')")
    installed(bad="bad_plugin", good="good_plugin")
    _, out, err = run(capsys, "list", "formats")
    assert "[good 1.2]" in out and "bad" not in FORMATS and "\x1b" not in err and err.count("\n") == 1


def test_what_it_is_the_first_to_import_stays_ours(here: Path) -> None:
    ours = write(here, "art_multimodal_lookalike", FORMAT.format(name="alike"))
    plugins.load_plugin(ours)
    assert FORMATS.origin("alike") == ours and FORMATS.origin("junit") is None
    assert all(origin is None for registry in (ATTACKS, RESIZERS) for origin in map(registry.origin, registry))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("json", "json registers nothing: it is no plug-in"),
        ("art_multimodal.nowhere", "is a part of art_multimodal itself"),
        ("radar.py", "takes the name of a module, such as radar,"),
        ("../radar", "takes the name of a module"),
        ("a b", "takes the name of a module"),
    ],
)
def test_what_is_no_plugin_is_refused_in_one_line(here: Path, capsys, given: str, said: str) -> None:
    code, out, err = run(capsys, "list", "formats", "--plugin", given)
    assert code == 2 and not out and err.startswith("error: ") and err.count("\n") == 1 and said in err


@pytest.mark.parametrize("value", ["nice_plugin:function", "no module", ""])
def test_an_entry_point_names_a_module(here: Path, installed, capsys, value: str) -> None:
    write(here, "nice_plugin", "def function(): raise AssertionError")
    installed(odd=value)
    code, _, err = run(capsys, "list", "formats")
    assert code == 0 and "which is no module" in err and "nice_plugin" not in sys.modules


def test_installed_ones_can_be_switched_off(here: Path, installed, capsys, monkeypatch) -> None:
    installed(nice=write(here, "nice_plugin", FORMAT.format(name="nice")))
    monkeypatch.setenv(plugins.VARIABLE, "1")
    assert "nice" not in run(capsys, "list", "formats")[1] and "nice_plugin" not in sys.modules
    assert "[module nice_plugin]" in run(capsys, "list", "formats", "--plugin", "nice_plugin")[1]


def test_no_plugins_leaves_out_those_that_are_installed(here: Path, installed, capsys) -> None:
    installed(good=write(here, "good_plugin", FORMAT.format(name="good")))
    write(here, "mine", FORMAT.format(name="mine"))
    for what in ("formats", "plugins"):
        code, out, err = run(capsys, "list", what, "--no-plugins", "--plugin", "mine")
        assert (code, err) == (0, "") and "mine" in out and "good" not in out
    # It is that command's affair alone.
    assert "[good 1.2]" in run(capsys, "list", "formats")[1]


def test_help_loads_none(here: Path, installed, capsys) -> None:
    installed(loud=write(here, "loud", "raise AssertionError"))
    for arguments in (["--help"], ["list", "--help"], ["audit", "--plugin", "loud", "--help"], ["--version"]):
        assert run(capsys, *arguments)[::2] == (0, "")


def commands(group: Any, *before: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of the program, however deep, with the words that call it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *before, name)
        else:
            yield (*before, name), command


def test_every_command_takes_plugins() -> None:
    found = dict(commands(typer.main.get_command(app)))
    assert len(found) >= 14 and {("audit",), ("plan", "init"), ("benchmark", "amend")} <= set(found)
    for words, command in found.items():
        options = {opt for param in command.params for opt in param.opts}
        assert {"--plugin", "--no-plugins"} <= options, words


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--plugin", "x", "list", "attacks"), "art-multimodal audit ... --plugin my_plugin"),
        (("--no-plugins", "list", "attacks"), "art-multimodal audit ... --no-plugins"),
        (("plan", "--plugin", "x", "init", "demo:digits"), "art-multimodal plan init ... --plugin my_plugin"),
        (("--eps", "1/255", "audit", "demo:digits"), "art-multimodal audit ... --eps 1/255"),
    ],
)
def test_an_option_before_its_command_is_told_where_it_belongs(given: tuple[str, ...], said: str, capsys) -> None:
    code, out, err = run(capsys, *given)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "is an option of commands and belongs behind the command" in err and said in err


CANARY = "from pathlib import Path; Path('was_imported').touch()"


ALIKE = """
from art_multimodal.models.loading import MODEL_SOURCES, load_model
from art_multimodal.models.source import ModelSource
MODEL_SOURCES.add("alike", ModelSource("alike:DEMO", "a demo", lambda name: load_model(f"demo:{name}")))
"""


def test_whatever_writes_numbers_names_the_plugins_behind_them(here: Path, capsys) -> None:
    write(here, "alike", ALIKE)
    save_photo(here / "photos" / "zero" / "a.png", (64, 64), 1)
    save_photo(here / "photos" / "one" / "b.png", (64, 64), 2)
    given = ["--device", "cpu", "--limit", "2", "--plugin", "alike"]
    digits = ["--data", "demo:digits", "--steps", "1", *given]
    assert run(capsys, "transfer", "demo:digits", "alike:digits/robust", *digits, "--out", "matrix")[0] == 0
    assert run(capsys, "universal", "alike:digits", *digits, "--out", "all.safetensors")[0] == 0
    photos = ["--data", "folder:photos", "--resize", "pillow_bicubic", *given, "--out", "numbers.json"]
    assert run(capsys, "preprocessing", "alike:digits", *photos)[0] == 0
    with safe_open("all.safetensors", "numpy") as file:
        learned = json.loads(file.metadata()["universal"])
    assert load_perturbation("all.safetensors").surrogates == ("alike:digits",)
    matrix, numbers = (json.loads(Path(name).read_text()) for name in ("matrix/transfer.json", "numbers.json"))
    for found in (matrix, learned, numbers):
        (one,) = found["plugins"]
        assert one["name"] == "alike" and one["brings"] == ["model source alike"] and not one["installed"]
        assert found["versions"]["alike"] == one["version"] and "torch" in found["versions"]
    for page in ("report.md", "report.html"):
        assert "(model source alike)" in Path("matrix", page).read_text()
    # What goes on with it needs it.
    plugins._LOADED.clear()
    del sys.modules["alike"]
    for registry in registries():
        registry.forget({"alike"})
    code, _, err = run(
        capsys, "transfer", "demo:digits", "alike:digits/robust", *digits[:-2], "--out", "matrix", "--resume"
    )
    assert code == 2 and "needs the plug-in alike" in err and err.count("\n") == 1


def test_no_plan_makes_a_module_be_imported(here: Path, capsys) -> None:
    write(here, "canary", CANARY)
    plan = {"plan": 1, "models": "demo:digits", "data": "demo:digits", "attacks": {"image": ["pgd"]}}
    (here / "plan.yaml").write_text(yaml.safe_dump({**plan, "plugins": ["canary"]}))
    code, _, err = run(capsys, "plan", "check", "plan.yaml")
    assert code == 2 and "needs the plug-in canary, which is not loaded" in err and "--plugin" in err
    assert not (here / "was_imported").exists() and err.count("\n") == 1
    write(here, "canary", FORMAT.format(name="sings"))
    assert run(capsys, "plan", "check", "plan.yaml", "--plugin", "canary")[0] == 0
    assert read_plan("plan.yaml").as_json()["content"]["plugins"] == ["canary"]


def test_no_run_makes_a_module_be_imported(here: Path) -> None:
    write(here, "canary", CANARY)
    used = {"name": "song\x1b", "version": "1", "module": "canary", "installed": False, "brings": ["attack x"]}
    with pytest.raises(InputError, match=r"The run needs the plug-in song\\x1b 1 \(attack x\), which is not loaded"):
        plugins.check_loaded([used])
    assert not (here / "was_imported").exists()
    # Another error than that the attack is unknown.
    data = {"listed": 1, "selected": 1, "class_names": ["a"], "templates": []}
    header = {"task": "zero-shot", "attacks": ["x"], "settings": {}, "budget": {}, "model": {}, "data": data}
    with pytest.raises(ValueError, match="x is no attack"):
        check_header(header)
    with pytest.raises(InputError, match="give --plugin canary, if you trust it"):
        check_header({**header, "plugins": [used]})
    for wrong in ({**used, "module": "x; y"}, {**used, "brings": 1}, "canary"):
        with pytest.raises(ValueError) as caught:
            check_header({**header, "plugins": [wrong]})
        assert not isinstance(caught.value, InputError)
    assert not (here / "was_imported").exists()


def test_no_saved_model_makes_a_module_be_imported(here: Path) -> None:
    write(here, "canary", CANARY)
    facts = {"family": "songs", "class": "canary.Model"}
    with pytest.raises(InputError, match=r"family of models 'songs': here was canary.Model, a class of a plug-in"):
        load_files(here, facts)
    described = modality_facts(table("x", 3))
    assert described is not None and "class" not in described
    with pytest.raises(InputError, match=r"kind of modality 'song': here was canary.Song"):
        made_modality({**described, "kind": "song", "class": "canary.Song"})
    with pytest.raises(InputError, match="Unknown kind of modality 'text'"):
        made_modality({**described, "kind": "text"})
    assert not (here / "was_imported").exists()


def test_a_modality_and_a_fusion_are_saved_by_name(here: Path) -> None:
    text = """
        from torch import nn
        from art_multimodal.modalities import Modality, register
        from art_multimodal.models.families.modular.model import Tower
        from art_multimodal.models.fusions.simple import Late
        from art_multimodal.models.fusions.fusion import FUSIONS

        @register
        class Song(Modality):
            kind = "song"

        class Choir(Late):
            summary = "of a test"

        FUSIONS.add("choir", Choir)
        tower = Tower(Song("x", (3,), (0,), (0.0, 1.0)), nn.Linear(3, 2), 2)
        """
    plugins.load_plugin(write(here, "songs", text))
    module = sys.modules["songs"]
    model = ModularModel([module.tower], "choir", ("a", "b")).eval()
    facts = json.loads(json.dumps(FAMILY.facts(model)))
    assert facts["towers"][0]["modality"]["class"] == "songs.Song" and facts["fusion"]["class"] == "songs.Choir"
    FAMILY.save(model, here)
    again = FAMILY.load(here, facts)
    assert type(again.fusion) is module.Choir and again.modalities["x"] == module.tower.modality
    (used,) = plugins.plugins_used([], [*model.modules(), *model.modalities.values()])
    assert used["module"] == "songs"
    KINDS.forget({"songs"})
    with pytest.raises(InputError, match=r"here was songs.Song"):
        FAMILY.load(here, facts)


def test_a_run_goes_on_with_the_attacks_that_it_had(tmp_path: Path) -> None:
    parts: dict = {part: {} for part in RunLog.identity}
    log = RunLog(tmp_path, {"schema_version": RunLog.schema_version, **parts, "attacks": ["pgd", "apgd"]})
    log.check_same({**parts, "attacks": ["pgd", "apgd"]})
    with pytest.raises(InputError, match=r"had not the attack momentum: .*--no-plugins"):
        log.check_same({**parts, "attacks": ["pgd", "apgd", "momentum"]})
    with pytest.raises(InputError, match=r"had the attack apgd: .*Load the same ones"):
        log.check_same({**parts, "attacks": ["pgd"]})


def test_a_registry_takes_types_and_names(here: Path) -> None:
    numbers: Registry[int] = Registry("number", int)
    assert numbers.add("one", 1) == 1 and numbers.origin("one") is not None  # of a test, not of the package
    for name, entry, kind in (("one", 1, ValueError), ("two", "2", TypeError), ("", 1, ValueError), (1, 1, ValueError)):
        with pytest.raises(kind):
            numbers.add(name, entry)
    assert list(numbers) == ["one"]


def test_entry_points_of_python_are_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without stand-ins: a folder with metadata, as pip leaves it."""
    info = tmp_path / "some_package-3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-package\nVersion: 3\n")
    (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\nany = some_module_of_a_test\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "_LOADED", {})
    monkeypatch.setattr(plugins, "_searched", False)
    assert Distribution.at(info).version == "3"
    with pytest.warns(UserWarning, match=r"the plug-in some-package 3 \(module some_module_of_a_test\) is left out"):
        (one,) = [one for one in load_plugins() if one.name == "some-package"]
    assert "No module named" in one.fault and not one.brings

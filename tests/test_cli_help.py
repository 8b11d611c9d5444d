"""What ``--help`` and ``list`` show, and what is said of a command line that cannot be read."""

from __future__ import annotations

import pytest
import typer

from art_multimodal import __version__, cli
from art_multimodal.cli.help import WIDTH, entry
from art_multimodal.cli.presets import PRESETS
from art_multimodal.evaluations.audit import AuditSettings
from art_multimodal.evaluations.suite import ATTACKS

COMMANDS = [
    ["audit"],
    ["certify"],
    ["train"],
    ["verify"],
    ["compare"],
    ["export"],
    ["universal"],
    ["statistics"],
    ["list"],
    ["plan", "init"],
    ["plan", "check"],
    ["benchmark", "run"],
    ["benchmark", "amend"],
]
PAGES = [["--help"], *([*command, "--help"] for command in COMMANDS)]
LISTED = ("models", "data", "attacks", "defences", "formats", "fusions", "masks", "methods", "standards")
LISTED += ("inner-attacks", "modalities", "plugins")
LISTS = [["list", what] for what in LISTED]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("columns", ["40", "200"])
@pytest.mark.parametrize("arguments", [*PAGES, *LISTS], ids=" ".join)
def test_pages_are_the_same_80_columns_anywhere_without_colour(capsys, monkeypatch, arguments, columns) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    expected = run(capsys, *arguments)
    monkeypatch.setenv("COLUMNS", columns)
    code, printed, err = run(capsys, *arguments)
    assert (code, printed, err) == expected and code == 0 and not err
    assert max(map(len, printed.splitlines())) <= WIDTH
    assert "\x1b" not in printed and "…" not in printed and "─" not in printed


@pytest.mark.parametrize("arguments", PAGES, ids=" ".join)
def test_h_is_help_with_examples(capsys, arguments) -> None:
    code, printed, _ = run(capsys, *arguments[:-1], "-h")
    assert code == 0 and printed == run(capsys, *arguments)[1]
    assert "Examples:\n  art-multimodal " in printed


@pytest.mark.parametrize(
    "command", ["audit", "certify", "train", "verify", "compare", "export", "universal", "statistics"]
)
def test_every_option_is_shown_once_in_a_group(capsys, command: str) -> None:
    printed = run(capsys, command, "--help")[1]
    shown = [line.split()[0] for line in printed.splitlines() if line.startswith("  --")]
    params = typer.main.get_command(cli.app).commands[command].params
    expected = {p.opts[0] for p in params if p.param_type_name == "option" and not p.hidden}
    assert sorted(shown) == sorted(expected | {line for line in shown if line not in expected and line == "--task"})
    other = printed.partition("\nOther:\n")[2]
    assert other.startswith("  --plugin MODULE") and "\n  -h, --help" in other


def test_the_defaults_shown_are_those_of_the_settings(capsys) -> None:
    shown = " ".join(run(capsys, "audit", "--help")[1].split())
    settings = AuditSettings("demo:digits", "demo:digits")
    for option, default in (("--steps N", settings.steps), ("--max-queries N", settings.max_queries)):
        assert shown.partition(option)[2].partition("[default: ")[2].startswith(f"{default}]")
    assert shown.count("[default: 1/255 for norm inf]") == 1
    for name, preset in PRESETS.items():
        assert f"{name} {preset.summary}: {preset.as_options()}" in shown


def test_a_long_name_stands_above_what_is_said_of_it() -> None:
    assert entry("short", "one two") == ["  short                   one two"]
    above, *below = entry("a" * 40, "word " * 30)
    assert above == "  " + "a" * 40
    assert all(line.startswith(" " * 26 + "word") and len(line) <= WIDTH for line in below)


def test_lists_say_the_modality_once_and_name_everything(capsys) -> None:
    lines = run(capsys, "list", "attacks")[1].splitlines()
    headings = [line for line in lines if line and not line.startswith((" ", "Use:"))]
    # Those that there are for each modality stand together, last, whatever they are about.
    once = {name: attack for name, attack in ATTACKS.items() if not attack.of_each or attack.of_surrogates}
    each = [name for name in ATTACKS if name not in once]
    assert headings[:-1] == list(dict.fromkeys(attack.modality for attack in once.values()))
    assert headings[-1].startswith("each modality") and all(name.endswith("@MODALITY") for name in each)
    assert [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "] == [*once, *each]


@pytest.mark.parametrize(
    "what", ["models", "data", "attacks", "defences", "formats", "fusions", "methods", "standards"]
)
def test_lists_fit_the_width(capsys, what: str) -> None:
    assert max(map(len, run(capsys, "list", what)[1].splitlines())) <= WIDTH


def test_version(capsys) -> None:
    assert run(capsys, "--version") == (0, f"art-multimodal {__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["audit"], "Missing option '--data'. For example: --data folder:photos. See art-multimodal audit --help."),
        (["audit", "--data", "demo:digits"], "Missing argument MODEL. For example: art-multimodal audit demo:digits"),
        (["train", "tecoa"], "For example: demo:digits. See art-multimodal train --help."),
        (["audit", "demo:digits", "--data"], "requires an argument. For example: --data folder:photos."),
        (["audit", "demo:digits", "--data", "demo:digits", "--eps"], "For example: --eps 1/255."),
        (["audit", "demo:digits", "--data", "demo:digits", "--steps", "many"], "'--steps'"),
        (["audit", "demo:digits", "--data", "demo:digits", "--steps", "many"], "For example: --steps 10."),
        (["audit", "demo:digits", "--data", "demo:digits", "--max-share", "most"], "For example: --max-share 0.1."),
        (["audit", "demo:digits", "--attacks", "--eps", "1/255"], "'--attacks' requires a value, and --eps is another"),
        (
            ["audit", "demo:digits", "--Dataset", "--Epsilon"],
            "For example: --data folder:photos. See art-multimodal audit",
        ),
        (["audit", "--stepz", "3"], "No such option: --stepz. Did you mean --steps? See art-multimodal audit"),
        (["audit", "--model-language", "3"], "No such option: --model-language. Did you mean --language-model?"),
        (["audit", "--share", "3"], "Did you mean --max-share?"),
        (["audit", "--zzzzzzz", "3"], "No such option: --zzzzzzz. See"),
        (["audit", "-x"], "No such option: -x"),
        (["adit"], "No such command 'adit'. Did you mean 'audit'? See art-multimodal --help."),
        (
            ["frobnicate"],
            "No such command 'frobnicate'. Commands: audit, certify, train, transfer, verify, compare, export, "
            "universal, statistics, preprocessing, list, plan, bench",
        ),
        (["plan"], "Missing command. See art-multimodal plan --help."),
        (["plan", "chek"], "No such command 'chek'. Did you mean 'check'? See art-multimodal plan --help."),
        (["plan", "check"], "For example: plan.yaml. See art-multimodal plan check --help."),
        (["plan", "init", "demo:digits"], "For example: --data folder:photos. See art-multimodal plan init --help."),
        (["list"], "For example: attacks. See art-multimodal list --help."),
        (["list", "atacks"], "list: unknown listing 'atacks'. Did you mean attacks"),
        (["list", "a\x1b[31m\nb"], "\\x1b"),
        (["audit", "--\x1b[31m"], "\\x1b"),
    ],
)
def test_what_cannot_be_read_is_named_with_an_example(capsys, arguments, message) -> None:
    code, printed, err = run(capsys, *arguments)
    assert (code, printed) == (2, "")
    assert err.startswith("error: ") and err.count("\n") == 1 and "\x1b" not in err
    assert message in err


def test_several_models_are_named_above_their_tables(tmp_path, capsys) -> None:
    arguments = [
        "audit",
        "demo:digits",
        "demo:digits/robust",
        "--data",
        "demo:digits",
        "--attacks",
        "pgd",
        "--limit",
        "2",
    ]
    code, printed, _ = run(capsys, *arguments, "--steps", "1", "--device", "cpu", "--out", str(tmp_path / "out"))
    lines = printed.splitlines()
    assert code == 0 and lines.index("demo:digits") < lines.index("demo:digits/robust")
    assert lines[lines.index("demo:digits") + 1].split()[:2] == ["n", "accuracy"]

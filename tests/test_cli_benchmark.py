"""``art-multimodal benchmark``, and what its page says of it: the examples there are run."""

from __future__ import annotations

import re
import shutil
import sys
import types
from pathlib import Path

import pytest
from audits import one_thread

from art_multimodal import cli
from art_multimodal.evaluations.audit import Audit, AuditSettings, write_reports
from art_multimodal.evaluations.benchmark import parse_config
from art_multimodal.evaluations.benchmark.folder import LEADERBOARD_FILES, TABLES
from art_multimodal.evaluations.evidence.bundle import write_bundle

pytestmark = pytest.mark.usefixtures("little_effort")

PAGE = Path(__file__).parents[1] / "docs" / "benchmark.md"


def example(name: str) -> str:
    (found,) = re.findall(rf"<!-- example: {name} -->\n```\w+\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return found


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "benchmark.yaml"
    path.write_text(example("small"))
    return path


@pytest.fixture(scope="module")
def results(config: Path) -> Path:
    out = config.parent / "results"
    with one_thread():
        assert cli.main(["benchmark", str(config), "--out", str(out), "--device", "cpu"]) == 0
    return out


def test_the_example_of_the_page_runs_and_says_where_its_table_is(config: Path, results: Path, capsys) -> None:
    capsys.readouterr()
    assert cli.main(["benchmark", "run", str(config), "--out", str(results), "--device", "cpu"]) == 0
    printed, err = capsys.readouterr()
    # Nothing is run again.
    assert err == ""
    assert all(str(results / name) in printed for name in (*TABLES, *LEADERBOARD_FILES))
    assert "mean accuracy in %: zero-shot" in printed and "behind JPEG" in printed
    assert max(map(len, (line for line in printed.splitlines() if str(results) not in line))) <= 80


def test_the_example_of_retrieval_is_of_captions() -> None:
    config = parse_config(example("retrieval"))
    assert config.task == "retrieval" and [one.data for one in config.data] == ["data:coco", "data:flickr30k"]


def test_a_dry_run_prints_cells_calls_and_time_and_leaves_nothing(
    config: Path, results: Path, tmp_path, capsys
) -> None:
    out = tmp_path / "out"
    assert cli.main(["benchmark", str(config), "--out", str(out), "--dry-run", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "6 cells, 6 to be run; model calls at most:" in printed and "forward" in printed
    assert printed.count(" on as trained") == 3 and not out.exists()
    assert cli.main(["benchmark", "--dry-run", str(config), "--out", str(results), "--device", "cpu"]) == 0
    assert "6 cells, 0 to be run" in (printed := capsys.readouterr().out) and printed.count("done") == 6


def test_a_failed_cell_is_named_and_the_exit_code_is_one(tmp_path: Path, capsys) -> None:
    path = tmp_path / "benchmark.yaml"
    path.write_text(example("small").replace("model: demo:digits/robust", "model: demo:digits/robusst"))
    out = tmp_path / "out"
    assert cli.main(["benchmark", str(path), "--out", str(out), "--dry-run", "--device", "cpu"]) == 1
    assert capsys.readouterr().err.count("fails: robust on ") == 2
    with one_thread():
        arguments = ["benchmark", str(path), "--out", str(out), "--device", "cpu", "--cells", "3/6"]
        assert cli.main(arguments) == 1
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("failed: robust on ")]
    line = lines[-1]
    assert "robusst" in line and "Traceback" not in err
    assert "robusst" in (out / "benchmark.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["benchmark", "nothing.yaml"], "CONFIG: nothing.yaml cannot be read as a UTF-8 text file"),
        (["benchmark", "CONFIG", "--cells", "7/6"], "--cells '7/6' is no part of the cells. Write 3/10"),
        (["benchmark", "CONFIG", "--out", "CONFIG"], "is a file"),
        (["benchmark", "CONFIG", "--device", "tpu"], "tpu"),
        (["benchmark", "CONFIG", "--max-skipped", "2"], "skipped"),
        (["benchmark", "amend", "leaderboard.json"], "BUNDLE"),
        (["benchmark", "amend", "leaderboard.json", "b"], "--by"),
        (
            ["benchmark", "amend", "leaderboard.json", "b", "--by", "x", "--date", "today"],
            "--date is written 2026-01-31",
        ),
        (["benchmark", "amend", "none.json", "b", "--by", "x"], "There is no none.json."),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(config: Path, monkeypatch, tmp_path, capsys, arguments, said) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([str(config) if one == "CONFIG" else one for one in arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and said in err
    assert not list(tmp_path.iterdir())


def test_a_break_in_is_entered_once(results: Path, tmp_path: Path, capsys) -> None:
    for name in LEADERBOARD_FILES:
        shutil.copy(results / name, tmp_path / name)
    settings = AuditSettings("demo:digits", "demo:digits", "apgd", eps=8 / 255, steps=40, limit=8)
    with one_thread():
        audit = Audit(settings, tmp_path / "run", device="cpu", fixtures="successes")
        log = audit.evaluate()
        write_reports(log)
        digest = write_bundle(audit, log).digest
        arguments = [
            "benchmark",
            "amend",
            str(tmp_path / "leaderboard.json"),
            str(tmp_path / "run"),
            "--by",
            "A\x1b[31mnn",
        ]
        assert cli.main([*arguments, "--digest", digest, "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    assert "demo:digits on as trained:" in printed and "image: " in printed and " is now " in printed
    assert "\x1b[31mnn" not in (tmp_path / "leaderboard.md").read_text()
    assert cli.main([*arguments, "--device", "cpu"]) == 2
    assert "has been entered already" in capsys.readouterr().err


def test_the_example_with_ray_runs(config: Path, results: Path, monkeypatch, capsys) -> None:
    """With a stand-in for Ray that runs everything at once: the workers find all cells done."""
    ray = types.ModuleType("ray")

    def remote(**_: object):
        return lambda function: types.SimpleNamespace(remote=function)

    ray.remote, ray.get, ray.init = remote, list, lambda: None  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.chdir(config.parent)
    exec(example("ray").replace('"results"', repr(str(results))), {})
    assert capsys.readouterr().out.endswith("0 cells failed\n")


def test_the_example_in_python_runs(config: Path, results: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(config.parent)
    exec(example("python"), {})
    lines = capsys.readouterr().out.splitlines()
    # Three models within two radii.
    assert len(lines) == 6 and lines[0].startswith("demo:digits 2/255 ")


def test_the_job_array_gives_each_task_its_part() -> None:
    script = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    assert "#SBATCH --array=1-10" in script
    command = script.partition("srun ")[2].replace("\\\n", " ").split()
    assert command[:2] == ["art-multimodal", "benchmark"]
    given = command[command.index("--cells") + 1].strip('"')
    from art_multimodal.evaluations.benchmark import Share

    # Slurm counts tasks from the first number of --array on.
    for task in (1, 10):
        text = given.replace("$SLURM_ARRAY_TASK_ID", str(task)).replace("$SLURM_ARRAY_TASK_COUNT", "10")
        assert Share.parse(text) == Share(task, 10)


def test_the_table_of_calls_is_that_of_the_registry(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(PAGE.parent))
    import cost_tables
    import generate

    lines = cost_tables.calls(generate.table).splitlines()
    rows = {line.split("|")[1].strip(): [cell.strip() for cell in line.split("|")[2:-1]] for line in lines[2:]}
    assert rows["`pgd`"] == ["s + 1", "–", "s + 2", "–", "s"]
    assert rows["`apgd`"] == ["2 s + 4", "2 s + 5", "2 s + 5", "–", "s"]
    assert rows["`noise`"] == ["10", "10", "11", "–", "0"]
    assert "attack_calls" in generate.INCLUDED

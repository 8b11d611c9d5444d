"""A benchmark runs what is missing, whoever is killed, whatever fails, and however many work on it."""

from __future__ import annotations

import json
import random
import shutil
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from audits import one_thread
from forked import Forked
from killed import killed_in, stages
from launched import two_processes

from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.run import Audit
from art_multimodal.evaluations.benchmark import Benchmark, Share, parse_config
from art_multimodal.evaluations.benchmark import running as runner
from art_multimodal.evaluations.benchmark.folder import LEADERBOARD_FILES, TABLES
from art_multimodal.store import FolderLock

CONFIG = """
benchmark: 1
models: [demo:digits, {name: robust, model: demo:digits/robust}]
data:
  - {name: seen, data: demo:digits, role: in-distribution}
  - {name: unseen, data: demo:digits, role: zero-shot, templates: ["the digit {}"]}
attacks: {image: [pgd], text: [bert_attack]}
samples: {limit: 4}
budgets: {eps: [2/255, 8/255], steps: 2}
"""
OF_PAIRS = """
benchmark: 1
models: [demo:shapes, {name: behind JPEG, model: demo:shapes, defences: ["jpeg:quality=75"]}]
data: [demo:shapes]
attacks: {image: [art_pgd], text: [character_attack], multimodal: [independent]}
samples: {limit: 4}
budgets: {eps: [2/255, 8/255], steps: 2}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "benchmark.yaml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(CONFIG, tmp_path_factory.mktemp("undisturbed") / "out")


def finished(text: str, out: Path) -> Path:
    job = Benchmark(parse_config(text), out, "cpu")
    with one_thread():
        assert not job.run().failed
    job.write()
    return out


def tables(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() for name in (*TABLES, *LEADERBOARD_FILES)}


#: Places below the folder of a benchmark: lines of its cells' logs, their reports, and behind all cells the tables.
OF_LOGS, OF_REPORTS, OF_TABLES = r"/log\.jsonl$", r"/\.?(report|samples)\.", r"^\.?(benchmark|leaderboard)\."


def killed_and_ended(config: Path, out: Path, seed: int, kills: tuple[int, int, int, int]) -> list[str]:
    """Kill it before what it is going to write, let the last one end, and return where each was killed.

    :param kills: How often anywhere, in logs, in reports of cells, and in tables.
    """
    anywhere, in_logs, in_reports, in_tables = kills
    generator = random.Random(seed)
    command = ("art_multimodal", "benchmark", str(config), "--out", str(out), "--device", "cpu")
    # The tables alone are more changes than that: each of these is killed, however far the others came.
    places = [killed_in(out, generator.randint(1, 20), *command) for _ in range(anywhere)]
    places += [killed_in(out, generator.randint(1, 3), *command, names=OF_LOGS) for _ in range(in_logs)]
    # One of these ends a cell at most, so they are as many as cells.
    places += [killed_in(out, generator.randint(1, 10), *command, names=OF_REPORTS) for _ in range(in_reports)]
    places += [killed_in(out, generator.randint(1, 20), *command, names=OF_TABLES) for _ in range(in_tables)]
    assert Forked(config.parent, "-m", *command).wait() == 0
    return places


def test_killed_at_random_moments_it_ends_with_the_same_table(undisturbed: Path, config: Path, tmp_path: Path) -> None:
    places = killed_and_ended(config, tmp_path / "out", 0, (1, 1, 1, 1))
    assert len({Path(place).parent for place in places}) >= 3, places
    assert tables(tmp_path / "out") == tables(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(("text", "kills"), [(CONFIG, (9, 3, 4, 4)), (OF_PAIRS, (3, 2, 2, 2))], ids=["digits", "pairs"])
def test_killed_twenty_times_it_ends_with_the_same_table(
    text: str, kills: tuple[int, int, int, int], tmp_path: Path
) -> None:
    config = tmp_path / "benchmark.yaml"
    config.write_text(text)
    whole = finished(text, tmp_path / "whole")
    places = killed_and_ended(config, tmp_path / "out", 1, kills)
    # They fell on each cell, on what is kept of it and on its reports, and on the tables.
    cells = {place.split("/")[1] for place in places if "/" in place}
    assert cells == {path.name for path in (whole / "cells").iterdir()}, places
    assert len(stages(places)) >= 6, places
    assert tables(tmp_path / "out") == tables(whole)


def test_a_cell_that_fails_stops_no_other_and_is_tried_again(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Benchmark(parse_config(CONFIG), tmp_path / "out", "cpu")
    # As an audit keeps its settings, once it knows the task.
    keys = [replace(cell.settings, attacks_on_samples=None) for cell in job.cells]
    failing = {keys[0]: RuntimeError("out of\nluck"), keys[3]: InputError("no such thing")}
    evaluate, told = Audit.evaluate, []

    def broken(self: Audit, *arguments, **options):
        if (error := failing.get(self.settings)) is not None:
            raise error
        return evaluate(self, *arguments, **options)

    monkeypatch.setattr(Audit, "evaluate", broken)
    with one_thread():
        outcome = job.run(lambda cell, what, why: told.append((str(cell), what, why)))
    assert [(str(cell), failure.reason) for cell, failure in outcome.failed] == [
        ("demo:digits on seen", "RuntimeError: out of luck"),
        ("robust on unseen", "no such thing"),
    ]
    assert len(outcome.finished) == 2 and ("robust on seen", "finished", "") in told
    content = job.write()
    assert not content["complete"]
    assert [(one["model"], one["why"], one["failed"]) for one in content["missing"]] == [
        ("demo:digits", "RuntimeError: out of luck", True),
        ("robust", "no such thing", True),
    ]
    # A process that starts while the failure is known tries again, once.
    note = next((tmp_path / "out" / "work" / job.cells[0].id).glob("failed.json"))
    assert "Traceback" in " ".join(json.loads(note.read_text())["traceback"])
    again = Benchmark(parse_config(CONFIG), tmp_path / "out", "cpu")
    with one_thread():
        assert len(again.run().failed) == 2
    assert json.loads(note.read_text())["tries"] == 2
    failing.clear()
    last = Benchmark(parse_config(CONFIG), tmp_path / "out", "cpu")
    with one_thread():
        assert not last.run().failed
    assert not note.exists()
    last.write()
    assert tables(tmp_path / "out") == tables(undisturbed)


def test_what_is_finished_is_not_run_again(undisturbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tables(undisturbed)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a model was opened")

    monkeypatch.setattr(runner, "Audit", never)
    job = Benchmark(parse_config(CONFIG), undisturbed, "cpu")
    assert len(job.run().finished) == 4
    job.write()
    assert tables(undisturbed) == before


def test_a_changed_configuration_computes_what_it_changes_alone(undisturbed: Path) -> None:
    cells = {str(one): one.id for one in Benchmark(parse_config(CONFIG), undisturbed, "cpu").cells}
    more = parse_config(CONFIG.replace("models: [", "models: [{name: new, model: demo:digits/robust}, "))
    job = Benchmark(more, undisturbed, "cpu")
    assert [job.is_finished(one) for one in job.cells] == [True, True] + [True, True, True, True]
    # A name is the table's affair; settings are the cell's.
    for change in (("limit: 4", "limit: 5"), ("steps: 2", "steps: 3"), ("2/255, 8/255", "2/255, 9/255")):
        job = Benchmark(parse_config(CONFIG.replace(*change)), undisturbed, "cpu")
        assert not {one.id for one in job.cells} & set(cells.values())
        assert not any(job.is_finished(one) for one in job.cells)
    same = Benchmark(parse_config(CONFIG + "batch_size: 5\n"), undisturbed, "cpu")
    assert {str(one): one.id for one in same.cells} == cells


def test_a_run_that_was_changed_by_hand_is_not_taken_for_finished(undisturbed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    job = Benchmark(parse_config(CONFIG), out, "cpu")
    first, second = job.cells[:2]
    report = job.folder.cell(first) / "report.json"
    report.write_text(report.read_text().replace('"accuracy": 1.0', '"accuracy": 0.5', 1))
    assert not job.is_finished(first) and job.is_finished(second)
    # Another cell's folder under this one's name.
    shutil.rmtree(job.folder.cell(first))
    shutil.copytree(job.folder.cell(job.cells[2]), job.folder.cell(first))
    with one_thread():
        (failed,) = job.run().failed
    assert failed[0] is first and "--out" in failed[1].reason


def test_a_held_cell_is_left_to_its_holder(undisturbed: Path, tmp_path: Path) -> None:
    job = Benchmark(parse_config(CONFIG), tmp_path / "out", "cpu", Share(1, 4))
    job.folder.make()
    (cell,) = job.share
    place = tmp_path / "out" / "work" / cell.id
    place.mkdir()
    with FolderLock(place) as lock:
        lock.take()
        outcome = job.run()
    assert outcome.elsewhere == [cell] and not outcome.finished
    assert not list((tmp_path / "out" / "cells").iterdir())
    with one_thread():
        assert job.run().finished == [cell]


def test_shares_are_all_cells_once() -> None:
    cells = Benchmark(parse_config(CONFIG), "/nonexistent").cells
    parts = [Share(number, 3).take(cells) for number in (1, 2, 3)]
    assert sorted(one.id for part in parts for one in part) == sorted(one.id for one in cells)
    assert Share.parse("3/10") == Share(3, 10)
    for wrong in ("", "3", "0/3", "4/3", "1/0", "a/b", "1/2/3", "-1/3", "1/10000000"):
        with pytest.raises(InputError, match="--cells .* is no part of the cells. Write 3/10"):
            Share.parse(wrong)


def test_two_processes_of_a_launcher_share_the_cells(undisturbed: Path, config: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("-m", "art_multimodal", "benchmark", str(config), "--out", str(out), "--device", "cpu")
    done = two_processes(tmp_path, *command)
    # One of them prints, and each cell was started once.
    assert done.stdout.count("benchmark.html") == 1
    assert done.stderr.count("started: ") == done.stderr.count("finished: ") == 4
    assert tables(out) == tables(undisturbed)


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds thesis.tex, which is of no benchmark"):
        Benchmark(parse_config(CONFIG), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.tex"]
    other = tmp_path / "out"
    other.mkdir()
    (other / "benchmark.json").symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(InputError, match="is a link"):
        Benchmark(parse_config(CONFIG), other)


# --- Configurations.

BASE = {"benchmark": 1, "models": ["demo:digits"], "data": ["demo:digits"], "preset": "quick"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"modles": ["a"]}, "Unknown entry of a benchmark 'modles'. Did you mean models"),
        ({"models": [{"model": "a", "defense": []}]}, "Unknown entry of models 'defense'. Did you mean defences?"),
        ({"data": [{"dta": "a"}]}, "Unknown entry of data 'dta'. Did you mean data?"),
        ({"budgets": {"step": 3}}, "Unknown entry of budgets 'step'. Did you mean steps"),
        ({"budgets": [{"name": "a", "epps": 3}]}, "Unknown entry of budgets 'epps'. Did you mean eps"),
        ({"samples": {"limits": 3}}, "Unknown entry of samples 'limits'. Did you mean limit?"),
        ({"preset": "quik"}, "Unknown preset 'quik'. Did you mean quick?"),
        ({"protocol": "mmcao"}, "Unknown protocol 'mmcao'. Did you mean mmcoa?"),
        ({"preset": None, "attacks": {"image": ["pdg"]}}, "Unknown attack on image 'pdg'. Did you mean pgd"),
        ({"defences": ["jpg"]}, "jpg"),
        ({"data": [{"data": "a", "role": "zeroshot"}]}, "data.0.role cannot be 'zeroshot'"),
        ({"samples": {"limit": 0}}, "samples.limit cannot be 0"),
        ({"samples": {"seed": -1}}, "samples.seed cannot be -1"),
        ({"budgets": {"eps": 3}}, "eps 3 is more than the whole range of images in [0, 1]. Did you mean 3/255?"),
        ({"budgets": {"eps": "1/0"}}, "is no distance"),
        ({"budgets": {"norm": 2}}, "with the norm 2 give budgets.eps"),
        ({"draws": 0}, "draws cannot be 0"),
        ({"batch_size": 0}, "batch_size cannot be 0"),
        ({"benchmark": 2}, "benchmark cannot be 2"),
        ({"attacks": {"image": ["pgd"]}}, "preset and attacks contradict one another"),
        ({"preset": None}, "attacks are missing: name them by family, or write a preset (quick, standard, worst)."),
        ({"data": []}, "data is missing: name data sets, or a protocol (mmcoa)."),
        ({"models": []}, "models cannot be []"),
        ({"models": ["a", "a"]}, "the model a is named twice. Give each a name of its own."),
        ({"models": ["a", {"name": "a", "model": "b"}]}, "the model a is named twice"),
        ({"protocol": "mmcoa", "data": ["data:cifar10"]}, "the data set cifar10 is named twice"),
        ({"protocol": "mmcoa", "task": "retrieval"}, "the protocol mmcoa is of classification, and task is retrieval"),
        ({"budgets": [{"eps": 0.1}, {"name": "b"}]}, "of several budgets each needs a name"),
        ({"budgets": [{"name": "b"}, {"name": "b"}]}, "the budget b is named twice"),
        ({"budgets": []}, "budgets cannot be []"),
    ],
)
def test_a_wrong_configuration_is_one_clear_line(change: dict, said: str) -> None:
    content = {name: value for name, value in {**BASE, **change}.items() if value is not None}
    with pytest.raises(InputError) as error:
        parse_config(json.dumps(content), "my.yaml")
    message = str(error.value)
    assert said in message and message.startswith("my.yaml: ") and "\n" not in message


def test_what_is_missing_is_named() -> None:
    for name in ("benchmark", "models"):
        with pytest.raises(InputError, match=f"{name} is missing. docs/benchmark.md"):
            parse_config(json.dumps({key: value for key, value in BASE.items() if key != name}))


def test_a_protocol_names_data_sets_with_their_roles_and_prompts() -> None:
    config = parse_config(json.dumps({**BASE, "data": None, "protocol": "mmcoa"}).replace('"data": null, ', ""))
    found = {one.shown_name: one for one in config.data_sets()}
    assert len(found) == 16 and found["cifar10"].role == "in-distribution" and found["dtd"].role == "zero-shot"
    cells = Benchmark(config, "/nonexistent").cells
    assert {one.settings.templates for one in cells} == {("This is a photo of a {}",)}
    assert cells[0].settings.data == "data:cifar10" and cells[0].settings.limit == 50


def test_a_preset_fills_in_what_is_not_given() -> None:
    config = parse_config(json.dumps({**BASE, "samples": {"limit": 3}, "budgets": {"steps": 7}, "defences": ["jpeg"]}))
    (cell,) = Benchmark(config, "/nonexistent").cells
    assert (cell.settings.limit, cell.settings.steps, cell.settings.max_queries) == (3, 7, 40)
    assert cell.settings.attacks == "apgd,bert_attack_margin,decoupling_image"
    own = parse_config(json.dumps({**BASE, "models": [{"model": "a", "defences": []}], "defences": ["jpeg"]}))
    assert Benchmark(own, "/nonexistent").cells[0].settings.defences == () != cell.settings.defences


def test_the_example_of_a_hostile_file_is_refused() -> None:
    for text in ("a: &x 1\nb: *x", "!!python/object/apply:os.system [ls]", "- 1", textwrap.dedent("a: 1\na: 2")):
        with pytest.raises(InputError) as error:
            parse_config(text)
        assert "\n" not in str(error.value)

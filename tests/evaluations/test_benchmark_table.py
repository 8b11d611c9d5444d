"""The table of a benchmark, recomputed by brute force from samples that cells say are right."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from audits import one_thread

from art_multimodal.errors import InputError
from art_multimodal.evaluations.benchmark import Benchmark, parse_config
from art_multimodal.evaluations.benchmark.drawing import radar_svg
from art_multimodal.evaluations.benchmark.measured import Measured, members_of_columns
from art_multimodal.evaluations.benchmark.table import BenchmarkTable, table_of
from art_multimodal.evaluations.benchmark.writing import tex
from art_multimodal.functional.statistics import mean_of_means_ci95, proportion_ci95, stratified_sign_test

pytestmark = pytest.mark.usefixtures("little_effort")

HOSTILE = "</td><script>alert(1)</script> \\input{/etc/passwd} $x^2$ & 50% #1 _a_ {b} ~ [2pt] | `c` \x1b[31m"
CONFIG = """
benchmark: 1
models:
  - {name: first, model: demo:digits}
  - {name: second, model: demo:digits/robust}
data:
  - {name: seen, data: demo:digits, role: in-distribution}
  - {name: unseen, data: demo:digits, role: zero-shot, templates: ["the digit {}"]}
attacks: {image: [pgd], text: [character_attack]}
samples: {limit: 12}
budgets: {eps: [2/255, 8/255], steps: 3}
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark that ran: two models on two data sets within two radii."""
    out = tmp_path_factory.mktemp("benchmark") / "out"
    job = Benchmark(parse_config(CONFIG), out, "cpu")
    with one_thread():
        outcome = job.run()
    assert not outcome.failed and not outcome.elsewhere and len(outcome.finished) == 4
    job.write()
    return out


def of_samples(out: Path) -> dict[tuple[str, str], list[dict[str, str]]]:
    """What ``samples.csv`` of each cell says, by model and data set."""
    job = Benchmark(parse_config(CONFIG), out, "cpu")
    found = {}
    for cell in job.cells:
        with (job.folder.cell(cell) / "samples.csv").open() as stream:
            found[cell.model, cell.data] = list(csv.DictReader(stream))
    return found


def right(row: dict[str, str], passes: list[str]) -> bool:
    """By hand: right before, and after each of the passes."""
    return row["right"] == "1" and all(row[f"{name} right"] == "1" for name in passes)


def test_every_accuracy_is_that_of_the_samples(finished: Path) -> None:
    content = json.loads((finished / "benchmark.json").read_text())
    assert content["complete"] and content["columns"].keys() == {"clean", "image", "text", "worst"}
    samples = of_samples(finished)
    numbers = {
        (one["radius"], one["model"], one["data"] or one["role"], one["column"]): one for one in content["numbers"]
    }
    for radius, (model, data) in itertools.product(("2/255", "8/255"), samples):
        pgd = "pgd" if radius == "8/255" else "eps=2/255:pgd"
        columns = {"clean": [], "image": [pgd], "text": ["character_attack"], "worst": [pgd, "character_attack"]}
        for column, passes in columns.items():
            one = numbers[radius, model, data, column]
            outcomes = [right(row, passes) for row in samples[model, data]]
            assert (one["right"], one["n"]) == (sum(outcomes), 12) and len(outcomes) == 12
            assert one["accuracy"] == sum(outcomes) / 12
            assert one["ci95"] == list(proportion_ci95(sum(outcomes), 12))
            if model == "second":
                first = [right(row, passes) for row in samples["first", data]]
                gained = sum(a and not b for a, b in zip(outcomes, first, strict=True))
                lost = sum(b and not a for a, b in zip(outcomes, first, strict=True))
                versus = one["versus"]
                assert (versus["gained"], versus["lost"], versus["n"]) == (gained, lost, 12)
                # McNemar's exact test by its definition.
                tail = sum(math.comb(gained + lost, k) for k in range(max(gained, lost), gained + lost + 1))
                assert versus["p"] == pytest.approx(min(1.0, 2 * tail / 2 ** (gained + lost)), abs=1e-12)
            else:
                assert one["versus"] is None
    for column, role in itertools.product(content["columns"], ("in-distribution", "zero-shot", "all")):
        of = {"in-distribution": ["seen"], "zero-shot": ["unseen"], "all": ["seen", "unseen"]}[role]
        one = numbers["8/255", "second", role, column]
        assert one["sets"] == len(of) and one["data"] == ""
        mean = np.mean([numbers["8/255", "second", data, column]["accuracy"] for data in of])
        assert one["accuracy"] == pytest.approx(mean, abs=1e-12)


def test_p_is_corrected_by_holm_over_data_sets(finished: Path) -> None:
    content = json.loads((finished / "benchmark.json").read_text())
    for column in content["columns"]:
        two = [
            one["versus"]
            for one in content["numbers"]
            if (one["radius"], one["model"], one["column"]) == ("8/255", "second", column) and one["data"]
        ]
        small, large = sorted(two, key=lambda versus: versus["p"])
        assert small["p_holm"] == pytest.approx(min(1, 2 * small["p"]))
        assert large["p_holm"] == pytest.approx(min(1, max(2 * small["p"], large["p"])))


def test_a_csv_has_every_number_and_a_page_no_less(finished: Path) -> None:
    content = json.loads((finished / "benchmark.json").read_text())
    rows = list(csv.DictReader(io.StringIO((finished / "benchmark.csv").read_text())))
    assert len(rows) == len(content["numbers"]) == 2 * 4 * 2 * (2 + 3)
    for row, one in zip(rows, content["numbers"], strict=True):
        assert float(row["accuracy"]) == one["accuracy"] and row["column"] == one["column"]
        assert row["data"] == (one["data"] or f"average: {one['role']}")
        assert (row["p_holm"] == "") == (one["versus"] is None)
    page = (finished / "benchmark.html").read_text()
    text = (finished / "benchmark.md").read_text()
    for one in content["numbers"]:
        if one["radius"] == "8/255":
            accuracy = f"{100 * one['accuracy']:.1f} %"
            assert accuracy in page and accuracy in text
    # Two radii are curves; four columns are a radar.
    assert page.count("<polyline") == 2 and page.count("<svg") == 2


def test_latex_has_intervals_and_differences(finished: Path) -> None:
    content = json.loads((finished / "benchmark.json").read_text())
    lines = [line for line in (finished / "benchmark.tex").read_text().splitlines() if line.startswith("{}")]
    rows = [[cell.strip() for cell in line.removesuffix(r" \\").removeprefix("{}").split("&")] for line in lines]
    columns = list(content["columns"])
    assert all(len(row) == len(columns) + 1 for row in rows)
    expected = []
    for place in ("in-distribution", "zero-shot", "all", "seen", "unseen"):
        for model in ("first", "second"):
            found = {
                one["column"]: one
                for one in content["numbers"]
                if (one["radius"], one["model"]) == ("8/255", model) and place == (one["data"] or one["role"])
            }
            numbers = [found[column] for column in columns]
            marks = ["*" if one["versus"] and one["versus"]["p_holm"] < 0.05 else "" for one in numbers]
            expected.append(
                [model, *(f"{100 * one['accuracy']:.1f}{mark}" for one, mark in zip(numbers, marks, strict=True))]
            )
            ends = [[f"{100 * end:.1f}" for end in one["ci95"]] for one in numbers]
            expected.append(["", *(rf"{{\scriptsize [{low}, {high}]}}" for low, high in ends)])
            if model == "second":
                cells = []
                for one in numbers:
                    versus = one["versus"]
                    low, high = (f"${100 * end:+.1f}$" for end in versus["ci95"])
                    cells.append(rf"{{\scriptsize ${100 * versus['difference']:+.1f}$ [{low}, {high}]}}")
                expected.append(["", *cells])
    assert rows == expected


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no LaTeX here")
def test_latex_compiles(finished: Path, tmp_path: Path) -> None:
    head = r"\documentclass{article}\usepackage[utf8]{inputenc}\usepackage{booktabs,textcomp}\begin{document}"
    text = (finished / "benchmark.tex").read_text()
    (tmp_path / "page.tex").write_text("\n".join([head, text, tex(HOSTILE), r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "page.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0 and (tmp_path / "page.pdf").exists(), done.stdout[-2000:]


class Tags(HTMLParser):
    """The tags of a page, each inside which others."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, str]] = []
        self.seen: list[str] = []
        self.tables: list[bool] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag == "table":
            self.tables.append(any(of == "scroll" for _, of in self.open))
        if tag not in ("meta", "br", "line", "circle", "polyline"):
            self.open.append((tag, dict(attrs).get("class") or ""))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass


def test_a_phone_shows_the_page(finished: Path) -> None:
    page = (finished / "benchmark.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert 'content="width=device-width, initial-scale=1"' in page
    # Whatever is wide scrolls by itself; drawings are as wide as the page.
    assert tags.tables and all(tags.tables)
    assert all(re.search(r'viewBox="0 0 360 \d+"', svg) for svg in re.findall("<svg[^>]*>", page))
    assert "script" not in tags.seen and "img" not in tags.seen


# --- Without any model.


def made(cells: dict[tuple[str, str], dict[str, list[bool]]], radius: str = "1/255", **more: dict) -> list[Measured]:
    """Cells that found this: of each sample whether it is right, by column."""
    names = dict.fromkeys(itertools.chain.from_iterable(cells))
    lines = [
        "benchmark: 1",
        "preset: quick",
        f"models: {json.dumps([one for one in names if any(one == model for model, _ in cells)])}",
        f"data: {json.dumps([one for one in names if any(one == data for _, data in cells)])}",
    ]
    by_name = {(one.model, one.data): one for one in Benchmark(parse_config("\n".join(lines)), "/nonexistent").cells}
    found = []
    for (model, data), columns in cells.items():
        outcomes = {column: dict(enumerate(values)) for column, values in columns.items()}
        header = {"model": {"weights_sha256": model}, "data": {"fingerprint": data}, **more}
        samples = {index: f"{data} {index}" for index in next(iter(outcomes.values()))}
        found.append(Measured(by_name[model, data], header, samples, (radius,), (1.0,), {radius: outcomes}))
    return found


def table(cells: dict[tuple[str, str], dict[str, list[bool]]], roles: dict[str, str | None]) -> BenchmarkTable:
    models = list(dict.fromkeys(model for model, _ in cells))
    return table_of(made(cells), models, roles)


def test_an_average_is_of_models_that_have_all_data_sets() -> None:
    cells = {
        ("a", "x"): {"clean": [True] * 4},
        ("a", "y"): {"clean": [True, False]},
        ("b", "x"): {"clean": [False] * 4},
    }
    found = table(cells, {"x": None, "y": None})
    average = found.find("", "1/255", "a", "clean", role="all")
    assert average is not None and average.accuracy == 0.75 and average.sets == 2 and average.n == 6
    assert found.find("", "1/255", "b", "clean", role="all") is None
    assert found.find("", "1/255", "b", "clean", data="x").versus.difference == -1
    assert found.roles == ("all",)


def test_nothing_is_compared_where_the_first_model_is_missing() -> None:
    cells = {("a", "x"): {"clean": [True] * 4}, ("b", "x"): {"clean": [True] * 4}, ("b", "y"): {"clean": [True]}}
    found = table(cells, {"x": "zero-shot", "y": "zero-shot"})
    assert found.roles == ("zero-shot",)
    assert found.find("", "1/255", "b", "clean", data="y").versus is None
    assert found.find("", "1/255", "b", "clean", role="zero-shot").versus is None


def test_pairs_are_those_of_the_same_name() -> None:
    measured = made({("a", "x"): {"clean": [True, True, False]}, ("b", "x"): {"clean": [True, False, True]}})
    measured[1].names[2] = "another"
    found = table_of(measured, ["a", "b"], {"x": None})
    versus = found.find("", "1/255", "b", "clean", data="x").versus
    assert (versus.n, versus.gained, versus.lost) == (2, 0, 1)


def test_cells_of_other_weights_or_data_are_refused() -> None:
    cells = {("a", "x"): {"clean": [True]}, ("a", "y"): {"clean": [True]}, ("b", "x"): {"clean": [True]}}
    measured = made(cells)
    measured[1].header["model"] = {"weights_sha256": "other"}
    with pytest.raises(InputError, match="weights of the model a changed between two cells"):
        table_of(measured, ["a", "b"], {"x": None, "y": None})
    measured = made(cells)
    measured[2].header["data"] = {"fingerprint": "other"}
    with pytest.raises(InputError, match="data set x changed between two cells"):
        table_of(measured, ["a", "b"], {"x": None, "y": None})


def test_columns_hold_attacks_by_what_they_change() -> None:
    attacks = ["pgd", "character_attack", "independent", "typographic", "worst_image", "worst_multimodal"]
    found = members_of_columns({"attacks": [*attacks, "decoupling_image"], "defences": []})
    assert found == {
        "image": ["pgd", "worst_image"],
        "text": ["character_attack"],
        "multimodal": ["independent", "worst_multimodal"],
        "typographic": ["typographic"],
        "decoupling": ["decoupling_image"],
        "worst": ["pgd", "character_attack", "independent", "worst_image", "worst_multimodal"],
    }
    found = members_of_columns({"attacks": ["apgd@depth", "worst@depth", "modality_missing@depth"], "defences": ["x"]})
    assert found["depth"] == found["worst"] == ["apgd@depth", "worst@depth", "naive:apgd@depth", "naive:worst@depth"]
    assert "modality_missing" in found


def test_the_mean_over_data_sets_is_covered_as_said() -> None:
    """Of 400 benchmarks with known accuracies 95 % of the intervals hold the mean, but for three standard errors."""
    rng = np.random.default_rng(0)
    for truth, n in (([0.5, 0.6, 0.9], 30), ([0.02, 0.98, 0.5, 0.9], 60)):
        held = 0
        for _ in range(400):
            seen = [int(rng.binomial(n, p)) for p in truth]
            low, high = mean_of_means_ci95([s / n for s in seen], [proportion_ci95(s, n) for s in seen])
            held += low <= np.mean(truth) <= high
        assert held / 400 > 0.95 - 3 * math.sqrt(0.95 * 0.05 / 400)
    one = proportion_ci95(3, 7)
    assert mean_of_means_ci95([3 / 7], [one]) == pytest.approx(one)
    assert mean_of_means_ci95([], []) is None


def test_coins_give_the_p_that_all_outcomes_give() -> None:
    """Brute force over every way that pairs that differ may fall."""
    gained, lost, n = [4, 0], [1, 2], [10, 20]

    def distance(heads: tuple[int, ...]) -> float:
        return abs(sum((2 * h - g - k) / size for h, g, k, size in zip(heads, gained, lost, n, strict=True)))

    ways = itertools.product(range(6), range(3))
    seen = distance((4, 0))
    exact = sum(math.comb(5, a) * math.comb(2, b) for a, b in ways if distance((a, b)) >= seen - 1e-12) / 2**7
    drawn = stratified_sign_test(gained, lost, n)
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 99_999))
    assert stratified_sign_test([0, 0], [0, 0], [5, 5]) == 1.0


def test_hostile_names_are_text_everywhere(tmp_path: Path) -> None:
    config = parse_config(
        f"benchmark: 1\npreset: quick\ntitle: {json.dumps(HOSTILE)}\n"
        f"models: [{{name: {json.dumps(HOSTILE[:80])}, model: 'demo:nothing'}}]\n"
        f"data: [{{name: {json.dumps('=1+' + HOSTILE[:70])}, data: 'demo:digits'}}]\n"
    )
    job = Benchmark(config, tmp_path / "out", "cpu")
    outcome = job.run()
    assert len(outcome.failed) == 1
    job.write()
    for ending in ("html", "md", "tex", "csv"):
        text = (tmp_path / "out" / f"benchmark.{ending}").read_text()
        assert "\x1b" not in text
        if ending in ("html", "md"):
            assert "<script" not in text and "&lt;script" in text
    assert "\\input" not in (tmp_path / "out" / "leaderboard.md").read_text().replace("\\\\input", "")


def test_latex_takes_names_for_text() -> None:
    found = tex(HOSTILE)
    # Every command in it is one of ours, and every brace is escaped or belongs to one.
    commands = set(re.findall(r"\\[a-zA-Z]+|\\.", found))
    assert commands <= {
        *(rf"\text{name}" for name in ("backslash", "asciitilde", "asciicircum", "less", "greater", "bar")),
        *(rf"\text{name}" for name in ("asciigrave", "quotedbl", "quotesingle")),
        *(f"\\{sign}" for sign in "&%$#_{}"),
    }
    assert "\n" not in found and "x1b" in found
    depth = 0
    for letter in re.sub(r"\\[{}]", "", found):
        depth += (letter == "{") - (letter == "}")
        assert depth in (0, 1)
    assert depth == 0


def test_a_radar_has_a_shape_for_each_model() -> None:
    drawn = str(radar_svg(["a", "<b>", "c"], {"x": [1.0, 0.5, 0.0]}, {"x": "#000"}))
    assert drawn.count("<polygon") == 5 and "<b>" not in drawn
    # The first axis points up: at 1 it is on the rim, 100 above the middle; the last one at 0 is the middle.
    assert 'points="180.0,50.0' in drawn and "180.0,150.0" in drawn

"""Budgets and gates as they are written, and what a report of certificates says."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from art_multimodal.ablation import Blocks, Points, Words
from art_multimodal.errors import InputError
from art_multimodal.evaluations.audit.lines import Skipped
from art_multimodal.evaluations.certification import CertificationLog, CertifiedGate, EditBudget, write_reports
from art_multimodal.evaluations.certification.drawing import staircase
from art_multimodal.evaluations.certification.lines import Line
from art_multimodal.evaluations.smoothing.budgets import grid
from art_multimodal.evaluations.smoothing.verdicts import Verdict
from art_multimodal.modalities import image, text

NASTY = "<script>alert(1)</script> \x1b[31m **bold** \u202e"


@pytest.mark.parametrize("spec", ["image=1,text=1", "sticker:image=8", "sticker:image=8,text=2", "image=0", "a=12"])
def test_budgets_are_written_as_they_are_read(spec: str) -> None:
    assert EditBudget.parse(spec).spec == spec
    assert EditBudget.parse(spec.replace(",", " , ").replace("=", " = ")).spec == spec


@pytest.mark.parametrize(
    "text_", ["", "image", "image=", "=1", "image=1.5", "image=-1", "image=1,", "image=1,image=2", "sticker:image=0"]
)
def test_other_budgets_are_refused_in_one_line(text_: str) -> None:
    with pytest.raises(InputError, match=r"^--budget [^\n]*$"):
        EditBudget.parse(text_)
    with pytest.raises(InputError, match=r"^--budget [^\n]*$"):
        EditBudget.parse(f"image={10**12}")


@pytest.mark.parametrize(("height", "width", "block"), [(12, 12, 4), (13, 7, 3), (9, 20, 5), (5, 6, 1)])
def test_a_sticker_counts_as_all_that_it_can_touch(height: int, width: int, block: int) -> None:
    elements = {"rgb": Blocks(image("rgb", 1, height, width), block)}
    field = np.arange(height * width, dtype=np.float32).reshape(1, 1, height, width) / (height * width)
    most = {"rgb": int(elements["rgb"].count(field)[0])}
    numbers = np.arange(height)[:, None] // block * -(-width // block) + np.arange(width) // block
    for side in range(1, max(height, width) + 2):
        touched = max(
            len(np.unique(numbers[top : top + side, left : left + side]))
            for top, left in product(range(max(1, height - side + 1)), range(max(1, width - side + 1)))
        )
        found = EditBudget.parse(f"sticker:rgb={side}").resolved(elements, most, ["rgb"])
        # At a border that cuts blocks short the worst place may not fit; then it counts more, never less.
        assert touched <= found["rgb"] <= most["rgb"]
        if height % block == width % block == 0:
            assert found["rgb"] == touched
    of_points = {"rgb": Points(image("rgb", 3, 8, 8))}
    assert EditBudget.parse("sticker:rgb=3").resolved(of_points, {"rgb": 64}, ["rgb"]) == {"rgb": 9}


def test_budgets_of_what_is_not_hidden_are_refused() -> None:
    elements = {"note": Words(text("note"))}
    with pytest.raises(InputError, match="a sticker covers pixels"):
        EditBudget.parse("sticker:note=2").resolved(elements, {"note": 4}, ["note"])
    with pytest.raises(InputError, match="nothing of rgb is hidden"):
        EditBudget.parse("rgb=2").resolved(elements, {"note": 4}, ["note", "rgb"])
    with pytest.raises(InputError, match="Unknown modality for --fail-under 'nott'. Did you mean note"):
        EditBudget.parse("nott=2").resolved(elements, {"note": 4}, ["note", "rgb"], "--fail-under")


def test_a_table_has_all_budgets_up_to_the_largest() -> None:
    found = grid([{"a": 2, "b": 0}, {"a": 0, "b": 1}])
    assert found == [{"a": a, "b": b} for a in range(3) for b in range(2)]
    with pytest.raises(InputError, match="more than a table holds"):
        grid([{"a": 100, "b": 100}])


def test_gates() -> None:
    gate = CertifiedGate.parse("certified.image=1,text=1=0.3")
    assert gate == CertifiedGate("certified", EditBudget((("image", 1), ("text", 1))), 0.3)
    assert CertifiedGate.parse("model.accuracy=0.9").budget is None
    for wrong in (
        "certified",
        "certified.image=1",
        "certified.image=1=x",
        "certified.image=1=30",
        "accuracy=0.3",
        "=1",
    ):
        with pytest.raises(InputError, match=r"^[^\n]*--fail-under[^\n]*$"):
            CertifiedGate.parse(wrong)
    with pytest.raises(InputError, match="Unknown row for --fail-under"):
        gate.check_row(["model"])
    with pytest.raises(InputError, match="nothing is certified about the row model"):
        CertifiedGate.parse("model.image=1=0.3").check_row(["model"])
    results = {"certified": {"accuracy": 0.5, "certified": {"image=1,text=1": {"accuracy": 0.25}}}}
    assert gate.failure(results, "image=1,text=1") == "certified.image=1,text=1 is 0.2500, under 0.3"
    assert CertifiedGate.parse("certified.accuracy=0.5").failure(results, None) is None
    results["certified"]["certified"]["image=1,text=1"]["accuracy"] = None
    assert "no sample was evaluated" in str(gate.failure(results, "image=1,text=1"))


def header(names: tuple[str, ...] = ("image", "text"), **changes: Any) -> dict[str, Any]:
    largest = dict.fromkeys(names, 2)
    rows = {"model": [], "certified": list(names), **{f"without_{name}": list(names) for name in names}}
    found = {
        "schema_version": 1,
        "kind": "certification",
        "task": "pairs",
        "settings": {"masks": "partition", "edits": "modify", "alpha": None},
        "rows": rows,
        "elements": {
            name: {
                "spec": "words",
                "unit": "word",
                "least": 3,
                "most": 4,
                "keep": 2,
                "seen": [2, 2],
                "protected": [NASTY],
            }
            for name in names
        },
        "seen_whole": ["depth"],
        "exact": True,
        "model": {"spec": NASTY, "kind": "k", "adapter": "A", "parameters": 1, "weights_sha256": "0" * 64},
        "data": {"spec": NASTY, "listed": 9, "selected": 5, "class_names": [NASTY, "b"], "templates": [NASTY]},
        "budget": {
            "asked": [
                {
                    "spec": "sticker:image=8",
                    "said": "a patch",
                    "name": ",".join(f"{name}=2" for name in names),
                    "edits": largest,
                }
            ],
            "largest": largest,
        },
        "protocol": {"attacker": NASTY},
        "notes": [NASTY],
        "seed": 0,
        "device": "cpu",
        "versions": {"x": NASTY},
    }
    return {**found, **changes}


def lines(names: int = 2) -> list[Line]:
    """Four samples and one that cannot be read: two are certified, one is right and not certified, one is wrong."""
    labels, full = (0, 0, 0, 1), (4,) * names
    corners = (((2,) * names,), ((1, *([0] * (names - 1))),), (), (full,))
    said = [(0, corners[0]), (0, corners[1]), (0, corners[2]), (0, corners[3])]
    certified = tuple(
        Verdict(i, NASTY, labels[i], answer, {"0": 3}, 0, full, of) for i, (answer, of) in enumerate(said)
    )
    blind = tuple(Verdict(i, NASTY, labels[i], 0, {"0": 1}, 0, full, (full,)) for i in range(4))
    whole = tuple(Verdict(i, NASTY, labels[i], labels[i]) for i in range(4))
    rows = [Line(0, "model", 5, 0.5, whole, {"samples": 4}, (Skipped(NASTY, NASTY),), "00")]
    rows += [Line(0, "certified", 5, 0.5, certified, {"votes": 12})]
    return rows + [Line(0, f"without_{name}", 5, 0.5, blind) for name in ("image", "text")[:names]]


def written(folder: Path, names: int = 2, **changes: Any) -> dict[str, Any]:
    log = CertificationLog.create(folder, header(("image", "text")[:names], **changes))
    for line in lines(names):
        log.append(line)
    return write_reports(log)


def test_shares_are_over_all_samples_and_wrong_ones_are_never_certified(tmp_path: Path) -> None:
    report = written(tmp_path / "run")
    shares = {name: share["accuracy"] for name, share in report["results"]["certified"]["certified"].items()}
    # Without corners nothing holds, not even for no edit at all.
    assert shares["image=0,text=0"] == 2 / 4 and shares["image=1,text=0"] == 2 / 4
    assert shares["image=1,text=1"] == shares["image=2,text=2"] == 1 / 4
    assert report["results"]["certified"]["accuracy"] == 3 / 4
    assert report["results"]["certified"]["radius"]["image"] == {"median": 1.5, "largest": 2}
    assert report["complete"] and report["skipped"][0]["name"] == NASTY
    assert report["results"]["certified"]["passes"] == {"votes": 3}


def test_a_sample_with_fewer_elements_than_the_budget_has_all_of_them_changed(tmp_path: Path) -> None:
    few = Verdict(0, "n", 0, 0, {"0": 1}, 0, (1, 4), ((1, 0),))
    for edits, expected in (("modify", 1.0), ("any", 0.0)):
        settings = {"masks": "all", "edits": edits, "alpha": None}
        given = header(settings=settings, rows={"model": [], "certified": ["image", "text"]})
        log = CertificationLog.create(tmp_path / edits, given)
        log.append(Line(0, "model", 1, 0.5, (Verdict(0, "n", 0, 0),), pixels_hash="00"))
        log.append(Line(0, "certified", 1, 0.5, (few,)))
        found = write_reports(log)["results"]["certified"]["certified"]
        assert found["image=2,text=0"]["accuracy"] == expected and found["image=1,text=1"]["accuracy"] == 0


def test_controls_that_are_as_good_are_pointed_out_in_words(tmp_path: Path) -> None:
    written(tmp_path / "run")
    page = (tmp_path / "run" / "report.md").read_text()
    for name in ("image", "text"):
        assert (
            f"Without seeing anything of {name} the votes are right for 75.0 %. With it the smoothed model is no"
            in page
        )
    assert "its certificates mean nothing" in page
    assert "The best control, without\\_image, has 75.0 % there." in page
    assert "depth: always seen whole, so a change of it is not covered" in page
    assert "1 protected words" not in page and "2 protected words are never hidden" in page


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


@pytest.mark.parametrize("names", [1, 2])
def test_strings_of_strangers_stay_strings(tmp_path: Path, names: int) -> None:
    written(tmp_path / "run", names)
    page = (tmp_path / "run" / "report.html").read_text()
    tags = Tags()
    tags.feed(page)
    known = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "section", "div", "table", "thead"}
    known |= {"tbody", "tr", "th", "td", "small", "br", "dl", "dt", "dd", "ul", "li", "svg", "rect", "text", "line"}
    assert {tag for tag, _ in tags.found} <= known | {"path", "title", "nav", "a", "strong"}
    # Links of the contents lead to parts of the page, and there are no others.
    leads = [value for tag, attributes in tags.found for key, value in dict(attributes).items() if key == "href"]
    assert leads and all(value.startswith("#") for value in leads)
    assert "&lt;script&gt;" in page and "\x1b" not in page and "\u202e" not in page
    assert not any(name.startswith("on") for _, attributes in tags.found for name in attributes)
    markdown = (tmp_path / "run" / "report.md").read_text()
    assert "<script" not in markdown and "\x1b" not in markdown and "**bold**" not in markdown


def test_the_staircase_shades_what_is_certified(tmp_path: Path) -> None:
    report = written(tmp_path / "run")
    plot = report["plot"]
    # One further than what is certified: up to 3 edits of each.
    assert plot["axes"] == ["image", "text"] and plot["ends"] == {"image": 3, "text": 3}
    page = (tmp_path / "run" / "report.html").read_text()
    shades = [float(found) for found in re.findall(r'fill="#5b6675" fill-opacity="([\d.]+)"', page)]
    assert shades == plot["shares"]["certified"] and len(shades) == 16
    expected = [[2 / 4, 1 / 4, 1 / 4, 0], [2 / 4, 1 / 4, 1 / 4, 0], [1 / 4, 1 / 4, 1 / 4, 0], [0, 0, 0, 0]]
    assert np.reshape(shades, (4, 4)).tolist() == expected
    # Nothing here is above the controls.
    assert 'fill="#3b7dd8"' not in page and page.count('class="cell"') == 16 and page.count('class="asked"') >= 1
    assert "overflow-x: auto" in page and "width=device-width" in page


def test_of_one_modality_there_are_lines(tmp_path: Path) -> None:
    written(tmp_path / "run", 1)
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("<path ") == 3 and page.count("stroke-dasharray") == 2
    assert "Solid: the smoothed model" in page and 'aria-label="Certified accuracy over edits of image"' in page


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    log = CertificationLog.create(tmp_path / "run", header())
    assert write_reports(log)["results"]["certified"]["accuracy"] is None
    assert "No sample could be evaluated" in (tmp_path / "run" / "report.md").read_text()
    for line in lines()[:2]:
        log.append(line)
    report = write_reports(log)
    assert not report["complete"]
    assert "This run is not finished" in (tmp_path / "run" / "report.md").read_text()
    assert json.loads((tmp_path / "run" / "report.json").read_text()) == report


def test_cells_that_a_control_reaches_are_grey() -> None:
    shares = {"certified": [0.9, 0.5, 0.3, 0.2], "without_a": [0.1, 0.1, 0.4, 0.2], "vote_median": [1.0] * 4}
    drawn = staircase({"axes": ["a", "b"], "ends": {"a": 1, "b": 1}, "shares": shares}, [{"a": 1, "b": 0}])
    assert re.findall(r'fill="(#\w+)" fill-opacity="([\d.]+)"', drawn) == [
        ("#3b7dd8", "0.900"),
        ("#3b7dd8", "0.500"),
        ("#5b6675", "0.300"),
        ("#5b6675", "0.200"),
    ]
    assert re.findall(r'<text class="(cell|light)"[^>]*>(\d+)</text>', drawn) == [
        ("light", "90"),
        *(("cell", number) for number in ("50", "30", "20")),
    ]

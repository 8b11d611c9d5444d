"""Several models side by side: folders, one page over their reports, gates."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest
from audits import read_report, timeless
from photos import save_photo

from art_multimodal import InputError, cli
from art_multimodal.evaluations.audit.comparison import run_folders
from art_multimodal.evaluations.audit.rendering import interval, md, percent
from art_multimodal.shown import shown

MODELS = ("demo:shapes/gated", "demo:shapes", "demo:shapes/cross_attention")
FOLDERS = ("1-demo-shapes-gated", "2-demo-shapes", "3-demo-shapes-cross-attention")
SMALL = ["--data", "demo:shapes", "--device", "cpu", "--limit", "8", "--steps", "2", "--max-queries", "40"]
SMALL += ["--attacks", "art_pgd,decoupling", "--eps", "8/255"]
HOSTILE = "<script>alert(1)</script> | \"q\" 'r' `c` [x](javascript:y) {{ 7*7 }}"
TEXTS = (
    f"is there a red circle {HOSTILE}",
    "האם יש עיגול אדום \u202e left",
    "is there a \U0001f534 \U0001f468\u200d\U0001f469\u200d\U0001f467 circle",
    "is there | a <b>blue</b> & green square",
)


class Page(HTMLParser):
    """Tags with attributes, text, and the cells of every table."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data) -> None:
        self.text += data

    def links(self) -> list[str]:
        return [str(value) for _, attributes in self.tags for name, value in attributes.items() if name == "href"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("comparison") / "out"
    assert cli.main(["audit", *MODELS, *SMALL, "--out", str(out)]) == 0
    return out


def test_every_model_has_a_run_and_the_root_has_all_reports(compared: Path) -> None:
    assert sorted(path.name for path in compared.iterdir() if path.is_dir()) == list(FOLDERS)
    report = read_report(compared)
    assert [entry["folder"] for entry in report["models"]] == list(FOLDERS)
    for entry, model in zip(report["models"], MODELS, strict=True):
        assert entry["report"] == read_report(compared / entry["folder"])
        assert entry["report"]["model"]["spec"] == model
        assert {"report.html", "report.md", "log.jsonl", "run.json"} <= {
            path.name for path in (compared / entry["folder"]).iterdir()
        }
    assert not list(compared.glob("*.tmp"))


def test_every_number_of_the_models_is_on_the_page(compared: Path) -> None:
    page = Page(compared / "report.html")
    markdown = (compared / "report.md").read_text()
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    for entry in read_report(compared)["models"]:
        report, name = entry["report"], md(entry["report"]["model"]["spec"])
        accuracies, *removals, importance = (row for row in rows if row.startswith(f"| {name} |"))
        cells = [f"{percent(row['accuracy'])} ({interval(row['accuracy_ci95'])})" for row in report["results"].values()]
        assert accuracies == f"| {name} | {' | '.join(cells)} |"
        attacks = ["decoupling_guided", "decoupling_image", "decoupling_exhaustive", "decoupling"]
        assert [row.split(" | ")[1] for row in removals] == [md(attack) for attack in attacks]
        for attack, row in zip(attacks, removals, strict=True):
            share = percent(report["results"][attack]["share_removed_mean"], 2)
            assert row.split(" | ")[3] == share and share in page.text
        for part in report["without_modality"].values():
            assert percent(part["accuracy"]) in importance and interval(part["accuracy_ci95"]) in page.text
        assert f"{report['model']['parameters']:,}" in importance and f"{report['model']['parameters']:,}" in page.text
        assert report["model"]["spec"] in page.text
    header = next(row for row in rows if row.startswith("| model | clean"))
    assert header.split(" | ")[2:] == [md(name) for name in ("art_pgd", *attacks[:3], "image")] + ["decoupling |"]


def test_links_lead_to_the_models_reports_and_nothing_else_is_loaded(compared: Path) -> None:
    page = Page(compared / "report.html")
    files = [link for link in page.links() if not link.startswith("data:image/png;base64,")]
    assert files == [f"{folder}/report.html" for folder in FOLDERS]
    assert all((compared / unquote(link)).is_file() for link in files)
    assert not {"script", "iframe", "object", "link", "form"} & {tag for tag, _ in page.tags}
    # One guided removal and two of the image alone for each model, three pictures each.
    assert len(page.links()) == len(files) + 3 * 3 * len(MODELS)


def test_numbers_are_those_of_a_run_by_itself(compared: Path, tmp_path: Path, capsys) -> None:
    code, printed, _ = run(capsys, "audit", MODELS[1], *SMALL, "--out", str(tmp_path / "out"))
    assert code == 0 and str(tmp_path / "out" / "report.html") in printed
    assert timeless(read_report(tmp_path / "out")) == timeless(read_report(compared / FOLDERS[1]))


def test_a_killed_comparison_goes_on(compared: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    short = [*SMALL, "--attacks", "art_pgd", "--batch-size", "3", "--group-size", "3", "--out", str(out)]
    assert run(capsys, "audit", *MODELS[:2], *short)[0] == 0
    before = timeless(read_report(out))
    log = out / FOLDERS[1] / "log.jsonl"
    first = (out / FOLDERS[0] / "log.jsonl").read_bytes()
    log.write_bytes(log.read_bytes()[:300])
    (out / "report.json").unlink()
    code, _, err = run(capsys, "audit", *MODELS[:2], *short, "--resume")
    assert code == 0 and "art_pgd: 8 samples" in err and all(model in err for model in MODELS[:2])
    assert timeless(read_report(out)) == before
    assert (out / FOLDERS[0] / "log.jsonl").read_bytes() == first
    # A model more, with the same start: only its run is new.
    assert run(capsys, "audit", *MODELS, *short, "--resume")[0] == 0
    assert timeless(read_report(out))["models"][:2] == before["models"]
    assert len(read_report(out)["models"]) == 3


def test_nothing_is_written_over(compared: Path, tmp_path: Path, capsys) -> None:
    single = tmp_path / "single"
    short = [*SMALL, "--attacks", "art_pgd", "--limit", "2"]
    assert run(capsys, "audit", MODELS[0], *short, "--out", str(single))[0] == 0
    before = {path: path.read_bytes() for path in (*single.iterdir(), *compared.iterdir()) if path.is_file()}
    for models, out, message in (
        (MODELS, single, "holds the run of a single model"),
        (MODELS[:1], compared, "holds a comparison of several models"),
        (MODELS, compared, "holds a run already"),
        ((*MODELS[1:], "demo:shapes/late"), compared, "holds a comparison already. Go on with it by --resume"),
    ):
        code, _, err = run(capsys, "audit", *models, *short, "--out", str(out))
        assert code == 2 and message in err and len(err.splitlines()) == 1
    assert {path: path.read_bytes() for path in before} == before


def test_gates_name_the_model(compared: Path, capsys) -> None:
    arguments = ["audit", *MODELS, *SMALL, "--out", str(compared), "--resume"]
    results = {
        entry["report"]["model"]["spec"]: entry["report"]["results"] for entry in read_report(compared)["models"]
    }
    accuracies = {model: rows["decoupling_image"]["accuracy"] for model, rows in results.items()}
    limit = max(accuracies.values())
    code, _, err = run(capsys, *arguments, "--fail-under", f"decoupling_image.accuracy={limit}")
    failing = [model for model in MODELS if accuracies[model] < limit]
    said = [line for line in err.splitlines() if line.startswith("gate failed: ")]
    assert said == [
        f"gate failed: {model}: decoupling_image.accuracy is {accuracies[model]:.4f}, under {limit:g}"
        for model in failing
    ]
    assert code == (1 if failing else 0)
    code, _, err = run(capsys, *arguments, "--fail-under", "clean.accuracy=1", "--fail-under", "clean.accuracy=0")
    wrong = [model for model in MODELS if results[model]["clean"]["accuracy"] < 1]
    assert code == (1 if wrong else 0) and err.count("gate failed") == len(wrong)
    code, _, err = run(capsys, *arguments, "--fail-under", "art_pgd.share_removed_mean=0.1")
    assert code == 2 and "a number of decoupling" in err
    assert read_report(compared)["models"][0]["report"]["results"] == results[MODELS[0]]


def test_every_model_that_fails_a_gate_is_named(tmp_path: Path, capsys) -> None:
    arguments = ["audit", *MODELS[:2], *SMALL, "--attacks", "art_pgd", "--eps", "64/255", "--steps", "10"]
    code, _, err = run(capsys, *arguments, "--out", str(tmp_path / "out"), "--fail-under", "image.accuracy=0.9")
    assert code == 1
    said = [line for line in err.splitlines() if line.startswith("gate failed: ")]
    assert [line.split(": ")[1] for line in said] == list(MODELS[:2])
    assert all("image.accuracy is 0." in line for line in said)
    assert read_report(tmp_path / "out")["models"][1]["report"]["complete"] is True


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (["demo:shapes", "demo:shapes/gated", "demo:shapes"], "The model demo:shapes is named twice"),
        (["demo:shapes", "demo:digits"], "which a dual encoder does not read"),
        (["demo:shapes", "demo:nothing"], "Unknown demo model"),
    ],
)
def test_models_that_cannot_be_compared(tmp_path: Path, capsys, models: list[str], message: str) -> None:
    code, _, err = run(capsys, "audit", *models, *SMALL, "--out", str(tmp_path / "out"))
    assert code == 2 and message in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_folders_of_runs() -> None:
    out = Path("out")
    assert run_folders(["hf:a/b"], out) == {"hf:a/b": out}
    models = ["hf:a/b", "hf:a_b", "hf:../../x", f"mmbt:/{'long/' * 50}é", "open_clip:ViT-B-32/<script>|.pt"]
    folders = list(run_folders(models, out).values())
    assert len({folder.name.lower() for folder in folders}) == len(models)
    for folder in folders:
        assert folder.parent == out and len(folder.name) <= 70
        assert set(folder.name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-")
    with pytest.raises(InputError, match="hf:a/b is named twice"):
        run_folders(["hf:a/b", "x", "hf:a/b"], out)


def write_pairs(folder: Path, labels: tuple[str, ...], texts: tuple[str, ...] = TEXTS) -> str:
    rows = [[f"<img src=x onerror=alert({i})>.png", texts[i % len(texts)], label] for i, label in enumerate(labels)]
    for index, row in enumerate(rows):
        save_photo(folder / row[0], (32 + index, 32), index)
    with (folder / "pairs|<i>.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["image", "text", "label"], *rows])
    return f"csv:{folder / 'pairs|<i>.csv'}"


def test_hostile_texts_are_escaped_in_every_report(tmp_path: Path, capsys) -> None:
    # Every question beside both answers: one of them is right, so it is attacked.
    data = write_pairs(tmp_path, ("no",) * 4 + ("yes",) * 4)
    arguments = ["--data", data, "--attacks", "art_pgd,decoupling", "--eps", "0.5", "--max-queries", "30"]
    out = tmp_path / "out"
    assert run(capsys, "audit", *MODELS[1:], *arguments, "--device", "cpu", "--out", str(out))[0] == 0
    folders = [out, *(path for path in out.iterdir() if path.is_dir())]
    assert len(folders) == 3
    for folder in folders:
        page = Page(folder / "report.html")
        assert not {"script", "img", "i", "b"} & {tag for tag, _ in page.tags}
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
        assert "onerror=alert" in page.text and "pairs|<i>.csv" in page.text
        markdown = (folder / "report.md").read_text()
        assert "<script" not in markdown and "<i>" not in markdown and "](javascript" not in markdown
        assert "pairs\\|&lt;i&gt;.csv" in markdown
    assert any(HOSTILE in Page(folder / "report.html").text for folder in folders[1:])
    assert all(any(shown(text) in Page(folder / "report.html").text for folder in folders[1:]) for text in TEXTS[1:])
    kept = [sample for folder in folders[1:] for sample in pictured(folder)]
    assert {sample["text"] for sample in kept} == set(TEXTS)


def pictured(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [sample for line in lines for sample in line["samples"] if sample.get("picture")]


def test_models_of_different_kinds_on_one_file(tmp_path: Path, capsys) -> None:
    data = write_pairs(tmp_path, ("no", "yes") * 4, ("is there a red circle",))
    arguments = ["--data", data, "--attacks", "pgd,art_pgd,decoupling_exhaustive", "--device", "cpu"]
    out = tmp_path / "out"
    code, _, err = run(capsys, "audit", "demo:shapes", "demo:digits", *arguments, "--out", str(out))
    assert code == 2 and "pgd does not work on fusion models" in err
    arguments[3] = "image,decoupling_exhaustive"
    arguments += ["--eps", "8/255", "--steps", "2", "--max-queries", "10", "--out", str(out)]
    assert run(capsys, "audit", "demo:shapes", "demo:digits", *arguments)[0] == 0
    first, second = (entry["report"] for entry in read_report(out)["models"])
    assert (first["model"]["kind"], second["model"]["kind"]) == ("fusion model", "dual encoder")
    assert "pgd" in second["results"] and "pgd" not in first["results"]
    rows = [line for line in (out / "report.md").read_text().splitlines() if line.startswith("| ")]
    header = [
        "clean",
        "pgd",
        "art\\_pgd",
        "apgd",
        "pgd\\_targeted",
        "square",
        "decoupling\\_exhaustive",
        "image",
        "decoupling |",
    ]
    assert rows[0].split(" | ")[1:] == header
    place = 2
    assert rows[1].split(" | ")[place] == "–"
    assert rows[2].split(" | ")[place].startswith(percent(second["results"]["pgd"]["accuracy"]))
    # What was done differs between the two, and is said of each.
    for text in ((out / "report.md").read_text(), Page(out / "report.html").text):
        assert "texts (fusion model)" in text.replace("\\", "") and "texts (dual encoder)" in text.replace("\\", "")
        assert all(report["protocol"]["texts"] in text for report in (first, second))

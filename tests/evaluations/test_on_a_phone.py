"""Reports as a browser lays them out at 375 pixels: nothing is wider than the page but what scrolls by itself."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from audits import one_thread

from art_multimodal import cli
from art_multimodal.evaluations.audit import RunLog
from art_multimodal.evaluations.benchmark import Benchmark, parse_config

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTH = 375
pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here")]
#: A page in a frame of that width, and what of it reaches beyond; a box that scrolls may hold what is wider.
_FRAME = """<!doctype html><meta charset="utf-8"><iframe style="border: 0; width: %dpx; height: 700px"></iframe>
<pre></pre><script>
const frame = document.querySelector("iframe");
frame.onload = () => {
  const page = frame.contentDocument, root = page.documentElement, found = [];
  const scrolls = one => one && (/auto|scroll/.test(frame.contentWindow.getComputedStyle(one).overflowX)
                                 || scrolls(one.parentElement));
  for (const one of page.body.querySelectorAll("*")) {
    const box = one.getBoundingClientRect();
    if (box.width && box.right > root.clientWidth + 1 && !scrolls(one.parentElement) && !scrolls(one))
      found.push(one.tagName + ": " + one.textContent.slice(0, 40));
  }
  document.querySelector("pre").textContent = JSON.stringify(
    {client: root.clientWidth, scroll: root.scrollWidth, boxes: page.body.querySelectorAll("*").length, found});
};
frame.srcdoc = %s;
</script>"""


def laid_out(page: str, folder: Path) -> dict:
    """What a browser says of a page: how wide it is and would like to be, and what is in the way."""
    outer = folder / "frame.html"
    outer.write_text(_FRAME % (WIDTH, json.dumps(page).replace("</", "<\\/")), encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}"]
    command += ["--virtual-time-budget=20000", "--dump-dom", outer.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (said,) = re.findall(r"<pre>(\{.*?\})</pre>", done.stdout, re.DOTALL)
    return json.loads(html.unescape(said))


def check(page: Path, folder: Path) -> None:
    found = laid_out(page.read_text(encoding="utf-8"), folder)
    assert found["client"] == WIDTH and found["boxes"] > 50
    assert found["scroll"] <= WIDTH and not found["found"], found


@pytest.mark.parametrize("name", ["finished", "finished_pairs", "finished_retrieval"])
def test_an_audit_fits(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    log: RunLog = request.getfixturevalue(name)
    check(log.folder / "report.html", tmp_path)


def test_models_side_by_side_and_defences_left_out_fit(tmp_path: Path) -> None:
    arguments = ["audit", "demo:digits", "demo:digits/robust", "--data", "demo:digits", "--attacks", "pgd,noise"]
    arguments += ["--limit", "4", "--steps", "1", "--device", "cpu", "--out", str(tmp_path / "out")]
    arguments += ["--defence", "jpeg:quality=75", "--ablate-defences"]
    with one_thread():
        assert cli.main(arguments) == 0
    check(tmp_path / "out" / "report.html", tmp_path)


def test_a_benchmark_fits(tmp_path: Path) -> None:
    config = parse_config(
        "benchmark: 1\nmodels: [demo:digits, {name: a model with quite a long name, model: demo:digits/robust}]\n"
        "data: [demo:digits]\nattacks: {image: [pgd], text: [character_attack], noise: all}\n"
        "samples: {limit: 4}\nbudgets: {eps: [2/255, 8/255], steps: 1}\n"
    )
    job = Benchmark(config, tmp_path / "out", "cpu")
    with one_thread():
        job.run()
    job.write()
    check(tmp_path / "out" / "benchmark.html", tmp_path)


def test_what_is_too_wide_is_found(tmp_path: Path) -> None:
    wide = "<p>" + "x" * 200 + "</p>"
    found = laid_out(
        f"<!doctype html><body style='margin: 0'>{wide}<div style='overflow-x: auto'>{wide}</div>", tmp_path
    )
    assert found["scroll"] > WIDTH
    # A paragraph is as wide as the page, whatever sticks out of it; a box is not.
    boxes = laid_out("<!doctype html><body style='margin: 0'><div style='width: 500px'>wide</div>", tmp_path)
    assert boxes["scroll"] == 500 and boxes["found"] == ["DIV: wide"]

"""The benchmark of universal perturbations in miniature, and the results that a page shows."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "universal.json"
PAGE = (ROOT / "docs" / "universal.md").read_text(encoding="utf-8")


def test_it_writes_a_table(tmp_path: Path) -> None:
    namespace = runpy.run_path(str(ROOT / "benchmarks" / "universal.py"))
    result = namespace["main"](
        ["--steps", "2", "--epochs", "1", "--count", "8", "--out", str(tmp_path / "universal.json")]
    )
    assert json.loads((tmp_path / "universal.json").read_text(encoding="utf-8")) == result
    assert all(len(row) == len(result["table"]["header"]) == 5 for row in result["table"]["rows"])
    pulls = result["surrogates"]["UniversalPerturbationAttack cross_entropy 2 of 2: convolutional"]
    assert [record["pulls"] for record in pulls] == [2, 2]


def test_what_the_page_shows_is_far_above_noise() -> None:
    found = {(one["perturbation"], one["victim"]): one for one in json.loads(RESULTS.read_text())["found"]}
    noise, own = (found[row, "demo:digits"]["share"] for row in ("noise", "one surrogate"))
    assert own > noise + 0.3
    # And on an architecture that it was not learned on, beyond the intervals.
    noise, unseen = (found[row, "transformer"]["share"] for row in ("noise", "one surrogate"))
    assert unseen > noise + 0.15 and not found["one surrogate", "transformer"]["surrogate"]
    assert found["each image by itself", "demo:digits"]["share"] >= own


def test_the_page_says_what_its_table_shows_of_several_surrogates() -> None:
    """Two surrogates did worse than the better one of them: the sentence holds what was measured."""
    found = {(one["perturbation"], one["victim"]): one["share"] for one in json.loads(RESULTS.read_text())["found"]}
    rows = (
        *("one surrogate", "another surrogate", "two surrogates, a bandit chooses one"),
        *("two surrogates, both in each step", "noise"),
    )
    one, other, bandit, both, noise = (found[row, "transformer"] for row in rows)
    assert one > max(bandit, both) and "More surrogates did not help here" in PAGE
    paragraph = PAGE.split("More surrogates did not help here")[1].split("*Not measured*")[0]
    places = [paragraph.index(f"{100 * share:.1f} %") for share in (one, other, bandit, both, noise)]
    assert places == sorted(places)

"""From cells to tables: certified accuracy with intervals, paired differences, and whether the mark is reached.

python -m benchmarks.certificates.tables
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from art_multimodal.functional.statistics import paired_difference_ci95, proportion_ci95
from benchmarks.certificates import digits, questions, roads, words
from benchmarks.certificates.__main__ import SEEDS
from benchmarks.certificates.bases import BASES, BATCH, HIDDEN, LEARNING_RATE, WIDTH
from benchmarks.certificates.cells import BUDGETS, STEPS, budget_name
from benchmarks.certificates.methods import ALPHA, METHODS, OURS
from benchmarks.certificates.problems import ATTACKED, GROUPS, PROBLEMS, TESTED
from benchmarks.certificates.store import CELLS, cell_of, load
from benchmarks.robust_training.statistics import Share

RESULTS = Path(__file__).parents[1] / "results" / "certificates.json"
PROTOCOL = (
    f"Base classifiers: towers of width {WIDTH} (hidden {HIDDEN}) and a head on both embeddings, trained from "
    f"nothing (AdamW, learning rate {LEARNING_RATE:g}, batches of {BATCH}). *whole*: on whole samples; *subsets*: each "
    f"sample in each step under random choices of 1/{GROUPS} of the elements of each modality; *groups*: under the "
    f"groups of the partition. All methods certify the same base classifier, keep 1/{GROUPS} of each modality, and are "
    f"judged on {TESTED} test samples, which nothing was chosen by; random draws have alpha {ALPHA:g} for each "
    "sample. A budget (a, b) is a edits of the first and b of the second modality, in place, to anything. Votes: "
    "passes of the fusion for a sample; views: passes of towers. Attacked: VoteFlippingAttack on the partition "
    f"(the first {ATTACKED} samples, {STEPS} steps); the run stops if it misleads about a sample that is certified. "
    "Shares in % with the 95 % interval: Wilson's where there is one training seed, else over samples and training "
    "seeds, which are judged on the same samples. Differences are paired."
)
#: What has to be beaten at every budget.
BASELINES = ("mmcert", "joint")
#: Whose rows are measured for the mark.
MARKED = ("partition", "partition-located")


def read(folder: Path, problem: str, base: str) -> list[dict[str, np.ndarray]]:
    """The cells that there are, one for each seed."""
    files = [cell_of(folder, problem, base, seed) for seed in range(SEEDS)]
    return [load(file) for file in files if file.exists()]


def table_of(folder: Path, problem_name: str) -> dict[str, Any] | None:
    """The table of a data set: base classifiers and methods by budgets."""
    cells = {base: found for base in BASES if (found := read(folder, problem_name, base))}
    if not cells:
        return None
    names = list(PROBLEMS[problem_name]().elements)
    rows, values, marks = [], {}, []
    for base, found in cells.items():
        values[base] = {"seeds": len(found), "methods": {}}
        for method in (*METHODS, "without-0", "without-1", "attacked"):
            if f"{method}/1,0" not in found[0]:
                continue
            # Of random draws that abstain nothing is certified; the answer that they would give stands in "smoothed".
            columns = {budget_name(one): _of_seeds(found, f"{method}/{budget_name(one)}") for one in BUDGETS}
            smoothed = _of_seeds(found, f"{method}/smoothed") if f"{method}/smoothed" in found[0] else columns["0,0"]
            costs = [_mean(found, f"{method}/{of}") for of in ("votes", "views", "seconds")]
            values[base]["methods"][method] = {
                "smoothed": _share(smoothed),
                "certified": {budget: _share(of) for budget, of in columns.items()},
                **dict(zip(("votes", "views", "seconds"), costs, strict=True)),
            }
            title = METHODS[method].title if method in METHODS else method
            if method.startswith("without-"):
                title = f"partition, nothing of {names[int(method[-1])]}"
            said = [base, len(found), title, _said(smoothed), *(_said(of) for of in columns.values())]
            rows.append([*said, *("" if cost is None else f"{cost:.3g}" for cost in costs)])
        if base in ("subsets", "groups"):
            marks.append(_mark(found, base))
    budgets = [f"({', '.join(map(str, one))})" for one in BUDGETS]
    return {
        "title": (PROBLEMS[problem_name].__doc__ or "").strip().rstrip("."),
        "modalities": names,
        "header": ["base", "seeds", "method", "clean", *budgets, "votes", "views", "s / sample"],
        "rows": rows,
        "values": values,
        "marks": marks,
    }


def _mark(found: list[dict[str, np.ndarray]], base: str) -> dict[str, Any]:
    """Paired differences of ours to each baseline at each budget, and whether places ever cost anything."""
    differences: dict[str, Any] = {}
    for baseline in BASELINES:
        differences[baseline] = {}
        for budget in map(budget_name, BUDGETS):
            ours, theirs = (_of_seeds(found, f"{method}/{budget}") for method in (OURS, baseline))
            differences[baseline][budget] = _difference(ours, theirs)
    looser = sum(
        int((_of_seeds(found, f"partition/{b}") & ~_of_seeds(found, f"partition-located/{b}")).sum())
        for b in map(budget_name, BUDGETS)
    )
    reached = all(one["value"] > 0 for of in differences.values() for one in of.values())
    return {"base": base, "reached": reached, "looser_with_places": looser, "differences": differences}


def digits_table(folder: Path) -> dict[str, Any] | None:
    """The anchor."""
    cells = read(folder, "digits", "digits")
    if not cells:
        return None
    titles = {
        "published": "published rule, N = 100",
        "one-sided": "one-sided, N = 1000",
        "all": "all 784 subsets",
        "all-located": "all subsets, worst places",
        "partition": "partition, 16 votes",
        "partition-located": "partition, worst places",
    }
    budgets = [",".join(map(str, one)) for one in digits.BUDGETS]
    rows = [
        [
            titles[way],
            *(_said(_of_seeds(cells, f"{way}/{b}")) for b in budgets),
            f"{_mean(cells, f'{way}/seconds'):.3g}",
        ]
        for way in digits.WAYS
    ]
    return {
        "title": f"Real digits in two halves of 8 blocks, 2 + 2 kept, {digits.TESTED} test digits",
        "header": ["method", *(f"({b.replace(',', ', ')})" for b in budgets), "seconds in all"],
        "rows": rows,
        "seeds": len(cells),
        "values": {w: {b: _share(_of_seeds(cells, f"{w}/{b}")) for b in budgets} for w in digits.WAYS},
        "view": _mean(cells, "view"),
    }


def roads_table(folder: Path) -> dict[str, Any] | None:
    """Certified measures of a segmentation."""
    cells = read(folder, "roads", "roads")
    if not cells:
        return None
    rows, values = [], {}
    for way in roads.WAYS:
        values[way] = {}
        for measure in ("accuracy", "f", "iou"):
            means = {}
            for budget in (",".join(map(str, one)) for one in roads.BUDGETS):
                of = np.array([cell[f"{way}/{measure}/{budget}"] for cell in cells])
                means[budget] = _over_runs(of).estimate()
            values[way][measure] = means
            said = [_of_means(one) for one in means.values()]
            votes, seconds = (_mean(cells, f"{way}/{of}") for of in ("votes", "seconds"))
            rows.append([way, measure, *said, f"{votes:.4g}", f"{seconds:.2g}"])
    for baseline in BASELINES:
        for measure in ("accuracy", "f", "iou"):
            said = []
            for budget in (",".join(map(str, one)) for one in roads.BUDGETS):
                ours, theirs = (
                    _over_runs(np.array([cell[f"{way}/{measure}/{budget}"] for cell in cells]))
                    for way in ("partition", baseline)
                )
                said.append(_of_means((ours - theirs).estimate(), "+"))
            rows.append([f"partition less {baseline}", measure, *said, "", ""])
    budgets = [f"({', '.join(map(str, one))})" for one in roads.BUDGETS]
    return {
        "title": (
            f"Roads, {roads.HEIGHT} x {roads.WIDTH} pixels of colours and of depth in blocks of {roads.BLOCK} x "
            f"{roads.BLOCK}, {roads.TESTED} scenes: the least that accuracy, F and IoU can be. An answer that looks at "
            f"nothing is right in {100 * (_mean(cells, 'prior') or 0):.1f} % of the pixels"
        ),
        "header": ["method", "measure", *budgets, "votes", "s / scene"],
        "rows": rows,
        "seeds": len(cells),
        "values": values,
    }


def vote_table(folder: Path) -> dict[str, Any] | None:
    """Votes of modalities."""
    cells = read(folder, "vote", "vote")
    if not cells:
        return None
    columns = [name.removeprefix("majority/") for name in cells[0] if name.startswith("majority/")]
    rows = [
        [f"ModalityVote, {rule}", *(_said(_of_seeds(cells, f"{rule}/{column}")) for column in columns)]
        for rule in ("majority", "median")
    ]
    header = ["method", "clean", *(f"{name} replaced by anything" for name in columns[1:])]
    title = "`demo:views`, three views: what one pass certifies against any change of one of them"
    return {"title": title, "header": header, "rows": rows, "seeds": len(cells)}


def questions_table(folder: Path) -> dict[str, Any] | None:
    """Edits of words that carry no question."""
    cells = read(folder, "questions", "questions")
    if not cells:
        return None
    rows: list[list[object]] = []
    for way, (title, *_) in questions.WAYS.items():
        votes, seconds = (_mean(cells, f"{way}/{of}") for of in ("votes", "seconds"))
        said = [_said(_of_seeds(cells, f"{way}/{of}")) for of in ("smoothed", *questions.WORDS)]
        rows.append([title, *said, f"{votes:.3g}", f"{seconds:.2g}"])
    of_control = [_said(_of_seeds(cells, f"{questions.CONTROL}/{of}")) for of in ("smoothed", *questions.WORDS)]
    rows.append(["control: trained on and shown the protected words alone", *of_control, "1", ""])
    differences = {}
    for count in questions.WORDS:
        ours, theirs = (_of_seeds(cells, f"{way}/{count}") for way in (OURS, "published"))
        differences[str(count)] = _difference(ours, theirs)
    apart = [_of_means(one, "+", 0) for one in differences.values()]
    rows.append(["partition, worst places, less the published rule", "", *apart, "", ""])
    return {
        "title": (
            f"`{questions.MODEL}` trained on with words hidden, images whole: words changed, of those that carry no "
            f"question (3 to 9 in each of {questions.TESTED}); a vote sees {questions.KEPT} of them; one answer to all "
            "is right in half"
        ),
        "header": ["method", "clean", *(f"({count})" for count in questions.WORDS), "votes", "s / sample"],
        "rows": rows,
        "seeds": len(cells),
        "differences": differences,
    }


def words_table(folder: Path) -> dict[str, Any] | None:
    """Edits of words beside a Euclidean distance of the image."""
    cells = read(folder, "words", "words")
    if not cells:
        return None
    budgets = [(count, distance) for distance in words.DISTANCES for count in words.WORDS]
    names = [f"{count},{distance:g}" for count, distance in budgets]
    rows, values = [], {}
    for way, title in words.WAYS.items():
        columns = {name: _of_seeds(cells, f"{way}/{name}") for name in names}
        values[way] = {name: _share(of) for name, of in columns.items()}
        # What sees the image as it is certifies no distance.
        certified = [
            "–" if way == "ensemble" and distance else _said(columns[n])
            for n, (_, distance) in zip(names, budgets, strict=True)
        ]
        rows.append(
            [title, _said(_of_seeds(cells, f"{way}/smoothed")), *certified, f"{_mean(cells, f'{way}/seconds'):.3g}"]
        )
    return {
        "title": (
            f"`{words.MODEL}` trained on with words hidden and noisy images: (words changed, Euclidean distance of the "
            f"image); {words.VOTES} votes, each sees a word with chance {words.CHANCE:g}; one answer to all is right "
            "in half"
        ),
        "header": ["method", "clean", *(f"({name.replace(',', ', ')})" for name in names), "s / sample"],
        "rows": rows,
        "seeds": len(cells),
        "values": values,
    }


def _of_means(one: dict[str, Any], sign: str = "", digits: int = 1) -> str:
    low, high = (100 * end for end in one["ci95"])
    return f"{100 * one['value']:{sign}.{digits}f} [{low:{sign}.0f}, {high:{sign}.0f}]"


def _of_seeds(cells: list[dict[str, np.ndarray]], name: str) -> np.ndarray:
    """Which samples are right, ``[S, N]``: the same ones under each training seed."""
    return np.array([cell[name] for cell in cells]).astype(bool)


def _over_runs(values: np.ndarray) -> Share:
    return Share((values.mean(axis=0),), (values.mean(axis=1),) if len(values) > 1 else (), np.array([]))


def _mean(cells: list[dict[str, np.ndarray]], name: str) -> float | None:
    return float(np.mean([cell[name] for cell in cells])) if name in cells[0] else None


def _share(right: np.ndarray) -> dict[str, Any]:
    if len(right) > 1:
        return _over_runs(right.astype(float)).estimate()
    low, high = proportion_ci95(int(right.sum()), right.size) or (0.0, 1.0)
    return {"value": round(float(right.mean()), 4), "ci95": [round(low, 4), round(high, 4)]}


def _difference(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    if len(ours) > 1:
        return (_over_runs(ours.astype(float)) - _over_runs(theirs.astype(float))).estimate()
    ends = paired_difference_ci95(ours[0], theirs[0]) or ()
    return {"value": round(float(ours.mean() - theirs.mean()), 4), "ci95": [round(end, 4) for end in ends]}


def _said(right: np.ndarray) -> str:
    share = _share(right)
    low, high = share["ci95"]
    return f"{100 * share['value']:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    """Read the cells, write the result, and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cells", type=Path, default=CELLS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    others = {
        "digits": digits_table,
        "roads": roads_table,
        "vote": vote_table,
        "words": words_table,
        "questions": questions_table,
    }
    tables = {name: table for name in PROBLEMS if (table := table_of(options.cells, name)) is not None}
    result = {
        "protocol": PROTOCOL,
        "command": "python -m benchmarks.certificates; python -m benchmarks.certificates.tables",
        "problems": tables,
        **{name: table for name, make in others.items() if (table := make(options.cells)) is not None},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for table in (*tables.values(), *(result[name] for name in others if name in result)):
        print(table["title"])
        for row in (table["header"], *table["rows"]):
            print("  ".join(f"{cell!s:<14}" for cell in row))
        for mark in table.get("marks", ()):
            print(f"base {mark['base']}: mark reached {mark['reached']}, looser {mark['looser_with_places']}")
    return result


if __name__ == "__main__":
    main()

"""A card for each attack, from the registry, and the chart that leads to one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from html import escape
from typing import Any

from attack_texts import CARDS, QUESTIONS

Table = Callable[[Iterable[str], Iterable[Iterable[object]]], str]
#: Options of a budget, and what each becomes to see whether an attack costs more.
_SPENT: dict[str, dict[str, Any]] = {
    "--steps": {"max_iter": 500},
    "--max-queries": {"max_queries": 5000},
    "--max-words": {"max_words": 3},
    "--max-edits": {"max_edits": 3},
    "--top-k": {"top_k": 50},
}
#: Of the chart, in pixels: it fits into a telephone's screen, of which pages leave 343.
WIDTH, _LINE, _PAD = 340, 17, 9
#: Of a letter, at most: of prose, and of names, whose letters are all as wide.
PROSE, NAMES = 6.9, 7.9


def stem_of(name: str) -> str:
    """The name of an attack without its modality."""
    return name.partition("@")[0]


def cards() -> str:
    """The page of all cards."""
    from art_multimodal.evaluations.suite import ATTACKS
    from art_multimodal.evaluations.suite.entry import EACH

    parts = [
        "# Attack cards\n",
        "What each attack is given, what it may spend, what it shows, and when it may be left aside. "
        "[Which attack do I need?](../which_attack.md) leads to one. Costs are upper bounds for one sample at the "
        "default budget: 10 steps, 500 queries, 10 classes, a text of 5 words.\n",
    ]
    group = None
    for entry in sorted((one for _, one in ATTACKS.items()), key=lambda one: one.modality == EACH):
        if entry.modality != group:
            group = entry.modality
            parts.append(f"## {'One modality of several' if group == EACH else group.capitalize()}\n")
        parts.append(card(entry))
    return "\n".join(parts)


def card(entry: Any) -> str:
    """The card of one attack."""
    from art_multimodal.evaluations.standards import family_of
    from art_multimodal.evaluations.threat_models import ACCESS, threat_model_of

    threat = threat_model_of(family_of(entry))
    # Another package may have registered one, of which nothing is written here.
    shows, papers = CARDS.get(stem_of(entry.name), ("what its summary says.", ()))
    access = threat.access or ACCESS.get(entry.knowledge, entry.knowledge)
    lines = [
        ("Shows", shows),
        ("Attacker", threat.attacker),
        ("Access", f"{entry.knowledge}: {access}"),
        ("Works on", ", ".join(entry.tasks)),
        ("Budget", _budget(entry)),
        ("Cost", _cost(entry)),
        ("In MAITE", _in_maite(entry)),
        ("Leave it aside where", threat.ignore),
        ("Papers" if len(papers) > 1 else "Paper", ", ".join(f"[{said}]({url})" for said, url in papers) or "none"),
    ]
    return f"### `{entry.name}`\n\n{entry.summary}.\n\n" + "".join(f"- **{name}:** {said}\n" for name, said in lines)


def chart(table: Table) -> str:
    """Questions in their order, each with the attacks that answer it: drawn, and as a table."""
    rows = [(said, f"{answer}: {', '.join(f'`{name}`' for name in names)}") for said, answer, names in QUESTIONS]
    return f"<div>\n{drawing()}\n</div>\n\n" + table(("question", "if yes"), rows)


def drawing() -> str:
    """The chart as SVG: a column of questions, each with its answer below, no line broken by a browser."""
    shapes, y = [], 4
    for number, (said, answer, names) in enumerate(QUESTIONS, start=1):
        lines = [("then", line) for line in _wrapped(f"yes: {answer}", PROSE)]
        lines += [("name", line) for line in _wrapped(", ".join(names), NAMES)]
        height = 2 * _PAD + _LINE * (1 + len(lines))
        shapes.append(f'<rect x="4" y="{y}" width="{WIDTH - 8}" height="{height}" rx="6" class="box"/>')
        baseline = y + _PAD + 12
        shapes.append(f'<text x="14" y="{baseline}" class="asked">{number}. {escape(said)}</text>')
        for place, (kind, line) in enumerate(lines, start=1):
            shapes.append(f'<text x="14" y="{baseline + _LINE * place}" class="{kind}">{escape(line)}</text>')
        y += height
        if number < len(QUESTIONS):
            shapes.append(f'<path d="M{WIDTH / 2:g} {y} v14 m-4 -5 l4 5 l4 -5" class="on"/>')
            shapes.append(f'<text x="{WIDTH / 2 + 10:g}" y="{y + 12}" class="then">no, or besides</text>')
            y += 18
    style = (
        "text{font:13px sans-serif;fill:#1c2530}.box{fill:#fff;stroke:#5b6673}.asked{font-weight:600}"
        ".name{font-family:monospace;fill:#7a3e00}.on{fill:none;stroke:#5b6673}"
    )
    # A style in a page holds for all of it.
    style = re.sub(r"(?:^|(?<=}))(?=[a-z.])", "#attack-chart ", style)
    title = "<title>Which attack do I need? The table below says the same.</title>"
    size = f'viewBox="0 0 {WIDTH} {y + 4}" width="{WIDTH}" style="max-width:100%;height:auto;background:#fff"'
    size += ' id="attack-chart" role="img"'
    drawn = "".join(shapes)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{title}<style>{style}</style>{drawn}</svg>'


def _wrapped(text: str, letter: float) -> list[str]:
    """Lines that fit into a box."""
    from textwrap import wrap

    return wrap(text, int((WIDTH - 28) / letter), break_long_words=False)


def _in_maite(entry: Any) -> str:
    """Which augmentation it is."""
    from art_multimodal.evaluations.suite import PAIRS, SAMPLES, ZERO_SHOT
    from art_multimodal.interop.maite.runners import changes_prompts

    of_images = ZERO_SHOT in entry.tasks and not changes_prompts(entry)
    of_samples = PAIRS in entry.tasks or SAMPLES in entry.tasks
    found = ["`MaiteAttack`"] * of_images + ["`SamplesAttack`"] * of_samples
    return " and ".join(found) or "none: it has no retrieval"


def _budget(entry: Any) -> str:
    """What it may spend, by the names of options: those that its cost depends on, and the radius."""
    spent = [option for option in _SPENT if _passes(entry, option) != _passes(entry)]
    if entry.modality == "typographic":
        spent.append("--max-share")
    radius = ["a radius (`--eps` in `--norm` inf or 2)"] if entry.within_radius else []
    return ", ".join([*radius, *(f"`{option}`" for option in spent)]) or "none of its own"


def _cost(entry: Any) -> str:
    cost = _passes(entry)
    if cost is None:
        return "depends on the sample"
    forward, backward, texts = cost
    parts = [f"{forward:,} passes", f"{backward:,} of them with a gradient" if backward else ""]
    return "at most " + ", ".join([one for one in parts if one] + ([f"{texts:,} texts"] if texts else []))


def _passes(entry: Any, option: str = "") -> tuple[int, int, int] | None:
    """Forward and backward passes, and texts, of one sample at the default budget, or with one option changed."""
    from art_multimodal.attacks.budget import Budget, TextBudget
    from art_multimodal.evaluations.suite.costs import Texts

    if entry.cost is None:
        return None
    changed = _SPENT.get(option, {})
    of_text = {name: value for name, value in changed.items() if hasattr(TextBudget(), name)}
    budget = replace(Budget(), text=TextBudget(**of_text), **({} if of_text else changed))
    cost = entry.cost(budget, Texts(10, 1.0, 0, 5.0, 100.0, task=entry.tasks[0]))
    return round(cost.forward), round(cost.backward), round(cost.texts + cost.shared_texts)

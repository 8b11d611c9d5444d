"""Templates, and how numbers and strangers' strings are written into them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from art_multimodal.evaluations.budget_settings import budget_text, distance
from art_multimodal.shown import shown


def render(name: str, context: dict[str, Any]) -> str:
    """Fill the template of a page, ``report.html`` for example; what goes into HTML is escaped."""
    return _environment(escape=name.endswith(".html")).get_template(f"{name}.j2").render(context)


@cache
def _environment(escape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("art_multimodal.evaluations.audit", "templates"),
        autoescape=escape,  # noqa: S701 (the Markdown report escapes with `md`)
        undefined=StrictUndefined,
        # What data brought shows its control characters, escape sequences and bidi controls among them, as escapes.
        finalize=lambda value: shown(value) if isinstance(value, str) and not isinstance(value, Markup) else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "interval": interval, "budget": budget_text, "number": number, "md": md}
    environment.filters |= {"points": points, "eps_of": eps_of, "code": code, "as_is": Markup}
    return environment


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage, ``n/a`` for ``None``; one that would round to nothing keeps two digits."""
    if value is None:
        return "n/a"
    tiny = 0 < 100 * value < 10.0**-digits
    return f"{100 * value:.2g} %" if tiny else f"{100 * value:.{digits}f} %"


def interval(ends: tuple[float, float] | None, digits: int = 1) -> str:
    """An interval of fractions in percent; empty for ``None``."""
    return "" if ends is None else f"{100 * ends[0]:.{digits}f} to {100 * ends[1]:.{digits}f}"


def points(value: float) -> str:
    """A difference of shares in points of a hundred, with its sign."""
    return f"{100 * value:+.1f}"


def eps_of(ball: dict[str, Any], budget: dict[str, Any]) -> str:
    """The radius of a modality, as one would write it."""
    return distance(budget, ball["eps"], ball["eight_bit"])


def number(value: float | None) -> str:
    """A count or a mean, short; a dash for ``None``."""
    return "–" if value is None else f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.1f}"


def code(command: str) -> str:
    """A command in Markdown: a block to copy from where it is harmless, else text."""
    harmless = re.fullmatch(r"[\w\s@%+=:,./'{}-]+", command, flags=re.ASCII) and "\n" not in command
    return f"```\n{command}\n```" if harmless else md(command)


def md(text: Any) -> str:
    """Make text from data harmless in Markdown: one line, no markup, no HTML, no links and nobody mentioned.

    What GitHub finds by itself in the text of a page (addresses, ``@name``, ``#1``) is taken apart by an empty comment.
    """
    flat = shown(" ".join(str(text).split()))
    safe = "".join(
        "\\" + c if c in "\\`*_{}[]()#+!|~" else {"<": "&lt;", ">": "&gt;", "&": "&amp;"}.get(c, c) for c in flat
    )
    # What would begin a list or a line under a heading, where the text begins a line or an entry of a list.
    safe = re.sub(r"^(?=[-=])|(?<=^\d)(?=\.)|(?<=^\d\d)(?=\.)", r"\\", safe)
    return re.sub(r"(?<=@)|(?<=:)(?=//)|(?<=www)(?=\.)|(?<=#)(?=\d)", "<!-- -->", safe, flags=re.IGNORECASE)

"""Templates, and how numbers and strangers' strings are written into them."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

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


def number(value: float | None) -> str:
    """A count or a mean, short; a dash for ``None``."""
    return "–" if value is None else f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.1f}"


def budget_text(budget: dict[str, Any]) -> str:
    """A budget in one phrase."""
    if float(budget["norm"]) == float("inf"):
        norm, eps, step = "l_inf", in_255ths(budget["eps"]), in_255ths(budget["eps_step"])
    else:
        norm, eps, step = "l_2", f"{budget['eps']:.4g}", f"{budget['eps_step']:.4g}"
    return f"{norm}, eps {eps}, step {step}, {budget['steps']} steps"


def in_255ths(value: float) -> str:
    """A distance in units of 8-bit images where that is how one would write it: ``4/255``."""
    steps = value * 255
    return f"{steps:.4g}/255" if 0.01 <= steps <= 255 else f"{value:.4g}"


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

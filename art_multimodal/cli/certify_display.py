"""How a certification is shown: its plan, how far it has come, and its tables in the end."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from art_multimodal.cli.audit_display import AuditDisplay
from art_multimodal.cli.audit_results import plain_table
from art_multimodal.cli.display import say
from art_multimodal.cli.options import print_notes
from art_multimodal.shown import shown

#: Budgets that a terminal shows, besides those that were asked for.
_MOST_BUDGETS = 24


class CertifyDisplay(AuditDisplay):
    """The same for the rows of a certification."""

    sooner = "a lower --limit, or masks with fewer votes (partition with a larger --keep)"

    def heading(self) -> list[str]:
        lines = [f"plan: {self._plan.samples:,} samples, {shown(self._where)}; votes about each at most"]
        for planned in self._plan.passes:
            votes = "?" if planned.cost is None else f"{round(planned.cost.forward):,}"
            lines.append(f"  {planned.name:40}{votes:>12}")
        return lines


def print_results(report: dict[str, Any]) -> None:
    """Print the tables of a report at 80 columns, and what is to be known of them."""
    from art_multimodal.evaluations.audit.rendering import interval, percent
    from art_multimodal.evaluations.certification.lines import ATTACKED, CERTIFIED, MODEL, VOTE, is_control
    from art_multimodal.evaluations.certification.sentences import best_control, controls

    results = report["results"]
    table = plain_table("n", "accuracy", "95 % interval", "votes", "seconds")
    for name, row in results.items():
        if name.startswith(ATTACKED):
            continue
        said = f"{name} (control)" if is_control(name) else name
        passes = row.get("passes", {})
        votes = passes.get("votes", passes.get("samples", 0)) or 0
        seconds = f"{row['seconds']:.1f}" if "seconds" in row else ""
        table.add_row(
            said, str(row["n"]), percent(row["accuracy"]), interval(row["accuracy_ci95"]), f"{votes:,.0f}", seconds
        )
    console = Console()
    console.print(table, highlight=False, markup=False)
    vote = next((name for name in results if name.startswith(VOTE)), None)
    asked = {one["name"]: one for one in report["budget"]["asked"]}
    budgets = list(results[CERTIFIED]["certified"])
    if len(budgets) > _MOST_BUDGETS:
        budgets = [name for number, name in enumerate(budgets) if number < _MOST_BUDGETS or name in asked]
    table = plain_table("certified", "95 % interval", "best control", *([vote] if vote else []))
    for budget in budgets:
        share = results[CERTIFIED]["certified"][budget]
        control, other = best_control(report, budget)
        more = [percent(results[vote]["certified"][budget]["accuracy"])] if vote else []
        table.add_row(
            budget.replace(",", " ") + ("  <" if budget in asked else ""),
            percent(share["accuracy"]),
            interval(share["accuracy_ci95"]),
            f"{percent(other['accuracy'])} {control}",
            *more,
        )
    console.print()
    console.print(table, highlight=False, markup=False)
    if radii := results[MODEL].get("radii"):
        table = plain_table("bound", *(f"{float(share):.0%}" for share in radii["together"]))
        bounds = {name: f"{of:.4g}" for name, of in report["constants"].items()}
        rows = [*((name, bounds[name], of) for name, of in radii["alone"].items()), ("together", "", radii["together"])]
        for name, bound, of in rows:
            table.add_row(name, bound, *("-" if radius is None else f"{radius:.4g}" for radius in of.values()))
        console.print()
        say("radii of the model itself: Euclidean lengths up to which shares of all")
        say("samples are right and certified")
        console.print(table, highlight=False, markup=False)
    left_out = len(results[CERTIFIED]["certified"]) - len(budgets)
    if left_out:
        say(f"{left_out} further budgets are in the reports")
    for one in asked.values():
        if one["spec"] != one["name"]:
            say(f"{one['spec']}: {one['said']}, counted as {one['name']}")
    for name, row in results.items():
        if name.startswith(ATTACKED):
            say(
                f"{name.removeprefix(ATTACKED)} leaves {percent(row['accuracy'])}, certified are "
                f"{percent(row['certified']['accuracy'])}"
            )
    print_notes(controls(report, str))
    if report["skipped"]:
        first = report["skipped"][0]
        say(f"{len(report['skipped'])} samples could not be read, for example {first['name']}: {first['reason']}")

"""Tables of the page on threat models, from the registry of attacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

Table = Callable[[Iterable[str], Iterable[Iterable[object]]], str]


def threats(table: Table) -> str:
    """Who could mount the attacks of each family, and when it may be left aside."""
    from art_multimodal.evaluations.threat_models import ACCESS, families, members_of_family, threat_model_of

    rows = []
    for family in families():
        model, members = threat_model_of(family), members_of_family(family)
        access = dict.fromkeys(entry.knowledge for entry in members)
        rows.append(
            (
                f"`{family}`",
                ", ".join(f"`{entry.name}`" for entry in members),
                model.attacker,
                "; ".join(f"{one}: {model.access or ACCESS.get(one, one)}" for one in access),
                model.writes,
                f"Where {model.ignore}",
            )
        )
    return table(("row", "attacks", "attacker", "access", "who writes the text", "may be left aside"), rows)


def ids(table: Table) -> str:
    """What standards call each family, by what its attacker knows."""
    from art_multimodal.evaluations.standards import STANDARDS, standards_of
    from art_multimodal.evaluations.threat_models import families, members_of_family

    rows = [("`clean`", "–", *_cells(standards_of([])))]
    for family in families():
        by_knowledge: dict[str, list] = {}
        for entry in members_of_family(family):
            by_knowledge.setdefault(entry.knowledge, []).append(entry)
        rows += [(f"`{family}`", known, *_cells(standards_of(some))) for known, some in by_knowledge.items()]
    return table(("row", "knows", *(standard.name for standard in STANDARDS.values())), rows)


def documents(table: Table) -> str:
    """The documents, their ids that are used, and what stands behind each."""
    from art_multimodal.evaluations.standards import STANDARDS

    rows = [
        (f"[{standard.name}]({standard.url})", f"`{one}`", title)
        for standard in STANDARDS.values()
        for one, title in standard.titles.items()
    ]
    return table(("document", "id", "what it is"), rows)


def _cells(ids: dict[str, list[str]]) -> list[str]:
    from art_multimodal.evaluations.standards import STANDARDS

    return [", ".join(ids.get(name, ())) or "–" for name in STANDARDS]

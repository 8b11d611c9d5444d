"""Write the pages that are not typed: tables of what can be named, and of what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import attack_cards
import certificate_tables
import cost_tables
import data_tables
import format_examples
import fusion_tables
import glossary
import python_tables
import report_tables
import test_time_tables
import threat_tables
import walk_tables
from interop_tables import interoperability

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
#: Results that a page of the docs includes, by the names of their files.
OWN_PAGE = (
    *("robust_training", "robust_training_doubt", "defences", "detection", "text_repair"),
    *("universal", "image_scaling", "transfer", "test_time"),
    *("demo_views", "demo_spoken", "certificate_cost"),
    *("fusion_costs", "fusions_doubt", "fusions_doubt_rosmap", "fusions_mechanisms"),
    *("prompt_work", "test_time_ideas", "test_time_longer", "label_only"),
)
#: Formats that a page shows an example of.
FORMAT_EXAMPLES = ("junit", "sarif", "cyclonedx", "model-card", "eval-results")
#: What other pages include, by the names of the generated files.
INCLUDED = (
    *OWN_PAGE,
    *("defence_names", "resizes", "interoperability"),
    *("fusion_overview", "fusion_methods", "fusions_measured", "fusions_claims"),
    *("data_sets", "data_prompts", "data_protocols"),
    *("certificate_limits", "certificate_hybrid", "certificates_measured"),
    *("attack_calls", "audit_overhead", "attack_chart", "pythons", "walks"),
    *("threats", "threat_ids", "threat_documents", "formats"),
    *("report_keys", "references", "test_time_summary", "test_time_broken", "test_time_effects"),
    *("test_time_ranking", "test_time_training", "test_time_survive"),
    *(f"format_{name}" for name in FORMAT_EXAMPLES),
)
#: Results that are no single table, and are shown by a page in another way.
_SHOWN_OTHERWISE = ("fusions", "certificates")


def table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    header = list(header)
    lines = [header, ["---"] * len(header), *([str(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def registries() -> str:
    """Everything that has a name of its own."""
    from art_multimodal.datasets import DATA_SOURCES
    from art_multimodal.defences.trainer import METHODS
    from art_multimodal.evaluations.suite import ATTACKS
    from art_multimodal.models.fusions import FUSIONS, WHOLE_MODELS
    from art_multimodal.models.loading import MODEL_SOURCES

    return "\n".join(
        [
            "# What can be named",
            "\n## Models\n",
            table(("written", "what it is"), ((f"`{s.form}`", s.summary) for _, s in MODEL_SOURCES.items())),
            "\n## Data\n",
            table(("written", "what it is"), ((f"`{s.form}`", s.summary) for _, s in DATA_SOURCES.items())),
            "\n## Attacks\n",
            table(
                ("name", "changes", "knows", "what it does", "works on"),
                ((f"`{name}`", a.modality, a.knowledge, a.summary, ", ".join(a.tasks)) for name, a in ATTACKS.items()),
            ),
            "\n## Fusions\n",
            table(
                ("name", "what it does", "paper"),
                ((f"`{name}`", f.summary, f.paper) for of in (FUSIONS, WHOLE_MODELS) for name, f in of.items()),
            ),
            "\n## Training methods\n",
            table(("name", "what it does"), ((f"`{name}`", method.summary) for name, method in METHODS.items())),
        ]
    )


def defence_names() -> str:
    """What `--defence` takes."""
    from art_multimodal.defences.registry import DEFENCES

    rows = ((f"`{d.form(name)}`", d.modality, "yes" if d.random else "", d.summary) for name, d in DEFENCES.items())
    return table(("written", "of", "random", "what it does"), rows)


def resizes() -> str:
    """What `--resize` takes."""
    from art_multimodal.functional.resizing import RESIZERS

    rows = ((f"`{name}`", "" if one.saturates else "no", one.summary) for name, one in RESIZERS.items())
    return table(("written", "clipped to [0, 1]", "what it is"), rows)


def measurement(path: Path) -> str:
    """One benchmark's results, as they were written."""
    result = json.loads(path.read_text(encoding="utf-8"))
    parts = [str(result.get("protocol", "")) + "\n"]
    for shown in result.get("tables") or [result["table"]]:
        if "title" in shown:
            parts.append(f"### {shown['title']}\n")
        parts.append(table(shown["header"], shown["rows"]))
    parts.append(f"`{result['command']}`\n")
    return "\n".join(parts)


def benchmarks() -> str:
    """The results of all benchmarks but those with a page of their own."""
    parts = ["# Measurements\n", "Each table was written by a script in `benchmarks/`, in one run.\n"]
    for path in sorted(RESULTS.glob("*.json")):
        if path.stem not in (*OWN_PAGE, *_SHOWN_OTHERWISE):
            parts.append(f"## {path.stem.replace('_', ' ')}\n")
            parts.append(measurement(path))
    return "\n".join(parts)


def of_site(notebook: Path) -> str:
    """A notebook as a page beside the others: its links to pages lead there."""
    text = notebook.read_text(encoding="utf-8")
    return text.replace("](../docs/", "](../")


def write_all(folder: Path) -> None:
    """Write all generated pages into a folder."""
    folder.mkdir(exist_ok=True)
    own = [(f"{stem}.md", measurement(RESULTS / f"{stem}.json")) for stem in OWN_PAGE]
    own.append(("defence_names.md", defence_names()))
    own.append(("resizes.md", resizes()))
    own.append(("fusion_overview.md", fusion_tables.overview(RESULTS, table)))
    own.append(("fusion_methods.md", fusion_tables.methods(table)))
    own.append(("fusions_measured.md", fusion_tables.measured(RESULTS, table)))
    own.append(("fusions_claims.md", fusion_tables.claims(RESULTS, table)))
    own.append(("certificate_limits.md", certificate_tables.limits(table)))
    own.append(("certificate_hybrid.md", certificate_tables.hybrid(table)))
    own.append(("certificates_measured.md", certificate_tables.measured(RESULTS, table)))
    own.append(("data_sets.md", data_tables.data_sets(table)))
    own.append(("data_prompts.md", data_tables.data_prompts(table)))
    own.append(("data_protocols.md", data_tables.data_protocols(table)))
    own.append(("attack_cards.md", attack_cards.cards()))
    own.append(("attack_chart.md", attack_cards.chart(table)))
    own.append(("attack_calls.md", cost_tables.calls(table)))
    own.append(("audit_overhead.md", cost_tables.overhead(RESULTS)))
    own.append(("test_time_summary.md", test_time_tables.summary(RESULTS)))
    own.append(("test_time_broken.md", test_time_tables.broken(RESULTS, table)))
    own.append(("test_time_effects.md", test_time_tables.effects(RESULTS, table)))
    own.append(("test_time_ranking.md", test_time_tables.ranking(RESULTS, table)))
    own.append(("test_time_training.md", test_time_tables.training(RESULTS, table)))
    own.append(("test_time_survive.md", test_time_tables.survive(RESULTS, table)))
    own.append(("threats.md", threat_tables.threats(table)))
    own.append(("threat_ids.md", threat_tables.ids(table)))
    own.append(("threat_documents.md", threat_tables.documents(table)))
    own.append(("report_keys.md", report_tables.keys(table)))
    own.append(("references.md", report_tables.references(table)))
    own.append(("glossary.md", glossary.page()))
    own.append(("formats.md", format_examples.overview(table)))
    own += [(f"format_{name}.md", format_examples.example(name)) for name in FORMAT_EXAMPLES]
    own.append(("pythons.md", python_tables.tried(table)))
    own.append(("walks.md", walk_tables.walked(table)))
    own.append(("interoperability.md", interoperability(table)))
    own += [(path.name, of_site(path)) for path in NOTEBOOKS]
    for name, text in (("registries.md", registries()), ("benchmarks.md", benchmarks()), *own):
        path = folder / name
        # Unchanged pages keep their date, or Sphinx would build everything every time.
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")

"""``art-multimodal list``."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from art_multimodal.cli.options import quiet_libraries


class Listing(str, Enum):
    """What can be listed."""

    models = "models"
    data = "data"
    attacks = "attacks"
    methods = "methods"
    defences = "defences"


def list_entries(what: Annotated[Listing, typer.Argument(help="models, data, attacks, methods or defences")]) -> None:
    """List the models, data sources, attacks, training methods or defences that can be named."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    if what is Listing.attacks:
        quiet_libraries()
        from art_multimodal.attacks.registry import ATTACKS

        for name, attack in ATTACKS.items():
            table.add_row(name, f"{attack.modality}, {attack.knowledge}: {attack.summary}")
    elif what is Listing.methods:
        quiet_libraries()
        from art_multimodal.defences.trainer import METHODS

        for name, method in METHODS.items():
            options = ", ".join(f"{option}={default}" for option, default in method.options.items())
            table.add_row(name, method.summary + (f" ({options})" if options else ""))
    elif what is Listing.defences:
        quiet_libraries()
        from art_multimodal.defences.registry import DEFENCES

        for name, defence in DEFENCES.items():
            table.add_row(defence.form(name), f"{defence.modality}: {defence.summary}")
    elif what is Listing.models:
        from art_multimodal.models.loading import MODEL_SOURCES

        for _, model_source in MODEL_SOURCES.items():
            table.add_row(model_source.form, model_source.summary)
    else:
        from art_multimodal.datasets import DATA_SOURCES

        for _, data_source in DATA_SOURCES.items():
            table.add_row(data_source.form, data_source.summary)
    Console().print(table, highlight=False, markup=False)

"""``evonas list``: what there is to choose from, read from file names."""

from __future__ import annotations

import json

from rich.console import Console
from rich.table import Table

from evonas.api.parts import list_parts


def run(kind: str | None, as_json: bool, console: Console) -> None:
    """Print the parts of one kind, or of all.

    Raises:
        InputError: there is no such kind.
    """
    found = list_parts(kind)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("kind", "name", "what it is", box=None)
    for name, parts in found.items():
        for part, text in parts.items():
            table.add_row(name, part, text)
    console.print(table)

"""``evonas list``: what there is to choose from, read from file names."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from evonas import registry
from evonas.errors import InputError, nearest

_FOLDERS = {"experiment": "experiments", "space": "search_spaces"}


def run(kind: str | None, as_json: bool, console: Console) -> None:
    """Print the parts of one kind, or of all.

    Raises:
        InputError: there is no such kind.
    """
    kinds = [*registry.KINDS, *_FOLDERS]
    if kind is not None and kind not in kinds:
        raise InputError(f"unknown kind {kind!r}: {nearest(kind, kinds)}")
    found = {name: _parts(name) for name in kinds if kind in (None, name)}
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("kind", "name", "what it is", box=None)
    for name, parts in found.items():
        for part, text in parts.items():
            table.add_row(name, part, text)
    console.print(table)


def _parts(kind: str) -> dict[str, str]:
    if kind in registry.KINDS:
        return {name: registry.summary(kind, name) for name in registry.names(kind)}
    from evonas.config import places

    files = [path for place in places() for path in sorted((place / _FOLDERS[kind]).glob("*.yaml"))]
    return {path.stem: _comment(path) for path in reversed(files)}


def _comment(path: Path) -> str:
    first = path.read_text(encoding="utf-8").split("\n", 1)[0]
    return first.removeprefix("# ") if first.startswith("#") else ""

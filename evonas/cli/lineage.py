"""``evonas lineage``: the family tree of a run as a picture."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from evonas.core.files import read_json, writing
from evonas.errors import InputError
from evonas.report.lineage import figure as lineage
from evonas.runs.run_store import read_journal


def run(folder: Path, out: Path | None, console: Console) -> Path:
    """Draw the networks of a run, finished or running, and who was made from whom.

    Args:
        folder: of the run.
        out: file of the picture, SVG or PNG; ``lineage.svg`` in the folder if left out.
        console: where to print.

    Raises:
        InputError: there is no such run, no lineage in it, or the file cannot be written.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such run")
    path, name = out or folder / "lineage.svg", folder.absolute().name
    # Which finals count is the search's business: a raised budget may have held some before.
    best = read_json(folder / "best.json") if (folder / "best.json").is_file() else {}
    with writing(path):
        drawn = lineage.draw(read_journal(folder), path, name, str(best.get("digest", "")))
    if drawn is None:
        raise InputError(
            f"{folder}: holds no lineage: no network has a parent (yet); a search with --inherit "
            f"or --optimizer evolution makes one"
        )
    console.print(f"written: {drawn}", soft_wrap=True)
    return drawn

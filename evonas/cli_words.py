"""Words of the command line that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None, typer.Argument(help="Changes to the experiment, such as training.epochs=3.")
]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster to join: auto, or HOST:PORT of its head node.")
]
RunDir = Annotated[Path | None, typer.Option("--run-dir", help="Folder of the run.")]


def settings(**values: object) -> list[str]:
    """Return ``key=value`` of each option that was given."""
    return [f"{key}={value}" for key, value in values.items() if value is not None]

"""Options that several verbs of the command line share, and how JSON is printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from evonas.core.overrides import Override, Word

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Changes to the experiment, such as training.epochs=3. All of them hold, and so do "
        "the options, in any order; two that contradict each other are refused."
    ),
]
Address = Annotated[
    str | None, typer.Option(help="Ray cluster to join: auto, or HOST:PORT of its head node.")
]
RetrainedFolder = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER", help="Folder that `evonas retrain` wrote, or the run that it lies in."
    ),
]
RunDir = Annotated[Path | None, typer.Option("--run-dir", help="Folder of the run.")]

# What `search` changes in an experiment, and `validate` looks at.
OptimizerName = Annotated[
    str | None,
    typer.Option("--optimizer", help="Search strategy: see `evonas list optimizer`."),
]
Budget = Annotated[int | None, typer.Option(help="Distinct networks to train.")]
Minutes = Annotated[
    float | None,
    typer.Option(
        help="Minutes for all of it, from the features to the report; instead of a number of "
        "networks, or with --budget whichever is spent first."
    ),
]
UntilConverged = Annotated[
    bool | None,
    typer.Option(
        "--until-converged",
        help="End when the strategy's model expects no gain beyond the noise between seeds.",
    ),
]
Seed = Annotated[int | None, typer.Option(help="Seed of the run.")]
Workers = Annotated[int | None, typer.Option(help="Candidates trained at once.")]
ExecutorName = Annotated[str | None, typer.Option("--executor", help="local, ray or auto.")]
Fidelity = Annotated[
    str | None,
    typer.Option(
        help="full; curves: the strategy pauses trainings and goes on with what promises most; "
        "or racing: only the better part of a generation trains on."
    ),
]
Inherit = Annotated[
    bool | None,
    typer.Option(
        "--inherit", help="Networks start with the weights of their parent, or the nearest."
    ),
]
_SEARCH_KEYS = {
    "optimizer": "optimizer",
    "budget": "budget",
    "minutes": "minutes",
    "until_converged": "optimizer.until_converged",
    "seed": "seed",
    "workers": "execution.workers",
    "executor": "execution.executor",
    "fidelity": "fidelity",
    "inherit": "inherit",
}


def settings(*options: tuple[str, str, object]) -> list[Override]:
    """Return an override for each named option that was given.

    Args:
        options: name (``--budget``), key that it sets, and value; None: it was not given.
    """
    from evonas.core.overrides import Override

    return [
        Override(tuple(key.split(".")), value, name if value is True else f"{name} {value}")
        for name, key, value in options
        if value is not None
    ]


def search_changes(
    overrides: Sequence[Word] | None, address: str | None, **given: object
) -> list[Word]:
    """Return all changes to an experiment that the words and options of a search say.

    Args:
        overrides: ``key=value`` words.
        address: of a Ray cluster.
        given: options by their names, with ``_`` for ``-``; None: it was not given.
    """
    named = [
        (f"--{name.replace('_', '-')}", _SEARCH_KEYS[name], value) for name, value in given.items()
    ]
    changes: list[Word] = [*(overrides or []), *settings(*named)]
    return [*changes, *joining(address, changes)]


def joining(address: str | None, words: Sequence[Word]) -> list[Override]:
    """Return what ``--address`` is short for; an executor that ``words`` name stays."""
    from evonas.core.experiment import SHORT
    from evonas.core.overrides import saying

    if address is None:
        return []
    executor = None if saying(words, "execution.executor", SHORT) else "ray"
    named = f"--address {address}"
    return [
        replace(override, said=named)
        for override in settings(
            ("--address", "execution.address", address),
            ("--address", "execution.executor", executor),
        )
    ]


def print_json(content: object) -> None:
    """Print plain data for a program that reads it."""
    print(json.dumps(content, indent=2))

"""Options that several verbs of the command line share, and how JSON is printed."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

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

ExperimentName = Annotated[str, typer.Argument(help="Experiment: a YAML file or a shipped name.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True)
class SearchOptions:
    """What `search` changes in an experiment, and `validate` looks at."""

    overrides: Overrides = None
    optimizer: Annotated[
        str | None, typer.Option(help="Search strategy: see `evonas list optimizer`.")
    ] = None
    budget: Annotated[int | None, typer.Option(help="Distinct networks to train.")] = None
    minutes: Annotated[
        float | None,
        typer.Option(
            help="Minutes for all of it, from the features to the report; instead of a number of "
            "networks, or with --budget whichever is spent first."
        ),
    ] = None
    until_converged: Annotated[
        bool | None,
        typer.Option(
            "--until-converged",
            help="End when the strategy's model expects no gain beyond the noise between seeds.",
        ),
    ] = None
    seed: Annotated[int | None, typer.Option(help="Seed of the run.")] = None
    workers: Annotated[int | None, typer.Option(help="Candidates trained at once.")] = None
    executor: Annotated[str | None, typer.Option(help="local, ray or auto.")] = None
    fidelity: Annotated[
        str | None,
        typer.Option(
            help="full; curves: the strategy pauses trainings and goes on with what promises most; "
            "or racing: only the better part of a generation trains on."
        ),
    ] = None
    inherit: Annotated[
        bool | None,
        typer.Option(
            "--inherit", help="Networks start with the weights of their parent, or the nearest."
        ),
    ] = None
    address: Address = None

    def changes(self) -> list[Word]:
        """Return all changes to an experiment that the words and options say."""
        options = [
            ("--optimizer", "optimizer", self.optimizer),
            ("--budget", "budget", self.budget),
            ("--minutes", "minutes", self.minutes),
            ("--until-converged", "optimizer.until_converged", self.until_converged),
            ("--seed", "seed", self.seed),
            ("--workers", "execution.workers", self.workers),
            ("--executor", "execution.executor", self.executor),
            ("--fidelity", "fidelity", self.fidelity),
            ("--inherit", "inherit", self.inherit),
        ]
        return changes(self.overrides, *options, address=self.address)


def grouped(verb: Callable[..., None]) -> Callable[..., None]:
    """Give a verb the fields of its arguments that are dataclasses as options of its own.

    typer reads the options of a command from its signature, and has no groups of them.
    """
    hints = get_type_hints(verb, include_extras=True)
    groups: dict[str, Any] = {name: kind for name, kind in hints.items() if is_dataclass(kind)}
    parameters = []
    for name, parameter in inspect.signature(verb).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name]))
            continue
        kinds = get_type_hints(groups[name], include_extras=True)
        parameters += [
            parameter.replace(name=one.name, default=one.default, annotation=kinds[one.name])
            for one in fields(groups[name])
        ]

    @wraps(verb)
    def called(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{one.name: given.pop(one.name) for one in fields(kind)})
        verb(**given)

    called.__annotations__ = {one.name: one.annotation for one in parameters}
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called


def changes(
    overrides: Sequence[Word] | None,
    *options: tuple[str, str, object],
    address: str | None = None,
) -> list[Word]:
    """Return all changes to an experiment that the words and options of a verb say.

    Args:
        overrides: ``key=value`` words.
        options: name (``--budget``), key that it sets, and value; None: it was not given.
        address: of a Ray cluster.
    """
    words: list[Word] = [*(overrides or []), *_settings(*options)]
    return [*words, *_joining(address, words)]


def _settings(*options: tuple[str, str, object]) -> list[Override]:
    """Return an override for each named option that was given."""
    from evonas.core.overrides import Override

    return [
        Override(tuple(key.split(".")), value, name if value is True else f"{name} {value}")
        for name, key, value in options
        if value is not None
    ]


def _joining(address: str | None, words: Sequence[Word]) -> list[Override]:
    """Return what ``--address`` is short for; an executor that ``words`` name stays."""
    from evonas.core.experiment import SHORT
    from evonas.core.overrides import saying

    if address is None:
        return []
    executor = None if saying(words, "execution.executor", SHORT) else "ray"
    named = f"--address {address}"
    return [
        replace(override, said=named)
        for override in _settings(
            ("--address", "execution.address", address),
            ("--address", "execution.executor", executor),
        )
    ]


def print_json(content: object) -> None:
    """Print plain data for a program that reads it."""
    print(json.dumps(content, indent=2))

"""Verbs that begin with a folder of photos: init and fit."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from evonas.cli.options import Overrides, RunDir, grouped

if TYPE_CHECKING:
    from evonas.api.fitting import FitStep
    from evonas.api.initializing import Ask

verbs = typer.Typer()

_Folder = Annotated[
    Path, typer.Argument(help="Photos with a table (.csv), or with a folder for each class.")
]
_Yes = Annotated[bool, typer.Option("--yes", help="Ask nothing, take the defaults.")]


@dataclass(frozen=True)
class _Assumed:
    """What is assumed of a folder unless it is given; arguments of ``initialize`` and ``fit``."""

    overrides: Overrides = None
    backbone: Annotated[
        str,
        typer.Option(
            help="An .onnx, .pt2 or TorchScript file, or a name of `evonas list backbone`; the "
            "only such file in FOLDER if left out."
        ),
    ] = ""
    label: Annotated[
        str,
        typer.Option(help="What is learnt: a column, head_pose or key_points; if there are more."),
    ] = ""
    group: Annotated[
        str, typer.Option(help="Column of the person; found by its name if left out.")
    ] = ""
    table: Annotated[
        str, typer.Option(help="The table; labels.csv or the only one if left out.")
    ] = ""
    share: Annotated[
        float | None,
        typer.Option(help="Most that a head may have of the backbone's own cost; 0.1 if left out."),
    ] = None
    max_ms: Annotated[
        float | None,
        typer.Option(help="Most milliseconds of a head for a photo on this machine."),
    ] = None
    minutes: Annotated[
        float | None, typer.Option(help="Minutes, instead of a search of 32 networks.")
    ] = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments by their names."""
        return {**vars(self), "overrides": self.overrides or []}


@verbs.command(epilog="Example: evonas init own_faces --backbone synthetic_face --label smile")
@grouped
def init(
    folder: _Folder,
    *,
    assumed: _Assumed,
    out: Annotated[
        Path | None, typer.Option(help="The experiment; FOLDER's name .yaml if left out.")
    ] = None,
    yes: _Yes = False,
) -> None:
    """Write an experiment for a folder of photos, and say what was assumed.

    Numbers are quantities, words classes, yaw, pitch and roll a head pose, pairs of x and y key
    points. A linear probe ranks the taps of the backbone. Options of it are words such as
    backbone.input_size=112.
    """
    from evonas.api import initializing as api
    from evonas.api.live_view import LiveView

    with LiveView(Console()) as view:
        found = api.initialize(
            folder,
            **assumed.arguments(),
            out=out,
            ask=_asking(yes),
            callbacks=[view],
        )
    lines = [f"assumed: {line}" for line in found.assumptions]
    _say([*lines, str(found.description), f"written: {found.file}"])
    _say([f"Next: evonas search {found.file}"])


@verbs.command(epilog="Example: evonas fit own_faces --backbone synthetic_face --label smile --yes")
@grouped
def fit(
    folder: _Folder,
    *,
    assumed: _Assumed,
    run_dir: RunDir = None,
    yes: _Yes = False,
) -> None:
    """From photos to one file: init, search, retrain, evaluate, report and export.

    What was stopped goes on with the same command.
    """
    from evonas.api import fitting as api
    from evonas.cli.printing import SearchPrinter, show_all

    console = Console()

    def show_step(result: FitStep) -> None:
        show_all(console, getattr(result, "tables", ()))
        _say([f"assumed: {line}" for line in getattr(result, "assumptions", ())])

    with SearchPrinter(console) as view:
        found = api.fit(
            folder,
            **assumed.arguments(),
            run_dir=run_dir,
            ask=_asking(yes),
            callbacks=[view],
            on_step=view.on_step,
            on_result=show_step,
        )
    _say([*(f"written: {file}" for file in found.files), *found.sentences])


def _asking(yes: bool) -> Ask | None:
    """Return how questions are asked; None: nobody is there, or nothing is to be asked."""
    return None if yes or not sys.stdin.isatty() else _prompt


def _prompt(question: str, choices: Sequence[str], default: str) -> str:
    """Ask until the answer is one of the choices, if there are some."""
    shown = f"{question} ({', '.join(choices)})" if choices else question
    while True:
        answer = str(typer.prompt(shown, default=default, err=True)).strip()
        if not choices or answer in choices:
            return answer
        typer.echo(f"expected one of {', '.join(choices)}", err=True)


def _say(lines: Sequence[str]) -> None:
    console = Console()
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)

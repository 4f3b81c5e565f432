"""Verbs that train nothing: validate, show, list, data check, backbones show, cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from evonas.cli.options import (
    AsJson,
    ExperimentName,
    Overrides,
    SearchOptions,
    grouped,
    print_json,
)
from evonas.errors import InputError

verbs = typer.Typer()
_show = typer.Typer(help="Look at a search space before it is searched.", no_args_is_help=True)
_data = typer.Typer(help="Look at data sets.", no_args_is_help=True)
_backbones = typer.Typer(help="Look at backbones: their taps and costs.", no_args_is_help=True)
verbs.add_typer(_show, name="show")
verbs.add_typer(_data, name="data")
verbs.add_typer(_backbones, name="backbones")

_Options = Annotated[list[str] | None, typer.Argument(help="Its options, such as root=DIR.")]


@verbs.command(
    epilog="Example: evonas validate experiments/pointing04.yaml --budget 40 data.root=DIR"
)
@grouped
def validate(
    experiment: ExperimentName,
    *,
    options: SearchOptions,
) -> None:
    """Check an experiment and describe it, training nothing.

    Everything that is wrong is said. If nothing is: size of the space, costs of its networks,
    the share within the limits and the gene that excludes most, taps, images, feature cache and
    number of trainings.
    """
    from evonas.core import experiment as config

    console = Console()
    try:
        description = config.load(experiment, options.changes()).describe()
    except InputError as error:
        for complaint in error.args[1:]:
            console.print(complaint, soft_wrap=True, highlight=False, markup=False)
        raise
    console.print(str(description), soft_wrap=True, highlight=False, markup=False)


@_show.command("space", epilog="Example: evonas show space quickstart --genome random --seed 3")
def show_space(
    space: Annotated[
        str, typer.Argument(help="Search space or experiment: a YAML file or a shipped name.")
    ],
    overrides: Overrides = None,
    genome: Annotated[
        str, typer.Option(help="random, or a number in [0, 1] for each gene: 0.1,0.5,...")
    ] = "random",
    seed: Annotated[int, typer.Option(help="Seed of a random genome.", min=0)] = 0,
    shape: Annotated[
        str,
        typer.Option(
            "--input", help="Channels x height x width that a network of a space alone takes."
        ),
    ] = "64x16x16",
    outputs: Annotated[int, typer.Option(help="Outputs of a network of a space alone.", min=1)] = 3,
) -> None:
    """Show the network of a genome block by block: shapes, multiply-adds, parameters."""
    from evonas.api.description import describe_network
    from evonas.cli.printing import show_all

    found = describe_network(
        space,
        genome if genome == "random" else _numbers(genome),
        seed=seed,
        in_shape=_shape(shape),
        n_outputs=outputs,
        overrides=overrides or [],
    )
    show_all(Console(), [found.table])


@verbs.command("list", epilog="Example: evonas list optimizer")
def list_parts(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="optimizer, network, backbone, data, task, executor, experiment, space."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List what there is to choose from."""
    from rich.table import Table

    from evonas.api import parts
    from evonas.report.tables import print_whole

    found = parts.list_parts(kind)
    if as_json:
        print_json(found)
        return
    table = Table("kind", "name", "what it is", box=None)
    for name, some in found.items():
        for part, text in some.items():
            table.add_row(name, part, text)
    print_whole(table, Console())


@_data.command("check", epilog="Example: evonas data check image_table root=DIR --sheet faces.png")
def check_data(
    name: Annotated[str, typer.Argument(help="Reader: see `evonas list data`.")],
    options: _Options = None,
    sheet: Annotated[
        Path | None, typer.Option(help="File of the contact sheet; NAME.png if left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a data set from end to end: counts, labels, what was dropped, a contact sheet."""
    from evonas.api.inspection import describe_data
    from evonas.api.live_view import LiveView
    from evonas.cli.printing import show_all
    from evonas.core import experiment as config

    console, file = Console(stderr=as_json), sheet or Path(f"{name}.png")
    with LiveView(console) as view:
        found = describe_data(name, config.options(options or []), sheet=file, callbacks=[view])
    if as_json:
        print_json(found.content)
    else:
        drawn = [] if found.sheet is None else [f"contact sheet: {found.sheet}"]
        show_all(console, found.tables, drawn)
    found.check()


@_backbones.command(
    "show", epilog="Example: evonas backbones show torchvision model=resnet18 random=1"
)
def show_backbone(
    name: Annotated[str, typer.Argument(help="A backbone of `evonas list backbone`.")],
    options: Annotated[
        list[str] | None, typer.Argument(help="Its options, such as weights=FILE.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also the taps deep inside, which may be hundreds.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show a backbone's taps: shape, cost up to each, and how much its features take."""
    from evonas.api.inspection import describe_backbone
    from evonas.api.live_view import LiveView
    from evonas.cli.printing import show_all
    from evonas.core import experiment as config

    console = Console(stderr=as_json)
    given = config.options(word.removeprefix("backbone.") for word in options or [])
    with LiveView(console) as view:
        watching = [view] if console.is_terminal else []
        found = describe_backbone(name, given, every_tap=everything, callbacks=watching)
    if as_json:
        print_json(found.to_dict())
    else:
        show_all(console, [found.table])


@verbs.command(epilog="Example: evonas cache --clear --older-than 30")
def cache(
    experiment: Annotated[
        str, typer.Argument(help="Experiment, whose features.cache is meant: a file or a name.")
    ] = "quickstart",
    overrides: Overrides = None,
    clear: Annotated[
        bool, typer.Option("--clear", help="Remove what is listed; asks before.")
    ] = False,
    older_than: Annotated[
        float, typer.Option(help="Only what no process used for so many days.", min=0.0)
    ] = 0.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what cached features take, with size and age, and remove them.

    The folder is features.cache of the experiment, ~/.cache/evonas by default. Searches and
    retrainings compute again what they miss; what a running one uses is not removed.
    """
    from evonas.api import feature_cache as api
    from evonas.cli.printing import show_all
    from evonas.core import experiment as config

    changes = list(overrides or [])
    if "=" in experiment:  # no experiment was named
        changes, experiment = [experiment, *changes], "quickstart"
    folder = config.load(experiment, changes).features.cache
    console = Console(stderr=as_json)
    found = api.list_cache(folder, older_than=older_than)
    if found.files and not as_json:
        show_all(console, [found.table])
    if not found.files:
        console.print(f"no cached features in {found.folder}", soft_wrap=True)
    elif clear and (yes or typer.confirm(f"Remove these {len(found.files)} files?", err=as_json)):
        cleared = api.clear_cache(folder, older_than=older_than)
        show_all(console, [], [str(cleared)])
        found = api.list_cache(folder)
    if as_json:
        print_json(found.to_dict())


def _numbers(words: str) -> list[float]:
    """Return the numbers of a genome.

    Raises:
        InputError: one is no number.
    """
    try:
        return [float(word) for word in words.split(",")]
    except ValueError as error:
        raise InputError(
            f"--genome {words!r}: expected random, or numbers in [0, 1] separated by commas"
        ) from error


def _shape(words: str) -> tuple[int, int, int]:
    """Return (channels, height, width).

    Raises:
        InputError: it is no shape.
    """
    sides = words.lower().split("x")
    if len(sides) != 3 or not all(side.isdecimal() and int(side) for side in sides):
        raise InputError(f"--input {words!r}: expected channels x height x width, such as 64x16x16")
    channels, height, width = map(int, sides)
    return channels, height, width

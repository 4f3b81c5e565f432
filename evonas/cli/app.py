"""The command line: parsing only; each verb's module is imported when it is used."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from evonas.cli.compression import verbs as low_cost
from evonas.cli.options import Address, Overrides, RunDir, joining, settings
from evonas.cli.results import verbs as see
from evonas.cli.shipping import verbs as ship
from evonas.errors import EvonasError

if TYPE_CHECKING:
    from evonas.core.overrides import Word
    from evonas.workflows.judging import Include

app = typer.Typer(
    name="evonas",
    help="Search small head networks for frozen face features. Start with: evonas search",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

data_app = typer.Typer(help="Look at data sets.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(see)
app.add_typer(low_cost)
app.add_typer(ship)


@app.command(
    epilog="Example: evonas search experiments/quickstart.yaml --optimizer ga --budget 40 seed=1"
)
def search(
    experiment: Annotated[
        str, typer.Argument(help="Experiment: a YAML file or the name of a shipped one.")
    ] = "quickstart",
    overrides: Overrides = None,
    optimizer: Annotated[
        str | None,
        typer.Option(help="Search strategy: see `evonas list optimizer`."),
    ] = None,
    budget: Annotated[int | None, typer.Option(help="Distinct networks to train.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the run.")] = None,
    begin_with: Annotated[
        Path | None,
        typer.Option("--from", help="Run whose results this one begins with, whatever searched."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Candidates trained at once.")] = None,
    executor: Annotated[str | None, typer.Option(help="local, ray or auto.")] = None,
    fidelity: Annotated[
        str | None,
        typer.Option(help="full, or racing: only the better part of a generation trains on."),
    ] = None,
    inherit: Annotated[
        bool | None,
        typer.Option(
            "--inherit", help="Networks start with the weights of their parent, or the nearest."
        ),
    ] = None,
    address: Address = None,
    run_dir: RunDir = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --run-dir.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the path of best.json alone, as JSON.")
    ] = False,
) -> None:
    """Search the head network with the lowest error at the smallest cost."""
    from evonas.api.resuming import check_start, stored
    from evonas.cli import search as verb
    from evonas.core import experiment as config

    changes: list[Word] = [
        *(overrides or []),
        *settings(
            ("--optimizer", "optimizer", optimizer),
            ("--budget", "budget", budget),
            ("--seed", "seed", seed),
            ("--fidelity", "fidelity", fidelity),
            ("--workers", "execution.workers", workers),
            ("--executor", "execution.executor", executor),
            ("--inherit", "inherit", inherit),
        ),
    ]
    given = experiment != "quickstart"
    if "=" in experiment:  # no experiment was named: the first word is an override already
        changes, experiment, given = [experiment, *changes], "quickstart", False
    changes += joining(address, changes)
    check_start(run_dir, resume, begin_with)
    if resume and run_dir is not None and not given:
        chosen = stored(run_dir, changes)
    else:
        chosen = config.load(experiment, changes)
    path = verb.run(chosen, run_dir, resume, Console(stderr=as_json), begin_with)
    if as_json:
        import json

        typer.echo(json.dumps({"best": str(path)}))


@app.command(epilog="Example: evonas retrain runs/quickstart-cma-s0/best.json --repeats 3")
def retrain(
    best: Annotated[
        Path,
        typer.Argument(
            help="best.json or front.json of a search; or an experiment: its baselines alone."
        ),
    ],
    overrides: Overrides = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training split.")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="Learning rate: cosine, exponential (x 0.8 an epoch), step, constant."),
    ] = None,
    folds: Annotated[
        int, typer.Option(help="Cross-validate by group instead; number of folds.")
    ] = 0,
    repeats: Annotated[int, typer.Option(help="Seeds of each network.", min=1)] = 1,
    pick: Annotated[
        str,
        typer.Option(help="Which network of a front.json: knee, cheapest:ERROR or best:MACS."),
    ] = "",
    ranking: Annotated[
        int,
        typer.Option(
            help="Retrain so many networks, spread over the search's ranking: do short "
            "trainings rank as long ones?",
            min=0,
        ),
    ] = 0,
    address: Address = None,
    out: Annotated[Path | None, typer.Option(help="Folder for weights and tables.")] = None,
) -> None:
    """Train the winner longer, beside hand-made baselines; keep its weights."""
    from evonas.cli import retrain as verb

    changes: list[Word] = [
        *(overrides or []),
        *settings(
            ("--epochs", "retraining.epochs", epochs),
            ("--schedule", "retraining.schedule", schedule),
        ),
    ]
    changes += joining(address, changes)
    verb.run(best, changes, folds, repeats, out, Console(), pick, ranking)


@app.command(
    "test",
    epilog="Example: evonas test runs/quickstart/retrained aflw2000 root=DIR biwi root=DIR2",
)
def judge(
    folder: Annotated[Path, typer.Argument(help="Folder that `evonas retrain` wrote.")],
    sets: Annotated[
        list[str] | None,
        typer.Argument(help="Test sets, each with its options: NAME root=DIR NAME2 root=DIR2."),
    ] = None,
    beside: Annotated[
        bool, typer.Option("--published", help="Print published results, with their protocols.")
    ] = False,
    flip: Annotated[
        bool, typer.Option("--flip", help="Average with the mirrored images: twice the work.")
    ] = False,
    validation: Annotated[
        bool,
        typer.Option("--include-validation", help="Also judge images that validated: it flatters."),
    ] = False,
    trained: Annotated[
        bool,
        typer.Option("--include-trained", help="Also judge images that were trained on."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Test retrained networks on images that neither training nor validation used."""
    from evonas.cli import test as verb

    include: Include = "trained" if trained else "validation" if validation else "unused"
    verb.run(folder, sets or [], beside, as_json, Console(stderr=as_json), flip, include)


@app.command(
    epilog="Example: evonas compare quickstart --optimizers cma,ga,random --seeds 3 budget=40"
)
def compare(
    experiment: Annotated[str, typer.Argument(help="Experiment: a YAML file or a shipped name.")],
    overrides: Overrides = None,
    optimizers: Annotated[
        str, typer.Option(help="Strategies, separated by commas; all of them if left out.")
    ] = "",
    seeds: Annotated[int, typer.Option(help="Searches of each strategy.", min=1)] = 3,
    budget: Annotated[int | None, typer.Option(help="Distinct networks a search trains.")] = None,
    address: Address = None,
    out: Annotated[Path | None, typer.Option(help="Folder of runs, table and picture.")] = None,
) -> None:
    """Compare search strategies on an experiment, or on a table, at an equal budget."""
    from evonas.cli import compare as verb

    names = [name.strip() for name in optimizers.split(",") if name.strip()]
    changes: list[Word] = [*(overrides or []), *settings(("--budget", "budget", budget))]
    changes += joining(address, changes)
    verb.run(experiment, changes, names, seeds, out, Console())


@app.command(epilog="Example: evonas validate experiments/pointing04.yaml data.root=DIR")
def validate(
    experiment: Annotated[str, typer.Argument(help="Experiment: a YAML file or a shipped name.")],
    overrides: Overrides = None,
) -> None:
    """Check an experiment and say everything that is wrong with it, training nothing."""
    from evonas.cli import validate as verb

    verb.run(experiment, overrides or [], Console())


@app.command("list", epilog="Example: evonas list optimizer")
def list_parts(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="optimizer, network, backbone, data, task, executor, experiment, space."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List what there is to choose from."""
    from evonas.cli import list as verb

    verb.run(kind, as_json, Console())


@data_app.command(
    "check", epilog="Example: evonas data check image_table root=DIR --sheet faces.png"
)
def data_check(
    name: Annotated[str, typer.Argument(help="Reader: see `evonas list data`.")],
    options: Annotated[
        list[str] | None, typer.Argument(help="Its options, such as root=DIR.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="File of the contact sheet; NAME.png if left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Read a data set from end to end: counts, labels, what was dropped, a contact sheet."""
    from evonas.cli import data as verb

    verb.check(name, options or [], sheet, as_json, Console(stderr=as_json))


backbones = typer.Typer(no_args_is_help=True, help="Look at backbones: their taps and costs.")
app.add_typer(backbones, name="backbones")


@backbones.command(
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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a backbone's taps: shape, cost up to each, and how much its features take."""
    from evonas.cli import backbones as verb

    verb.run(name, options or [], everything, as_json)


def _plain(text: object) -> str:
    """Return text in one line; what a file holds must neither break nor colour a terminal."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


#: What a disk says that is full, read-only, broken, or not the user's.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


def main() -> None:
    """Run the command line; a person's mistake is one line and exit status 2."""
    try:
        app()
    except EvonasError as error:
        typer.echo(f"evonas: {_plain(error.args[0])}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        where = error.filename or "a file"
        typer.echo(
            f"evonas: {_plain(str(where))}: cannot be read or written ({error.strerror}): free "
            "some space or change the rights, then do it again",
            err=True,
        )
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

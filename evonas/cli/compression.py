"""Verbs that make a network smaller: probe, prune, quantize, and all in a row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from evonas.cli.options import Overrides, RunDir, settings
from evonas.errors import InputError

if TYPE_CHECKING:
    from evonas.core.overrides import Word

verbs = typer.Typer()


@verbs.command(
    epilog="Example: evonas probe pointing04 data.root=DIR backbone.weights=DIR "
    '--also "face_recognition random=1"'
)
def probe(
    experiment: Annotated[str, typer.Argument(help="Experiment: a YAML file or a shipped name.")],
    overrides: Overrides = None,
    labels: Annotated[
        str, typer.Option(help="Labels of the data set, separated by commas; else the task's.")
    ] = "",
    also: Annotated[
        list[str] | None,
        typer.Option(help="A further backbone for comparison, with its options in one word."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for tables and pictures.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print probe.json.")] = False,
) -> None:
    """Rank the taps of a backbone by what linear models of pooled features learn, in seconds.

    Quantities are fitted by least squares, classes by logistic regression
    (probe.classes=least_squares: by least squares as well).
    """
    from evonas.core import experiment as config
    from evonas.deployment.probing import run_probe as verb

    names = [name.strip() for name in labels.split(",") if name.strip()]
    changes: list[Word] = [
        *(overrides or []),
        *settings(("--labels", "probe.labels", names or None)),
    ]
    verb.run(config.load(experiment, changes), also or [], out, as_json, Console(stderr=as_json))


@verbs.command(
    epilog="Example: evonas prune runs/quickstart/retrained --threshold 0.1 prune.training.epochs=5"
)
def prune(
    folder: Annotated[Path, typer.Argument(help="Folder that `evonas retrain` wrote.")],
    overrides: Overrides = None,
    network: Annotated[
        str, typer.Option(help="Which of its networks; the winner if left out.")
    ] = "",
    method: Annotated[
        str,
        typer.Option(
            help="lasso: filters of the backbone that the task does not need; distinctiveness: "
            "units of the head's linear layers that repeat others."
        ),
    ] = "lasso",
    repeat: Annotated[int, typer.Option(help="Which training of it, from 0.", min=0)] = 0,
    threshold: Annotated[
        float | None,
        typer.Option(help="Knee: how far above the least error, as a share of a curve's range."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training images afterwards.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for the results.")] = None,
) -> None:
    """Take out of the backbone what a retrained network does not need, and train on."""
    from evonas.cli import prune as verb

    changes: list[Word] = [
        *(overrides or []),
        *settings(
            ("--threshold", "prune.threshold", threshold),
            ("--epochs", "prune.training.epochs", epochs),
        ),
    ]
    if method == "lasso":
        verb.run(folder, changes, network, repeat, out, Console())
    elif method == "distinctiveness":
        from evonas.deployment.distinctiveness import run_study as distinctiveness

        if repeat or out or threshold is not None or epochs is not None:
            raise InputError(
                "--method distinctiveness takes no --repeat, --out, --threshold or --epochs: it "
                "looks at all trainings, trains nothing, and writes FOLDER/distinctiveness"
            )
        distinctiveness.run(folder, network, changes, False, Console())
    else:
        raise InputError(f"--method {method!r}: expected lasso or distinctiveness")


@verbs.command(epilog="Example: evonas quantize runs/quickstart/retrained --images 512")
def quantize(
    folder: Annotated[Path, typer.Argument(help="Folder that `evonas retrain` wrote.")],
    overrides: Overrides = None,
    network: Annotated[
        str, typer.Option(help="Name in the table; the winner, or the first, if left out.")
    ] = "",
    repeat: Annotated[int, typer.Option(help="Which training of it, from 0.", min=0)] = 0,
    road: Annotated[
        str | None, typer.Option(help="onnx (ONNX Runtime) or pt2e (a program of torch).")
    ] = None,
    aware: Annotated[
        bool | None, typer.Option("--aware", help="Train on with simulated rounding first.")
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="Training images that ranges are taken from.")
    ] = None,
    compiling: Annotated[
        bool, typer.Option("--compile", help="Also measure torch.compile: minutes, needs a g++.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the result; FOLDER/int8.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Turn a retrained network, backbone and head, into 8-bit integers; error before and after."""
    from evonas.cli import quantize as verb

    changes: list[Word] = [
        *(overrides or []),
        *settings(
            ("--road", "quantize.road", road),
            ("--aware", "quantize.aware", aware),
            ("--images", "quantize.images", images),
        ),
    ]
    verb.run(folder, changes, network, repeat, out, compiling, as_json, Console(stderr=as_json))


@verbs.command(
    epilog="Example: evonas pipeline low_cost_pointing04 data.root=DIR backbone.weights=DIR2"
)
def pipeline(
    experiment: Annotated[str, typer.Argument(help="Experiment: a YAML file or a shipped name.")],
    overrides: Overrides = None,
    run_dir: RunDir = None,
) -> None:
    """Probe, search, retrain, prune, quantise and test; what is done already is not repeated."""
    from evonas.cli import pipeline as verb
    from evonas.core import experiment as config
    from evonas.core.overrides import saying

    if said := saying(overrides or [], "space.tap", config.SHORT):
        raise InputError(
            f"{said}: evonas pipeline searches on the taps that its probe recommends, so this has "
            "no effect: leave it out (probe.keep says how many), or take the steps one by one"
        )
    verb.run(config.load(experiment, overrides or []), run_dir, Console())

"""Verbs that make a network smaller: probe, prune, quantize, and pipeline for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from evonas.cli.options import (
    AsJson,
    ExperimentName,
    Overrides,
    RetrainedFolder,
    RunDir,
    changes,
)
from evonas.errors import InputError

verbs = typer.Typer()


@verbs.command(
    epilog="Example: evonas probe pointing04 data.root=DIR backbone.weights=DIR "
    '--also "face_recognition random=1"'
)
def probe(
    experiment: ExperimentName,
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
    from evonas.api import probing as api
    from evonas.api.live_view import LiveView
    from evonas.cli.printing import show_all, show_file

    names = [name.strip() for name in labels.split(",") if name.strip()]
    words = changes(overrides, ("--labels", "probe.labels", names or None))
    console = Console(stderr=as_json)
    with LiveView(console) as view:
        found = api.probe(experiment, also=also or [], out=out, callbacks=[view], overrides=words)
    lines = [*found.notes, f"Next: evonas search with space.tap=@{found.file}"]
    show_all(console, found.tables, lines)
    if as_json:
        show_file(found.file)


@verbs.command(
    epilog="Example: evonas prune runs/quickstart/retrained --threshold 0.1 prune.training.epochs=5"
)
def prune(
    folder: RetrainedFolder,
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
    from evonas.api.live_view import LiveView
    from evonas.api.retrained_model import RetrainedModel
    from evonas.cli.printing import show_all

    words = changes(
        overrides,
        ("--threshold", "prune.threshold", threshold),
        ("--epochs", "prune.training.epochs", epochs),
    )
    model, console = RetrainedModel.load(folder), Console()
    if method == "lasso":
        with LiveView(console) as view:
            pruned = model.prune(
                network=network, repeat=repeat, out=out, callbacks=[view], overrides=words
            )
        show_all(console, pruned.tables, [*pruned.notes, f"written: {pruned.folder}"])
    elif method == "distinctiveness":
        if repeat or out or threshold is not None or epochs is not None:
            raise InputError(
                "--method distinctiveness takes no --repeat, --out, --threshold or --epochs: it "
                "looks at all trainings, trains nothing, and writes FOLDER/distinctiveness"
            )
        with LiveView(console) as view:
            found = model.distinctiveness(network=network, callbacks=[view], overrides=words)
        show_all(console, found.tables, [f"written: {found.folder}"])
    else:
        raise InputError(f"--method {method!r}: expected lasso or distinctiveness")


@verbs.command(epilog="Example: evonas quantize runs/quickstart/retrained --images 512")
def quantize(
    folder: RetrainedFolder,
    overrides: Overrides = None,
    network: Annotated[
        str, typer.Option(help="Name in the table; the winner, or the first, if left out.")
    ] = "",
    repeat: Annotated[int, typer.Option(help="Which training of it, from 0.", min=0)] = 0,
    backend: Annotated[
        str | None, typer.Option(help="onnx (ONNX Runtime) or pt2e (a program of torch).")
    ] = None,
    qat: Annotated[
        bool | None,
        typer.Option("--qat", help="Train on with simulated rounding first."),
    ] = None,
    images: Annotated[
        int | None, typer.Option(help="Training images that ranges are taken from.")
    ] = None,
    compiling: Annotated[
        bool, typer.Option("--compile", help="Also measure torch.compile: minutes, needs a g++.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the result; FOLDER/int8.")] = None,
    as_json: AsJson = False,
    road: Annotated[str | None, typer.Option(hidden=True, help="Former --backend.")] = None,
    aware: Annotated[
        bool | None, typer.Option("--aware", hidden=True, help="Former --qat.")
    ] = None,
) -> None:
    """Turn a retrained network, backbone and head, into 8-bit integers; error before and after."""
    from evonas.api.live_view import LiveView
    from evonas.api.retrained_model import RetrainedModel
    from evonas.cli.printing import show_all, show_file

    words = changes(
        overrides,
        ("--backend", "quantize.road", backend),
        ("--road", "quantize.road", road),
        ("--qat", "quantize.aware", qat),
        ("--aware", "quantize.aware", aware),
        ("--images", "quantize.images", images),
    )
    console = Console(stderr=as_json)
    with LiveView(console) as view:
        small = RetrainedModel.load(folder).quantize(
            network=network,
            repeat=repeat,
            out=out,
            compiling=compiling,
            callbacks=[view],
            overrides=words,
        )
    if as_json:
        show_file(small.folder / "quantize.json")
        return
    show_all(console, small.tables, [f"written: {small.folder}"])


@verbs.command(
    epilog="Example: evonas pipeline low_cost_pointing04 data.root=DIR backbone.weights=DIR2"
)
def pipeline(
    experiment: ExperimentName,
    overrides: Overrides = None,
    run_dir: RunDir = None,
) -> None:
    """Probe, search, retrain, prune, quantise and evaluate; what is done is not repeated."""
    from evonas.api import pipeline as api
    from evonas.cli.printing import SearchPrinter, show_all

    console = Console()

    def show_step(result: api.StepResult) -> None:
        show_all(console, getattr(result, "tables", ()), getattr(result, "notes", ()))

    with SearchPrinter(console) as view:
        found = api.pipeline(
            experiment,
            run_dir=run_dir,
            callbacks=[view],
            on_step=view.on_step,
            on_result=show_step,
            overrides=overrides or [],
        )
    show_all(console, [found.table], [f"written: {found.folder / 'pipeline.md'}"])

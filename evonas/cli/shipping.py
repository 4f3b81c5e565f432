"""Verbs that bring a network to work: export and predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from evonas.cli.options import Overrides

verbs = typer.Typer()


@verbs.command(epilog="Example: evonas export runs/quickstart/retrained --format onnx")
def export(
    model: Annotated[
        Path,
        typer.Argument(
            help="Folder that `evonas retrain`, `prune` or `quantize` wrote; or one file of "
            "weights in it."
        ),
    ],
    overrides: Overrides = None,
    kind: Annotated[
        str, typer.Option("--format", help="onnx (ONNX Runtime) or torch_export (a .pt2 of torch).")
    ] = "onnx",
    network: Annotated[
        str, typer.Option(help="Name in the table; the winner, or the first, if left out.")
    ] = "",
    repeat: Annotated[int | None, typer.Option(help="Which training of it, from 0.", min=0)] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file; in FOLDER/export if left out.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write a network as one file: images in, degrees (or years, classes, points) out."""
    from evonas.cli import export as verb

    console = Console(stderr=as_json)
    verb.run(model, overrides or [], kind, network, repeat, out, as_json, console)


@verbs.command(epilog="Example: evonas predict runs/quickstart/retrained/export photos --top 3")
def predict(
    model: Annotated[
        Path, typer.Argument(help="File that `evonas export` wrote, or a folder with one.")
    ],
    images: Annotated[list[Path], typer.Argument(help="Photos, or folders of photos.")],
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="CSV with file, left, top, right, bottom, pixels; else whole photos are taken."
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="Classes to tell, the likeliest first.", min=1)] = 3,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for the photos with the answers drawn on them.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File for the JSON lines, instead of printing them.")
    ] = None,
) -> None:
    """Run an exported network on photos: a line of JSON for each photo, or box."""
    from evonas.cli import predict as verb

    status = verb.run(model, images, boxes, top, pictures, out, Console(stderr=True))
    if status:
        raise typer.Exit(status)

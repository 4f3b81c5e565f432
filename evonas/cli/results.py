"""Verbs on finished work: report and lineage of a search, export and predict of a network."""

from __future__ import annotations

import json
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from rich.console import Console

from evonas.cli.options import AsJson, Overrides
from evonas.errors import InputError

if TYPE_CHECKING:
    from evonas.cli.printing import QuietView

verbs = typer.Typer()


@verbs.command(epilog="Example: evonas report runs/quickstart --figures")
def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of searches, running or not.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File of the page; report.html in RUN, or here for several runs."),
    ] = None,
    figures: Annotated[
        bool, typer.Option("--figures", help="Save the charts as PNG and SVG as well.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print it as Markdown too, for a pull request.")
    ] = False,
    every: Annotated[
        int,
        typer.Option(help="Write the page again after so many seconds, while it runs.", min=0),
    ] = 0,
) -> None:
    """Show a search as one page that opens anywhere; several searches side by side."""
    from evonas.api.reporting import write_report

    console = Console()

    def say(line: str) -> None:
        console.print(f"{line} Ctrl-C ends this.", soft_wrap=True)

    written = write_report(runs, out, figures=figures, every=every, on_wait=say)
    if markdown:
        print(written.markdown)
        return
    if written.figures is not None:
        text = f"written: {written.charts} pictures in {written.figures}"
        console.print(text, soft_wrap=True)
    console.print(f"written: {written.path}", soft_wrap=True)


@verbs.command(epilog="Example: evonas dashboard runs --port 8280")
def dashboard(
    runs: Annotated[Path, typer.Argument(help="Folder that holds the run directories.")] = Path(
        "runs"
    ),
    port: Annotated[
        int, typer.Option(help="Port on 127.0.0.1; 0: any that is free.", min=0, max=65535)
    ] = 8270,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="EVONAS_DASHBOARD_TOKEN",
            help="Token that the page asks for; a new random one if left out.",
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Follow all runs of a folder on a local page: progress, fronts, winners, side by side.

    The page shows running searches as they go on, and stops one cleanly. It is served on this
    machine alone; its address holds a token. Ctrl-C ends it; searches go on.
    """
    from evonas.api.dashboard import serve_dashboard

    def say(address: str) -> None:
        print(f"dashboard of {runs}: {address}\nCtrl-C ends it; searches go on.", flush=True)
        if open_page:
            webbrowser.open(address)

    serve_dashboard(runs, port=port, token=token, on_start=say)


@verbs.command(epilog="Example: evonas lineage runs/quickstart-evolution-s0 --out lineage.png")
def lineage(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of a search, finished or running.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="File, .svg or .png; lineage.svg in RUN if left out.")
    ] = None,
) -> None:
    """Draw the networks of a search below their parents, and what changed up to the winner."""
    from evonas.api.search_result import SearchResult

    Console().print(f"written: {SearchResult(folder).lineage(out)}", soft_wrap=True)


@verbs.command(epilog="Example: evonas export runs/quickstart/retrained --format onnx")
def export(
    model: Annotated[
        Path,
        typer.Argument(
            help="Folder that `evonas retrain`, `finetune`, `prune` or `quantize` wrote, the run "
            "that it lies in, or one file of weights in it."
        ),
    ],
    overrides: Overrides = None,
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            help="onnx (ONNX Runtime), torch_export (a .pt2 of torch), openvino (an .xml and a "
            ".bin) or litert (a .tflite of LiteRT).",
        ),
    ] = "onnx",
    network: Annotated[
        str, typer.Option(help="Name in the table; the winner, or the first, if left out.")
    ] = "",
    repeat: Annotated[int | None, typer.Option(help="Which training of it, from 0.", min=0)] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file; in FOLDER/export if left out.")
    ] = None,
    keep_embedding: Annotated[
        bool,
        typer.Option(
            "--keep-embedding",
            help="Of a backbone from an .onnx file: its own embedding as a further output.",
        ),
    ] = False,
    example: Annotated[
        str,
        typer.Option(help="Also write a program that runs the file: python, cpp, js or kotlin."),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Write a network as one file: images in, degrees (or years, classes, points) out."""
    from evonas.api.exporting import export_folder
    from evonas.api.live_view import LiveView
    from evonas.cli.printing import show_all, show_file

    console = Console(stderr=as_json)
    with LiveView(console) as view:
        found = export_folder(
            model,
            out,
            format=kind,
            network=network,
            repeat=repeat,
            callbacks=[view],
            overrides=overrides or [],
            keep_embedding=keep_embedding,
            example=example,
        )
    if as_json:
        show_file(found.card)
        return
    files = [found.file, found.card, *filter(None, [found.example])]
    show_all(console, found.tables, [f"written: {', '.join(map(str, files))}"])


@verbs.command(epilog="Example: evonas predict runs/quickstart/retrained/export photos --top 3")
def predict(
    model: Annotated[
        Path, typer.Argument(help="File that `evonas export` wrote, or a folder with one.")
    ],
    images: Annotated[list[Path], typer.Argument(help="Photos, folders of photos, or one video.")],
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="CSV with file (of a video: frame, from 0), left, top, right, bottom, pixels; "
            "else whole photos are taken. Of a video: `whole`, or what a detector finds."
        ),
    ] = None,
    top: Annotated[int, typer.Option(help="Classes to name, the likeliest first.", min=1)] = 3,
    pictures: Annotated[
        Path | None, typer.Option(help="Folder for the photos with the answers drawn on them.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File for the JSON lines, instead of printing them; of a video also a .mp4, with "
            "the answers drawn on it and a .csv beside it."
        ),
    ] = None,
    smooth: Annotated[
        float, typer.Option(help="Of a video: time constant of smoothing, seconds.", min=0.0)
    ] = 0.0,
) -> None:
    """Run an exported network on photos or a video: a line of JSON for each photo, box or frame."""
    from evonas.cli.printing import QuietView
    from evonas.deployment.video.video_files import is_video

    with QuietView(Console(stderr=True)) as view:
        if any(map(is_video, images)):
            if len(images) > 1 or pictures is not None:
                raise InputError(
                    f"{next(filter(is_video, images))}: expected one video alone, without "
                    "--pictures: --out annotated.mp4 draws the answers"
                )
            _predict_video(model, images[0], boxes, top, out, smooth, view)
            return
        if smooth:
            raise InputError(f"--smooth {smooth:g}: smooths a video, got photos: leave it out")
        read, failed = _predict_photos(model, images, boxes, top, pictures, out, view)
    if failed or not read:
        raise typer.Exit(1 if read else 2)


def _predict_photos(
    model: Path,
    images: list[Path],
    boxes: Path | None,
    top: int,
    pictures: Path | None,
    out: Path | None,
    view: QuietView,
) -> tuple[int, int]:
    """Print the answers for photos; return how many could be read, and how many not."""
    from evonas.api.prediction import predict_photos

    read = failed = 0
    found = predict_photos(model, images, boxes=boxes, top=top, pictures=pictures, callbacks=[view])
    with _lines(out) as stream:
        for one in found:
            if one.error:
                failed += 1
                view.on_message(one.error)
                continue
            read += 1
            box = one.box and list(one.box)
            stream.write(json.dumps({"file": str(one.photo), "box": box, **one.answer}) + "\n")
            stream.flush()
    return read, failed


def _predict_video(
    model: Path,
    video: Path,
    boxes: Path | None,
    top: int,
    out: Path | None,
    smooth: float,
    view: QuietView,
) -> None:
    """Print the answers for a video, or write them into one; Ctrl-C keeps what is finished."""
    from evonas.api.video_prediction import predict_video
    from evonas.deployment.video.video_files import is_video

    drawn = out if out is not None and is_video(out) else None
    answers = predict_video(
        model, video, boxes=boxes, out=drawn, smooth=smooth, top=top, callbacks=[view]
    )
    faces = 0
    with closing(answers), _lines(None if drawn else out) as stream:
        for one in answers:
            faces += 1
            if drawn is None:
                place = {"frame": one.frame, "time": one.time, "face": one.face}
                box = one.box and list(one.box)
                stream.write(json.dumps({**place, "box": box, **one.answer}) + "\n")
    if not faces:
        view.on_message(f"{video}: no face in any frame: give their boxes with --boxes")
    if drawn is not None:
        view.console.print(f"written: {drawn}, {drawn.with_suffix('.csv')}", soft_wrap=True)


@contextmanager
def _lines(out: Path | None) -> Iterator[TextIO]:
    """Yield the stream of the JSON lines.

    Raises:
        InputError: the file cannot be written.
    """
    if out is None:
        yield sys.stdout
        return
    try:
        stream = out.open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{out}: cannot be written ({error.strerror}): choose another file with --out"
        ) from error
    with stream:
        yield stream

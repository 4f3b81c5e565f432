"""``evonas predict``: an exported network on photos; an .onnx runs without torch."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from rich.console import Console

from evonas.api.exported_model import ExportedModel, load_exported
from evonas.core.files import make_folder, writing
from evonas.core.progress_bars import progress_bars
from evonas.data.images.image_io import Box
from evonas.deployment.export.photo_inputs import boxes_of, listed
from evonas.deployment.export.prediction_drawing import PictureFolder

_BATCH = 32
_PATIENCE = 2.0  # seconds without a progress bar
_NAMED = 5  # photos in a line

Wanted = tuple[Path, Box | None]


def run(
    path: Path,
    images: list[Path],
    boxes: Path | None,
    top: int,
    pictures: Path | None,
    out: Path | None,
    console: Console,
) -> int:
    """Answer for photos, a line of JSON for each photo or box; return the exit status.

    The status is 1 if some could not be read, 2 if none could: each has a line on stderr.

    Args:
        path: exported file, or a folder with one.
        images: photos, and folders of photos.
        boxes: CSV with file, left, top, right and bottom, pixels of the stored photo; photos
            without a row are left out. None: whole photos, turned upright.
        top: classes to tell.
        pictures: folder for photos with the answers drawn on them.
        out: file for the lines; by default they are printed.
        console: where progress is shown.

    Raises:
        InputError: the model, the table, a folder or an output is wrong.
    """
    model = load_exported(path)
    photos = listed(images)
    wanted: list[Wanted] = [(photo, None) for photo in photos]
    if boxes is not None:
        found = boxes_of(boxes, photos)
        wanted = [(photo, box) for photo, every in found.items() for box in every]
        _tell_left_out(boxes, found)
    if pictures is not None:
        make_folder(pictures, "--pictures")
    album = None if pictures is None else PictureFolder(pictures, model.answer, top)
    read, start = 0, time.perf_counter()
    with _lines(out) as stream, progress_bars(console) as progress:
        for first in range(0, len(wanted), _BATCH):
            batch = wanted[first : first + _BATCH]
            read += _answered(model, batch, top, album, stream)
            if time.perf_counter() - start > _PATIENCE:
                progress("photos", first + len(batch), len(wanted))
        if album is not None:
            album.close()
    return 0 if read == len(wanted) else 1 if read else 2


def _answered(
    model: ExportedModel,
    batch: Sequence[Wanted],
    top: int,
    album: PictureFolder | None,
    stream: TextIO,
) -> int:
    """Write the answers for some photos; return how many could be read.

    Raises:
        InputError: a picture or a line cannot be written, or the file does not do what it says.
    """
    every = model.predict_batch(batch, top=top)
    for one in every:
        if one.error:
            _say(one.error)
    read = [one for one in every if not one.error]
    for one in read:
        line = {"file": str(one.photo), "box": one.box and list(one.box), **one.answer}
        stream.write(json.dumps(line) + "\n")
        if album is not None:
            album.add(one.photo, one.image, one.box, one.crop, one.values)
    stream.flush()
    return len(read)


def _tell_left_out(table: Path, found: Mapping[Path, Sequence[Box]]) -> None:
    without = [str(photo) for photo, every in found.items() if not every]
    if without:
        more = ", ..." if len(without) > _NAMED else ""
        _say(f"{table}: has no box in {len(without)} photos, left out: "
             f"{', '.join(without[:_NAMED])}{more}")  # fmt: skip


def _say(text: str) -> None:
    print(f"evonas: {text}", file=sys.stderr)


@contextmanager
def _lines(out: Path | None) -> Iterator[TextIO]:
    """Yield where lines of JSON go.

    Raises:
        InputError: the file cannot be written.
    """
    if out is None:
        yield sys.stdout
        return
    with writing(out, "choose another file with --out"):
        stream = out.open("w", encoding="utf-8")
    with stream:
        yield stream

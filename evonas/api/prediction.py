"""``evonas.predict_photos``: an exported network on many photos; an .onnx runs without torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from evonas.api.exported_model import ExportedModel, Prediction, load_exported
from evonas.core.files import make_folder
from evonas.data.images.image_io import Box
from evonas.deployment.export.photo_inputs import boxes_of, listed
from evonas.deployment.export.prediction_drawing import PictureFolder
from evonas.runs.callbacks import Callback, CallbackList

_BATCH = 32
_NAMED = 5  # photos in a line


def predict_photos(
    model: ExportedModel | str | Path,
    images: Sequence[str | Path],
    *,
    boxes: str | Path | None = None,
    top: int = 3,
    pictures: str | Path | None = None,
    callbacks: Iterable[Callback] = (),
) -> Iterator[Prediction]:
    """Run an exported network on photos; yield a prediction for each photo, or each box.

    Inputs are checked at once, photos are read while the predictions are taken.

    Args:
        model: the network, or its file, or a folder with one.
        images: photos, and folders of photos.
        boxes: CSV with file, left, top, right and bottom, in pixels of the stored photo; photos
            without a row are left out. None: whole photos, turned upright.
        top: classes to name, the likeliest first.
        pictures: folder for photos with the answers drawn on them.
        callbacks: receive progress, and a message on photos without a box.

    Raises:
        InputError: the model, the table, a folder or a picture is wrong. A photo that cannot be
            read raises nothing: its prediction has an ``error``.

    Examples:
        >>> [one.answer["yaw"] for one in evonas.predict_photos("head.onnx", ["photos"])]
        [-12.5, 3.0]
    """
    network = model if isinstance(model, ExportedModel) else load_exported(model)
    photos = listed([Path(image) for image in images])
    wanted: list[tuple[Path, Box | None]] = [(photo, None) for photo in photos]
    callback = CallbackList(callbacks)
    if boxes is not None:
        found = boxes_of(Path(boxes), photos)
        wanted = [(photo, box) for photo, every in found.items() for box in every]
        if line := _left_out(Path(boxes), found):
            callback.on_message(line)
    folder = None
    if pictures is not None:
        make_folder(Path(pictures), "--pictures")
        folder = PictureFolder(Path(pictures), network.answer, top)
    return _predictions(network, wanted, top, folder, callback)


def _predictions(
    model: ExportedModel,
    wanted: Sequence[tuple[Path, Box | None]],
    top: int,
    folder: PictureFolder | None,
    callback: Callback,
) -> Iterator[Prediction]:
    for first in range(0, len(wanted), _BATCH):
        batch = wanted[first : first + _BATCH]
        for one in model.predict_batch(batch, top=top):
            if folder is not None and not one.error:
                folder.add(one.photo, one.image, one.box, one.crop, one.values)
            yield one
        callback.on_progress("photos", first + len(batch), len(wanted))
    if folder is not None:
        folder.close()


def _left_out(table: Path, found: Mapping[Path, Sequence[Box]]) -> str:
    """Return a line on the photos without a box; empty if each has one."""
    without = [str(photo) for photo, every in found.items() if not every]
    if not without:
        return ""
    more = ", ..." if len(without) > _NAMED else ""
    named = ", ".join(without[:_NAMED])
    return f"{table}: has no box in {len(without)} photos, left out: {named}{more}"

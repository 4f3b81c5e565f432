"""Find the faces in the frames of a video: a table of boxes, the whole frame, or a detector."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.core.optional_imports import library
from evonas.data.images.image_io import Box
from evonas.data.readers.csv_table import read_table
from evonas.deployment.export.photo_inputs import BOX, box_in
from evonas.deployment.video.video_files import Frame, Video
from evonas.errors import InputError

#: Word in the place of a table of boxes: a frame shows what a photo of the training data does.
WHOLE = "whole"
#: Returns the boxes of a frame; None stands for the whole frame.
Boxes = Callable[[Frame], list[Box | None]]

_SMALLEST = 1 / 12  # side of a detected face, in shorter sides of the frame
_NEIGHBOURS = 5  # detections that have to agree, as in OpenCV's documentation


def boxes_of(video: Video, boxes: Path | None) -> tuple[Boxes, str]:
    """Return a function that gives the boxes of a frame, and a remark for the user.

    Args:
        video: the video.
        boxes: CSV with the columns frame (from 0), left, top, right and bottom, in pixels of the
            upright frame; ``whole`` for whole frames; None: a detector, if one is installed.

    Raises:
        InputError: the table does not fit the video, or there is neither a table nor a detector.
    """
    if boxes is None:
        return _detector(video), ""
    if str(boxes) == WHOLE and not boxes.exists():
        return lambda frame: [None], ""
    found = _table(video, boxes)
    without = sum(1 for number in range(video.count) if number not in found)
    remark = f"{boxes}: has no box in {without} of {video.count} frames" if without else ""
    return lambda frame: [*found.get(frame.number, [])], remark


def _table(video: Video, table: Path) -> dict[int, list[Box]]:
    """Return the boxes of each frame in a table."""
    rows = read_table(table)
    columns = [rows.numbers(name) for name in ("frame", *BOX)]
    found: dict[int, list[Box]] = {}
    for row, frame in enumerate(columns[0].tolist()):
        if frame != int(frame) or not 0 <= frame < video.count:
            raise InputError(
                f"{rows.place(row)}: frame is {frame:g}, expected 0 to {video.count - 1}, the "
                f"frames of {video.path}: give the table of this video"
            )
        left, top, right, bottom = box = box_in(rows, columns[1:], row)
        if right <= 0 or bottom <= 0 or left >= video.width or top >= video.height:
            raise InputError(
                f"{rows.place(row)}: the box {[*box]} is outside the frame of {video.width} x "
                f"{video.height} pixels: correct or remove the row"
            )
        found.setdefault(int(frame), []).append(box)
    return found


def _detector(video: Video) -> Boxes:
    """Return OpenCV's cascades of faces, from the front and, where that finds none, in profile.

    Viola and Jones 2001, https://doi.org/10.1109/CVPR.2001.990517, with the cascades that the
    package contains: small and quick, but it misses faces that are turned or partly hidden.

    Raises:
        InputError: OpenCV is not installed, or lacks the cascades (version 5).
    """
    if find_spec("cv2") is None:
        raise InputError(
            f"{video.path}: where are the faces? Give --boxes CSV (frame, {', '.join(BOX)}) or "
            f"--boxes {WHOLE} for frames that show a face alone, or install a detector: "
            "pip install 'evonas[faces]'"
        )
    cv2 = library("cv2", "detecting faces", "faces")
    try:
        folder = Path(cv2.data.haarcascades)
        front, profile = (
            cv2.CascadeClassifier(str(folder / f"haarcascade_{name}.xml"))
            for name in ("frontalface_alt2", "profileface")
        )
    except AttributeError as error:
        raise InputError(
            "detecting faces needs the cascades of OpenCV 4, which OpenCV 5 lacks: pip install "
            "'evonas[faces]', or give --boxes FILE.csv"
        ) from error
    least = max(24, round(min(video.width, video.height) * _SMALLEST))

    def search(cascade: object, grey: NDArray[np.uint8]) -> list[Box]:
        corners = cascade.detectMultiScale(  # type: ignore[attr-defined]
            grey, minNeighbors=_NEIGHBOURS, minSize=(least, least)
        )
        return [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h in corners]

    def detect(frame: Frame) -> list[Box | None]:
        grey = np.asarray(frame.picture.convert("L"))
        found = search(front, grey) or search(profile, grey)
        if not found:  # the cascade knows one side of the face
            mirrored = search(profile, np.ascontiguousarray(grey[:, ::-1]))
            width = grey.shape[1]
            found = [(width - right, top, width - left, low) for left, top, right, low in mirrored]
        return [*found]

    return detect

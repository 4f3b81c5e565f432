"""Standard crops of photos, and key points in units of their sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.data.images.image_io import Box, crop, read_photo, squared, widened
from evonas.errors import InputError, UnreadableImage

MARGIN = 0.15  # share of the returned image at each edge, for augmentation

_LARGEST = 10  # largest side of a crop, in longer sides of its photo


def check_size(size: int, context: float = 1.0) -> None:
    """Check the options ``data.size`` (in pixels) and ``data.context`` of a reader.

    Raises:
        InputError: one of them is out of its range.
    """
    if not 8 <= size <= 2048:
        raise InputError(f"data.size: expected 8 to 2048 pixels, got {size}")
    if not (math.isfinite(context) and 0 < context <= 100):
        raise InputError(
            f"data.context: expected a side in units of the box's longer side, such as 1.25, "
            f"got {context}"
        )


def standard_crops(boxes: NDArray[np.float64], context: float) -> NDArray[np.float64]:
    """Return the standard crops: squares around boxes, in whose sides key points are given.

    They are squares, since a stretched image would change proportions and angles.

    Args:
        boxes: (n, 4) left, top, right, bottom, pixels.
        context: side of the square in units of the box's longer side.

    Returns:
        (n, 4) squares with the same centres.
    """
    if not len(boxes):
        return np.empty((0, 4))
    square = np.array([squared((b[0], b[1], b[2], b[3])) for b in boxes.tolist()])
    corner, far = square[:, :2], square[:, 2:]
    room = (far - corner) * (context - 1) / 2
    return np.concatenate([corner - room, far + room], 1)


def cut(
    path: Path,
    box: NDArray[np.float64],
    size: int,
    annotated: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Return a standard crop with its margin, (size, size, 3); black outside the photo.

    The EXIF orientation is ignored, since boxes are in pixels of the stored photo.

    Args:
        path: path of the photo.
        box: left, top, right, bottom of the standard crop, pixels.
        size: side of the result, pixels.
        annotated: width and height of the annotated photo, if known.

    Raises:
        UnreadableImage: the file is damaged or has not the annotated size, or the box is
            outside the photo.
    """
    left, top, right, bottom = box.tolist()
    photo = read_photo(path)
    if annotated is not None and annotated != photo.size:
        raise UnreadableImage(
            f"{path}: expected the annotated {annotated[0]:g} x {annotated[1]:g} pixels, got "
            f"{photo.width} x {photo.height}, where points would be misplaced: restore the file"
        )
    if right <= 0 or bottom <= 0 or left >= photo.width or top >= photo.height:
        raise UnreadableImage(f"{path}: the box is outside the photo: correct or remove it")
    if right - left > _LARGEST * max(photo.size):  # would be black and might not fit into memory
        raise UnreadableImage(
            f"{path}: expected a box in pixels, got one larger than {_LARGEST} photos: correct it"
        )
    return crop(photo, widened((left, top, right, bottom), MARGIN), size, size)


def whole(path: Path, size: int) -> NDArray[np.uint8]:
    """Return a whole photo, upright, on a black square, (size, size, 3).

    The shorter side is padded, since stretching would change angles and proportions, and cropping
    the centre might lose the labelled content.

    Raises:
        UnreadableImage: the file is damaged.
    """
    photo = read_photo(path, upright=True)
    frame: Box = squared((0, 0, photo.width, photo.height))
    return crop(photo, frame, size, size)


def point_labels(
    names: Sequence[str],
    points: NDArray[np.float64],
    crops: NDArray[np.float64],
    areas: NDArray[np.float64],
    photos: NDArray[np.intp],
) -> dict[str, NDArray[np.float32]]:
    """Return the labels of key points, and the position of each crop in its photo.

    A point at ``x`` sides of the crop is at ``box.left + x * box.side`` pixels of the photo.

    Args:
        names: names of the k points.
        points: (n, k, 3) x and y in pixels of the photo, and 0 not labelled, 1 hidden, 2 visible.
        crops: (n, 4) standard crops.
        areas: (n,) areas of the persons, squared pixels of the photo.
        photos: (n,) index of each person's photo.

    Returns:
        ``nose.x``, ``nose.y``, ``nose.v`` for each name, ``box.left``, ``box.top``,
        ``box.side``, ``area`` and ``image``, (n,) each. A point that is not labelled is at the
        centre, so that labels are finite; tasks ignore it.
    """
    side = crops[:, 2] - crops[:, 0]
    relative = (points[..., :2] - crops[:, None, :2]) / side[:, None, None]
    relative[points[..., 2] == 0] = 0.5
    labels: dict[str, NDArray[np.float64]] = {}
    for k, name in enumerate(names):
        labels |= {f"{name}.x": relative[:, k, 0], f"{name}.y": relative[:, k, 1]}
        labels[f"{name}.v"] = points[:, k, 2]
    labels |= {"box.left": crops[:, 0], "box.top": crops[:, 1], "box.side": side}
    labels |= {"area": areas, "image": photos.astype(np.float64)}
    return {name: values.astype(np.float32) for name, values in labels.items()}

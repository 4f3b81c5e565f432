"""Standard crops of photos, and key points told in their sides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.data.images.image_io import Box, crop, read_photo, squared, widened
from evonas.errors import InputError, UnreadableImage

MARGIN = 0.15  # room at each edge of the returned image, for augmentation

_LARGEST = 10  # side of a crop, in longer sides of its photo


def check_size(size: int, context: float = 1.0) -> None:
    """Refuse a side of images, in pixels, or a widening of boxes that gives no picture.

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
    """Return the squares that key points are told in.

    A square, because a stretched picture would change proportions and angles.

    Args:
        boxes: (n, 4) left, top, right, bottom, pixels.
        context: side of the square in units of the box's longer side.

    Returns:
        (n, 4), around the same centres.
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
    told: tuple[float, float] | None = None,
) -> NDArray[np.uint8]:
    """Return a standard crop with its margin, (size, size, 3); black outside the photo.

    The photo is taken as it is stored: a box is in stored pixels.

    Args:
        path: of the photo.
        box: left, top, right, bottom of the standard crop, pixels.
        size: side of the result, pixels.
        told: width and height of the photo that the box was annotated in, if known.

    Raises:
        UnreadableImage: the file is damaged, is not of the size that was annotated, or
            the box is not in it.
    """
    left, top, right, bottom = box.tolist()
    photo = read_photo(path)
    if told is not None and told != photo.size:
        raise UnreadableImage(
            f"{path}: is {photo.width} x {photo.height} pixels, annotated as {told[0]:g} x "
            f"{told[1]:g}: points would be misplaced, put the annotated file there"
        )
    if right <= 0 or bottom <= 0 or left >= photo.width or top >= photo.height:
        raise UnreadableImage(f"{path}: the box lies outside the photo: mend or remove it")
    if right - left > _LARGEST * max(photo.size):  # black, and more of it than memory holds
        raise UnreadableImage(
            f"{path}: the box is more than {_LARGEST} photos wide: expected pixels, mend it"
        )
    return crop(photo, widened((left, top, right, bottom), MARGIN), size, size)


def whole(path: Path, size: int) -> NDArray[np.uint8]:
    """Return a whole photo, upright, on a black square, (size, size, 3).

    Stretching it would change angles and proportions, and cutting its centre out might
    lose what the label tells about; so the shorter side is padded.

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
    """Return the labels of key points, and what leads from a crop back to its photo.

    A point at ``x`` sides of the crop lies at ``box.left + x * box.side`` pixels of the photo.

    Args:
        names: of k points.
        points: (n, k, 3) x and y in pixels of the photo, and 0 not labelled, 1 hidden, 2 visible.
        crops: (n, 4) standard crops.
        areas: (n,) of the persons, pixels of the photo squared.
        photos: (n,) number of the photo that each person stands in.

    Returns:
        ``nose.x``, ``nose.y``, ``nose.v`` for each name, ``box.left``, ``box.top``,
        ``box.side``, ``area`` and ``image``, (n,) each. A point that is not labelled lies in
        the centre: labels are finite, and no task counts it.
    """
    side = crops[:, 2] - crops[:, 0]
    told = (points[..., :2] - crops[:, None, :2]) / side[:, None, None]
    told[points[..., 2] == 0] = 0.5
    labels: dict[str, NDArray[np.float64]] = {}
    for k, name in enumerate(names):
        labels |= {f"{name}.x": told[:, k, 0], f"{name}.y": told[:, k, 1]}
        labels[f"{name}.v"] = points[:, k, 2]
    labels |= {"box.left": crops[:, 0], "box.top": crops[:, 1], "box.side": side}
    labels |= {"area": areas, "image": photos.astype(np.float64)}
    return {name: values.astype(np.float32) for name, values in labels.items()}

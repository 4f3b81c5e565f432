"""Drawing on images: head axes, key points, a line of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from evonas.rotations import matrices

_AXES = ((220, 40, 40), (40, 170, 60), (50, 90, 240))  # x red, y green, z blue
_VISIBLE, _HIDDEN = (60, 220, 90), (250, 200, 60)


def axes(picture: Image.Image, angles: Sequence[float], length: float = 0.36) -> None:
    """Draw a head's three axes from the middle of a picture, in place.

    x (red) points to the image's right of a frontal head, y (green) down, z (blue)
    out of the face.

    Args:
        picture: RGB.
        angles: yaw, pitch, roll in degrees.
        length: of an axis that lies in the image plane, in sides of the picture.
    """
    pen = ImageDraw.Draw(picture)
    middle = np.array(picture.size) / 2
    rotation = matrices(np.asarray(angles, np.float64)[None])[0]
    order = np.argsort(rotation[2])  # the axis that comes out furthest is drawn last
    for axis in order.tolist():
        tip = middle + rotation[:2, axis] * length * min(picture.size)
        thick = max(2, min(picture.size) // 48)
        pen.line([tuple(middle), tuple(tip)], fill=_AXES[axis], width=thick)


def points(picture: Image.Image, places: NDArray[np.floating]) -> None:
    """Draw key points, in place: green where visible, yellow where hidden.

    Args:
        picture: RGB.
        places: (k, 3) x and y in sides of the picture, and 0 (left out), 1 (hidden) or
            2 (visible).
    """
    pen = ImageDraw.Draw(picture)
    radius = max(2, min(picture.size) // 48)
    for x, y, seen in places.tolist():
        if seen > 0:
            at = (x * picture.width, y * picture.height)
            pen.circle(at, radius, fill=_VISIBLE if seen > 1 else _HIDDEN, outline=(0, 0, 0))


def captioned(picture: Image.Image, text: Sequence[str], line: int = 12) -> Image.Image:
    """Return the picture with lines of text below it, cut to its width."""
    whole = Image.new("RGB", (picture.width, picture.height + line * len(text)), (255, 255, 255))
    whole.paste(picture)
    pen = ImageDraw.Draw(whole)
    for number, words in enumerate(text):
        while words and pen.textlength(words) > picture.width - 4:
            words = words[:-1]
        pen.text((2, picture.height + number * line), words, fill=(20, 20, 20))
    return whole


def grid(pictures: Sequence[Image.Image], columns: int, gap: int = 4) -> Image.Image:
    """Return pictures of one size side by side, row by row."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    columns = min(columns, len(pictures))
    whole = Image.new("RGB", (columns * (width + gap), rows * (height + gap)), (255, 255, 255))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        whole.paste(picture, (column * (width + gap), row * (height + gap)))
    return whole

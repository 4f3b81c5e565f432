"""Drawing on images: head axes, key points, bars, captions, grids of images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from evonas.core.rotations import matrices

_AXES = ((220, 40, 40), (40, 170, 60), (50, 90, 240))  # x red, y green, z blue
_VISIBLE, _HIDDEN = (60, 220, 90), (250, 200, 60)
_BONE = (90, 150, 250)
_BAR = 12  # pixels, the height of a line of text

Box = tuple[float, float, float, float]


def axes(
    picture: Image.Image, angles: Sequence[float], length: float = 0.36, box: Box | None = None
) -> None:
    """Draw the three axes of a head at the centre of a picture or box, in place.

    x (red) points to the image's right of a frontal head, y (green) down, z (blue)
    out of the face.

    Args:
        picture: RGB.
        angles: yaw, pitch, roll in degrees.
        length: of an axis in the image plane, as a fraction of the side of the picture or box.
        box: left, top, right, bottom, pixels; None: the whole picture.
    """
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = box or (0, 0, *picture.size)
    middle, side = np.array([left + right, top + bottom]) / 2, min(right - left, bottom - top)
    rotation = matrices(np.asarray(angles, np.float64)[None])[0]
    order = np.argsort(rotation[2])  # back to front
    for axis in order.tolist():
        tip = middle + rotation[:2, axis] * length * side
        thick = max(2, round(side) // 48)
        pen.line([tuple(middle), tuple(tip)], fill=_AXES[axis], width=thick)


def points(
    picture: Image.Image,
    places: NDArray[np.floating],
    bones: Iterable[tuple[int, int]] = (),
    box: Box | None = None,
) -> None:
    """Draw key points, in place: green where visible, yellow where hidden.

    Args:
        picture: RGB.
        places: (k, 3) x and y as fractions of the picture or box, and 0 (not labelled),
            1 (hidden) or 2 (visible).
        bones: pairs of point indices to connect; pairs with an unlabelled point are skipped.
        box: left, top, right, bottom, pixels; None: the whole picture.
    """
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = box or (0, 0, *picture.size)
    size = np.array([right - left, bottom - top])
    radius = max(2, round(size.min()) // 48)
    at = [(x, y) for x, y in (places[:, :2] * size + (left, top)).tolist()]
    seen = places[:, 2].tolist()
    for one, other in bones:
        if seen[one] > 0 and seen[other] > 0:
            pen.line([at[one], at[other]], fill=_BONE, width=max(2, radius // 2))
    for place, state in zip(at, seen, strict=True):
        if state > 0:
            pen.circle(place, radius, fill=_VISIBLE if state > 1 else _HIDDEN, outline=(0, 0, 0))


def bars(picture: Image.Image, shares: Mapping[str, float], box: Box | None = None) -> None:
    """Draw named horizontal bars at the lower edge, in place.

    Args:
        picture: RGB.
        shares: name -> share, 0..1.
        box: left, top, right, bottom, pixels; None: the whole picture.
    """
    pen = ImageDraw.Draw(picture)
    left, _, right, bottom = box or (0, 0, *picture.size)
    left, right, bottom = max(left, 0), min(right, picture.width), min(bottom, picture.height)
    for row, (name, share) in enumerate(reversed(list(shares.items()))):
        low = bottom - row * _BAR
        pen.rectangle((left, low - _BAR, right, low - 1), fill=(255, 255, 255))
        full = left + share * (right - left)
        pen.rectangle((left, low - _BAR, max(full, left), low - 1), fill=(150, 200, 250))
        pen.text((left + 2, low - _BAR), f"{name} {100 * share:.0f} %", fill=(20, 20, 20))


def label(picture: Image.Image, text: Sequence[str], place: tuple[float, float]) -> None:
    """Write lines of text on a dark ground, in place, in a size that fits the picture.

    Args:
        picture: RGB.
        text: the lines.
        place: left and top of the text, pixels; it is moved into the picture.
    """
    if not text:
        return
    pen, joined = ImageDraw.Draw(picture), "\n".join(text)
    font = ImageFont.load_default(max(10, min(picture.size) // 30))
    left, top, right, bottom = pen.multiline_textbbox((0, 0), joined, font)
    x = max(0.0, min(place[0], picture.width - right - 4))
    y = max(0.0, min(place[1], picture.height - bottom - 4))
    pen.rectangle((x + left - 2, y + top - 2, x + right + 2, y + bottom + 2), fill=(20, 20, 20))
    pen.multiline_text((x, y), joined, (250, 250, 250), font)


def captioned(picture: Image.Image, text: Sequence[str], line: int = 12) -> Image.Image:
    """Return the picture with lines of text below it, clipped to its width."""
    whole = Image.new("RGB", (picture.width, picture.height + line * len(text)), (255, 255, 255))
    whole.paste(picture)
    pen = ImageDraw.Draw(whole)
    for number, words in enumerate(text):
        while words and pen.textlength(words) > picture.width - 4:
            words = words[:-1]
        pen.text((2, picture.height + number * line), words, fill=(20, 20, 20))
    return whole


def grid(pictures: Sequence[Image.Image], columns: int, gap: int = 4) -> Image.Image:
    """Return pictures of one size as a grid, row by row."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    columns = min(columns, len(pictures))
    whole = Image.new("RGB", (columns * (width + gap), rows * (height + gap)), (255, 255, 255))
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        whole.paste(picture, (column * (width + gap), row * (height + gap)))
    return whole

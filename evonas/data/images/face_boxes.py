"""The rectangles of HopeNet's and FSA-Net's programs around a face (see ``_face_crops``)."""

from __future__ import annotations

from typing import NamedTuple

from evonas.data.images.image_io import Box

_FSANET_MARGIN = 0.4


class Widening(NamedTuple):
    """How far HopeNet moves each edge, in sides of the box."""

    left: float
    top: float
    right: float
    bottom: float


def hopenet_box(box: Box, widening: Widening) -> Box:
    """Return HopeNet's rectangle, in whole pixels.

    Edges move one after the other: right and bottom by a share of the side that the
    left and top edge have enlarged already. The program then cuts the decimals off.
    """
    left, top, right, bottom = box
    left -= widening.left * (right - left)
    top -= widening.top * (bottom - top)
    right += widening.right * (right - left)
    bottom += widening.bottom * (bottom - top)
    return (float(int(left)), float(int(top)), float(int(right)), float(int(bottom)))


def fsanet_box(box: Box, width: int, height: int) -> Box:
    """Return FSA-Net's rectangle: 0.4 of each side more at each edge, cut at the photo's edges.

    Args:
        box: around the face, pixels.
        width: of the photo, pixels.
        height: of the photo, pixels.
    """
    left, top, right, bottom = (int(edge) for edge in box)
    x, y = _FSANET_MARGIN * (right - left), _FSANET_MARGIN * (bottom - top)
    return (
        float(max(int(left - x), 0)),
        float(max(int(top - y), 0)),
        float(min(int(right + x), width - 1)),
        float(min(int(bottom + y), height - 1)),
    )


def central_square(box: Box) -> Box:
    """Return the square of a rectangle's shorter side in its centre.

    HopeNet resizes the shorter side to the network's and cuts the centre out; this is
    the same without the rounding to a pixel of the resized image.
    """
    left, top, right, bottom = box
    x, y, half = (left + right) / 2, (top + bottom) / 2, min(right - left, bottom - top) / 2
    return (x - half, y - half, x + half, y + half)

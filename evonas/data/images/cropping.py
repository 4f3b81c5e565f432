"""Cropping rules: how an image of a data set is made from a photo and a box.

A network needs the same crops in use as in training, so exported files contain the rule as plain
data. The rectangles of HopeNet's and FSA-Net's programs are here too (see
``evonas.data.readers.face_crops``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.data.images.image_io import Box, read_photo, sampled, squared, widened
from evonas.data.images.image_io import crop as cropped
from evonas.data.images.key_point_crops import standard_crops
from evonas.errors import InputError, UnreadableImage

Shape = Literal["image", "whole", "square", "hopenet", "fsanet"]

_LARGEST = 10  # largest side of a crop, in longer sides of its photo
_FSANET_MARGIN = 0.4


class Widening(NamedTuple):
    """Distance by which HopeNet moves each edge outwards, in sides of the box."""

    left: float
    top: float
    right: float
    bottom: float


def hopenet_box(box: Box, widening: Widening) -> Box:
    """Return HopeNet's rectangle, in whole pixels.

    The edges move one after the other: right and bottom by a share of the side that is already
    enlarged at the left and top. The program then truncates to whole pixels.
    """
    left, top, right, bottom = box
    left -= widening.left * (right - left)
    top -= widening.top * (bottom - top)
    right += widening.right * (right - left)
    bottom += widening.bottom * (bottom - top)
    return (float(int(left)), float(int(top)), float(int(right)), float(int(bottom)))


def fsanet_box(box: Box, width: int, height: int) -> Box:
    """Return FSA-Net's rectangle: 0.4 of each side more at each edge, clipped to the photo.

    Args:
        box: face box, pixels.
        width: width of the photo, pixels.
        height: height of the photo, pixels.
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
    """Return the central square of a rectangle, with its shorter side.

    HopeNet resizes the shorter side to that of the network and crops the centre; this is the same
    without the rounding to pixels of the resized image.
    """
    left, top, right, bottom = box
    x, y, half = (left + right) / 2, (top + bottom) / 2, min(right - left, bottom - top) / 2
    return (x - half, y - half, x + half, y + half)


@dataclass(frozen=True)
class Framing:
    """Cropping rule of a data set.

    Attributes:
        shape: shape of the standard crop. ``image``: the photo as it is. ``whole``: the square
            around the whole photo. ``square``: the square around the box. ``hopenet``: the
            central square of the enlarged box. ``fsanet``: the box enlarged by 0.4 of its sides
            at each edge, clipped to the photo and stretched to a square.
        context: with ``square``: side of the square in units of the box's longer side.
        widening: with ``hopenet``: distance by which left, top, right and bottom edge move, in
            sides of the box; None: the box is the crop already.
        margin: see ``Dataset.margin``.
        size: side of the image, pixels; unused with ``image``.
        smooth: whether downscaling is antialiased.
    """

    shape: Shape = "image"
    context: float = 1.0
    widening: tuple[float, float, float, float] | None = None
    margin: float = 0.0
    size: int = 0
    smooth: bool = True

    def image(self, path: Path, box: Box | None) -> tuple[NDArray[np.uint8], Image.Image, Box]:
        """Return the image that the reader of the data set would return, photo, standard crop.

        Args:
            path: path of the photo.
            box: left, top, right, bottom in pixels of the stored photo; None: the standard crop
                is the whole photo, in the orientation of its EXIF data, padded to a square.

        Returns:
            (height, width, 3) RGB with the margin around the standard crop, black outside the
            photo; the photo; the standard crop in pixels of the photo.

        Raises:
            UnreadableImage: the photo is damaged, or the box is outside it.
        """
        photo = read_photo(path, upright=box is None)
        taken, inner = self.crop(photo, box, path)
        return taken, photo, inner

    def crop(
        self, photo: Image.Image, box: Box | None, name: object
    ) -> tuple[NDArray[np.uint8], Box]:
        """Return the image and the standard crop of a photo; see ``image``.

        Args:
            photo: RGB.
            box: as for ``image``.
            name: of the photo, for messages.

        Raises:
            UnreadableImage: the box is outside the photo.
        """
        width, height = photo.size
        if box is None and self.shape == "image":
            x, y = width * self.margin, height * self.margin
            return np.asarray(photo), (x, y, width - x, height - y)
        inner = squared((0, 0, width, height)) if box is None else self.standard(box, width, height)
        left, top, right, bottom = inner
        if min(right, width) - max(left, 0) < 1 or min(bottom, height) - max(top, 0) < 1:
            raise UnreadableImage(f"{name}: the box is outside the photo: correct or remove it")
        if max(right - left, bottom - top) > _LARGEST * max(width, height):
            raise UnreadableImage(
                f"{name}: expected a box in pixels, got one larger than {_LARGEST} photos: "
                f"correct it"
            )
        outer = widened(inner, self.margin)
        side = self.size or max(1, round(outer[2] - outer[0]))
        taken = cropped(photo, outer, side, side) if self.smooth else sampled(photo, outer, side)
        return taken, inner

    def standard(self, box: Box, width: int, height: int) -> Box:
        """Return the standard crop, in pixels, for a box in a photo of the given size."""
        if self.shape == "fsanet":
            return fsanet_box(box, width, height)
        if self.shape == "hopenet":
            enlarged = hopenet_box(box, Widening(*self.widening)) if self.widening else box
            return central_square(enlarged)
        left, top, right, bottom = standard_crops(np.array([box]), self.context)[0].tolist()
        return (left, top, right, bottom)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Framing:
        """Return the rule that ``to_dict`` wrote.

        Raises:
            InputError: a key is missing or has a wrong value.
        """
        try:
            shares = data["widening"]
            framing = cls(
                data["shape"],
                float(data["context"]),
                None if shares is None else (*(float(share) for share in shares),),  # type: ignore[arg-type]
                float(data["margin"]),
                int(data["size"]),
                bool(data["smooth"]),
            )
            valid = framing.shape in get_args(Shape) and len(framing.widening or (0,) * 4) == 4
            numbers = (framing.context, *(framing.widening or ()))
            valid &= all(map(math.isfinite, numbers)) and 0 < framing.context <= 100
            valid &= 0 <= framing.margin < 0.5 and 0 <= framing.size <= 4096
        except (KeyError, TypeError, ValueError):
            valid = False
        if not valid:
            names = ", ".join(field.name for field in fields(cls))
            raise InputError(f"expected a cropping rule ({names}), got {dict(data)}")
        return framing

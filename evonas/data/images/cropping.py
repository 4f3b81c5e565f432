"""How a photo, and a box in it, become an image of a data set: the rule as plain data.

A network has to see at work what it saw in training, so the rule stands in exported files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.data.images.face_boxes import Widening, central_square, fsanet_box, hopenet_box
from evonas.data.images.image_io import Box, crop, read_photo, sampled, squared, widened
from evonas.data.images.key_point_crops import standard_crops
from evonas.errors import InputError, UnreadableImage

Shape = Literal["image", "whole", "square", "hopenet", "fsanet"]

_LARGEST = 10  # side of a crop, in longer sides of its photo


@dataclass(frozen=True)
class Framing:
    """A rule of cropping.

    Attributes:
        shape: of the standard crop. ``image``: a photo is the set's image, as it is. ``whole``:
            the square around the whole photo. ``square``: that around the box. ``hopenet``:
            the central square of the box, widened. ``fsanet``: the box and 0.4 of its sides
            more at each edge, cut at the photo's edges and stretched.
        context: of ``square``: its side in units of the box's longer side.
        widening: of ``hopenet``: how far left, top, right and bottom edge move, in sides of
            the box; None: the box is the crop already.
        margin: see ``Dataset.margin``.
        size: side of the image, pixels; of ``image`` it is the photo's own.
        smooth: shrinking is antialiased.
    """

    shape: Shape = "image"
    context: float = 1.0
    widening: tuple[float, float, float, float] | None = None
    margin: float = 0.0
    size: int = 0
    smooth: bool = True

    def image(self, path: Path, box: Box | None) -> tuple[NDArray[np.uint8], Image.Image, Box]:
        """Return an image as the data set's reader gives it, the photo, and the standard crop.

        Args:
            path: of the photo.
            box: left, top, right, bottom in pixels of the stored photo; None: the whole
                photo, turned upright, is the standard crop, padded to a square.

        Returns:
            (height, width, 3) RGB with the margin around the standard crop; black outside the
            photo. The standard crop is in pixels of the photo.

        Raises:
            UnreadableImage: the photo is damaged, or the box lies outside it.
        """
        photo = read_photo(path, upright=box is None)
        width, height = photo.size
        if box is None and self.shape == "image":
            x, y = width * self.margin, height * self.margin
            return np.asarray(photo), photo, (x, y, width - x, height - y)
        inner = squared((0, 0, width, height)) if box is None else self.standard(box, width, height)
        left, top, right, bottom = inner
        if min(right, width) - max(left, 0) < 1 or min(bottom, height) - max(top, 0) < 1:
            raise UnreadableImage(f"{path}: the box lies outside the photo: mend or remove it")
        if max(right - left, bottom - top) > _LARGEST * max(width, height):
            raise UnreadableImage(
                f"{path}: the box is more than {_LARGEST} photos wide: expected pixels, mend it"
            )
        outer = widened(inner, self.margin)
        side = self.size or max(1, round(outer[2] - outer[0]))
        taken = crop(photo, outer, side, side) if self.smooth else sampled(photo, outer, side)
        return taken, photo, inner

    def standard(self, box: Box, width: int, height: int) -> Box:
        """Return the standard crop of a box in a photo of so many pixels, in its pixels."""
        if self.shape == "fsanet":
            return fsanet_box(box, width, height)
        if self.shape == "hopenet":
            moved = hopenet_box(box, Widening(*self.widening)) if self.widening else box
            return central_square(moved)
        left, top, right, bottom = standard_crops(np.array([box]), self.context)[0].tolist()
        return (left, top, right, bottom)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Framing:
        """Return the rule of plain data.

        Raises:
            InputError: the data are none.
        """
        try:
            shares = data["widening"]
            one = cls(
                data["shape"],
                float(data["context"]),
                None if shares is None else (*(float(share) for share in shares),),  # type: ignore[arg-type]
                float(data["margin"]),
                int(data["size"]),
                bool(data["smooth"]),
            )
            fits = one.shape in get_args(Shape) and len(one.widening or (0,) * 4) == 4
            numbers = (one.context, *(one.widening or ()))
            fits &= all(map(math.isfinite, numbers)) and 0 < one.context <= 100
            fits &= 0 <= one.margin < 0.5 and 0 <= one.size <= 4096
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            names = ", ".join(field.name for field in fields(cls))
            raise InputError(f"expected a rule of cropping ({names}), got {dict(data)}")
        return one

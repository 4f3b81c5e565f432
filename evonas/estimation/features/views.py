"""Views: the augmented copies of a data set over which features are computed once.

Caching features would end augmentation, so a few views of every image are cached
instead: the plain crop, its mirror image, and jittered copies (crop position and
scale, brightness, contrast, saturation). In training each image of each batch is
drawn from one of its views; validation sees the plain one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

from evonas.errors import InputError

_NAME = re.compile(r"plain|(flip)|jitter([1-9]\d*)(_flip)?")
_SHIFT = 0.08  # of the crop's side, each way
_SCALE = 1.15  # largest zoom, and its inverse the smallest
_PHOTOMETRIC = 0.35  # largest relative change of brightness, contrast, saturation


@dataclass(frozen=True)
class View:
    """One way to look at every image of a data set.

    Attributes:
        jitter: number of the jittered copy; 0 is the undisturbed crop.
        flip: whether the image is mirrored; labels change as the task says.
    """

    jitter: int = 0
    flip: bool = False

    @property
    def name(self) -> str:
        """``plain``, ``flip``, ``jitter3``, ``jitter3_flip``."""
        if not self.jitter:
            return "flip" if self.flip else "plain"
        return f"jitter{self.jitter}" + ("_flip" if self.flip else "")

    @classmethod
    def parse(cls, name: str) -> View:
        """Return the view of a name.

        Raises:
            InputError: the name is not of the form above.
        """
        found = _NAME.fullmatch(name)
        if not found:
            raise InputError(
                f"unknown view {name!r}: expected plain, flip, jitterK or jitterK_flip"
            )
        return cls(int(found[2] or 0), bool(found[1] or found[3]))

    def apply(
        self, image: NDArray[np.uint8], index: int, size: int, margin: float
    ) -> NDArray[np.uint8]:
        """Return the (size, size, 3) crop of an image as this view shows it.

        Args:
            image: (height, width, 3) RGB.
            index: the image's number; it decides the jitter together with the view.
            size: side of the result, pixels.
            margin: see ``Dataset.margin``.
        """
        height, width = image.shape[:2]
        rng = self._generator(index)
        shift, zoom = self._geometry(rng)
        side = np.array([width, height]) * (1 - 2 * margin) * zoom
        corner = np.array([width, height]) * 0.5 - side / 2 + shift * side
        picture = _crop(image, corner, side, size)
        if self.jitter:
            for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                factor = 1.0 + rng.uniform(-_PHOTOMETRIC, _PHOTOMETRIC)
                picture = enhancer(picture).enhance(factor)
        return np.asarray(ImageOps.mirror(picture) if self.flip else picture)

    def crops(self, n: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return where this view looks, before mirroring, in sides of the standard crop.

        Returns:
            (n, 2) x and y of the left upper corner and (n,) side, of images 0 to n - 1.
        """
        corner, side = np.zeros((n, 2), np.float32), np.ones(n, np.float32)
        for index in range(n) if self.jitter else ():
            shift, zoom = self._geometry(self._generator(index))
            corner[index], side[index] = 0.5 - zoom / 2 + shift * zoom, zoom
        return corner, side

    def _generator(self, index: int) -> np.random.Generator:
        return np.random.default_rng([7, self.jitter, self.flip, index])

    def _geometry(self, rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
        """Return the shift, in sides of the crop, and the zoom of a jittered copy."""
        if not self.jitter:
            return np.zeros(2), 1.0
        shift = rng.uniform(-_SHIFT, _SHIFT, 2)
        return shift, float(_SCALE ** rng.uniform(-1.0, 1.0))


def _crop(
    image: NDArray[np.uint8], corner: NDArray[np.float64], side: NDArray[np.float64], size: int
) -> Image.Image:
    """Resample a box; pixels outside the image repeat its edge."""
    height, width = image.shape[:2]
    if not corner.any() and (side == (width, height)).all() and (width, height) == (size, size):
        return Image.fromarray(image)
    pad = int(np.ceil(max(0.0, *(-corner), *(corner + side - (width, height)))))
    if pad:
        image = np.pad(image, ((pad, pad), (pad, pad), (0, 0)), mode="edge")
        corner = corner + pad
    box = (*corner.tolist(), *(corner + side).tolist())
    return Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=box)


def standard_views(jitters: int) -> tuple[View, ...]:
    """Return plain, flip, and ``jitters`` jittered copies of each."""
    return tuple(View(j, flip) for j in range(jitters + 1) for flip in (False, True))

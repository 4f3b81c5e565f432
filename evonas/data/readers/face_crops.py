"""Base class of head pose data sets with one face box per photo, and the published face crops.

N. Ruiz, E. Chong, J. M. Rehg (2018), "Fine-Grained Head Pose Estimation Without
Keypoints", https://arxiv.org/abs/1710.00925 (HopeNet), and T.-Y. Yang, Y.-T. Chen,
Y.-Y. Lin, Y.-Y. Chuang (2019), "FSA-Net: Learning Fine-Grained Structure Aggregation for
Head Pose Estimation from a Single Image", CVPR. Neither paper states its crop; these are the crops
of the authors' published programs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evonas.core.rotations import ANGLES
from evonas.data.base import Dataset
from evonas.data.images.cropping import (
    Framing,
    Widening,
    central_square,
    fsanet_box,
    hopenet_box,
)
from evonas.data.images.image_io import Box, content_hash, crop, read_photo, widened
from evonas.errors import InputError, UnreadableImage

Crop = Literal["hopenet", "fsanet"]

LIMIT = 99.0  # degrees
BEYOND = f"an angle beyond {LIMIT:g} degrees"  # the reason in ``Dataset.dropped``

_MOST_PIXELS = 3000  # largest side of a box; the photos are smaller


def beyond(angles: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which images the protocol leaves out, (n,): those with an angle beyond 99 degrees.

    HopeNet's 66 bins of 3 degrees cover angles up to 99 degrees; 31 of the 2000 images of
    AFLW2000 are left out. Exactly 99 is kept, as in the published file lists, although it has no
    bin; no published label is exactly 99.

    Args:
        angles: (n, 3) in degrees, in any order.
    """
    outside: NDArray[np.bool_] = np.any(np.abs(angles) > LIMIT, axis=1)
    return outside


def landmark_box(points: NDArray[np.float64], inside: bool) -> Box | None:
    """Return the box around landmarks in pixels; None if it is smaller than 2 x 2 pixels.

    Args:
        points: (2, k) x and y in pixels.
        inside: whether to ignore points whose x or y is not positive.
    """
    usable = np.isfinite(points).all(axis=0)
    if inside:
        usable &= (points > 0).all(axis=0)
    kept = points[:, usable]
    if not kept.size:
        return None
    (left, top), (right, bottom) = kept.min(axis=1).tolist(), kept.max(axis=1).tolist()
    fits = all(2.0 <= side <= _MOST_PIXELS for side in (right - left, bottom - top))
    return (left, top, right, bottom) if fits else None


class FaceCrops(Dataset):
    """Photos with one face box each; base class of the readers of head pose files.

    The crop ``hopenet`` is the central square of HopeNet's rectangle. ``fsanet`` is FSA-Net's
    rectangle stretched to a square, which changes apparent angles a little but is what its
    published results were measured on.
    """

    margin = 0.15

    _names: list[str]
    _boxes: NDArray[np.float64]
    _crop: Crop
    _widening: Widening | None
    _size: int

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return the (size, size, 3) RGB standard crop with its margin; black outside the photo.

        Raises:
            UnreadableImage: the photo is missing or damaged, or the box lies outside it.
        """
        path = self.files[index]
        photo = read_photo(path)
        box = self._standard_crop(index, *photo.size)
        if min(box[2] - box[0], box[3] - box[1]) < 1:
            raise UnreadableImage(f"{path}: the face box is outside the photo: remove the photo")
        return crop(photo, widened(box, self.margin), self._size, self._size)

    def describe(self, index: int) -> str:
        """Return the photo's name within the data set's folder."""
        return self._names[index]

    def _standard_crop(self, index: int, width: int, height: int) -> Box:
        left, top, right, bottom = self._boxes[index].tolist()
        box = (left, top, right, bottom)
        if self._crop == "fsanet":
            return fsanet_box(box, width, height)
        return central_square(hopenet_box(box, self._widening) if self._widening else box)

    def _fill(
        self,
        folder: Path,
        photos: Sequence[Path],
        angles: NDArray[np.float64],
        boxes: NDArray[np.float64],
        kind: Crop,
        widening: Widening | None,
        size: int,
        missing: Mapping[str, Sequence[int]],
    ) -> list[Path]:
        """Drop photos beyond 99 degrees and set all attributes except groups and splits.

        Args:
            folder: folder to which names are relative.
            photos: n files.
            angles: (n, 3) yaw, pitch, roll in degrees.
            boxes: (n, 4) face boxes in pixels.
            kind: the published crop.
            widening: enlargement of the HopeNet crop; None: the box is the crop already.
            size: side of the returned images, pixels.
            missing: further reasons -> indices of the photos that are left out.

        Returns:
            The photos that are kept.
        """
        if not 16 <= size <= 1024:
            raise InputError(f"data.size: expected 16 to 1024 pixels, got {size}")
        reasons = {**missing, BEYOND: np.flatnonzero(beyond(angles)).tolist()}
        names = [path.relative_to(folder).as_posix() for path in photos]
        self.dropped = {
            why: tuple(names[i] for i in indices) for why, indices in reasons.items() if indices
        }
        out = {i for indices in reasons.values() for i in indices}
        kept = np.array([i for i in range(len(photos)) if i not in out], np.intp)
        self.labels = dict(zip(ANGLES, angles[kept].T.astype(np.float32), strict=True))
        self.files = [photos[i] for i in kept]
        self._names = [names[i] for i in kept]
        self._boxes = boxes[kept]
        self._crop, self._widening, self._size = kind, widening, size
        self.framing = Framing(kind, widening=widening, margin=self.margin, size=size)
        self.fingerprint = self._hash()
        return self.files

    def _hash(self) -> str:
        """Return a hash of names, labels, boxes, options and file contents."""
        content = content_hash("photos 1", self.files)
        options = [type(self).__name__, 1, self._crop, self._widening, self._size, self.margin]
        text = json.dumps([*options, self._names, content])
        digest = hashlib.blake2b(text.encode(), digest_size=16)
        for name in ANGLES:
            digest.update(self.labels[name].tobytes())
        digest.update(self._boxes.tobytes())
        return digest.hexdigest()

"""AFLW2000-3D: 2000 real faces in the wild with head poses, for testing; 1969 are used.

X. Zhu, Z. Lei, X. Liu, H. Shi, S. Z. Li (2016), "Face Alignment Across Large Poses: A 3D
Solution", https://arxiv.org/abs/1511.07212. The protocol of N. Ruiz, E. Chong,
J. M. Rehg (2018), https://arxiv.org/abs/1710.00925: train on 300W-LP, test here on the
images whose angles all lie within 99 degrees.

Expected under ``root``: ``imageNNNNN.jpg`` and ``imageNNNNN.mat``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evonas.data.images.cropping import Widening
from evonas.data.images.image_io import Box
from evonas.data.readers.face_crops import Crop, FaceCrops, landmark_box
from evonas.data.readers.mat_labels import read_all
from evonas.errors import InputError, nearest

_K = 0.2
_WIDENING = Widening(left=2 * _K, top=2 * _K, right=2 * _K, bottom=0.6 * _K)
_LANDMARKS = ("pt2d", "pt3d_68")


class AFLW2000(FaceCrops):
    """Square face crops with yaw, pitch and roll in degrees; only a ``test`` split.

    Args:
        root: folder of the images and .mat files.
        crop: ``hopenet`` or ``fsanet``, see ``FaceCrops``.
        landmarks: landmarks that define the box: ``pt2d``, the visible ones of 21 annotated
            points, as in the published programs, or ``pt3d_68``, 68 points of the fitted face;
            the other ones are used if these give no box.
        size: side of the returned square, pixels.

    Raises:
        InputError: a .mat file is missing or damaged, a file has no usable landmarks, or
            an option is unknown.
    """

    def __init__(
        self,
        root: str,
        crop: Crop = "hopenet",
        landmarks: Literal["pt2d", "pt3d_68"] = "pt2d",
        size: int = 224,
    ) -> None:
        if crop not in ("hopenet", "fsanet"):
            raise InputError(f"unknown data.crop {crop!r}: {nearest(crop, ('hopenet', 'fsanet'))}")
        if landmarks not in _LANDMARKS:
            raise InputError(
                f"unknown data.landmarks {landmarks!r}: {nearest(landmarks, _LANDMARKS)}"
            )
        folder = Path(root)
        photos = sorted(folder.glob("image*.jpg"))
        if not photos:
            raise InputError(
                f"{folder}: expected image00002.jpg, image00002.mat, ..., there are none: set "
                f"data.root to the folder that contains them"
            )
        order = (landmarks, *(name for name in _LANDMARKS if name != landmarks))
        angles, points = read_all(photos, order)
        boxes = [_box(groups, photo) for photo, groups in zip(photos, points, strict=True)]
        kept = self._fill(
            folder, photos, angles, np.array(boxes, np.float64), crop, _WIDENING, size, {}
        )
        self.groups = np.array([path.stem for path in kept], np.str_)
        self.splits = {"test": np.arange(len(kept))}
        self.protocol = (
            f"AFLW2000-3D, {len(kept)} of {len(photos)} images (|angle| <= 99 degrees), "
            f"{'HopeNet' if crop == 'hopenet' else 'FSA-Net'} crop around landmarks {landmarks}"
        )
        self.check()

    def known_groups(self) -> NDArray[np.str_] | None:
        """Return None: every photo is its own group."""
        return None


def _box(groups: list[NDArray[np.float64]], photo: Path) -> Box:
    """Return the box around the first of several sets of landmarks that gives one."""
    for points in groups:
        # A hidden landmark is stored as (-1, -1). HopeNet's program includes it, so that the box
        # of every turned face begins at the photo's corner; FSA-Net's program leaves it out.
        box = landmark_box(points, inside=True)
        if box is not None:
            return box
    raise InputError(
        f"{photo.with_suffix('.mat')}: expected landmarks pt2d or pt3d_68 on the photo, got none "
        f"that span a box: restore the file or remove its photo"
    )

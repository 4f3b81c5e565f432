"""300W-LP: 61,225 real faces rendered in large poses, and their mirror images, with head poses.

X. Zhu, Z. Lei, X. Liu, H. Shi, S. Z. Li (2016), "Face Alignment Across Large Poses: A 3D
Solution", https://arxiv.org/abs/1511.07212. Every photo was rendered in several poses and every
rendering mirrored, so single images must not be split at random.

Expected under ``root``, as distributed: ``AFW``, ``AFW_Flip``, ``HELEN``, ... with
``NAME_INDEX.jpg`` and ``NAME_INDEX.mat``; other folders are ignored.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evonas.data.images.cropping import Widening
from evonas.data.readers.face_crops import Crop, FaceCrops, landmark_box
from evonas.data.readers.mat_labels import read_all
from evonas.data.readers.splits import Splits, at_random, by_group
from evonas.errors import InputError, nearest

_SUBSETS = tuple(
    f"{name}{flip}" for name in ("AFW", "HELEN", "IBUG", "LFPW") for flip in ("", "_Flip")
)

# HopeNet draws k from U(0.2, 0.4) at each loading of an image, as an augmentation. Here an image
# has one standard crop, with the mean k, so that features can be cached and validation is
# repeatable; augmentation varies shift and scale in addition.
_K = 0.3
_WIDENING = Widening(left=0.6 * _K, top=2 * _K, right=0.6 * _K, bottom=0.6 * _K)

#: Split -> share of the validation images; only ``by_photo`` allows another share.
_SHARES = {"by_photo": 0.3, "leaky_90_10": 0.1, "author_70_30": 0.3}
_SPLITS = {
    "by_photo": "{train:g}/{validation:g} by source photo",
    "leaky_90_10": "90/10 of single images at random",
    "author_70_30": "first 70 % of the sorted list train, the rest validates",
}


class W300LP(FaceCrops):
    """Square face crops with yaw, pitch and roll in degrees.

    Args:
        root: folder that contains ``AFW``, ``AFW_Flip`` and so on.
        subsets: folders to read; empty: all that exist.
        crop: ``hopenet`` or ``fsanet``, see ``FaceCrops``.
        split: ``by_photo``: a random split of the source photos, with their mirror images.
            ``leaky_90_10``: a random split of single images, as for some published results.
            ``author_70_30``: the first 70 % of the sorted list are for training. The last two
            are only for comparison with publications; ``leaky`` says why.
        validation: with ``by_photo``: share of the validation images; default: 0.3, as Matak
            (2020). A study of HopeNet uses 0.1, of single images.
        size: side of the returned square, pixels.
        seed: seed of the random split.

    Raises:
        InputError: a folder or .mat file is missing or damaged, a file has no usable
            landmarks, or an option is unknown.
    """

    def __init__(
        self,
        root: str,
        subsets: tuple[str, ...] = (),
        crop: Crop = "hopenet",
        split: Literal["by_photo", "leaky_90_10", "author_70_30"] = "by_photo",
        validation: float | None = None,
        size: int = 224,
        seed: int = 0,
    ) -> None:
        if crop not in ("hopenet", "fsanet"):
            raise InputError(f"unknown data.crop {crop!r}: {nearest(crop, ('hopenet', 'fsanet'))}")
        if split not in _SPLITS:
            raise InputError(f"unknown data.split {split!r}: {nearest(split, _SPLITS)}")
        share = _SHARES[split] if validation is None else validation
        if not 0 < share < 1 or (split != "by_photo" and share != _SHARES[split]):
            raise InputError(
                f"data.validation: expected a share of the images between 0 and 1, with "
                f"split=by_photo only, got {share} with split={split}: leave it out, or choose "
                f"split=by_photo"
            )
        folder = Path(root)
        read = _subsets(folder, subsets)
        photos = [photo for name in read for photo in sorted((folder / name).glob("*.jpg"))]
        angles, points = read_all(photos, ("pt2d",))
        # All landmarks are valid here, so HopeNet's program keeps those left of or above the
        # photo; FSA-Net's program drops them, as for AFLW2000.
        face_boxes = [landmark_box(pt2d, inside=crop == "fsanet") for (pt2d,) in points]
        for photo, box in zip(photos, face_boxes, strict=True):
            if box is None:
                raise InputError(
                    f"{photo.with_suffix('.mat')}: expected landmarks pt2d on the photo, got none "
                    f"that span a box: restore the file or remove its photo"
                )
        boxes = np.array(face_boxes, np.float64).reshape(-1, 4)
        kept = self._fill(folder, photos, angles, boxes, crop, _WIDENING, size, {})
        self.groups = np.array(
            [source_photo(path.parent.name, path.stem) for path in kept], np.str_
        )
        self.splits = _split(split, self.groups, share, seed)
        self.leaky = leak(self.groups, self.splits)
        if split == "leaky_90_10":
            self.leaky = (
                "single images were split at random, so that renderings and the mirror images of "
                f"one photo train and validate; {self.leaky or 'here no photo happens to'}"
            )
        dealt = _SPLITS[split].format(train=100 * (1 - share), validation=100 * share)
        self.protocol = (
            f"300W-LP ({', '.join(read)}), {len(kept)} of {len(photos)} images, {dealt}, "
            f"{'HopeNet crop (k = 0.3)' if crop == 'hopenet' else 'FSA-Net crop'}, "
            f"|angle| <= 99 degrees"
        )
        self.check()

    def known_groups(self) -> NDArray[np.str_] | None:
        """Return the source photos, which have the same names in every copy of the data set."""
        return self.groups


def source_photo(subset: str, stem: str) -> str:
    """Return the group of an image: the name of the photo that it was rendered from.

    Args:
        subset: folder of the image, such as ``AFW_Flip``.
        stem: file name without extension, such as ``AFW_134212_1_0``; the last number counts
            the renderings of a face.
    """
    return f"{subset.removesuffix('_Flip')}/{stem.rpartition('_')[0] or stem}"


def leak(groups: NDArray[np.str_], splits: Splits) -> str:
    """Return a sentence on photos in both training and validation split; empty if none is."""
    train, validation = (set(groups[splits[side]].tolist()) for side in ("train", "validation"))
    shared = train & validation
    if not shared:
        return ""
    return f"{len(shared)} of {len(validation)} photos that validate also train"


def _split(name: str, groups: NDArray[np.str_], validation: float, seed: int) -> Splits:
    if name == "by_photo":
        return by_group(groups, {"train": 1 - validation, "validation": validation}, seed)
    if name == "leaky_90_10":
        return at_random(len(groups), {"train": 0.9, "validation": 0.1}, seed)
    cut = len(groups) * 7 // 10
    return {"train": np.arange(cut), "validation": np.arange(cut, len(groups))}


def _subsets(folder: Path, wanted: tuple[str, ...]) -> list[str]:
    """Return the subsets to read, in their fixed order."""
    there = [name for name in _SUBSETS if (folder / name).is_dir()]
    if not there:
        raise InputError(
            f"{folder}: expected the folders {', '.join(_SUBSETS[:3])}, ..., there are none: set "
            f"data.root to the folder that contains them"
        )
    for name in wanted:
        if name not in _SUBSETS:
            raise InputError(f"unknown data.subsets {name!r}: {nearest(name, _SUBSETS)}")
        if name not in there:
            raise InputError(f"{folder / name}: no such folder: data.subsets may name {there}")
    return [name for name in there if not wanted or name in wanted]

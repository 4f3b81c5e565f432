"""BIWI Kinect head poses: 15,678 frames of 20 persons in 24 videos, mostly used for testing.

G. Fanelli, M. Dantone, J. Gall, A. Fossati, L. Van Gool (2013), "Random Forests for Real
Time 3D Face Analysis", IJCV 101(3). Angles are in the frame of the depth camera, as in published
results; the colour camera is rotated by about a degree relative to it.

Expected under ``root``: ``01`` to ``24`` with ``frame_NNNNN_rgb.png``,
``frame_NNNNN_pose.txt`` (a 3 x 3 rotation, then the head's centre in mm) and ``rgb.cal`` (colour
camera; a nominal one is used if the file is missing).

The data set has no face boxes. Published results depend on the detector (Dockerface, MTCNN) and on
the frames where it detected a face, and cannot be compared with each other: give detected boxes as
``boxes``. Without them, the crop is a square of fixed physical size around the annotated centre,
which is not the crop of any published table; ``protocol`` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evonas.core.rotations import angles, from_biwi
from evonas.data.images.cropping import Widening
from evonas.data.readers.biwi_files import head_squares, read_boxes, read_poses
from evonas.data.readers.face_crops import FaceCrops
from evonas.errors import InputError, nearest

_CROPS = {
    "head_centre": "of {mm:g} mm around the annotated head centre, which is not the crop of "
    "published tables",
    "hopenet": "HopeNet crop (k = 0.35) around boxes of {boxes}",
    "fsanet": "FSA-Net crop around boxes of {boxes}",
}
_K = 0.35
_WIDENING = Widening(left=0.6 * _K, top=_K, right=0.6 * _K, bottom=0.6 * _K)

# Second -> first video of each person with two recordings. Protocol 2 splits by video, so the
# groups are videos; the default splits below also keep both videos of a person together.
_SAME_PERSON = {"21": "02", "15": "03", "18": "05", "22": "07"}


class Biwi(FaceCrops):
    """Square face crops with yaw, pitch and roll in degrees.

    Args:
        root: folder that contains ``01`` to ``24``.
        boxes: CSV with the columns file (such as ``01/frame_00003_rgb.png``), left, top,
            right, bottom (pixels) from a face detector; other frames are dropped, as in the
            published protocols. Required for ``hopenet`` and ``fsanet``.
        crop: ``head_centre``: a square around the annotated centre of the head.
            ``hopenet``, ``fsanet``: the published crops around ``boxes``.
        head_mm: with ``head_centre``: side of the square, mm.
        split: ``test``: all frames are in the ``test`` split (protocol 1: trained on 300W-LP).
            ``videos_16_8`` (protocol 2, 70/30): 8 videos are the test split, those of
            ``validation`` the validation split, the others the training split. The published
            choice of the 8 was random and is not recorded.
        test: with ``videos_16_8``: videos of the test split.
        validation: with ``videos_16_8``: videos of the validation split.
        size: side of the returned square, pixels.

    Raises:
        InputError: a file is missing or damaged, a video is missing or in two splits, or options
            contradict each other.
    """

    def __init__(
        self,
        root: str,
        boxes: str | None = None,
        crop: Literal["head_centre", "hopenet", "fsanet"] = "head_centre",
        head_mm: float = 240.0,
        split: Literal["test", "videos_16_8"] = "test",
        test: tuple[int, ...] = (2, 5, 8, 12, 16, 18, 20, 21),
        validation: tuple[int, ...] = (6, 14, 24),
        size: int = 224,
    ) -> None:
        if crop not in _CROPS:
            raise InputError(f"unknown data.crop {crop!r}: {nearest(crop, _CROPS)}")
        if (boxes is None) != (crop == "head_centre"):
            raise InputError(
                "data.boxes: expected a CSV of detected faces with data.crop=hopenet or fsanet, "
                f"and none with head_centre, got {boxes!r} with {crop}"
            )
        if not 50 <= head_mm <= 1000:
            raise InputError(f"data.head_mm: expected 50 to 1000 mm, got {head_mm}")
        folder = Path(root)
        photos = [
            photo
            for number in range(1, 25)
            for photo in sorted((folder / f"{number:02d}").glob("frame_*_rgb.png"))
        ]
        if not photos:
            raise InputError(
                f"{folder}: expected 01/frame_00003_rgb.png, ..., there are none: set data.root "
                f"to the folder that contains them"
            )
        rotations, centres = read_poses(photos)
        missing: Mapping[str, Sequence[int]] = {}
        nominal = ""
        if boxes is None:
            face_boxes, uncalibrated = head_squares(photos, centres, head_mm)
            nominal = f", nominal camera for videos {', '.join(uncalibrated)}" * bool(uncalibrated)
        else:
            face_boxes, without = read_boxes(Path(boxes), folder, photos)
            missing = {"no face box": without}
        kept = self._fill(
            folder,
            photos,
            angles(from_biwi(rotations)),
            face_boxes,
            "fsanet" if crop == "fsanet" else "hopenet",
            _WIDENING if crop == "hopenet" else None,
            size,
            missing,
        )
        self.groups = np.array([path.parent.name for path in kept], np.str_)
        self.splits, said = _split(split, self.groups, test, validation)
        self.leaky = _leak(self.groups, self.splits)
        self.protocol = (
            f"BIWI, {len(kept)} of {len(photos)} frames, {said}, square "
            f"{_CROPS[crop].format(mm=head_mm, boxes=Path(boxes or '').name)}{nominal}, "
            f"angles of the depth camera, |angle| <= 99 degrees"
        )
        self.check()

    def known_groups(self) -> NDArray[np.str_] | None:
        """Return the persons, named by their first video; some were recorded twice."""
        return np.array([_SAME_PERSON.get(video, video) for video in self.groups.tolist()])


def _split(
    name: str, groups: NDArray[np.str_], test: tuple[int, ...], validation: tuple[int, ...]
) -> tuple[dict[str, NDArray[np.intp]], str]:
    """Return the splits and their description for ``protocol``."""
    if name == "test":
        return {"test": np.arange(len(groups))}, "all for testing"
    if name != "videos_16_8":
        raise InputError(f"unknown data.split {name!r}: {nearest(name, ('test', 'videos_16_8'))}")
    there = set(groups.tolist())
    sides = {"test": test, "validation": validation}
    names = {side: sorted({f"{video:02d}" for video in videos}) for side, videos in sides.items()}
    for side, videos in names.items():
        for video in videos:
            if video not in there:
                raise InputError(
                    f"data.{side}: expected some of the videos under data.root, "
                    f"{', '.join(sorted(there))}, got {video}"
                )
    twice = sorted(set(names["test"]) & set(names["validation"]))
    if twice:
        raise InputError(
            f"data.validation: expected videos that are not in data.test, got {twice[0]}: choose "
            "another"
        )
    splits = {side: np.flatnonzero(np.isin(groups, videos)) for side, videos in names.items()}
    held_out = np.concatenate(list(splits.values()))
    train = np.setdiff1d(np.arange(len(groups)), held_out)
    count = len(np.unique(groups[train])) + len(names["validation"])
    said = (
        f"split by video: {len(names['test'])} test ({', '.join(names['test'])}), {count} others, "
        f"of which {', '.join(names['validation'])} validate"
    )
    return {"train": train, **splits}, said


def _leak(groups: NDArray[np.str_], splits: Mapping[str, NDArray[np.intp]]) -> str:
    """Return a sentence on persons whose videos are in different splits; empty if none is."""
    owner = {video: side for side, rows in splits.items() for video in set(groups[rows].tolist())}
    apart = [
        f"{first} ({owner[first]}) and {second} ({owner[second]})"
        for second, first in sorted(_SAME_PERSON.items(), key=lambda pair: pair[1])
        if first in owner and second in owner and owner[first] != owner[second]
    ]
    return f"videos of one person are on two sides: {', '.join(apart)}" if apart else ""

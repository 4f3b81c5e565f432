"""Read head poses and landmarks from the MATLAB files of 300W-LP and AFLW2000.

X. Zhu, Z. Lei, X. Liu, H. Shi, S. Z. Li (2016), "Face Alignment Across Large Poses: A 3D
Solution", https://arxiv.org/abs/1511.07212. ``Pose_Para`` holds pitch, yaw, roll in
radians (in this order), then a translation and a scale; ``pt2d`` holds landmarks on the
photo in pixels, ``pt3d_68`` (AFLW2000 only) 68 landmarks of the fitted model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io
from numpy.typing import NDArray

from evonas.data.images.image_io import remembered
from evonas.errors import InputError

_LANDMARKS = ("pt2d", "pt3d_68")
_KEYS = ("Pose_Para", *_LANDMARKS)


class MatLabels(NamedTuple):
    """Labels of one photo.

    Attributes:
        angles: (3,) yaw, pitch, roll in degrees.
        points: ``pt2d`` and ``pt3d_68``, if present -> (2, k) x and y in pixels.
    """

    angles: NDArray[np.float64]
    points: dict[str, NDArray[np.float64]]


def read_mat(path: Path) -> MatLabels:
    """Return the labels in one file. Nothing in it is unpickled or executed.

    Raises:
        InputError: the file is missing or not a MATLAB file, ``Pose_Para`` is missing, an array
            has the wrong shape, or an angle is not finite.
    """
    try:
        with path.open("rb") as stream:
            arrays: dict[str, Any] = scipy.io.loadmat(stream, variable_names=_KEYS)
            stream.seek(0)
            keys = () if "Pose_Para" in arrays else [name for name, *_ in scipy.io.whosmat(stream)]
    except FileNotFoundError as error:
        raise InputError(
            f"{path}: expected a .mat file beside each photo, it is missing: restore the file or "
            f"remove the photo"
        ) from error
    except Exception as error:  # the parser raises many exceptions on damaged files
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(
            f"{path}: expected a MATLAB file (version 5), cannot be read ({reason}): "
            f"restore the file or remove its photo"
        ) from error
    if "Pose_Para" not in arrays:
        raise InputError(
            f"{path}: expected the key 'Pose_Para', got {', '.join(sorted(keys)) or 'none'}: "
            f"restore the file or remove its photo"
        )
    pose = np.asarray(arrays["Pose_Para"])
    if pose.dtype.kind not in "fiu" or pose.ndim != 2 or pose.shape[0] != 1 or pose.shape[1] < 3:
        raise InputError(
            f"{path}: expected Pose_Para as (1, 7) numbers, got {pose.dtype} {pose.shape}: "
            f"restore the file or remove its photo"
        )
    pitch, yaw, roll = np.degrees(pose[0, :3].astype(np.float64))
    angles = np.array([yaw, pitch, roll])
    if not np.isfinite(angles).all():
        raise InputError(
            f"{path}: expected finite angles in Pose_Para, got {pose[0, :3].tolist()}: "
            f"restore the file or remove its photo"
        )
    points = {name: _points(arrays[name], name, path) for name in _LANDMARKS if name in arrays}
    return MatLabels(angles, points)


def read_all(
    photos: Sequence[Path], landmarks: Sequence[str]
) -> tuple[NDArray[np.float64], list[list[NDArray[np.float64]]]]:
    """Return the labels of many photos, cached until a .mat file changes.

    Args:
        photos: .jpg files, each with a .mat file of the same stem beside it.
        landmarks: names of the landmarks to return: ``pt2d``, ``pt3d_68``.

    Returns:
        (n, 3) yaw, pitch, roll in degrees, and for each photo and each name in ``landmarks``
        the (2, k) points in pixels; (2, 0) if the file has none.

    Raises:
        InputError: see ``read_mat``.
    """
    mats = [photo.with_suffix(".mat") for photo in photos]
    for mat in mats:
        if not mat.is_file():
            read_mat(mat)  # raises the error of a missing file

    def read() -> dict[str, NDArray[np.generic]]:
        each = [read_mat(mat) for mat in mats]
        points = [entry.points.get(name, np.empty((2, 0))) for entry in each for name in landmarks]
        return {
            "angles": np.array([entry.angles for entry in each]).reshape(-1, 3),
            "counts": np.array([group.shape[1] for group in points], np.int64),
            "points": np.concatenate([np.empty((2, 0)), *points], axis=1),
        }

    stored = remembered(f"mat labels 1 {' '.join(landmarks)}", mats, read)
    ends = np.cumsum(stored["counts"].astype(np.int64))[:-1]
    groups = np.split(stored["points"].astype(np.float64), ends, axis=1)
    step = len(landmarks)
    return (
        stored["angles"].astype(np.float64),
        [groups[i * step : (i + 1) * step] for i in range(len(photos))],
    )


def _points(value: Any, name: str, path: Path) -> NDArray[np.float64]:
    """Return x and y of landmarks, (2, k), without the depth in a third row."""
    points = np.asarray(value)
    if points.dtype.kind not in "fiu" or points.ndim != 2 or points.shape[0] not in (2, 3):
        raise InputError(
            f"{path}: expected {name} as (2, k) or (3, k) numbers, got {points.dtype} "
            f"{points.shape}: restore the file or remove its photo"
        )
    return points[:2].astype(np.float64)

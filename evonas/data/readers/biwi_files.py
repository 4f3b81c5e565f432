"""Read the files of the BIWI Kinect Head Pose Database: poses, cameras and detected boxes."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evonas.core.files import reading
from evonas.data.images.image_io import remembered
from evonas.errors import InputError

Numbers = NDArray[np.float64]

_COLUMNS = ("file", "left", "top", "right", "bottom")
_FARTHEST = 10_000.0  # largest distance of a head, mm; the Kinect's range is half of that
_LARGEST = 1e4  # largest value in a camera file, pixels or mm; more would give huge crops
_NEAREST = 200.0  # least distance of a head, mm; closer, it does not fit into the image


class Camera(NamedTuple):
    """A colour camera: pixel = K (R p + t) for a point p in the depth camera's frame, mm.

    Attributes:
        k: (3, 3) focal lengths and principal point, pixels.
        r: (3, 3) rotation.
        t: (3,) translation, mm.
    """

    k: Numbers
    r: Numbers
    t: Numbers


def read_pose(path: Path) -> Numbers:
    """Return a pose file as (4, 3): the rows of the rotation, then the head's centre in mm.

    Raises:
        InputError: the file is missing or does not contain a rotation and a centre.
    """
    rows = _rows(path, "a 3 x 3 rotation and a row with the head's centre in mm")
    if [len(row) for row in rows] != [3, 3, 3, 3]:
        raise InputError(
            f"{path}: expected 4 rows of 3 numbers (rotation, centre in mm), got rows of "
            f"{[len(row) for row in rows]}: restore the file or remove its frame"
        )
    pose = np.array(rows)
    rotation = pose[:3]
    # The files have six digits; a reflection or a damaged row is far from a rotation.
    near = np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2)
    if not np.isfinite(pose).all() or not near or np.linalg.det(rotation) < 0:
        raise InputError(
            f"{path}: expected a rotation matrix and finite numbers, got {pose.tolist()!r:.80}: "
            f"restore the file or remove its frame"
        )
    return pose


def read_poses(photos: Sequence[Path]) -> tuple[Numbers, Numbers]:
    """Return rotations (n, 3, 3) and head centres (n, 3) in mm of frames, as in the files.

    Raises:
        InputError: see ``read_pose``.
    """
    paths = [photo.with_name(photo.name.replace("_rgb.png", "_pose.txt")) for photo in photos]
    for path in paths:
        if not path.is_file():
            raise InputError(
                f"{path}: expected a pose file for each frame, it is missing: restore it or "
                f"remove the frame"
            )

    def read() -> dict[str, NDArray[np.generic]]:
        return {"poses": np.array([read_pose(path) for path in paths])}

    poses = remembered("biwi poses 1", paths, read)["poses"].astype(np.float64)
    return poses[:, :3], poses[:, 3]


def read_camera(path: Path) -> Camera:
    """Return the camera of an ``rgb.cal`` file.

    The file contains K (3 rows), the distortion (which is zero and not used), R (3 rows), t and
    the size of the photo.

    Raises:
        InputError: the file cannot be read or has other rows.
    """
    rows = _rows(path, "a camera")
    if [len(row) for row in rows[:3] + rows[4:8]] != [3] * 7:
        raise InputError(
            f"{path}: expected K (3 rows of 3), distortion, R (3 rows of 3) and t (3 numbers), got "
            f"rows of {[len(row) for row in rows]}: restore or remove the file"
        )
    camera = Camera(np.array(rows[:3]), np.array(rows[4:7]), np.array(rows[7]))
    if not all((np.abs(part) <= _LARGEST).all() for part in camera):  # false for nan too
        raise InputError(
            f"{path}: expected numbers of at most {_LARGEST:g} pixels or mm, got a larger one or "
            "one that is not finite: restore or remove the file"
        )
    return camera


def nominal_camera() -> Camera:
    """Return the colour camera that is assumed for a video without ``rgb.cal``."""
    k = np.array([[517.679, 0.0, 320.0], [0.0, 517.679, 240.5], [0.0, 0.0, 1.0]])
    return Camera(k, np.eye(3), np.zeros(3))


def head_squares(
    photos: Sequence[Path], centres: Numbers, side: float
) -> tuple[Numbers, list[str]]:
    """Return squares of a physical size around head centres.

    Args:
        photos: n frames; the camera of a video is in ``rgb.cal`` beside them.
        centres: (n, 3) head centres in the depth camera's frame, mm.
        side: side of the square at the distance of the centre, mm.

    Returns:
        (n, 4) left, top, right, bottom in pixels, and the videos without ``rgb.cal``.

    Raises:
        InputError: a camera file is damaged or a centre is not in front of the camera.
    """
    cameras: dict[Path, Camera] = {}
    nominal: list[str] = []
    squares = np.empty((len(photos), 4))
    for i, photo in enumerate(photos):
        video = photo.parent
        if video not in cameras:
            known = (video / "rgb.cal").is_file()
            cameras[video] = read_camera(video / "rgb.cal") if known else nominal_camera()
            nominal += [] if known else [video.name]
        k, r, t = cameras[video]
        x, y, z = k @ (r @ centres[i] + t)
        if not _NEAREST <= z <= _FARTHEST:
            raise InputError(
                f"{photo}: expected the head {_NEAREST:g}..{_FARTHEST:g} mm before the camera, its "
                f"pose file says {z:g} mm: restore the file or remove the frame"
            )
        half = k[0, 0] * side / z / 2
        squares[i] = (x / z - half, y / z - half, x / z + half, y / z + half)
    return squares, nominal


def read_boxes(table: Path, folder: Path, photos: Sequence[Path]) -> tuple[Numbers, list[int]]:
    """Return the boxes of a face detector.

    Args:
        table: CSV with the columns file, left, top, right, bottom; pixels.
        folder: folder to which ``file`` is relative.
        photos: n frames.

    Returns:
        (n, 4) left, top, right, bottom (zeros for frames that are not in the table), and the
        indices of the frames that are not in the table.

    Raises:
        InputError: the table cannot be read, a column is missing, a row has an unknown or
            repeated frame, or a box is invalid.
    """
    remedy = "expected a CSV file in data.boxes"
    with reading(table, remedy, csv.Error), table.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        rows = list(reader)
        columns = reader.fieldnames or ()
    if not set(_COLUMNS) <= set(columns):
        raise InputError(f"{table}: expected the columns {', '.join(_COLUMNS)}, got {columns}")
    index = {photo.relative_to(folder).as_posix(): i for i, photo in enumerate(photos)}
    boxes = np.zeros((len(photos), 4))
    without = set(range(len(photos)))
    for line, row in enumerate(rows, start=2):
        i = index.get(row["file"])
        if i is None or i not in without:
            fault = "which is not under data.root" if i is None else "which has a box already"
            raise InputError(
                f"{table}, line {line}: expected each frame at most once, as "
                f"01/frame_00003_rgb.png, got {row['file']!r}, {fault}"
            )
        try:
            left, top, right, bottom = (float(row[name]) for name in _COLUMNS[1:])
            if not (2 <= right - left <= 5000 and 2 <= bottom - top <= 5000):
                raise ValueError
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{table}, line {line}: expected left < right and top < bottom in pixels, got "
                f"{[row[name] for name in _COLUMNS[1:]]}"
            ) from error
        boxes[i] = (left, top, right, bottom)
        without.discard(i)
    return boxes, sorted(without)


def _rows(path: Path, expected: str) -> list[list[float]]:
    """Return the numbers of each line that is not blank."""
    try:
        text = path.read_text(encoding="ascii")
        return [
            [float(word) for word in line.split()] for line in text.splitlines() if line.split()
        ]
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected {expected}, cannot be read ({error}): restore the file or remove "
            f"its frames"
        ) from error

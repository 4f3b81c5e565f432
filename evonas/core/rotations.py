"""Rotation convention of head poses, R = Rx(pitch) Ry(-yaw) Rz(roll), and conversions.

In the image frame (x to the right, y down, z towards the viewer, with the standard right-handed
matrices) positive yaw turns the face to the image's left and positive pitch up. This is the
convention of 300W-LP and 3DDFA (Zhu et al. 2016, arXiv 1511.07212) and of HopeNet (Ruiz et al.
2018, arXiv 1710.00925). The columns of R, without their third component, are the axes of the head
as drawn on an image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

ANGLES = ("yaw", "pitch", "roll")  # the order of angles in all arrays

Matrices = NDArray[np.float64]
#: BIWI's depth camera frame (Fanelli et al. 2013) has the opposite z axis.
_MIRROR_Z = np.diag([1.0, 1.0, -1.0])


def matrices(angles: ArrayLike) -> Matrices:
    """Return rotation matrices, (n, 3, 3).

    Args:
        angles: (n, 3) yaw, pitch, roll in degrees.
    """
    yaw, pitch, roll = np.moveaxis(np.asarray(angles, np.float64), -1, 0)
    rotations = Rotation.from_euler("XYZ", np.stack([pitch, -yaw, roll], -1), degrees=True)
    result: Matrices = rotations.as_matrix()
    return result


def angles(rotations: ArrayLike) -> NDArray[np.float64]:
    """Return (n, 3) yaw, pitch, roll in degrees of (n, 3, 3) rotation matrices.

    Yaw is in [-90, 90]: (yaw, pitch, roll) and (180 - yaw, pitch + 180, roll + 180) are the same
    rotation. At |yaw| = 90 only a combination of pitch and roll is defined.
    """
    r = np.asarray(rotations, np.float64)
    yaw = -np.arcsin(np.clip(r[..., 0, 2], -1.0, 1.0))
    pitch = np.arctan2(-r[..., 1, 2], r[..., 2, 2])
    roll = np.arctan2(-r[..., 0, 1], r[..., 0, 0])
    result: NDArray[np.float64] = np.degrees(np.stack([yaw, pitch, roll], -1))
    return result


def from_biwi(rotations: ArrayLike) -> Matrices:
    """Convert the (n, 3, 3) matrices of BIWI's pose files to this convention.

    The files contain Sz R Sz with Sz = diag(1, 1, -1), in the frame of the depth camera.
    """
    result: Matrices = _MIRROR_Z @ np.asarray(rotations, np.float64) @ _MIRROR_Z
    return result


def geodesic(first: Matrices, second: Matrices) -> NDArray[np.float64]:
    """Return the (n,) angles in degrees between rotations: arccos((tr(R1 R2') - 1) / 2).

    Computed from the chord |R1 - R2|, which is precise at small angles.
    """
    chord = np.linalg.norm(first - second, axis=(-2, -1))
    apart: NDArray[np.float64] = np.degrees(
        2.0 * np.arcsin(np.clip(chord / np.sqrt(8.0), 0.0, 1.0))
    )
    return apart

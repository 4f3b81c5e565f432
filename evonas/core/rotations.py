"""The one rotation convention of head poses: R = Rx(pitch) Ry(-yaw) Rz(roll).

In the image frame (x to the right, y down, z towards the viewer, the standard
right-handed matrices) positive yaw turns the face to the image's left, positive
pitch lifts it. This is the convention of 300W-LP and 3DDFA (Zhu et al. 2016, arXiv
1511.07212) and of HopeNet (Ruiz et al. 2018, arXiv 1710.00925). The columns of R,
without their third component, are the head's axes as they are drawn on an image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

ANGLES = ("yaw", "pitch", "roll")  # the order in which evonas writes angles

Matrices = NDArray[np.float64]
#: BIWI (Fanelli et al. 2013) turns its depth camera's z axis the other way.
_MIRROR_Z = np.diag([1.0, 1.0, -1.0])


def matrices(angles: ArrayLike) -> Matrices:
    """Return rotation matrices, (n, 3, 3).

    Args:
        angles: (n, 3) yaw, pitch, roll in degrees.
    """
    yaw, pitch, roll = np.moveaxis(np.asarray(angles, np.float64), -1, 0)
    turned = Rotation.from_euler("XYZ", np.stack([pitch, -yaw, roll], -1), degrees=True)
    found: Matrices = turned.as_matrix()
    return found


def angles(rotations: ArrayLike) -> NDArray[np.float64]:
    """Return (n, 3) yaw, pitch, roll in degrees of (n, 3, 3) rotation matrices.

    Yaw lies in [-90, 90]: pose (yaw, pitch, roll) and (180 - yaw, pitch + 180, roll + 180)
    are one rotation. At |yaw| = 90 only a combination of pitch and roll is defined.
    """
    r = np.asarray(rotations, np.float64)
    yaw = -np.arcsin(np.clip(r[..., 0, 2], -1.0, 1.0))
    pitch = np.arctan2(-r[..., 1, 2], r[..., 2, 2])
    roll = np.arctan2(-r[..., 0, 1], r[..., 0, 0])
    found: NDArray[np.float64] = np.degrees(np.stack([yaw, pitch, roll], -1))
    return found


def angles_without_roll(rotations: ArrayLike) -> NDArray[np.float64]:
    """Return (n, 2) yaw and pitch in degrees of (n, 3, 3) rotations that are meant to have no roll.

    Without roll the first row is (cos yaw, 0, -sin yaw) and the second column (0, cos
    pitch, sin pitch), so both angles stay defined at |yaw| = 90, where ``angles`` could
    exchange pitch for roll.
    """
    r = np.asarray(rotations, np.float64)
    yaw = np.arctan2(-r[..., 0, 2], r[..., 0, 0])
    pitch = np.arctan2(r[..., 2, 1], r[..., 1, 1])
    found: NDArray[np.float64] = np.degrees(np.stack([yaw, pitch], -1))
    return found


def from_biwi(rotations: ArrayLike) -> Matrices:
    """Return (n, 3, 3) matrices in this convention of those in BIWI's pose files.

    The file holds Sz R Sz with Sz = diag(1, 1, -1), in the frame of the depth camera.
    """
    found: Matrices = _MIRROR_Z @ np.asarray(rotations, np.float64) @ _MIRROR_Z
    return found


def geodesic(first: Matrices, second: Matrices) -> NDArray[np.float64]:
    """Return the angle between rotations, (n,) degrees: arccos((tr(R1 R2') - 1) / 2).

    Computed from the chord |R1 - R2|, which keeps its digits at small angles.
    """
    chord = np.linalg.norm(first - second, axis=(-2, -1))
    apart: NDArray[np.float64] = np.degrees(
        2.0 * np.arcsin(np.clip(chord / np.sqrt(8.0), 0.0, 1.0))
    )
    return apart

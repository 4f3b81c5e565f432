"""Smooth the predictions for the faces of a video over time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from evonas.core.rotations import ANGLES, angles, matrices
from evonas.data.images.image_io import Box
from evonas.tasks.common.prediction_format import Answer

_OVERLAP = 0.3  # least intersection over union of one face in two frames
_PATIENCE = 1.0  # seconds without a box after which a face is another one


@dataclass
class Smoother:
    """Exponential smoothing of the predictions for each face.

    A prediction of t seconds ago weighs exp(-t / seconds) as much as the newest one, whatever the
    frame rate. Rotations move on the great circle to the newest one, as angles do not average;
    values, probabilities and points (in sides of the crop) are averaged as they are.

    Args:
        answer: description of the predictions.
        seconds: time constant, more than 0.
    """

    answer: Answer
    seconds: float
    _known: dict[int, tuple[float, NDArray[np.float32]]] = field(default_factory=dict)

    def add(self, face: int, time: float, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the smoothed prediction for a face.

        Args:
            face: number of the face, see ``Tracker``.
            time: moment of the frame, seconds.
            values: (k,) or (k, 3) prediction for this frame.
        """
        if face in self._known:
            before, past = self._known[face]
            share = 1.0 - math.exp(-max(time - before, 0.0) / self.seconds)
            values = _between(self.answer, past, values, share)
        self._known[face] = time, values
        return values


def _between(
    answer: Answer, past: NDArray[np.float32], new: NDArray[np.float32], share: float
) -> NDArray[np.float32]:
    """Return what lies ``share`` of the way from one prediction to another."""
    if answer.parts:
        pairs = zip(answer.split(past), answer.split(new), strict=True)
        return np.concatenate(
            [_between(part, a, b, share) for (_, part, a), (_, _, b) in pairs], dtype=np.float32
        )
    if answer.kind != "angles":
        return np.asarray(past + share * (new - past), np.float32)
    named = [ANGLES.index(name) for name in answer.columns]
    whole = np.zeros((2, 3))
    whole[:, named] = past, new
    start, end = Rotation.from_matrix(matrices(whole))
    turned = start * Rotation.from_rotvec(share * (start.inv() * end).as_rotvec())
    (found,) = angles(turned.as_matrix()[None])
    # The same rotation with yaw beyond 90 degrees, if the predictions are written so.
    other = np.array([180 - found[0], found[1] + 180, found[2] + 180])
    forms = [(form + 180) % 360 - 180 for form in (found, other)]
    apart = [np.abs((form - whole[1] + 180) % 360 - 180).sum() for form in forms]
    return np.asarray(forms[int(np.argmin(apart))][named], np.float32)


@dataclass
class Tracker:
    """Numbers the boxes of successive frames such that a face keeps its number.

    Boxes of neighbouring frames are paired for the largest sum of overlaps. A face without a box
    for more than a second comes back with another number.
    """

    _faces: dict[int, tuple[float, Box]] = field(default_factory=dict)
    _next: int = 0

    def numbers(self, time: float, boxes: list[Box]) -> list[int]:
        """Return the number of the face in each box of a frame."""
        self._faces = {n: one for n, one in self._faces.items() if time - one[0] <= _PATIENCE}
        known = list(self._faces)
        overlaps = np.array([[_overlap(self._faces[n][1], box) for box in boxes] for n in known])
        found: dict[int, int] = {}
        for row, column in zip(*linear_sum_assignment(-overlaps), strict=True) if known else ():
            if overlaps[row, column] >= _OVERLAP:
                found[int(column)] = known[row]
        for place, box in enumerate(boxes):
            if place not in found:
                found[place] = self._next
                self._next += 1
            self._faces[found[place]] = time, box
        return [found[place] for place in range(len(boxes))]


def _overlap(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    both = sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other))
    return shared / (both - shared)

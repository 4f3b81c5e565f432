"""Object key-point similarity (OKS) and COCO's average precision of key points.

Lin et al. (2014, arXiv 1405.0312) and the rules of COCO's key-point challenge: a detection is
correct at a threshold t if its similarity to a truth is at least t; precision is averaged over
t = .50, .55, .. .95 and over 101 recalls. Truths that are crowds, have no labelled point, or have
an area outside the given range are ignored: a detection that matches one counts neither as correct
nor as wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Standard deviation of the annotations of a point relative to the square root of the area, as
#: published by COCO (Lin et al.; cocodataset.org, key-point evaluation).
COCO_SIGMAS: Mapping[str, float] = MappingProxyType(
    {
        "nose": 0.026,
        **dict.fromkeys(("left_eye", "right_eye"), 0.025),
        **dict.fromkeys(("left_ear", "right_ear"), 0.035),
        **dict.fromkeys(("left_shoulder", "right_shoulder"), 0.079),
        **dict.fromkeys(("left_elbow", "right_elbow"), 0.072),
        **dict.fromkeys(("left_wrist", "right_wrist"), 0.062),
        **dict.fromkeys(("left_hip", "right_hip"), 0.107),
        **dict.fromkeys(("left_knee", "right_knee"), 0.087),
        **dict.fromkeys(("left_ankle", "right_ankle"), 0.089),
    }
)

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
_RECALLS = np.linspace(0.0, 1.0, 101)
_TINY = float(np.spacing(1))  # prevents a division by an area or a count of zero

#: Suffix of the metrics' names -> range of the areas of the truths that count, squared pixels.
AREAS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"": (0.0, 1e10), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}
)


@dataclass(frozen=True, eq=False)
class Truth:
    """An annotated instance.

    Attributes:
        image: index of the photo.
        points: (K, 3) x and y in pixels, and 0 not labelled, 1 hidden, 2 visible.
        area: area of the instance, squared pixels.
        box: left, top, width, height, pixels.
        crowd: whether the annotation covers a group of instances.
        labelled: number of labelled points; None: counted from ``points``.
    """

    image: int
    points: Floats
    area: float
    box: tuple[float, float, float, float]
    crowd: bool = False
    labelled: int | None = None

    def ignored(self, low: float, high: float) -> bool:
        """Return whether the truth is ignored when areas in [low, high] are evaluated."""
        count = np.count_nonzero(self.points[:, 2] > 0) if self.labelled is None else self.labelled
        return self.crowd or count == 0 or not low <= self.area <= high


@dataclass(frozen=True, eq=False)
class Detection:
    """A predicted instance.

    Attributes:
        image: index of the photo.
        points: (K, 2 or more) x and y in pixels; further columns are ignored.
        score: confidence, higher is more certain.
    """

    image: int
    points: Floats
    score: float

    @property
    def area(self) -> float:
        """Area of the bounding box of the points, squared pixels."""
        return float(np.prod(np.ptp(self.points[:, :2], axis=0)))


def closeness(squared: Floats, area: Floats, sigmas: Floats) -> Floats:
    """Return exp(-d^2 / (2 s^2 k^2)) of each point, with s^2 = area and k = 2 sigma.

    Args:
        squared: (.., K) squared distances.
        area: (..) areas of the instances, in the same unit.
        sigmas: (K,) COCO's sigmas of the points.
    """
    result: Floats = np.exp(-squared / (2 * sigmas) ** 2 / (area + _TINY)[..., None] / 2)
    return result


def similarity(detections: Floats, truth: Truth, sigmas: Floats) -> Floats:
    """Return the OKS of (D, K, 2) detections with a truth, (D,).

    For a truth without labelled points, the distance of a point is that to the truth's box,
    enlarged by its width and height on every side.
    """
    labelled = truth.points[:, 2] > 0
    offsets = detections - truth.points[:, :2]
    if not labelled.any():
        left, top, width, height = truth.box
        low = np.array([left - width, top - height])
        high = np.array([left + 2 * width, top + 2 * height])
        offsets = np.maximum(low - detections, 0) + np.maximum(detections - high, 0)
        labelled = np.ones_like(labelled)
    squared: Floats = (offsets**2).sum(-1)
    near = closeness(squared, np.array(truth.area), sigmas)[:, labelled]
    return np.array([row.sum() / len(row) for row in np.ascontiguousarray(near)])


def evaluate(
    truths: Sequence[Truth],
    detections: Sequence[Detection],
    sigmas: Sequence[float],
    most: int = 20,
) -> dict[str, float]:
    """Return COCO's ten metrics, in [0, 1].

    Args:
        truths: annotated instances of all photos, in any order.
        detections: predicted instances of all photos. Of equal scores, that of the photo with
            the lower index comes first, then the earlier one.
        sigmas: (K,) COCO's sigmas of the points.
        most: number of detections per photo that are evaluated, those of highest score.

    Returns:
        ``AP`` and ``AR``, means over the thresholds; ``AP50``, ``AP75``, ``AR50``, ``AR75`` at
        one threshold; ``APm``, ``APl``, ``ARm``, ``ARl`` for truths of medium and large area.
        -1 if no truth counts.

    Raises:
        InputError: the number of points of an instance is not that of the sigmas.
    """
    instances: list[Truth | Detection] = [*truths, *detections]
    for instance in instances:
        if len(instance.points) != len(sigmas):
            raise InputError(
                f"key points: expected {len(sigmas)} points, got {len(instance.points)} in an "
                f"instance of image {instance.image}: give a sigma for every point"
            )
    photos: dict[int, _Photo] = defaultdict(_Photo)
    for truth in truths:
        photos[truth.image].truths.append(truth)
    for detection in sorted(detections, key=lambda detection: -detection.score):
        photo_detections = photos[detection.image].detections
        if len(photo_detections) < most:
            photo_detections.append(detection)
    ordered = [photos[number] for number in sorted(photos)]
    for photo in ordered:
        photo.compare(np.asarray(sigmas, np.float64))
    result: dict[str, float] = {}
    for suffix, (low, high) in AREAS.items():
        precision, recall = _curves(ordered, low, high)
        result |= {f"AP{suffix}": float(precision.mean()), f"AR{suffix}": float(recall.mean())}
        if not suffix:
            for at in (50, 75):
                row = THRESHOLDS.index(at / 100)
                result[f"AP{at}"] = float(precision[row].mean())
                result[f"AR{at}"] = float(recall[row])
    return result


class _Photo:
    """Truths and detections of one photo, and their similarities."""

    def __init__(self) -> None:
        self.truths: list[Truth] = []
        self.detections: list[Detection] = []  # in order of decreasing score

    def compare(self, sigmas: Floats) -> None:
        """Compute the (detections, truths) matrix of similarities."""
        self.oks = np.zeros((len(self.detections), len(self.truths)))
        for column, truth in enumerate(self.truths if self.detections else ()):
            points = np.stack([detection.points[:, :2] for detection in self.detections])
            self.oks[:, column] = similarity(points.astype(np.float64), truth, sigmas)

    def match(self, threshold: float, ignored: Flags) -> NDArray[np.intp]:
        """Return the index of the truth that each detection matches, -1 for none.

        In order of score, a detection takes the most similar free truth that counts; if none
        reaches the threshold, the most similar free truth that is ignored. A crowd can be matched
        any number of times.
        """
        crowd = np.array([truth.crowd for truth in self.truths], bool)
        taken = np.zeros(len(self.truths), bool)
        chosen = np.full(len(self.detections), -1)
        for row, oks in enumerate(self.oks if self.truths else ()):
            free = (oks >= threshold) & (crowd | ~taken)
            for pool in (free & ~ignored, free & ignored):
                if pool.any():
                    best = np.flatnonzero(pool & (oks == oks[pool].max()))[-1]
                    chosen[row], taken[best] = best, True
                    break
        return chosen


def _curves(photos: Sequence[_Photo], low: float, high: float) -> tuple[Floats, Floats]:
    """Return precision (thresholds, recalls) and recall (thresholds,); -1 without truths."""
    flags = [np.array([t.ignored(low, high) for t in p.truths], bool) for p in photos]
    count = sum(int((~flag).sum()) for flag in flags)
    precision = np.full((len(THRESHOLDS), len(_RECALLS)), -1.0)
    recall = np.full(len(THRESHOLDS), -1.0)
    if not count:
        return precision, recall
    detections = [detection for photo in photos for detection in photo.detections]
    order = np.argsort([-detection.score for detection in detections], kind="stable")
    areas = np.array([detection.area for detection in detections])
    outside = (areas < low) | (areas > high)
    for row, threshold in enumerate(THRESHOLDS):
        matches = [
            (chosen >= 0, (chosen >= 0) & np.append(flag, False)[chosen])
            for photo, flag in zip(photos, flags, strict=True)
            for chosen in [photo.match(threshold, flag)]
        ]
        hit = np.concatenate([matched for matched, _ in matches])
        exempt = np.concatenate([ignored for _, ignored in matches]) | (~hit & outside)
        correct = np.cumsum((hit & ~exempt)[order]).astype(np.float64)
        wrong = np.cumsum((~hit & ~exempt)[order]).astype(np.float64)
        precision[row], recall[row] = _interpolated(correct, wrong, count)
    return precision, recall


def _interpolated(correct: Floats, wrong: Floats, count: int) -> tuple[Floats, float]:
    """Return the best precision at or above each of the recalls, and the final recall.

    Args:
        correct: (n,) cumulative number of correct detections, by decreasing score.
        wrong: (n,) cumulative number of wrong detections.
        count: number of truths.
    """
    recall = correct / count
    precision = correct / (correct + wrong + _TINY)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return best[np.searchsorted(recall, _RECALLS)], float(recall[-1]) if len(recall) else 0.0

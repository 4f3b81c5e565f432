"""Object key-point similarity (OKS) and COCO's average precision of key points.

Lin et al. (2014, arXiv 1405.0312) and the rules of COCO's key-point challenge: an
instance found counts at a threshold t if its similarity to a truth is at least t;
precision is averaged over t = .50, .55, .. .95 and over 101 recalls. Truths that
are crowds, have no labelled point, or an area outside the asked range are ignored: a
detection that finds one counts neither for nor against.
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

#: Standard deviation of people's annotations of a point over the square root of the
#: area, as COCO publishes them (Lin et al.; cocodataset.org, key-point evaluation).
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
_TINY = float(np.spacing(1))  # keeps an area or a count of zero from dividing

#: What is averaged -> the areas of the truths that count, squared pixels.
AREAS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"": (0.0, 1e10), "m": (32.0**2, 96.0**2), "l": (96.0**2, 1e10)}
)


@dataclass(frozen=True, eq=False)
class Truth:
    """An annotated instance.

    Attributes:
        image: number of its photo.
        points: (K, 3) x and y in pixels, and 0 not labelled, 1 hidden, 2 visible.
        area: of the instance, squared pixels.
        box: left, top, width, height, pixels.
        crowd: it stands for a group of instances.
        labelled: how many points are labelled; None to count them.
    """

    image: int
    points: Floats
    area: float
    box: tuple[float, float, float, float]
    crowd: bool = False
    labelled: int | None = None

    def ignored(self, low: float, high: float) -> bool:
        """Return whether it does not count among truths of an area in [low, high]."""
        seen = np.count_nonzero(self.points[:, 2] > 0) if self.labelled is None else self.labelled
        return self.crowd or seen == 0 or not low <= self.area <= high


@dataclass(frozen=True, eq=False)
class Detection:
    """A found instance.

    Attributes:
        image: number of its photo.
        points: (K, 2 or more) x and y in pixels; further columns are not looked at.
        score: the higher the surer.
    """

    image: int
    points: Floats
    score: float

    @property
    def area(self) -> float:
        """Of the box around its points, squared pixels."""
        return float(np.prod(np.ptp(self.points[:, :2], axis=0)))


def closeness(squared: Floats, area: Floats, sigmas: Floats) -> Floats:
    """Return exp(-d^2 / (2 s^2 k^2)) of each point, with s^2 = area and k = 2 sigma.

    Args:
        squared: (.., K) squared distances.
        area: (..) of the instances, in the same unit.
        sigmas: (K,).
    """
    result: Floats = np.exp(-squared / (2 * sigmas) ** 2 / (area + _TINY)[..., None] / 2)
    return result


def similarity(detections: Floats, truth: Truth, sigmas: Floats) -> Floats:
    """Return the OKS of each of (D, K, 2) detections with a truth, (D,).

    For a truth without labelled points, distances are those by which points lie
    outside its box, grown by its own width and height on every side.
    """
    seen = truth.points[:, 2] > 0
    away = detections - truth.points[:, :2]
    if not seen.any():
        left, top, width, height = truth.box
        low = np.array([left - width, top - height])
        high = np.array([left + 2 * width, top + 2 * height])
        away = np.maximum(low - detections, 0) + np.maximum(detections - high, 0)
        seen = np.ones_like(seen)
    squared: Floats = (away**2).sum(-1)
    near = closeness(squared, np.array(truth.area), sigmas)[:, seen]
    return np.array([row.sum() / len(row) for row in np.ascontiguousarray(near)])


def evaluate(
    truths: Sequence[Truth],
    detections: Sequence[Detection],
    sigmas: Sequence[float],
    most: int = 20,
) -> dict[str, float]:
    """Return COCO's ten numbers, in [0, 1].

    Args:
        truths, detections: of all photos, in any order; of equal scores the
            detection of the photo with the lower number, then the earlier one, comes
            first.
        sigmas: (K,) of the points.
        most: detections a photo that are looked at, the surest.

    Returns:
        ``AP`` and ``AR``, means over the thresholds; ``AP50``, ``AP75``, ``AR50``,
        ``AR75`` at one; ``APm``, ``APl``, ``ARm``, ``ARl`` for truths of medium and
        large area. -1 where no truth counts.

    Raises:
        InputError: an instance has another number of points than there are sigmas.
    """
    instances: list[Truth | Detection] = [*truths, *detections]
    for instance in instances:
        if len(instance.points) != len(sigmas):
            raise InputError(
                f"key points: expected {len(sigmas)} points, got {len(instance.points)} of an "
                f"instance of image {instance.image}: give a sigma for every point"
            )
    photos: dict[int, _Photo] = defaultdict(_Photo)
    for truth in truths:
        photos[truth.image].truths.append(truth)
    for detection in sorted(detections, key=lambda one: -one.score):
        found = photos[detection.image].found
        if len(found) < most:
            found.append(detection)
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
    """The instances of one photo, and how alike they are."""

    def __init__(self) -> None:
        self.truths: list[Truth] = []
        self.found: list[Detection] = []  # the surest first

    def compare(self, sigmas: Floats) -> None:
        shape = len(self.found), len(self.truths)
        self.oks = np.zeros(shape)
        for column, truth in enumerate(self.truths if self.found else ()):
            places = np.stack([one.points[:, :2] for one in self.found]).astype(np.float64)
            self.oks[:, column] = similarity(places, truth, sigmas)

    def match(self, threshold: float, ignored: Flags) -> NDArray[np.intp]:
        """Return the truth that each detection finds, -1 for none.

        The surest chooses first: the most alike of the truths that count and are not
        taken; if none is alike enough, of those that are ignored. A crowd is never
        used up.
        """
        crowd = np.array([truth.crowd for truth in self.truths], bool)
        taken = np.zeros(len(self.truths), bool)
        chosen = np.full(len(self.found), -1)
        for row, oks in enumerate(self.oks if self.truths else ()):
            open_ = (oks >= threshold) & (crowd | ~taken)
            for pool in (open_ & ~ignored, open_ & ignored):
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
    scores = np.array([one.score for photo in photos for one in photo.found])
    order = np.argsort(-scores, kind="stable")
    areas = np.array([one.area for photo in photos for one in photo.found])
    outside = (areas < low) | (areas > high)
    for row, threshold in enumerate(THRESHOLDS):
        matches = [
            (chosen >= 0, (chosen >= 0) & np.append(flag, False)[chosen])
            for photo, flag in zip(photos, flags, strict=True)
            for chosen in [photo.match(threshold, flag)]
        ]
        hit = np.concatenate([found for found, _ in matches])
        spared = np.concatenate([free for _, free in matches]) | (~hit & outside)
        right = np.cumsum((hit & ~spared)[order]).astype(np.float64)
        wrong = np.cumsum((~hit & ~spared)[order]).astype(np.float64)
        precision[row], recall[row] = _interpolated(right, wrong, count)
    return precision, recall


def _interpolated(right: Floats, wrong: Floats, count: int) -> tuple[Floats, float]:
    """Return the precision at each recall, the best at that recall or above, and the recall."""
    recall = right / count
    precision = right / (right + wrong + _TINY)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return best[np.searchsorted(recall, _RECALLS)], float(recall[-1]) if len(recall) else 0.0

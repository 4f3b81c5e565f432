"""Key points as heat maps, judged by object key-point similarity (OKS) and COCO's AP.

A point is learnt as a map with a Gaussian on it (Tompson et al. 2014, arXiv
1406.2984), with the mean squared error of Xiao et al. (2018, arXiv 1804.06208), and
read off the map with the Taylor expansion of Zhang et al. (2020, arXiv 1910.06278).
Cell i of a map of w cells covers [i / w, (i + 1) / w] of the crop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evonas.core.array_types import Array
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.tasks.base import Labels, Task
from evonas.tasks.common.heatmap_peaks import refined
from evonas.tasks.common.mirror_pairs import checked_pairs, named_pairs
from evonas.tasks.common.object_keypoint_similarity import (
    COCO_SIGMAS,
    Detection,
    Truth,
    closeness,
    evaluate,
)
from evonas.tasks.common.pckh import head_of, pckh
from evonas.tasks.common.prediction_format import Answer

Floats = NDArray[np.float64]

_BOX = ("box.left", "box.top", "box.side")
_EXTRAS = 5  # columns behind the points: the box, the area, the number of the photo
#: Sigma of a point that COCO does not have: between its face (.03) and its body (.08).
_SIGMA = 0.05
#: Area of an instance in squared sides of the crop, where the data set does not say it:
#: of people annotated in COCO, the middle one fills a fifth of the square around it.
_FILL = 0.2
#: Narrowest Gaussian, in cells: below, its peak depends on where in a cell the point lies.
_NARROWEST = 1.0


class KeyPoints(Task):
    """One heat map a key point; the points of other people in the crop are not learnt.

    Targets (n, 3 K + 5) are x, y (sides of the standard crop) and v (0 not labelled, 1
    hidden, 2 visible) of each point; then left, top and side of the standard crop and
    the area of the instance in its photo, in pixels, and the photo's number. Where the
    data set has no ``box.left``, ``box.top``, ``box.side`` the crop is the photo, of
    side 1; where it has no box or no ``area`` (or 0) the area is unknown, written 0,
    and a fifth of the squared side stands for it in the OKS. Predictions (n, 3 K) are
    x, y and score of each point.

    Args:
        labels: names of the data set's labels. ``P.x`` and ``P.y`` make P a key point;
            without ``P.v`` it is visible everywhere.
        points: which to learn; by default all that are labelled.
        pairs: points that change places in a mirrored image; by default those whose
            names differ in ``left_`` and ``right_``, ``l_`` and ``r_`` at the start or
            ``_left`` and ``_right`` at the end.
        sigma: standard deviation of the Gaussian in sides of the map, though never less
            than one cell. The default is that of Xiao et al.: 2 cells of 64.
        sigmas: point -> sigma of the OKS; by default COCO's for its 17 names, 0.05 else.
        head: the two ends of the head segment that PCKh is measured by
            (``evonas.tasks.common.pckh``); by default ``neck`` and ``head_top``, if both are
            learnt.
    """

    metric = "error"
    unit = "percent"
    dense = True
    higher_is_better = frozenset({"oks", "AP", "AP50", "AP75", "AR"})

    def __init__(
        self,
        labels: Labels,
        points: tuple[str, ...] | None = None,
        pairs: tuple[tuple[str, str], ...] | None = None,
        sigma: float = 2 / 64,
        sigmas: dict[str, float] | None = None,
        head: tuple[str, str] | None = None,
    ) -> None:
        known = [name[:-2] for name in labels if name.endswith(".x") and f"{name[:-2]}.y" in labels]
        wrong = [point for point in points or () if point not in known]
        if wrong or not known or (points is not None and not points):
            raise InputError(
                f"task.points: the data set labels the key points {', '.join(known) or 'none'}; "
                f"expected some of them (labels P.x, P.y, P.v make a point P), got {points}"
            )
        if not 0 < sigma < 1:
            raise InputError(
                f"task.sigma: expected a number of sides of the map between 0 and 1, got {sigma}"
            )
        self.points = tuple(point for point in known if points is None or point in points)
        self.labels = self.points
        self.n_outputs = len(self.points)
        self.sigma = sigma
        self.pairs = (
            checked_pairs(pairs, self.points) if pairs is not None else named_pairs(self.points)
        )
        self.sigmas = _sigmas(sigmas or {}, self.points)
        self.head = head_of(head, self.points)
        if self.head is not None:
            self.higher_is_better = self.higher_is_better | {
                "PCKh",
                *(f"pckh_{point}" for point in self.points),
            }
        self._swap = np.arange(self.n_outputs)
        for pair in self.pairs:
            one, other = map(self.points.index, pair)
            self._swap[[one, other]] = other, one

    def targets(self, dataset: Dataset) -> Array:
        """Return points, boxes, areas and photos, (n, 3 K + 5).

        Raises:
            InputError: a crop has no side.
        """
        labels, n = dataset.labels, len(dataset)
        boxed = all(name in labels for name in _BOX)
        box = [labels[name] for name in _BOX] if boxed else [np.zeros(n), np.zeros(n), np.ones(n)]
        without = np.flatnonzero(box[2] <= 0)
        if len(without):
            raise InputError(
                f"data: label 'box.side' expected above 0, got {box[2][without[0]]} of "
                f"{dataset.describe(int(without[0]))}: mend or remove it"
            )
        area = labels["area"] if boxed and "area" in labels else np.zeros(n)
        columns: list[NDArray[Any]] = []
        for point in self.points:
            columns += [labels[f"{point}.x"], labels[f"{point}.y"]]
            columns.append(labels.get(f"{point}.v", np.full(n, 2.0, np.float32)))
        columns += [
            *box,
            np.maximum(area, 0),
            labels["image"] if "image" in labels else np.arange(n),
        ]
        return np.stack(columns, 1).astype(np.float32)

    def flip_targets(self, targets: Array) -> Array:
        """Return the targets of mirrored images: x -> 1 - x, and pairs change places.

        The box stays: it is that of the photo, and only the plain view is judged by it.
        """
        points, rest = self._split(targets)
        points = points[:, self._swap].copy()
        points[..., 0] = 1 - points[..., 0]
        return np.concatenate([points.reshape(len(points), -1), rest], axis=1)

    def crop_targets(self, targets: Array, corner: Array, side: Array) -> Array:
        """Return the targets of other crops; a point that leaves the crop keeps its v.

        The loss does not see points outside. The box stays, as in ``flip_targets``.
        """
        points, rest = self._split(targets)
        points = points.copy()
        points[..., :2] = (points[..., :2] - corner[:, None]) / side[:, None, None]
        return np.concatenate([points.reshape(len(points), -1), rest], axis=1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over labelled points of the squared error of their maps.

        It is in units of a Gaussian's own square, pi sigma^2, so that maps of zeros
        have a loss of about one, whatever sigma and the size of the map are. A point
        outside the crop counts as not labelled.
        """
        h, w = outputs.shape[2:]
        points = targets[:, : 3 * self.n_outputs].reshape(len(targets), self.n_outputs, 3)
        x, y, v = points.unbind(2)
        counts = (v > 0) & (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
        across, down = self._profile(x, w), self._profile(y, h)
        gaussians = down[..., :, None] * across[..., None, :]
        errors = (outputs - gaussians).square().mean((2, 3))
        unit = math.pi * self._width(h) * self._width(w) / (h * w)
        return (errors * counts).sum() / counts.sum().clamp(min=1) / unit

    def _profile(self, places: Tensor, cells: int) -> Tensor:
        """Return the Gaussian along one axis at the cells' centres, (n, K, cells)."""
        centres = torch.arange(cells, device=places.device, dtype=places.dtype) + 0.5
        away = (centres - places[..., None] * cells) / self._width(cells)
        return torch.exp(-0.5 * away.square())

    def _width(self, cells: int) -> float:
        """Return the Gaussian's standard deviation along an axis, in cells."""
        return max(self.sigma * cells, _NARROWEST)

    @property
    def answer(self) -> Answer:
        """Places and scores of points, (n, K, 3)."""
        return Answer("points", self.points, "sides of the crop")

    def decode(self, outputs: Tensor) -> Tensor:
        """Return x, y (sides of the crop) and score of each point, (n, K, 3).

        The score is the map's highest value. Around it the logarithm of the map is
        expanded to second order, whose peak is the point (Zhang et al. 2020, equation
        9), at most half a cell away.
        """
        k, h, w = outputs.shape[1:]
        maps = outputs.reshape(-1, h * w)
        place = maps.argmax(1)
        row, column = place // w, place % w
        top = maps.gather(1, place[:, None])[:, 0]
        shift = refined(maps, row, column, (h, w), (self._width(w), self._width(h)))
        x = (column + 0.5 + shift[:, 0]) / w
        y = (row + 0.5 + shift[:, 1]) / h
        return torch.stack([x, y, top], 1).reshape(-1, k, 3)

    def unflip_outputs(self, outputs: Array) -> Array:
        """Return maps flipped along x, with pairs exchanged.

        Cell i of w covers [i / w, (i + 1) / w], so its mirror image is cell w - 1 - i as a
        whole. The shift by a cell that is common mends conventions in which the two do
        not match (Huang et al. 2020, arXiv 1911.07524); here it would do harm.
        """
        return outputs[:, self._swap, :, ::-1]

    def constant_baseline(self, targets: Array) -> Array:
        """Return one row for all images, (3 K + 5,), score 1; the last five are zeros.

        Each point starts at the median of its labelled positions and climbs from there
        to where the mean OKS is highest, with the steps of Comaniciu and Meer (2002,
        mean shift). A point that is nowhere labelled stands in the middle.
        """
        points, scale = self._split(targets)[0].astype(np.float64), self._scale(targets)
        seen = points[..., 2] > 0
        share = 1 / np.maximum(seen.sum(1), 1)  # of a point in its image's OKS
        best = np.zeros(targets.shape[1], np.float32)
        for k, sigma in enumerate(self.sigmas):
            places, area = points[seen[:, k], k, :2], scale[seen[:, k]]
            guess = np.median(places, axis=0) if len(places) else np.array([0.5, 0.5])
            for _ in range(100 if len(places) else 0):
                squared = ((places - guess) ** 2).sum(1)
                near = closeness(squared[:, None], area, np.array([sigma]))[:, 0]
                weights = near * share[seen[:, k]] / area
                if weights.sum() < 1e-12:
                    break
                guess = weights @ places / weights.sum()
            best[3 * k : 3 * k + 3] = *guess, 1.0
        return best

    def metrics(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return ``error``, ``oks`` and ``nme``, percent.

        ``oks`` is the mean over images of the OKS with the instance's area, over those
        with a labelled point; ``error`` is what it lacks to 100; ``nme`` the mean
        distance of labelled points in sides of the crop.

        Args:
            predictions: (n, 3 K or more), of which the first 3 K columns count.
            targets: (n, 3 K + 5).

        Raises:
            InputError: no point is labelled.
        """
        apart, seen = self._apart(predictions, targets)
        near = closeness(apart**2, self._scale(targets), np.array(self.sigmas))
        any_ = seen.any(1)
        oks = 100 * float(((near * seen).sum(1)[any_] / seen.sum(1)[any_]).mean())
        return {"error": 100 - oks, "oks": oks, "nme": 100 * float(apart[seen].mean())}

    def details(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return the metrics, ``nme_P`` of each point, PCKh and COCO's AP.

        ``PCKh`` and ``pckh_P``, percent (``evonas.tasks.common.pckh``), are there where a head
        segment is labelled, and COCO's numbers where all areas are known.

        ``AP``, ``AP50``, ``AP75`` and ``AR``, percent, are those of one detection an
        image of the data set, at its true box, with the mean of its points' scores
        (Xiao et al. 2018 multiply it by the score of a person detector, where there is
        one). Instances that the data set left out are not missed.
        """
        result = dict(self.metrics(predictions, targets))
        apart, seen = self._apart(predictions, targets)
        for k, point in enumerate(self.points):
            if seen[:, k].any():
                result[f"nme_{point}"] = 100 * float(apart[seen[:, k], k].mean())
        if self.head is not None:
            true = self._split(targets)[0].astype(np.float64)
            result |= pckh(apart, true, self.points, self.head)
        if (targets[seen.any(1), -2] > 0).all():
            found = self._average_precision(predictions, targets)
            result |= {name: 100 * found[name] for name in ("AP", "AP50", "AP75", "AR")}
        return result

    def _average_precision(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        true, rest = self._split(targets.astype(np.float64))
        found = self._split(predictions.astype(np.float64))[0]
        truths, detections = [], []
        for one, other, (left, top, side, area, image) in zip(true, found, rest, strict=True):
            turn, corner = np.array([side, side, 1.0]), np.array([left, top, 0.0])
            box = (left, top, side, side)
            truths.append(Truth(int(image), one * turn + corner, area, box))
            score = float(other[:, 2].mean())
            detections.append(Detection(int(image), other * turn + corner, score))
        return evaluate(truths, detections, self.sigmas)

    def _split(self, rows: Array) -> tuple[Array, Array]:
        """Return the points, (n, K, 3), and what stands behind them."""
        width = 3 * self.n_outputs
        return rows[:, :width].reshape(len(rows), self.n_outputs, 3), rows[:, width:]

    def _apart(self, predictions: Array, targets: Array) -> tuple[Floats, NDArray[np.bool_]]:
        """Return distances in sides of the crop, and which points are labelled, (n, K) each."""
        true = self._split(targets)[0].astype(np.float64)
        away = self._split(predictions)[0][..., :2] - true[..., :2]
        seen: NDArray[np.bool_] = true[..., 2] > 0
        if not seen.any():
            raise InputError(
                f"task key_points: expected a labelled point among {', '.join(self.points)}, got "
                f"none in {len(targets)} images: learn other points, or choose another split"
            )
        return np.hypot(away[..., 0], away[..., 1]), seen

    def _scale(self, targets: Array) -> Floats:
        """Return the instances' areas in squared sides of the crop, (n,)."""
        side, area = targets[:, -3].astype(np.float64), targets[:, -2].astype(np.float64)
        return np.where(area > 0, area / side**2, _FILL)


def _sigmas(given: Mapping[str, float], points: Sequence[str]) -> tuple[float, ...]:
    wrong = [name for name in given if name not in points]
    if wrong or not all(0 < value < math.inf for value in given.values()):
        raise InputError(
            f"task.sigmas: expected positive numbers for some of {', '.join(points)}, "
            f"got {dict(given)}"
        )
    return tuple(given.get(point, COCO_SIGMAS.get(point, _SIGMA)) for point in points)

"""Key points as heat maps, evaluated by object key-point similarity (OKS) and COCO's AP.

The target of a point is a map with a Gaussian at the point (Tompson et al. 2014, arXiv
1406.2984), the loss the mean squared error of Xiao et al. (2018, arXiv 1804.06208). The point is
decoded from the map with the Taylor expansion of Zhang et al. (2020, arXiv 1910.06278). Cell i of
a map of w cells covers [i / w, (i + 1) / w] of the crop.
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
#: OKS sigma of a point that COCO does not have: between its face (.03) and its body (.08).
_SIGMA = 0.05
#: Area of an instance in squared sides of the crop, if the data set does not give it: the median
#: of the people annotated in COCO is a fifth of the square around them.
_FILL = 0.2
#: Least standard deviation of a Gaussian, in cells: the peak of a narrower one depends on the
#: position of the point within its cell.
_NARROWEST = 1.0


class KeyPoints(Task):
    """Predict key points of one instance per crop, with one heat map per point.

    Targets (n, 3 K + 5) are x, y (in sides of the standard crop) and v (0 not labelled, 1
    hidden, 2 visible) of each point; then left, top and side of the standard crop and the area
    of the instance in the photo, in pixels; then the index of the photo. If the data set has no
    ``box.left``, ``box.top`` and ``box.side``, the crop is the photo, with side 1. Without a box
    or ``area`` (or with 0) the area is unknown, stored as 0, and the OKS uses a fifth of the
    squared side. Predictions (n, 3 K) are x, y and score of each point.

    Args:
        labels: names of the data set's labels. ``P.x`` and ``P.y`` define a key point P;
            without ``P.v`` it is visible in all images.
        points: points to learn; default: all labelled ones.
        pairs: points that are exchanged in a mirrored image; default: those whose names differ
            by ``left_`` and ``right_`` or ``l_`` and ``r_`` at the start, or ``_left`` and
            ``_right`` at the end.
        sigma: standard deviation of the Gaussian in sides of the map, at least one cell. The
            default is that of Xiao et al.: 2 cells of 64.
        sigmas: point -> sigma of the OKS; default: COCO's for its 17 names, else 0.05.
        head: the two ends of the head segment for PCKh (``evonas.tasks.common.pckh``); default:
            ``neck`` and ``head_top``, if both are learnt.
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
                f"task.points: expected some of the labelled key points, "
                f"{', '.join(known) or 'none'} (labels P.x, P.y and P.v define a point P), got "
                f"{points}"
            )
        if not 0 < sigma < 1:
            raise InputError(
                f"task.sigma: expected a number between 0 and 1, in sides of the map, got {sigma}"
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
            left, right = map(self.points.index, pair)
            self._swap[[left, right]] = right, left

    def targets(self, dataset: Dataset) -> Array:
        """Return points, boxes, areas and photos, (n, 3 K + 5).

        Raises:
            InputError: the side of a crop is not positive.
        """
        labels, n = dataset.labels, len(dataset)
        boxed = all(name in labels for name in _BOX)
        box = [labels[name] for name in _BOX] if boxed else [np.zeros(n), np.zeros(n), np.ones(n)]
        without = np.flatnonzero(box[2] <= 0)
        if len(without):
            raise InputError(
                f"data: expected the label 'box.side' above 0, got {box[2][without[0]]} for "
                f"{dataset.describe(int(without[0]))}: correct or remove it"
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
        """Return the targets of mirrored images: x -> 1 - x, and pairs are exchanged.

        The box is unchanged: it refers to the photo, and only original images are evaluated by it.
        """
        points, rest = self._split(targets)
        points = points[:, self._swap].copy()
        points[..., 0] = 1 - points[..., 0]
        return np.concatenate([points.reshape(len(points), -1), rest], axis=1)

    def crop_targets(self, targets: Array, corner: Array, side: Array) -> Array:
        """Return the targets of other crops; a point outside the new crop keeps its v.

        The loss ignores points outside the crop. The box is unchanged, as in ``flip_targets``.
        """
        points, rest = self._split(targets)
        points = points.copy()
        points[..., :2] = (points[..., :2] - corner[:, None]) / side[:, None, None]
        return np.concatenate([points.reshape(len(points), -1), rest], axis=1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over labelled points of the squared error of their maps.

        The unit is the integral of a squared Gaussian, pi sigma^2, so that maps of zeros have a
        loss of about one for every sigma and map size. A point outside the crop counts as not
        labelled.
        """
        h, w = outputs.shape[2:]
        points = targets[:, : 3 * self.n_outputs].reshape(len(targets), self.n_outputs, 3)
        x, y, v = points.unbind(2)
        counts = (v > 0) & (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
        along_x, along_y = self._profile(x, w), self._profile(y, h)
        gaussians = along_y[..., :, None] * along_x[..., None, :]
        errors = (outputs - gaussians).square().mean((2, 3))
        unit = math.pi * self._width(h) * self._width(w) / (h * w)
        return (errors * counts).sum() / counts.sum().clamp(min=1) / unit

    def _profile(self, positions: Tensor, cells: int) -> Tensor:
        """Return Gaussians along one axis at the centres of the cells, (n, K, cells)."""
        centres = torch.arange(cells, device=positions.device, dtype=positions.dtype) + 0.5
        distances = (centres - positions[..., None] * cells) / self._width(cells)
        return torch.exp(-0.5 * distances.square())

    def _width(self, cells: int) -> float:
        """Return the Gaussian's standard deviation along an axis, in cells."""
        return max(self.sigma * cells, _NARROWEST)

    @property
    def answer(self) -> Answer:
        """Positions and scores of the points, (n, K, 3)."""
        return Answer("points", self.points, "sides of the crop")

    def decode(self, outputs: Tensor) -> Tensor:
        """Return x, y (in sides of the crop) and score of each point, (n, K, 3).

        The score is the highest value of the map. The point is the peak of a second-order
        expansion of the logarithm of the map around it (Zhang et al. 2020, equation 9), at most
        half a cell away.
        """
        k, h, w = outputs.shape[1:]
        maps = outputs.reshape(-1, h * w)
        index = maps.argmax(1)
        row, column = index // w, index % w
        top = maps.gather(1, index[:, None])[:, 0]
        shift = refined(maps, row, column, (h, w), (self._width(w), self._width(h)))
        x = (column + 0.5 + shift[:, 0]) / w
        y = (row + 0.5 + shift[:, 1]) / h
        return torch.stack([x, y, top], 1).reshape(-1, k, 3)

    def unflip_outputs(self, outputs: Array) -> Array:
        """Return the maps flipped along x, with pairs exchanged.

        Cell i of w covers [i / w, (i + 1) / w], so its mirror image is exactly cell w - 1 - i.
        The customary shift by one cell corrects conventions in which the two differ (Huang et al.
        2020, arXiv 1911.07524); here it would be an error.
        """
        return outputs[:, self._swap, :, ::-1]

    def constant_baseline(self, targets: Array) -> Array:
        """Return the constant prediction of highest mean OKS, (3 K + 5,).

        The scores are 1 and the last five values 0. Each point starts at the median of its
        labelled positions and moves to a local maximum of the mean OKS by mean shift (Comaniciu
        and Meer 2002). A point without labels is at the centre.
        """
        points, scale = self._split(targets)[0].astype(np.float64), self._scale(targets)
        labelled = points[..., 2] > 0
        share = 1 / np.maximum(labelled.sum(1), 1)  # weight of a point in its image's OKS
        best = np.zeros(targets.shape[1], np.float32)
        for k, sigma in enumerate(self.sigmas):
            positions, area = points[labelled[:, k], k, :2], scale[labelled[:, k]]
            mode = np.median(positions, axis=0) if len(positions) else np.array([0.5, 0.5])
            for _ in range(100 if len(positions) else 0):
                squared = ((positions - mode) ** 2).sum(1)
                near = closeness(squared[:, None], area, np.array([sigma]))[:, 0]
                weights = near * share[labelled[:, k]] / area
                if weights.sum() < 1e-12:
                    break
                mode = weights @ positions / weights.sum()
            best[3 * k : 3 * k + 3] = *mode, 1.0
        return best

    def metrics(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return ``error``, ``oks`` and ``nme``, percent.

        ``oks`` is the mean OKS of the images with a labelled point, computed with the area of
        the instance; ``error`` is 100 - ``oks``; ``nme`` is the mean distance of labelled
        points, in percent of the side of the crop.

        Args:
            predictions: (n, 3 K or more), of which the first 3 K columns are used.
            targets: (n, 3 K + 5).

        Raises:
            InputError: no point is labelled.
        """
        apart, labelled = self._apart(predictions, targets)
        near = closeness(apart**2, self._scale(targets), np.array(self.sigmas))
        rows = labelled.any(1)
        oks = 100 * float(((near * labelled).sum(1)[rows] / labelled.sum(1)[rows]).mean())
        return {"error": 100 - oks, "oks": oks, "nme": 100 * float(apart[labelled].mean())}

    def details(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return the metrics, ``nme_P`` of each point P, PCKh and COCO's AP.

        ``PCKh`` and ``pckh_P``, percent (``evonas.tasks.common.pckh``), need a labelled head
        segment, COCO's metrics the areas of all instances.

        ``AP``, ``AP50``, ``AP75`` and ``AR``, percent, are computed with one detection per
        instance of the data set, at the true box, whose score is the mean score of the points
        (Xiao et al. 2018 multiply it by the score of a person detector, if there is one).
        Instances that the data set leaves out do not count.
        """
        result = dict(self.metrics(predictions, targets))
        apart, labelled = self._apart(predictions, targets)
        for k, point in enumerate(self.points):
            if labelled[:, k].any():
                result[f"nme_{point}"] = 100 * float(apart[labelled[:, k], k].mean())
        if self.head is not None:
            true = self._split(targets)[0].astype(np.float64)
            result |= pckh(apart, true, self.points, self.head)
        if (targets[labelled.any(1), -2] > 0).all():
            precision = self._average_precision(predictions, targets)
            result |= {name: 100 * precision[name] for name in ("AP", "AP50", "AP75", "AR")}
        return result

    def _average_precision(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        true, boxes = self._split(targets.astype(np.float64))
        predicted = self._split(predictions.astype(np.float64))[0]
        truths, detections = [], []
        for truth, points, (left, top, side, area, image) in zip(
            true, predicted, boxes, strict=True
        ):
            scale, corner = np.array([side, side, 1.0]), np.array([left, top, 0.0])
            box = (left, top, side, side)
            truths.append(Truth(int(image), truth * scale + corner, area, box))
            score = float(points[:, 2].mean())
            detections.append(Detection(int(image), points * scale + corner, score))
        return evaluate(truths, detections, self.sigmas)

    def _split(self, rows: Array) -> tuple[Array, Array]:
        """Return the points, (n, K, 3), and the remaining columns."""
        width = 3 * self.n_outputs
        return rows[:, :width].reshape(len(rows), self.n_outputs, 3), rows[:, width:]

    def _apart(self, predictions: Array, targets: Array) -> tuple[Floats, NDArray[np.bool_]]:
        """Return distances in sides of the crop, and whether points are labelled, (n, K) each."""
        true = self._split(targets)[0].astype(np.float64)
        offsets = self._split(predictions)[0][..., :2] - true[..., :2]
        labelled: NDArray[np.bool_] = true[..., 2] > 0
        if not labelled.any():
            raise InputError(
                f"task key_points: expected a labelled point among {', '.join(self.points)}, got "
                f"none in {len(targets)} images: learn other points, or choose another split"
            )
        return np.hypot(offsets[..., 0], offsets[..., 1]), labelled

    def _scale(self, targets: Array) -> Floats:
        """Return the instances' areas in squared sides of the crop, (n,)."""
        side, area = targets[:, -3].astype(np.float64), targets[:, -2].astype(np.float64)
        return np.where(area > 0, area / side**2, _FILL)


def _sigmas(given: Mapping[str, float], points: Sequence[str]) -> tuple[float, ...]:
    """Return the OKS sigma of each point: given, COCO's, or the default."""
    wrong = [name for name in given if name not in points]
    if wrong or not all(0 < value < math.inf for value in given.values()):
        raise InputError(
            f"task.sigmas: expected positive numbers for some of {', '.join(points)}, "
            f"got {dict(given)}"
        )
    return tuple(given.get(point, COCO_SIGMAS.get(point, _SIGMA)) for point in points)

"""Ridge probe of taps: validation errors of linear models of coarse maps, in a few seconds.

Kernel ridge regression (Rasmussen and Williams 2006, section 2.3) on maps averaged over a grid;
a search gives the errors to its strategy as a hint. ``evonas probe`` judges taps more carefully.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from threadpoolctl import threadpool_limits

from evonas.core.array_types import Array
from evonas.estimation.features.feature_cache import Features
from evonas.tasks.base import Task

Indices = NDArray[np.intp]
Floats = NDArray[np.float64]

#: Largest numbers of images to fit and to judge.
TRAIN, VALIDATION = 1000, 500
#: Images whose maps are read at a time.
_READ = 100
#: Cells of the grid per side: the mean alone says little of where something is.
GRID = 4
#: Penalties relative to the mean eigenvalue; the best on validation counts.
PENALTIES = tuple(np.logspace(-4, 1, 6).tolist())


def tap_errors(
    features: Features,
    taps: Sequence[str],
    sides: Mapping[str, Indices],
    task: Task,
    targets: Array,
) -> dict[str, float]:
    """Return the lowest validation error of a ridge regression for each tap.

    The first view is read with one thread, so that the errors do not depend on the workers.

    Args:
        features: cached maps of the taps.
        taps: names of the taps.
        sides: ``train`` and ``validation`` -> indices, of which at most ``TRAIN`` and
            ``VALIDATION`` are used.
        task: gives the metric; its output is a vector.
        targets: (n, k) targets of the plain view.

    Returns:
        Tap -> error in the unit of the task's metric, rounded to 4 digits; empty without images,
        or where images lack some of the labels of a task.
    """
    errors: dict[str, dict[str, float]] = {tap: {} for tap in taps}
    for part in task.split(targets):
        usable = np.intersect1d(np.flatnonzero(part.known), features.usable)
        train, judged = (
            _spread(np.intersect1d(sides[side], usable), most)
            for side, most in (("train", TRAIN), ("validation", VALIDATION))
        )
        if len(train) < 2 or not len(judged) or not np.isfinite(part.targets[part.known]).all():
            return {}
        fitted, names = _columns(part.task, part.targets[train])
        truth = part.targets[judged]
        with threadpool_limits(1):
            for tap in taps:
                maps = features.open(tap)[0]
                guesses = _ridge(_cells(maps, train), fitted, _cells(maps, judged))
                error = min(_error(part.task, names, guess, truth) for guess in guesses)
                errors[tap][part.name] = _rounded(error)
    combined = {tap: _rounded(task.combined(own)) for tap, own in errors.items()}
    return combined if np.isfinite([*combined.values()]).all() else {}


def _rounded(error: float) -> float:
    return float(f"{error:.4g}")


def _spread(rows: Indices, most: int) -> Indices:
    """Return at most ``most`` of the rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(np.intp)]


def _columns(task: Task, targets: Array) -> tuple[Floats, Array | None]:
    """Return columns to regress, (n, k), and the classes that they indicate, if there are any."""
    if task.answer.kind != "classes":
        return targets.astype(np.float64), None
    classes = np.unique(targets[:, 0])
    return (targets[:, :1] == classes).astype(np.float64), classes


def _error(task: Task, classes: Array | None, guess: Floats, truth: Array) -> float:
    if classes is not None:
        guess = classes[guess.argmax(1)][:, None]
    metrics = task.metrics(guess.astype(np.float32), truth)
    lower = [name for name in metrics if name not in task.higher_is_better]
    return metrics[task.metric if task.metric in metrics else lower[0]]


def _cells(maps: NDArray[np.float16], rows: Indices) -> Floats:
    """Return (n, d) means of maps (all, c, h, w) over a grid of up to GRID x GRID cells."""
    if len(rows) > _READ:  # early maps are large
        parts = [_cells(maps, rows[start : start + _READ]) for start in range(0, len(rows), _READ)]
        return np.concatenate(parts)
    block = np.asarray(maps[rows], np.float64)
    for axis in (2, 3):
        size = maps.shape[axis]
        starts = np.unique(np.arange(GRID) * size // GRID)
        widths = np.expand_dims(np.diff([*starts, size]), [a for a in range(4) if a != axis])
        block = np.add.reduceat(block, starts, axis=axis) / widths
    return block.reshape(len(rows), -1)


def _ridge(x: Floats, y: Floats, asked: Floats) -> list[Floats]:
    """Return (m, k) predictions for each of PENALTIES."""
    centre, scale, middle = x.mean(0), x.std(0), y.mean(0)
    varying = scale > 1e-6 * max(float(scale.max()), 1e-30)
    x, asked = ((rows - centre)[:, varying] / scale[varying] for rows in (x, asked))
    if not varying.any():
        return [np.tile(middle, (len(asked), 1))]
    values, vectors = eigh(x @ x.T)
    values = np.maximum(values, 0.0)
    turned, cross = vectors.T @ (y - middle), asked @ x.T @ vectors
    mean = float(values.mean())
    return [cross @ (turned / (values + penalty * mean)[:, None]) + middle for penalty in PENALTIES]

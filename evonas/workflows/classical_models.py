"""Classical models beside a head network: linear models of the feature map of its tap.

They are fitted in seconds to the plain view of the training images, on one thread, and need no
choice of a user: baselines of every search.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from threadpoolctl import threadpool_limits

from evonas.core.array_types import Array
from evonas.core.files import draft_of
from evonas.errors import InputError
from evonas.estimation import linear_models as linear
from evonas.estimation.cost.complexity import Complexity
from evonas.estimation.linear_models import Floats, LinearModel
from evonas.models.files.safetensors_files import load_file, save_file
from evonas.models.networks.base import Shape
from evonas.tasks.base import Task
from evonas.tasks.common.prediction_format import HELD_OUT_LOSS

Indices = NDArray[np.intp]
#: Most features of an image: larger maps are averaged to fewer cells, as heads do before they
#: flatten. Most values of all images, and most images where all cells are features: they keep a
#: fit within a few seconds of one core.
MOST_FEATURES, MOST_VALUES, MOST_IMAGES = 4096, 1 << 23, 2048
#: Largest images x features x classes of a support vector machine, for the same reason.
_CHEAP = 2.5e6
_BATCH, _ROWS = 256, 2048  # images whose maps, and whose features, are in memory at once


@dataclass(frozen=True)
class ClassicalModel:
    """A fitted linear model: feature map -> predictions in the labels' units.

    Attributes:
        linear: of the features, which are not standardised.
        grid: (height, width) to which maps are averaged; (0, 0) without features: a constant.
        note: what was left out to save time; empty if nothing was.
    """

    linear: LinearModel
    grid: tuple[int, int]
    note: str = ""

    @property
    def complexity(self) -> Complexity:
        """Multiply-adds and parameters of the linear map, standardisation included."""
        macs = self.linear.weights.size
        params = macs + self.linear.bias.size
        return Complexity(macs, params, 4e-6 * params, ())

    def outputs(self, maps: NDArray[np.float16], images: Indices) -> Floats:
        """Return (n, k) values, or scores of the classes, of some images."""
        parts = [images[start : start + _ROWS] for start in range(0, max(len(images), 1), _ROWS)]
        return np.concatenate([self.linear(features(maps, part, self.grid)) for part in parts])

    def save(self, path: Path) -> bool:
        """Write the model as safetensors; return whether that worked."""
        tensors = {
            "weights": torch.from_numpy(np.ascontiguousarray(self.linear.weights)),
            "bias": torch.from_numpy(np.ascontiguousarray(self.linear.bias)),
            "grid": torch.tensor(self.grid),
        }
        with suppress(OSError, SafetensorError), draft_of(path) as draft:
            save_file(tensors, draft)
        return path.is_file()

    @classmethod
    def load(cls, path: Path, shape: Shape | None, outputs: int) -> ClassicalModel:
        """Read a model.

        Args:
            path: the file.
            shape: (channels, height, width) of its feature map; None: it is a constant.
            outputs: number of its outputs.

        Raises:
            InputError: the file is missing, damaged, or of another feature map.
        """
        try:
            tensors = load_file(path)
            grid = tuple(int(side) for side in tensors["grid"].tolist())
            weights, bias = (tensors[key].double().numpy() for key in ("weights", "bias"))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            reason = str(error).split("\n", 1)[0]
            raise InputError(f"{path}: no linear model ({reason}): retrain again") from error
        channels, *size = shape or (0, 0, 0)
        fits = len(grid) == 2 and all(0 <= own <= s for own, s in zip(grid, size, strict=True))
        wanted = (channels * grid[0] * grid[1] if fits else -1, outputs)
        if weights.shape != wanted or bias.shape != (outputs,):
            raise InputError(
                f"{path}: no linear model of a {shape} map with {outputs} outputs: the weights "
                f"have the shape {weights.shape} and the grid is {grid}: retrain again"
            )
        return cls(LinearModel(weights, bias), (grid[0], grid[1]))


#: Kind -> how it is fitted to standardised features; of values, and of classes.
_OF_VALUES: Mapping[str, linear.Fit] = {"ridge": linear.ridge}
_SVM = "linear SVM"
_OF_CLASSES: Mapping[str, linear.Fit] = {
    "ridge": linear.ridge_classifier,
    "logistic regression": linear.tuned(linear.logistic),
    _SVM: linear.tuned(linear.support_vectors),
}


@dataclass(frozen=True)
class Method:
    """A kind of classical model.

    Attributes:
        kind: ridge, logistic regression or linear SVM.
        flattened: all cells of the map are features, instead of their means.
    """

    kind: str
    flattened: bool

    @property
    def name(self) -> str:
        """The kind and its features, for tables."""
        return f"{self.kind} of {'flattened' if self.flattened else 'pooled'} features"


def features(maps: NDArray[np.float16], images: Indices, grid: tuple[int, int]) -> Floats:
    """Return the (n, c * height * width) features of some images: maps averaged to a grid."""
    rows = np.empty((len(images), maps.shape[1] * grid[0] * grid[1]))
    for start in range(0, len(images) if rows.size else 0, _BATCH):
        chosen = images[start : start + _BATCH]
        batch = torch.from_numpy(maps[chosen].astype(np.float32))
        means = torch.nn.functional.adaptive_avg_pool2d(batch, grid)
        rows[start : start + len(chosen)] = means.flatten(1).numpy()
    return rows


def grid_of(shape: Shape) -> tuple[int, int]:
    """Return the largest grid of a map with at most ``MOST_FEATURES`` features; at least 1 x 1."""
    channels, height, width = shape
    while channels * height * width > MOST_FEATURES and height * width > 1:
        height, width = (height - 1, width) if height >= width else (height, width - 1)
    return height, width


def classifies(task: Task) -> bool:
    """Whether the predictions of a task are indices of classes."""
    return task.answer.kind == "classes"


def columns(task: Task) -> int:
    """Return the number of outputs of a task's classical models."""
    return len(task.answer.columns)


def methods(task: Task, shape: Shape, targets: Array) -> list[Method]:
    """Return the classical models of a task on a feature map; none for dense outputs.

    Several tasks have those that each of them has, side by side.

    Args:
        task: learns classes, or values of which each is a column of the targets.
        shape: (channels, height, width) of the map.
        targets: (n, k) of the training images.
    """
    if task.metric == HELD_OUT_LOSS:  # no loss without the network's outputs
        return []
    first, *rest = [_own_methods(part.task, shape, part.judged) for part in task.split(targets)]
    return [method for method in first if all(method in own for own in rest)]


def _own_methods(task: Task, shape: Shape, targets: Array) -> list[Method]:
    """Return the classical models of a task that shares no outputs with others."""
    if task.dense or task.answer.kind == "points" or not np.isfinite(targets).all():
        return []
    kinds = [*_fits(task)]
    if len(targets) * shape[0] * columns(task) > _CHEAP:
        kinds = [kind for kind in kinds if kind != _SVM]
    found = [Method(kind, False) for kind in kinds]
    if max(grid_of(shape)) > 1:
        found += [Method(kind, True) for kind in kinds if kind != _SVM]
    return found


def _fits(task: Task) -> Mapping[str, linear.Fit]:
    return _OF_CLASSES if classifies(task) else _OF_VALUES


def fit(
    method: Method, task: Task, maps: NDArray[np.float16], targets: Array, train: Indices
) -> ClassicalModel:
    """Fit a classical model, on one thread.

    Args:
        method: one of ``methods``.
        task: gives targets their meaning.
        maps: (n, c, h, w), of the plain view.
        targets: (n, k).
        train: indices of the images to fit.
    """
    return _side_by_side(
        [
            _fit(method, part.task, maps, part.targets, train[part.known[train]])
            for part in task.split(targets)
        ]
    )


def _fit(
    method: Method, task: Task, maps: NDArray[np.float16], targets: Array, train: Indices
) -> ClassicalModel:
    """Fit a classical model of a task that shares no outputs with others."""
    channels, height, width = maps.shape[1:]
    grid = grid_of((channels, height, width)) if method.flattened else (1, 1)
    most = max(MOST_VALUES // (channels * grid[0] * grid[1]), 1)
    most = min(most, MOST_IMAGES) if method.flattened else most
    chosen, notes = train, []
    if len(train) > most:
        chosen = train[np.linspace(0, len(train) - 1, most).round().astype(np.intp)]
        notes.append(f"fitted to {most} of {len(train)} training images, to save time")
    if method.flattened and grid != (height, width):
        notes.append(f"of maps averaged to {grid[0]} x {grid[1]}")
    y: Any = targets[chosen].astype(np.float64)
    with threadpool_limits(1):
        x = features(maps, chosen, grid)
        model = linear.standardised(
            _fits(task)[method.kind], x, _numbers(y) if classifies(task) else y
        )
    if classifies(task):  # classes that no training image has
        model = _widened(model, columns(task))
    return ClassicalModel(model, grid, "; ".join([*notes, *filter(None, [model.note])]))


def constant(task: Task, targets: Array, train: Indices) -> ClassicalModel:
    """Return the best constant prediction as a model without features."""
    return _side_by_side(
        [
            _constant(part.task, part.targets[train[part.known[train]]])
            for part in task.split(targets)
        ]
    )


def _constant(task: Task, targets: Array) -> ClassicalModel:
    bias = np.asarray(task.constant_baseline(targets), np.float64)
    if classifies(task):
        bias = linear.indicators(_numbers(bias[None]), columns(task))[0]
    return ClassicalModel(LinearModel(np.zeros((0, len(bias))), bias), (0, 0))


def predictions(
    task: Task, model: ClassicalModel, maps: Sequence[NDArray[np.float16]], images: Indices
) -> Array:
    """Return the (n, k) predictions of a task in the labels' units.

    Args:
        task: gives outputs their meaning.
        model: fitted to its targets.
        maps: of the plain view; of the mirrored one as well for a flip test, as averages.
        images: indices.
    """
    outputs = [model.outputs(own, images).astype(np.float32) for own in maps]
    # Cut between tasks alone: the answer of key points names fewer columns than there are outputs.
    places = np.cumsum([columns(end) for end in task.ends])[:-1]
    parts = zip(task.ends, *(np.split(own, places, 1) for own in outputs), strict=True)
    return np.concatenate([_read(end, own) for end, *own in parts], 1)


def _read(task: Task, outputs: Sequence[Array]) -> Array:
    """Return the predictions of a task's outputs, for an image and perhaps its mirror image."""
    plain = outputs[0]
    if len(outputs) > 1:
        unflip = task.unflip_outputs if classifies(task) else task.flip_targets
        plain = (plain + unflip(outputs[1])) / np.float32(2)
    return task.predictions(plain) if classifies(task) else plain


def metrics(
    task: Task, model: ClassicalModel, maps: NDArray[np.float16], targets: Array, images: Indices
) -> Mapping[str, float]:
    """Return the task's metrics of a model on some images."""
    return task.metrics(predictions(task, model, [maps], images), targets[images])


def _numbers(column: Floats) -> NDArray[np.intp]:
    return np.rint(column[:, 0]).astype(np.intp)


def _side_by_side(models: Sequence[ClassicalModel]) -> ClassicalModel:
    """Return models of the same features as one, with the outputs of all."""
    weights = np.concatenate([model.linear.weights for model in models], 1)
    bias = np.concatenate([model.linear.bias for model in models])
    notes = dict.fromkeys(model.note for model in models if model.note)
    return ClassicalModel(LinearModel(weights, bias), models[0].grid, "; ".join(notes))


def _widened(model: LinearModel, classes: int) -> LinearModel:
    """Return a classifier with an output for each class; those it does not know never win."""
    missing = classes - len(model.bias)
    weights = np.pad(model.weights, ((0, 0), (0, missing)))
    bias = np.pad(model.bias, (0, missing), constant_values=linear.NEVER)
    return LinearModel(weights, bias, model.penalty, model.note)

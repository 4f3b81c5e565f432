"""Several tasks at once, such as pose, age and gender: one network with an end for each task."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from evonas.core.array_types import Array
from evonas.data.base import Dataset
from evonas.errors import InputError, nearest
from evonas.tasks.base import Labels, Matrix, Part, Task
from evonas.tasks.common.prediction_format import Answer
from evonas.tasks.composite.constant_loss import constant_loss
from evonas.tasks.composite.labelled_images import LabelledImages, NoImages, labelled
from evonas.tasks.composite.member_tasks import member as made_member
from evonas.tasks.composite.member_tasks import specs, weights_of, within

_RANGE = "|"  # in the name of a metric on part of the images: mae|yaw 0-30


@dataclass(frozen=True)
class _Scales:
    """What the training labels say about a member.

    Attributes:
        loss: of the best constant output.
        error: of the best constant prediction, in the member's unit.
        complete: whether every training image has the member's labels.
    """

    loss: float
    error: float
    complete: bool


class Several(Task):
    """Learn several tasks with one network, whose output is those of all tasks in a row.

    The network is trained once and costs once: its last layer has the outputs of every task. An
    image may lack the labels of some tasks, which then take no part in its loss and metrics.

    The loss of each task is divided by that of the best constant output on the training images,
    and its error by that of the best constant prediction, so that degrees, years and percents
    weigh alike: 1 is a network that learnt nothing. ``relative_error`` is what a search
    minimises; each task's own metrics have its name before them, as in ``age.mae``.

    Args:
        schema: label name -> names of its classes.
        tasks: name -> task with its options, as in ``{pose: head_pose, age: {name: regression,
            labels: [age]}}``; or names of labels, ``[pose, age, gender]``: ``pose`` is head pose,
            a label with classes is classified, a quantity is a regression.
        combine: ``mean``: the weighted mean of the relative errors; ``worst``: the largest.
        weights: name -> weight of the task in the loss and in the mean; 1 for those that are not
            named.
        chosen: name -> options of a recipe, in the place of those in ``tasks``.
        fitted: name -> what follows from the training labels: the task's options, the scales of
            loss and error, and whether every image is labelled.

    Attributes:
        members: name -> task.

    Raises:
        InputError: there are fewer than two tasks, a name or an option is wrong, a task cannot
            share a network, or its label is missing.
    """

    metric = "relative_error"
    unit = "relative units"
    takes_missing = True

    def __init__(
        self,
        schema: Labels,
        tasks: dict[str, Any] | tuple[str, ...] | None = None,
        combine: Literal["mean", "worst"] = "mean",
        weights: dict[str, float] | None = None,
        chosen: dict[str, dict[str, Any]] | None = None,
        fitted: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        self._specs, self._schema = specs(schema, tasks), schema
        for name, values in (chosen or {}).items():
            if name not in self._specs:
                raise InputError(f"task.tasks: no task {name!r}: {nearest(name, self._specs)}")
            kind, options = self._specs[name]
            self._specs[name] = kind, {**options, **values}
        self._scales: dict[str, _Scales] = {}
        for name, values in (fitted or {}).items():
            known = name in self._specs and isinstance(values, dict)
            if not known or set(values) != {"options", "loss", "error", "complete"}:
                raise InputError(
                    f"task.fitted: expected what fit_options(training targets) returns, got "
                    f"{name}: {values}"
                )
            kind, options = self._specs[name]
            self._specs[name] = kind, {**values["options"], **options}
            self._scales[name] = _Scales(values["loss"], values["error"], values["complete"])
        made = {name: made_member(name, spec, schema) for name, spec in self._specs.items()}
        self.members = MappingProxyType(made)
        self.combine = combine
        self.weights = weights_of(made, weights)
        self.labels = tuple(dict.fromkeys(label for m in made.values() for label in m.labels))
        self.n_outputs = sum(member.n_outputs for member in made.values())
        self.higher_is_better = frozenset(
            f"{name}.{metric}"
            for name, member in made.items()
            for metric in member.higher_is_better
        )
        widths = {n: m.targets(NoImages(schema)).shape[1] for n, m in made.items()}
        self._columns = _slices(widths)
        self._outputs = _slices({name: member.n_outputs for name, member in made.items()})

    def split(self, targets: Array) -> Iterator[Part]:
        """Yield the targets of each task, of (n, k) targets of all."""
        for name, columns in self._columns.items():
            own, task = targets[:, columns], self.members[name]
            known = np.isfinite(own)
            known = np.any(known, 1) if task.takes_missing else np.all(known, 1)
            yield Part(name, task, own, known, columns)

    def relative(self, errors: Mapping[str, float]) -> dict[str, float]:
        """Return name -> error relative to that of a constant, of errors in the tasks' units.

        Raises:
            InputError: there are no scales.
        """
        return {name: error / self._scale(name).error for name, error in errors.items()}

    def combined(self, errors: Mapping[str, float]) -> float:
        """Return the mean or the largest of the relative errors, of errors in the tasks' units.

        Raises:
            InputError: there are no scales.
        """
        relative = self.relative(errors)
        if self.combine == "worst":
            return max(relative.values())
        return float(sum(self._share(name) * error for name, error in relative.items()))

    def targets(self, dataset: Dataset) -> Array:
        """Return the targets of all tasks side by side, (n, k); nan where labels are missing.

        Raises:
            InputError: no image of a split has the labels of a task, or a label is wrong.
        """
        found = []
        for name, member in self.members.items():
            known = labelled(dataset, () if member.takes_missing else member.labels)
            rows = np.flatnonzero(known)
            with within(name):
                values = member.targets(LabelledImages(dataset, rows))
            whole = np.full((len(dataset), values.shape[1]), np.nan, np.float32)
            whole[rows] = values
            found.append(whole)
        targets = np.concatenate(found, 1)
        for side, images in dataset.splits.items():
            for part in self.split(targets[images]):
                if not part.known.any():
                    raise InputError(
                        f"task.tasks.{part.name}: expected images of the {side} split with "
                        f"{' and '.join(part.task.labels)}, got none among {len(images)}: leave "
                        f"the task out, or split the data otherwise"
                    )
        return targets

    def flip_targets(self, targets: Array) -> Array:
        """Return the targets of mirrored images; missing ones stay missing."""
        changed = targets.copy()
        for part in self.split(targets):
            changed[part.known, part.columns] = part.task.flip_targets(part.targets[part.known])
        return changed

    def crop_targets(self, targets: Array, corner: Array, side: Array) -> Array:
        """Return the targets of other crops; missing ones stay missing."""
        changed = targets.copy()
        for part in self.split(targets):
            rows, own = part.known, part.targets[part.known]
            changed[rows, part.columns] = part.task.crop_targets(own, corner[rows], side[rows])
        return changed

    def unflip_outputs(self, outputs: Array) -> Array:
        """Convert the outputs of each task.

        Raises:
            InputError: a task has no flip test.
        """
        parts = []
        for name, member in self.members.items():
            with within(name):
                parts.append(member.unflip_outputs(outputs[:, self._outputs[name]]))
        return np.concatenate(parts, 1)

    def fit_options(self, targets: Array) -> dict[str, Any]:
        """Return ``fitted``: options, scales of loss and error, and completeness of each task.

        Raises:
            InputError: no training image has the labels of a task, or they do not vary.
        """
        if self._scales:
            return {}
        return {"fitted": {part.name: self._fitted(part) for part in self.split(targets)}}

    def _fitted(self, part: Part) -> dict[str, Any]:
        own, (kind, given) = part.judged, self._specs[part.name]
        with within(part.name):
            options = part.task.fit_options(own)
        member = made_member(part.name, (kind, {**options, **given}), self._schema)
        with within(part.name):
            error = float(member.constant_metrics(own, own)[member.metric])
            loss = constant_loss(member.loss, own, member.n_outputs)
        if not (0 < error < np.inf and 0 < loss < np.inf):
            raise InputError(
                f"task.tasks.{part.name}: expected labels that vary, got {len(own)} training "
                f"images on which a constant has the error {error:g} and the loss {loss:g}: leave "
                f"the task out"
            )
        complete = bool(part.known.all())
        return {"options": options, "loss": loss, "error": error, "complete": complete}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted mean of the tasks' losses, relative to those of constant outputs.

        The loss of a task is that of the images with its labels; 0 if there is none.

        Raises:
            InputError: there are no scales.
        """
        total = outputs.new_zeros(())
        for name, member in self.members.items():
            scales = self._scale(name)
            own, truth = outputs[:, self._outputs[name]], targets[:, self._columns[name]]
            # Rows are chosen only where some may be missing: a GPU waits for their number, and
            # such a step is no CUDA graph.
            if not member.takes_missing and (not scales.complete or truth.device.type == "cpu"):
                known = torch.isfinite(truth).all(1)
                if not bool(known.all()):
                    own, truth = own[known], truth[known]
            share = self._share(name) / scales.loss
            # The mean over no images would be nan; the sum over none is 0 and keeps the graph.
            total = total + share * (member.loss(own, truth) if len(truth) else own.sum())
        return total

    def held_out_loss(self, outputs: Array, targets: Array) -> float:
        """Return the weighted mean of the tasks' losses on the images with their labels."""
        total = 0.0
        for part in self.split(targets):
            said = outputs[part.known][:, self._outputs[part.name]]
            loss = part.task.held_out_loss(said, part.judged)
            total += self._share(part.name) * loss / self._scale(part.name).loss
        return total

    @property
    def answer(self) -> Answer:
        """The predictions of the tasks side by side; ``parts`` are those of each."""
        parts = {name: member.answer for name, member in self.members.items()}
        return Answer.of_several(parts, self.unit)

    def decode(self, outputs: Tensor) -> Tensor:
        """Return the predictions of all tasks side by side, each in its own unit."""
        return torch.cat(
            [member.decode(outputs[:, self._outputs[n]]) for n, member in self.members.items()], 1
        )

    def predictions(self, outputs: Array) -> Array:
        """Return the (n, k) predictions of all tasks side by side, in the labels' units."""
        parts = [m.predictions(outputs[:, self._outputs[n]]) for n, m in self.members.items()]
        return np.concatenate(parts, 1)

    def constant_baseline(self, targets: Array) -> Array:
        """Return the best constant predictions of all tasks, (k,).

        Raises:
            InputError: no image has the labels of a task.
        """
        parts = self.split(targets)
        return np.concatenate([part.task.constant_baseline(part.judged) for part in parts])

    def metrics(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return ``relative_error`` and the metrics of each task, as ``NAME.METRIC``.

        Raises:
            InputError: no image has the labels of a task, or there are no scales.
        """
        found: dict[str, float] = {}
        errors: dict[str, float] = {}
        for part in self.split(targets):
            truth = part.judged
            own = part.task.metrics(predictions[part.known, part.columns], truth)
            found |= {f"{part.name}.{key}": value for key, value in own.items()}
            errors[part.name] = own[part.task.metric]
        return {type(self).metric: self.combined(errors), **found}

    def details(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return the metrics, the details of each task and its ``NAME.relative_error``.

        In the name of a metric on part of the images, the task stands before the range:
        ``mae|pose.yaw 0-30``.
        """
        found, errors = dict(self.metrics(predictions, targets)), dict[str, float]()
        for part in self.split(targets):
            own = part.task.details(predictions[part.known, part.columns], part.judged)
            errors[part.name] = own[part.task.metric]
            for key, value in own.items():
                kind, bar, span = key.partition(_RANGE)
                found[f"{kind}{bar}{part.name}.{span}" if bar else f"{part.name}.{key}"] = value
        relative = self.relative(errors)
        return found | {f"{name}.{type(self).metric}": value for name, value in relative.items()}

    def matrix(self, predictions: Array, targets: Array) -> Matrix | None:
        """Return the confusion matrix of the first task that has one."""
        for part in self.split(targets):
            matrix = part.task.matrix(predictions[part.known, part.columns], part.judged)
            if matrix is not None:
                return matrix
        return None

    def _share(self, name: str) -> float:
        return self.weights[name] / sum(self.weights.values())

    def _scale(self, name: str) -> _Scales:
        if name not in self._scales:
            raise InputError(
                "task.fitted: expected the scales of the tasks, got none: add what "
                "fit_options(training targets) returns to the options"
            )
        return self._scales[name]


def _slices(widths: Mapping[str, int]) -> dict[str, slice]:
    ends = np.cumsum([*widths.values()]).tolist()
    return {
        name: slice(end - width, end)
        for (name, width), end in zip(widths.items(), ends, strict=True)
    }

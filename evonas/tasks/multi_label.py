"""Multi-label classification: several yes/no labels at once, such as glasses, beard and smile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from evonas.core.array_types import Array
from evonas.data.base import Dataset
from evonas.errors import InputError, nearest
from evonas.tasks.base import Labels, Task
from evonas.tasks.common.mirror_pairs import mirrored_places
from evonas.tasks.common.prediction_format import Answer

#: Probability from which a label counts as predicted, for F1 and accuracy.
_YES = 0.5


class MultiLabel(Task):
    """Predict the probability of each of several yes/no labels, with one output per label.

    A label is a quantity of 0 and 1, or has two classes, of which the second is yes (classes of
    a table are sorted by name: ``no``, ``yes``). Targets are (n, k) of 0 and 1, and nan where an
    image lacks a label, which then takes no part in loss and metrics; predictions are (n, k)
    probabilities.

    Args:
        schema: label name -> names of its classes.
        labels: labels to learn, in this order; default: all with two classes.
        balanced: weight the yes of each label by the ratio of no to yes among the training
            images, so that rare labels count.
        positive_weights: weight of the yes of each label, positive. With ``balanced`` they are
            computed from the training targets unless they are given.
        pairs: labels that are exchanged in a mirrored image; default: pairs recognised by name
            (``left_wink`` and ``right_wink``).

    Raises:
        InputError: a label is missing or has more than two classes; an option is out of its range.
    """

    metric = "error"
    unit = "percent"
    takes_missing = True

    def __init__(
        self,
        schema: Labels,
        labels: tuple[str, ...] | None = None,
        balanced: bool = False,
        positive_weights: Sequence[float] | None = None,
        pairs: tuple[tuple[str, str], ...] | None = None,
    ) -> None:
        self.labels = _chosen(schema, labels)
        self.n_outputs = len(self.labels)
        if positive_weights is not None and not (
            len(positive_weights) == self.n_outputs
            and all(0 < w < np.inf for w in positive_weights)
        ):
            raise InputError(
                f"task.positive_weights: expected {self.n_outputs} positive numbers, one for each "
                f"of {', '.join(self.labels)}, got {list(positive_weights)}"
            )
        self.balanced = balanced
        self.weights = (
            None
            if positive_weights is None
            else torch.tensor(list(positive_weights), dtype=torch.float32)
        )
        self._mirror = mirrored_places(self.labels, pairs)
        each = {f"{kind} {name}" for kind in ("ap", "accuracy", "f1") for name in self.labels}
        self.higher_is_better = frozenset({"map", "macro_f1", "accuracy", *each})

    def targets(self, dataset: Dataset) -> Array:
        """Return 1 for yes, 0 for no and nan for a missing label, (n, k).

        Raises:
            InputError: a label is another number.
        """
        values = np.stack([dataset.labels[name] for name in self.labels], 1).astype(np.float32)
        rows, columns = np.nonzero((values != 0) & (values != 1) & ~np.isnan(values))
        if len(rows):
            row, column = int(rows[0]), int(columns[0])
            raise InputError(
                f"task.labels: expected 0 or 1 for {self.labels[column]!r}, got "
                f"{values[row, column]:g} for {dataset.describe(row)}, {len(np.unique(rows))} such "
                f"images in total: learn it with the task regression"
            )
        return values

    def flip_targets(self, targets: Array) -> Array:
        """Return the targets of mirrored images: the labels of a pair are exchanged."""
        return targets[:, self._mirror]

    def unflip_outputs(self, outputs: Array) -> Array:
        """Return the (n, k) outputs with the labels of each mirror pair exchanged."""
        return outputs[:, self._mirror]

    def fit_options(self, targets: Array) -> dict[str, Any]:
        """Return ``positive_weights`` if ``balanced``.

        Raises:
            InputError: a label is yes, or no, for all training images.
        """
        for name, column in zip(self.labels, targets.T, strict=True):
            known = column[np.isfinite(column)]
            if len(np.unique(known)) < 2:
                got = f"{known[0]:g} for all {len(known)}" if len(known) else "none of either"
                raise InputError(
                    f"task.labels: expected training images with {name!r} 0 and 1, got {got}: "
                    f"leave the label out"
                )
        if not self.balanced or self.weights is not None:
            return {}
        yes, no = np.nansum(targets, 0, dtype=np.float64), np.nansum(1 - targets, 0)
        return {"positive_weights": (no / yes).tolist()}

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean binary cross entropy of the known labels; 0 if none is known.

        Raises:
            InputError: ``balanced`` without weights.
        """
        if self.balanced and self.weights is None:
            raise InputError(
                "task.positive_weights: expected the weights that task.balanced=true needs, got "
                "none: add what fit_options(training targets) returns to the options"
            )
        if self.weights is not None:
            self.weights = self.weights.to(outputs.device)  # kept, since a copy blocks the host
        # Missing labels are multiplied by 0, so that shapes do not depend on the data: a step
        # with another shape could not be replayed on a GPU.
        known = torch.isfinite(targets)
        each = functional.binary_cross_entropy_with_logits(
            outputs,
            torch.where(known, targets, 0.0).to(outputs),
            pos_weight=None if self.weights is None else self.weights.to(outputs),
            reduction="none",
        )
        return (each * known).sum() / known.sum().clamp(min=1)

    @property
    def answer(self) -> Answer:
        """Probability of each label, (n, k)."""
        return Answer("labels", self.labels, "probability")

    def decode(self, outputs: Tensor) -> Tensor:
        """Return the logistic function of (n, k) outputs."""
        return outputs.sigmoid()

    def constant_baseline(self, targets: Array) -> Array:
        """Return the share of yes of each label, (k,); 0.5 if no image has the label."""
        known = np.isfinite(targets)
        shares = np.nansum(targets, 0) / np.maximum(known.sum(0), 1)
        return np.where(known.any(0), shares, 0.5).astype(np.float32)

    def metrics(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return ``error`` (100 - mAP), ``map``, ``macro_f1`` and ``accuracy``, percent.

        They are means over the labels. The average precision of a label without a yes among
        the targets is not defined, and neither is its F1 if no image is predicted yes: they are
        left out of the means.

        Raises:
            InputError: no label has a yes.
        """
        each = self._each(predictions, targets)
        if np.isnan(each["ap"]).all():
            raise InputError(
                f"task.labels: expected images with one of {', '.join(self.labels)} to judge, got "
                f"none among {len(targets)}: choose another split"
            )
        means = {kind: float(np.nanmean(values)) for kind, values in each.items()}
        found = {"error": 100.0 - means["ap"], "map": means["ap"]}
        return {**found, "macro_f1": means["f1"], "accuracy": means["accuracy"]}

    def details(self, predictions: Array, targets: Array) -> Mapping[str, float]:
        """Return the metrics, and ``ap NAME``, ``f1 NAME`` and ``accuracy NAME``, percent.

        Those that are not defined are left out.
        """
        details = dict(self.metrics(predictions, targets))
        for kind, values in self._each(predictions, targets).items():
            for name, value in zip(self.labels, values.tolist(), strict=True):
                if np.isfinite(value):
                    details[f"{kind} {name}"] = value
        return details

    def _each(self, predictions: Array, targets: Array) -> dict[str, NDArray[np.float64]]:
        """Return average precision, F1 and accuracy of each label, percent; nan: not defined."""
        from sklearn.metrics import average_precision_score  # slow to import

        found: dict[str, list[float]] = {"ap": [], "f1": [], "accuracy": []}
        for scores, column in zip(predictions.T, targets.T, strict=True):
            known = np.isfinite(column)
            guess, truth = scores[known].astype(np.float64), column[known] > _YES
            said, nan = guess >= _YES, float("nan")
            either = int(said.sum() + truth.sum())
            found["ap"].append(
                100.0 * average_precision_score(truth, guess) if truth.any() else nan
            )
            found["f1"].append(200.0 * int((said & truth).sum()) / either if either else nan)
            found["accuracy"].append(100.0 * float((said == truth).mean()) if len(truth) else nan)
        return {kind: np.array(values) for kind, values in found.items()}


def _chosen(schema: Labels, labels: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the labels to learn."""
    known = [
        name
        for name, classes in schema.items()
        if len(classes) in (0, 2) and not name.endswith((".x", ".y", ".v"))
    ]
    chosen = labels
    if labels is None:
        chosen = tuple(name for name in known if schema[name])
        known = [*chosen]
    for name in chosen or ():
        if name not in known:
            raise InputError(
                f"task.labels: expected labels with two classes, or quantities of 0 and 1, got "
                f"{name!r}: {nearest(name, known)}"
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise InputError(
            f"task.labels: expected at least one label with two classes or of 0 and 1, each once, "
            f"got {', '.join(chosen or ()) or 'none'}; the labels of the data set are "
            f"{', '.join(schema) or 'none'}"
        )
    return chosen

"""Errors of linear models of pooled features (John et al. 2019, algorithm 1).

The article uses regression for nearly all labels: two classes as 0 and 1, with a threshold
chosen on validation images; ordered classes (age, pose) as a quantity that is assigned to bins
afterwards; only emotions are classified linearly. Here classes are fitted by logistic
regression by default. With ``classes="least_squares"`` their indicators 0 and 1 are regressed,
and the class with the largest value is predicted; for two classes that is a threshold of 1/2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evonas.deployment.probing.characteristic_curves import checked
from evonas.deployment.probing.folds import Folds, Indices
from evonas.deployment.probing.targets import Flags, Floats, Target
from evonas.estimation.linear_models import logistic, ridge

#: How classes are fitted.
Classes = Literal["logistic", "least_squares"]
#: Smallest ratio of training images to features for least squares; at 1 it fits the noise.
_ENOUGH = 2


@dataclass(frozen=True)
class Score:
    """The errors of a model on images that it was not fitted to.

    Attributes:
        error: RMSE in the label's unit, over images and columns; for classes, the percentage of
            wrong predictions.
        constant: the error of a constant prediction: the mean, or the most frequent class, of
            the training images.
        mae: mean absolute error in the label's unit; nan for classes.
        constant_mae: mean absolute error of the training median; nan for classes.
        images: number of the images.
        note: deviation from the usual fit, for the user.
    """

    error: float
    constant: float
    mae: float
    constant_mae: float
    images: int
    note: str = ""

    @property
    def relative(self) -> float:
        """The error relative to that of the constant; nan if the constant has no error."""
        return self.error / self.constant if self.constant > 0 else float("nan")


def regress(
    features: NDArray[np.floating],
    target: Target,
    train: Indices,
    test: Indices,
    classes: Classes = "logistic",
) -> Score:
    """Fit a linear model to some images, and return its errors on others (algorithm 1).

    Quantities are fitted by least squares; classes by logistic regression with a unit L2
    penalty on standardised features, or by least squares on their indicators. With fewer than
    two training images for each feature, ridge regression replaces least squares, which would
    fit the noise; its penalty is chosen by leave-one-out cross-validation.

    Args:
        features: (n, c) pooled features.
        target: label of the same images.
        train: indices of the images to fit.
        test: indices of the images to evaluate.
        classes: how classes are fitted; no effect on quantities.

    Raises:
        InputError: features are not finite.
    """
    guesses, note = _predicted(checked(features, target), target, train, test, classes)
    mean, median = _constants(target.of(train))
    return _score(target.of(test), guesses, mean, median, note)


def cross_validate(
    features: NDArray[np.floating], target: Target, folds: Folds, classes: Classes = "logistic"
) -> Score:
    """Return the cross-validated error: each image is evaluated while its fold is held out.

    Raises:
        InputError: features are not finite.
    """
    x = checked(features, target)
    guesses, means, medians = (np.empty_like(target.values) for _ in range(3))
    notes = [folds.note]
    for train, test in folds:
        guesses[test], note = _predicted(x, target, train, test, classes)
        means[test], medians[test] = _constants(target.of(train))
        notes.append(note)
    joined = "; ".join(dict.fromkeys(note for note in notes if note))
    return _score(target, guesses, means, medians, joined)


def _predicted(
    x: Floats, target: Target, train: Indices, test: Indices, classes: Classes
) -> tuple[Floats, str]:
    """Return (test images, k) predictions of the target's values, and a note for the user."""
    centre, spread = x[train].mean(0), x[train].std(0)
    varying: Flags = np.ptp(x[train], axis=0) > 0
    if not varying.any():
        rows = np.broadcast_to(_constants(target.of(train))[0], (len(test), target.values.shape[1]))
        return rows, "constant features: no better than the constant"
    fit, test_x = ((x[rows] - centre)[:, varying] / spread[varying] for rows in (train, test))
    if not target.classes:
        return _regress_columns(fit, target.values[train], test_x)
    if classes == "logistic":
        return _classify(fit, target.numbers[train], test_x)
    scores, note = _regress_columns(fit, target.columns[train], test_x)
    return scores.argmax(1).astype(np.float64)[:, None], note


def _regress_columns(fit: Floats, y: Floats, test_x: Floats) -> tuple[Floats, str]:
    """Return predictions by least squares or ridge regression, and a note for the user."""
    middle = y.mean(0)
    if len(fit) < _ENOUGH * fit.shape[1]:
        note = f"ridge regression: fewer than {_ENOUGH} training images a feature"
        return ridge(fit, y)(test_x), note
    weights = np.linalg.lstsq(fit, y - middle, rcond=None)[0]
    return test_x @ weights + middle, ""


def _classify(fit: Floats, numbers: NDArray[np.intp], test_x: Floats) -> tuple[Floats, str]:
    """Return class indices predicted by logistic regression, and a note for the user."""
    model = logistic(fit, numbers)
    return model(test_x).argmax(1).astype(np.float64)[:, None], model.note


def _constants(train: Target) -> tuple[Floats, Floats]:
    """Return the constant predictions (k,) with the lowest RMSE, and the lowest MAE."""
    if train.classes:
        most_frequent = np.array([float(np.bincount(train.numbers).argmax())])
        return most_frequent, most_frequent
    return train.values.mean(0), np.median(train.values, axis=0)


def _score(truth: Target, guesses: Floats, means: Floats, medians: Floats, note: str) -> Score:
    def power_mean(rows: Floats, power: int) -> float:
        return float((np.abs(rows - truth.values) ** power).mean() ** (1 / power))

    def percent_wrong(rows: Floats) -> float:
        return 100.0 * float((np.rint(rows) != truth.values).mean())

    count, nan = len(truth.values), float("nan")
    if truth.classes:
        return Score(percent_wrong(guesses), percent_wrong(means), nan, nan, count, note)
    rmse = power_mean(guesses, 2), power_mean(means, 2)
    mae = power_mean(guesses, 1), power_mean(medians, 1)
    return Score(*rmse, *mae, count, note)

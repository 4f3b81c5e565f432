"""Linear models of pooled features, and what they miss (John et al. 2019, algorithm 1).

The article regresses whatever is learnt: two classes as 0 and 1, with a threshold that its
validation images choose; ordered classes (age, pose) as a quantity that is then put into bins;
emotions alone it classifies, linearly. Here classes of every kind are fitted by logistic
regression, by default, or with ``classes="least_squares"`` by regressing their indicators, 0 or
1, of which the largest names the class; for two classes that is a threshold of one half.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evonas.deployment.probing.characteristic_curves import checked
from evonas.deployment.probing.folds import Folds, Indices
from evonas.deployment.probing.targets import Flags, Floats, Target

#: How classes are fitted.
Classes = Literal["logistic", "least_squares"]
#: Training images a feature below which least squares is replaced: at one, it fits the noise.
_ENOUGH = 2
_PENALTIES = np.logspace(-3, 5, 17)
_STEPS = 300  # of logistic regression


@dataclass(frozen=True)
class Score:
    """What a model missed on images that it was not fitted to.

    Attributes:
        error: RMSE in the label's unit, over images and columns; of classes the percentage
            of images that got a wrong one.
        constant: the same of the best constant of the training images: their mean, or the
            most frequent class.
        mae: mean absolute error in the label's unit, and
        constant_mae: that of the training median; both nan for classes.
        images: that were judged.
        note: what was done otherwise than usual.
    """

    error: float
    constant: float
    mae: float
    constant_mae: float
    images: int
    note: str = ""

    @property
    def relative(self) -> float:
        """The error as a share of the constant's; nan where that makes none."""
        return self.error / self.constant if self.constant > 0 else float("nan")


def regress(
    features: NDArray[np.floating],
    target: Target,
    train: Indices,
    test: Indices,
    classes: Classes = "logistic",
) -> Score:
    """Return the error on some images of a linear model that was fitted to others (algorithm 1).

    Quantities are learnt by least squares, classes by logistic regression with a unit L2
    penalty on standardised features, or by least squares on their indicators. With fewer than
    two training images a feature, where least squares fits the noise, ridge regression replaces
    it; its penalty is chosen by leaving out single training images.

    Args:
        features: (n, c) pooled features.
        target: of the same images.
        train: indices of the images to fit to, and
        test: of those to judge by.
        classes: how classes are fitted; without effect on quantities.

    Raises:
        InputError: features are not finite.
    """
    guesses, note = _predicted(checked(features, target), target, train, test, classes)
    mean, median = _constants(target.of(train))
    return _score(target.of(test), guesses, mean, median, note)


def cross_validate(
    features: NDArray[np.floating], target: Target, folds: Folds, classes: Classes = "logistic"
) -> Score:
    """Return the error on all images, each judged once, while its fold is held out.

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
    said = "; ".join(dict.fromkeys(note for note in notes if note))
    return _score(target, guesses, means, medians, said)


def _predicted(
    x: Floats, target: Target, train: Indices, test: Indices, classes: Classes
) -> tuple[Floats, str]:
    """Return predictions, (test images, k), in the form of the target's values, and a note."""
    centre, spread = x[train].mean(0), x[train].std(0)
    varying: Flags = np.ptp(x[train], axis=0) > 0
    if not varying.any():
        rows = np.broadcast_to(_constants(target.of(train))[0], (len(test), target.values.shape[1]))
        return rows, "constant features: no better than the constant"
    fit, seen = ((x[rows] - centre)[:, varying] / spread[varying] for rows in (train, test))
    if not target.classes:
        return _regressed(fit, target.values[train], seen)
    if classes == "logistic":
        return _classified(fit, target.numbers[train], seen)
    shares, note = _regressed(fit, target.columns[train], seen)
    return shares.argmax(1).astype(np.float64)[:, None], note


def _regressed(fit: Floats, y: Floats, seen: Floats) -> tuple[Floats, str]:
    """Return predictions of columns by least squares, or ridge regression, and a note."""
    middle = y.mean(0)
    if len(fit) < _ENOUGH * fit.shape[1]:
        from sklearn.linear_model import RidgeCV

        model = RidgeCV(alphas=_PENALTIES).fit(fit, y - middle)
        found = np.asarray(model.predict(seen)).reshape(len(seen), -1) + middle
        return found, f"ridge regression: fewer than {_ENOUGH} training images a feature"
    weights = np.linalg.lstsq(fit, y - middle, rcond=None)[0]
    return seen @ weights + middle, ""


def _classified(fit: Floats, numbers: NDArray[np.intp], seen: Floats) -> tuple[Floats, str]:
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(numbers)) == 1:
        return np.full((len(seen), 1), float(numbers[0])), "one class among the training images"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the last step came too early is said below
        model = LogisticRegression(max_iter=_STEPS).fit(fit, numbers)
    note = (
        f"logistic regression stopped after {_STEPS} steps" if model.n_iter_.max() >= _STEPS else ""
    )
    return model.predict(seen).astype(np.float64)[:, None], note


def _constants(train: Target) -> tuple[Floats, Floats]:
    """Return the rows (k,) that are best by squares, and by absolute differences."""
    if train.classes:
        most = np.array([float(np.bincount(train.numbers).argmax())])
        return most, most
    return train.values.mean(0), np.median(train.values, axis=0)


def _score(truth: Target, guesses: Floats, means: Floats, medians: Floats, note: str) -> Score:
    def missed(rows: Floats, power: int) -> float:
        return float((np.abs(rows - truth.values) ** power).mean() ** (1 / power))

    def wrong(rows: Floats) -> float:
        return 100.0 * float((np.rint(rows) != truth.values).mean())

    count, nan = len(truth.values), float("nan")
    if truth.classes:
        return Score(wrong(guesses), wrong(means), nan, nan, count, note)
    rmse, mae = (missed(guesses, 2), missed(means, 2)), (missed(guesses, 1), missed(medians, 1))
    return Score(*rmse, *mae, count, note)

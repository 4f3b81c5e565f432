"""Linear models: ridge regression, logistic regression and linear support vector machine."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Numbers = NDArray[np.intp]

#: Penalties among which leave-one-out cross-validation chooses that of ridge regression.
PENALTIES: Floats = np.logspace(-3, 5, 17)
#: Inverse penalties (C of scikit-learn) among which held-out images choose that of a classifier.
INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
_STEPS = 300  # maximum number of iterations of logistic regression
#: Score of a class that no image has.
NEVER = -1e9
_HELD_OUT = 5  # one in so many images chooses the penalty of a classifier


@dataclass(frozen=True)
class LinearModel:
    """A linear map from features to outputs.

    Attributes:
        weights: (c, k).
        bias: (k,).
        penalty: of the fit: alpha of ridge regression, 1 / C of a classifier; 0: none.
        note: deviation from the usual fit, for the user.
    """

    weights: Floats
    bias: Floats
    penalty: float = 0.0
    note: str = ""

    def __call__(self, features: Floats) -> Floats:
        """Return the outputs (n, k) of features (n, c)."""
        outputs: Floats = features @ self.weights + self.bias
        return outputs


#: Fits a model to features (n, c) and targets: (n, k) values, or (n,) indices of classes.
Fit = Callable[[Floats, Any], LinearModel]


def ridge(x: Floats, y: Floats, penalties: Sequence[float] | Floats = PENALTIES) -> LinearModel:
    """Fit ridge regression with the penalty of the lowest leave-one-out squared error.

    The residuals of leaving an image out follow from those of one fit: e_i / (1 - H_ii) (Allen
    1974, Technometrics 16). H comes from one eigendecomposition, of the smaller of x x' and x' x,
    for all penalties. ``RidgeCV`` of scikit-learn gives the same, but decomposes x itself where
    there are more images than features, which takes several times as long.

    Args:
        x: (n, c) features.
        y: (n, k) targets, which share one penalty.
        penalties: to choose from.
    """
    centre, middle = x.mean(0), y.mean(0)
    x, y = x - centre, y - middle
    wide = x.shape[1] >= len(x)
    values, vectors = np.linalg.eigh(x @ x.T if wide else x.T @ x)
    values = np.maximum(values, 0.0)
    # H - 1 / n = basis diag(shrinking) basis'
    basis = vectors if wide else x @ vectors
    projected, squares = basis.T @ y, basis**2

    def error(penalty: float) -> float:
        shrinking = (values if wide else 1.0) / (values + penalty)
        residuals = y - basis @ (shrinking[:, None] * projected)
        leverage = 1.0 / len(x) + squares @ shrinking
        return float(((residuals / np.maximum(1.0 - leverage, 1e-12)[:, None]) ** 2).mean())

    best = float(min(penalties, key=error))
    inner = vectors @ (projected / (values + best)[:, None])
    weights = x.T @ inner if wide else inner
    return LinearModel(weights, middle - centre @ weights, best)


def logistic(x: Floats, numbers: Numbers, inverse_penalty: float = 1.0) -> LinearModel:
    """Fit logistic regression with an L2 penalty; the outputs are log-odds of the classes.

    Args:
        x: (n, c) standardised features.
        numbers: (n,) index of the class of each image.
        inverse_penalty: C of scikit-learn.

    Returns:
        A model with an output for each class up to the largest index.
    """
    from sklearn.linear_model import LogisticRegression

    return _classifier(LogisticRegression(max_iter=_STEPS, C=inverse_penalty), x, numbers)


def support_vectors(x: Floats, numbers: Numbers, inverse_penalty: float = 1.0) -> LinearModel:
    """Fit a linear support vector machine, one class against the others; see ``logistic``."""
    from sklearn.svm import LinearSVC

    return _classifier(LinearSVC(C=inverse_penalty, dual=len(x) < x.shape[1]), x, numbers)


def indicators(numbers: Numbers, classes: int) -> Floats:
    """Return (n, classes) 1 for the class of each image, and 0 for the others."""
    table: Floats = (numbers[:, None] == np.arange(classes)).astype(np.float64)
    return table


def ridge_classifier(x: Floats, numbers: Numbers) -> LinearModel:
    """Fit ridge regression of the indicators of the classes; see ``ridge``."""
    return ridge(x, indicators(numbers, int(numbers.max()) + 1))


def tuned(fit: Callable[[Floats, Numbers, float], LinearModel]) -> Fit:
    """Return a fit of a classifier whose penalty every fifth image chooses.

    Of several penalties with the same number of wrong predictions, the largest is taken. Then the
    model is fitted to all images.
    """

    def chosen(x: Floats, numbers: Numbers) -> LinearModel:
        held_out = np.arange(len(x)) % _HELD_OUT == 0
        known = ~held_out if (~held_out).any() else held_out

        def wrong(inverse_penalty: float) -> int:
            guesses = fit(x[known], numbers[known], inverse_penalty)(x[held_out]).argmax(1)
            return int((guesses != numbers[held_out]).sum())

        return fit(x, numbers, min(INVERSE_PENALTIES, key=wrong))

    return chosen


def standardised(fit: Fit, x: Floats, y: Any) -> LinearModel:
    """Fit a model to standardised features; the result takes the features as they are.

    Features that do not vary get a weight of 0.
    """
    centre, spread = x.mean(0), x.std(0)
    varying = np.ptp(x, axis=0) > 0
    inner = fit((x[:, varying] - centre[varying]) / spread[varying], y)
    weights = np.zeros((x.shape[1], len(inner.bias)))
    weights[varying] = inner.weights / spread[varying, None]
    return LinearModel(weights, inner.bias - centre @ weights, inner.penalty, inner.note)


def _classifier(model: Any, x: Floats, numbers: Numbers) -> LinearModel:
    """Return the fitted classifier of scikit-learn, with an output for each class."""
    present, classes = np.unique(numbers), int(numbers.max()) + 1
    weights, bias = np.zeros((x.shape[1], classes)), np.full(classes, NEVER)
    if len(present) == 1 or not x.shape[1]:
        counts = np.bincount(numbers)
        bias[present] = np.log(counts[present] / len(numbers))
        note = "one class among the training images" if len(present) == 1 else ""
        return LinearModel(weights, bias, note=note)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # missing convergence is reported in the note
        model.fit(x, numbers)
    coefficients, intercept = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(present) == 2:  # one output, positive for the second class
        coefficients = np.concatenate([-coefficients, coefficients]) / 2
        intercept = np.concatenate([-intercept, intercept]) / 2
    weights[:, present], bias[present] = coefficients.T, intercept
    steps = int(np.max(model.n_iter_))
    stopped = f"logistic regression stopped after {_STEPS} steps" if steps == _STEPS else ""
    return LinearModel(weights, bias, 1.0 / model.C, stopped)

"""Linear models against scikit-learn and against direct computations."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.svm import LinearSVC

from evonas.estimation import linear_models as linear

rng = np.random.default_rng(0)


def problem(images: int, count: int, columns: int = 2) -> tuple[linear.Floats, linear.Floats]:
    x = rng.normal(size=(images, count)) + 3.0
    return x, x[:, :columns] + rng.normal(size=(images, columns))


@pytest.mark.parametrize(("images", "count"), [(60, 12), (20, 45), (15, 15)])
def test_ridge_is_that_of_scikit_learn(images: int, count: int) -> None:
    x, y = problem(images, count)
    model, theirs = linear.ridge(x, y), RidgeCV(alphas=linear.PENALTIES).fit(x, y)
    assert model.penalty == theirs.alpha_
    assert model(x) == pytest.approx(theirs.predict(x), abs=1e-9)


def test_the_penalty_has_the_lowest_error_of_leaving_each_image_out() -> None:
    x, y = problem(14, 9)
    penalties = [0.1, 10.0, 1000.0]

    def error(penalty: float) -> float:
        others = [np.delete(np.arange(14), i) for i in range(14)]
        models = [Ridge(alpha=penalty).fit(x[rows], y[rows]) for rows in others]
        residuals = [y[i] - models[i].predict(x[i : i + 1])[0] for i in range(14)]
        return float((np.array(residuals) ** 2).mean())

    assert linear.ridge(x, y, penalties).penalty == min(penalties, key=error)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_classifier_is_that_of_scikit_learn(classes: int) -> None:
    x = rng.normal(size=(80, 5))
    numbers = x[:, :classes].argmax(1)
    ours = linear.logistic(x, numbers, 0.1)(x).argmax(1)
    assert (ours == LogisticRegression(C=0.1).fit(x, numbers).predict(x)).all()
    ours = linear.support_vectors(x, numbers, 0.1)(x).argmax(1)
    assert (ours == LinearSVC(C=0.1, dual=False).fit(x, numbers).predict(x)).all()


def test_a_class_without_images_is_never_predicted() -> None:
    x, numbers = rng.normal(size=(40, 3)), np.repeat([0, 3], 20)
    model = linear.logistic(x, numbers)
    assert model.weights.shape == (3, 4)
    assert set(model(10 * rng.normal(size=(200, 3))).argmax(1)) == {0, 3}
    alone = linear.logistic(x, np.full(40, 2))
    assert set(alone(x).argmax(1)) == {2}
    assert alone.note == "one class among the training images"


def test_the_penalty_of_a_classifier_is_chosen_on_every_fifth_image() -> None:
    asked = []

    def fit(x: linear.Floats, numbers: linear.Numbers, inverse: float) -> linear.LinearModel:
        asked.append((len(x), inverse))
        right = np.eye(2)[::-1] if inverse in (1e-3, 1e-2) else np.eye(2)
        return linear.LinearModel(right, np.zeros(2), 1 / inverse)

    numbers = np.arange(10) % 2
    model = linear.tuned(fit)(np.eye(2)[1 - numbers], numbers)
    assert model.penalty == pytest.approx(1e3)  # of two as good, the larger penalty
    assert asked == [*((8, c) for c in linear.INVERSE_PENALTIES), (10, 1e-3)]


def test_a_standardised_fit_takes_features_of_any_scale() -> None:
    x, y = problem(50, 4)
    x[:, 3] = 7.0  # does not vary
    scales = np.array([1.0, 1000.0, 0.01, 1.0])
    models = [linear.standardised(linear.ridge, rows, y) for rows in (x, x * scales)]
    assert models[0](x) == pytest.approx(models[1](x * scales), abs=1e-6)
    assert not models[0].weights[3].any()
    assert models[0](x).mean(0) == pytest.approx(y.mean(0))

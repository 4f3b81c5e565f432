"""Characteristic curves: the lasso's oracles, and what happens where nothing varies."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Lasso, MultiTaskLasso, lasso_path

from evonas.deployment.probing.characteristic_curves import POINTS, Curve, curve
from evonas.deployment.probing.folds import deal
from evonas.deployment.probing.targets import Floats, Target
from evonas.errors import InputError

PERSONS, EACH, WIDTH = 12, 25, 40
PLANTED = (3, 8, 17, 25, 39)


def standardised(x: Floats) -> Floats:
    return (x - x.mean(0)) / x.std(0)


@pytest.fixture(scope="module")
def groups() -> np.ndarray:
    return np.repeat([f"person{k:02d}" for k in range(PERSONS)], EACH)


@pytest.fixture(scope="module")
def x() -> Floats:
    """Features that say partly the same, on scales of their own."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=(PERSONS * EACH, 4)) @ rng.normal(size=(4, WIDTH))
    own = rng.normal(size=(PERSONS * EACH, WIDTH))
    return (common * 0.5 + own) * rng.uniform(0.1, 20, WIDTH) + rng.uniform(-5, 5, WIDTH)


@pytest.fixture(scope="module")
def y(x: Floats) -> Floats:
    """30 degrees of five features, and noise."""
    rng = np.random.default_rng(1)
    weights = np.array([12.0, -9.0, 15.0, 10.0, -11.0])
    return standardised(x)[:, PLANTED] @ weights + rng.normal(0, 3, len(x))


def quantity(values: Floats, name: str = "yaw") -> Target:
    return Target(name, values.reshape(len(values), -1))


@pytest.fixture(scope="module")
def made(x: Floats, y: Floats, groups: np.ndarray) -> Curve:
    return curve(x, quantity(y), groups, 3)


def test_penalties_are_those_of_equation_1(made: Curve, x: Floats, y: Floats) -> None:
    """lambda_max = max |x'(y - mean y)| / N, then 1e-4^(k/99): scikit-learn's own grid."""
    largest = np.abs(standardised(x).T @ (y - y.mean())).max() / len(y)
    expected = largest * 1e-4 ** (np.arange(100) / 99)
    np.testing.assert_allclose(made.lambdas, expected, rtol=1e-10)
    theirs, *_ = lasso_path(standardised(x), y - y.mean(), eps=1e-4)
    np.testing.assert_allclose(made.lambdas, theirs, rtol=1e-10)


def test_the_largest_penalty_just_makes_all_zero(made: Curve) -> None:
    assert made.filters[0] == 0
    assert made.filters[1] >= 1
    assert made.filters[-1] >= WIDTH - 2, "almost least squares"
    np.testing.assert_array_equal(made.filters, made.chosen.sum(1))
    assert made.chosen.shape == (POINTS, WIDTH)
    assert made.unconverged == 0
    assert made.notes == ()


def soft_thresholding(z: Floats, t: Floats, penalty: float) -> Floats:
    """Equation 1 by plain proximal steps (Beck & Teboulle 2009), norms over the columns of t."""
    weights = np.zeros((z.shape[1], t.shape[1]))
    step = len(z) / np.linalg.norm(z, 2) ** 2
    for _ in range(20_000):
        moved = weights + step * z.T @ (t - z @ weights) / len(z)
        norms = np.linalg.norm(moved, axis=1, keepdims=True)
        weights = moved * np.maximum(0, 1 - step * penalty / np.maximum(norms, 1e-30))
    return weights


@pytest.mark.parametrize("at", [5, 30, 60])
def test_filters_are_those_of_another_solver(made: Curve, x: Floats, y: Floats, at: int) -> None:
    weights = soft_thresholding(standardised(x), (y - y.mean())[:, None], made.lambdas[at])
    sure = np.abs(weights[:, 0]) > 0.02  # what is nearly zero may fall on either side
    assert (made.chosen[at] >= sure).all()
    assert (made.chosen[at] ^ (weights[:, 0] != 0)).sum() <= 2


@pytest.mark.parametrize(("at", "precision"), [(10, 3e-4), (45, 1e-3), (99, 5e-3)])
def test_errors_are_those_of_single_fits_on_the_other_folds(
    made: Curve, x: Floats, y: Floats, groups: np.ndarray, at: int, precision: float
) -> None:
    """Standardised by, and with lambda_max of, the images that are fitted alone."""
    errors = []
    for train, test in deal(groups, quantity(y), 3):
        centre, scale = x[train].mean(0), x[train].std(0)
        z, t = (x[train] - centre) / scale, y[train] - y[train].mean()
        penalty = np.abs(z.T @ t).max() / len(t) * 1e-4 ** (at / 99)
        model = Lasso(alpha=penalty, max_iter=100_000, tol=1e-8).fit(z, y[train])
        guess = model.predict((x[test] - centre) / scale)
        errors.append(np.sqrt(((guess - y[test]) ** 2).mean()))
    assert made.errors[at] == pytest.approx(np.mean(errors), rel=precision)


def test_the_error_without_filters_is_that_of_the_mean(
    made: Curve, y: Floats, groups: np.ndarray
) -> None:
    folds = deal(groups, quantity(y), 3)
    errors = [np.sqrt(((y[test] - y[train].mean()) ** 2).mean()) for train, test in folds]
    assert made.errors[0] == pytest.approx(np.mean(errors), rel=1e-9)


def test_planted_features_are_found(made: Curve) -> None:
    assert set(PLANTED) <= set(np.flatnonzero(made.kept(0.01)).tolist())
    assert made.kept(0.1).sum() <= made.kept(0.01).sum() < WIDTH
    assert made.errors[made.knee(0.01)] == pytest.approx(3.0, rel=0.15), "the noise"


def test_a_column_twice_shares_the_path_of_one(
    made: Curve, x: Floats, y: Floats, groups: np.ndarray
) -> None:
    """The norm of two equal coefficients is a constant times either."""
    twice = curve(x, quantity(np.stack([y, 7 * y - 3], 1)), groups, 3)
    # The fits of two columns are of a rougher precision, which tells at small penalties.
    np.testing.assert_array_equal(twice.chosen[:40], made.chosen[:40])
    np.testing.assert_allclose(twice.lambdas, made.lambdas * np.sqrt(2) / y.std(), rtol=1e-9)


def test_two_columns_choose_together(x: Floats, groups: np.ndarray) -> None:
    """scikit-learn's multi-task lasso on standardised columns chooses the same."""
    rng = np.random.default_rng(4)
    z = standardised(x)
    point = np.stack([z[:, 2] + z[:, 5], 100 * (z[:, 5] - z[:, 9])], 1)
    point += rng.normal(size=point.shape) * [0.3, 30]
    made = curve(x, quantity(point, "nose"), groups, 3)
    model = MultiTaskLasso(alpha=made.lambdas[40], max_iter=100_000, tol=1e-7)
    theirs = model.fit(z, standardised(point)).coef_.any(0)
    assert {2, 5, 9} <= set(np.flatnonzero(made.chosen[40]).tolist())
    assert (made.chosen[40] ^ theirs).sum() <= 1


def test_scale_and_shift_of_features_do_not_matter(
    made: Curve, x: Floats, y: Floats, groups: np.ndarray
) -> None:
    other = curve(x * 3.0 + 1.0, quantity(y), groups, 3)
    np.testing.assert_allclose(other.errors, made.errors, rtol=1e-3)
    assert np.abs(other.filters - made.filters).max() <= 1


def test_constant_filters_are_left_out(
    made: Curve, x: Floats, y: Floats, groups: np.ndarray
) -> None:
    wider = np.insert(x, [0, 10], 4.5, axis=1)
    other = curve(wider, quantity(y), groups, 3)
    assert other.constant == (0, 11)
    assert not other.chosen[:, [0, 11]].any()
    np.testing.assert_array_equal(np.delete(other.chosen, [0, 11], axis=1), made.chosen)
    np.testing.assert_array_equal(other.errors, made.errors)


def test_a_filter_that_only_one_person_has_does_no_harm(
    x: Floats, y: Floats, groups: np.ndarray
) -> None:
    """In one fold it is constant among the images that are fitted, and large among the others."""
    rare = np.where(groups == "person05", 1e4 * np.abs(y), 0.0)
    made = curve(np.column_stack([x, rare]), quantity(y), groups, 3)
    assert np.isfinite(made.errors).all()
    assert made.constant == ()
    assert made.errors.min() < 5


@pytest.mark.parametrize("which", ["features", "label"])
def test_where_nothing_varies_everything_is_kept_and_it_is_said(
    x: Floats, y: Floats, groups: np.ndarray, which: str
) -> None:
    features = np.full_like(x, 0.3) if which == "features" else x
    label = np.full_like(y, 8.0) if which == "label" else y
    made = curve(features, quantity(label), groups, 3)
    assert made.notes == (f"constant {which}: all filters kept",)
    for threshold in (0, 0.01, 0.5):
        assert made.kept(threshold).all()
    assert made.errors[made.knee(0.01)] == pytest.approx(label.std(), abs=1e-12)


def test_more_features_than_images() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(24, 60))
    made = curve(x, quantity(x[:, 7] * 5), np.repeat(list("abcdef"), 4), 3)
    assert made.kept(0.01)[7]
    assert made.filters.max() <= 60


def test_classes_are_learnt_as_indicators(groups: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    numbers = rng.integers(0, 3, PERSONS * EACH)
    x = rng.normal(size=(len(numbers), 20))
    x[:, 4] += 3 * (numbers == 1)
    x[:, 11] += 3 * (numbers == 2)
    made = curve(x, Target("mood", numbers[:, None].astype(float), ("a", "b", "c")), groups, 4)
    assert {4, 11} <= set(np.flatnonzero(made.kept(0.1)).tolist())
    assert 0 < made.errors.min() < made.errors[0] < 0.5


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused_in_one_line(
    x: Floats, y: Floats, groups: np.ndarray, bad: float
) -> None:
    broken = x.copy()
    broken[31, 4] = bad
    with pytest.raises(InputError, match=r"^probe of 'yaw': features of image 31 [^\n]+$"):
        curve(broken, quantity(y), groups, 3)
    with pytest.raises(InputError, match=r"^probe of 'yaw': the label [^\n]+$"):
        curve(x, quantity(np.where(np.arange(len(y)) == 3, bad, y)), groups, 3)
    with pytest.raises(InputError, match=r"^probe of 'yaw': expected features [^\n]+\(5, 40\)"):
        curve(x[:5], quantity(y), groups, 3)

"""Linear probes: plain least squares, what replaces it, who judges, and the order of taps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from evonas.data.pointing04 import Pointing04
from evonas.deployment.probing.linear_models import Score
from evonas.deployment.probing.linear_probe import Probed, probe, rank, regress
from evonas.deployment.probing.targets import Floats, Target, read
from evonas.errors import InputError
from evonas.estimation.features.views import View
from evonas.models.backbones.base import Pooled
from evonas.models.backbones.face_recognition import FaceRecognition

RNG = np.random.default_rng(0)
GROUPS = np.repeat([f"p{k}" for k in range(10)], 20)
X = RNG.normal(size=(200, 8)) * [1, 5, 0.01, 3, 1, 1, 2, 9] + 4
Y = X @ RNG.normal(size=8) + RNG.normal(size=200)
TRAIN, VALIDATION, TEST = np.arange(120), np.arange(120, 160), np.arange(160, 200)
SPLITS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
MOOD = Target("mood", (np.median(Y) < Y).astype(float)[:, None], ("sad", "glad"))
WHO = Target("who", (np.arange(200) // 20).astype(float)[:, None], tuple("abcdefghij"))


def quantity(values: Floats, name: str = "yaw") -> Target:
    return Target(name, values.reshape(len(values), -1))


def plain(x: Floats, y: Floats, train: np.ndarray, test: np.ndarray) -> Floats:
    """Algorithm 1 as it stands: y ~ b0 + f.w by least squares."""
    design = np.column_stack([np.ones(len(x)), x])
    return design[test] @ np.linalg.lstsq(design[train], y[train], rcond=None)[0]


def test_least_squares_is_that_of_numpy() -> None:
    score = regress(X, quantity(Y), TRAIN, TEST)
    missed = plain(X, Y, TRAIN, TEST) - Y[TEST]
    assert score.error == pytest.approx(np.sqrt((missed**2).mean()), rel=1e-9)
    assert score.mae == pytest.approx(np.abs(missed).mean(), rel=1e-9)
    constant = Y[TEST] - Y[TRAIN].mean()
    assert score.constant == pytest.approx(np.sqrt((constant**2).mean()), rel=1e-12)
    median = np.abs(Y[TEST] - np.median(Y[TRAIN]))
    assert score.constant_mae == pytest.approx(median.mean(), rel=1e-12)
    assert (score.images, score.note) == (40, "")
    assert score.relative == score.error / score.constant


def test_a_key_point_is_two_columns() -> None:
    both = np.stack([Y, 2 * Y[::-1]], 1)
    score = regress(X, quantity(both, "nose"), TRAIN, TEST)
    missed = plain(X, both, TRAIN, TEST) - both[TEST]
    assert score.error == pytest.approx(np.sqrt((missed**2).mean()), rel=1e-9)


def test_where_least_squares_fits_the_noise_ridge_replaces_it() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(200, 60))
    y = x[:, :4].sum(1) + rng.normal(size=200)
    few, test = np.arange(66), np.arange(100, 200)
    score = regress(x, quantity(y), few, test)
    assert score.note == "ridge regression: fewer than 2 training images a feature"
    squares = np.sqrt(((plain(x, y, few, test) - y[test]) ** 2).mean())
    assert score.error < 0.6 * squares
    assert regress(x, quantity(y), np.arange(120), test).note == ""


def test_constant_features_are_no_better_than_the_constant() -> None:
    score = regress(np.full((200, 3), 2.0), quantity(Y), TRAIN, TEST)
    assert score.error == score.constant
    assert "constant features" in score.note


def test_classes_are_judged_by_how_many_are_wrong() -> None:
    score = regress(X, MOOD, TRAIN, TEST)
    most = float(np.bincount(MOOD.numbers[TRAIN]).argmax())
    assert score.constant == 100 * (MOOD.numbers[TEST] != most).mean()
    assert score.error < 0.5 * score.constant
    assert np.isnan(score.mae)
    single = regress(X, MOOD, np.flatnonzero(MOOD.numbers == 1)[:30], TEST)
    assert single.error == 100 * (MOOD.numbers[TEST] == 0).mean()
    assert "one class" in single.note


def test_classes_may_be_regressed_as_in_the_article() -> None:
    """Two classes: y = 0 or 1 by least squares, a class from one half on; more: the largest."""
    score = regress(X, MOOD, TRAIN, TEST, "least_squares")
    shares = plain(X, MOOD.values[:, 0], TRAIN, TEST)
    assert score.error == 100 * ((shares > 0.5) != MOOD.numbers[TEST]).mean()
    x = X + 3 * np.eye(10, 8)[WHO.numbers]
    train = np.flatnonzero(np.arange(200) % 4 > 0)
    test = np.flatnonzero(np.arange(200) % 4 == 0)
    found = regress(x, WHO, train, test, "least_squares")
    names = plain(x, np.eye(10)[WHO.numbers], train, test).argmax(1)
    assert found.error == 100 * (names != WHO.numbers[test]).mean()
    assert found.error != regress(x, WHO, train, test).error
    assert found.note == ""
    few = regress(X, MOOD, TRAIN[:12], TEST, "least_squares")
    assert "ridge regression" in few.note
    whole = probe("tap", X, MOOD, GROUPS, SPLITS, 3, "least_squares")
    assert whole.test is not None
    assert whole.test.error == score.error
    assert whole.held_out != probe("tap", X, MOOD, GROUPS, SPLITS, 3).held_out


def test_quantities_do_not_mind_how_classes_are_fitted() -> None:
    assert regress(X, quantity(Y), TRAIN, TEST, "least_squares") == regress(
        X, quantity(Y), TRAIN, TEST
    )


def test_nan_is_refused_in_one_line() -> None:
    broken = X.copy()
    broken[4, 2] = np.nan
    with pytest.raises(InputError, match=r"^probe of 'yaw': [^\n]+$"):
        regress(broken, quantity(Y), TRAIN, TEST)


def test_the_test_split_judges_where_there_is_one() -> None:
    found = probe("tap", X, quantity(Y), GROUPS, SPLITS, 3)
    assert found.judged == ("test", regress(X, quantity(Y), TRAIN, TEST))
    assert found.validation == regress(X, quantity(Y), TRAIN, VALIDATION)
    without = {side: SPLITS[side] for side in ("train", "validation")}
    other = probe("tap", X, quantity(Y), GROUPS, without, 3)
    assert other.judged == ("validation", found.validation)
    assert other.held_out == found.held_out
    assert found.notes == []
    assert found.seconds > 0


def test_held_out_images_choose_and_no_other_has_a_say() -> None:
    """What stands in validation and test changes nothing that taps are chosen by."""
    found = probe("tap", X, quantity(Y), GROUPS, SPLITS, 3)
    noise = Y.copy()
    noise[120:] = RNG.normal(size=80) * 100
    other = probe("tap", X, quantity(noise), GROUPS, SPLITS, 3)
    assert other.held_out == found.held_out
    np.testing.assert_array_equal(other.curve.errors, found.curve.errors)
    missed, guesses = [], []
    for person in ("p0 p3", "p1 p4", "p2 p5"):
        out = np.flatnonzero(np.isin(GROUPS[:120], person.split()))
        fit = np.setdiff1d(TRAIN, out)
        missed.append(plain(X, Y, fit, out) - Y[out])
        guesses.append(Y[fit].mean() - Y[out])
    expected = np.sqrt((np.concatenate(missed) ** 2).mean())
    assert found.held_out.error == pytest.approx(expected, rel=1e-9)
    expected = np.sqrt((np.concatenate(guesses) ** 2).mean())
    assert found.held_out.constant == pytest.approx(expected, rel=1e-9)
    assert found.held_out.images == 120


def test_nobody_is_known_from_another_split() -> None:
    x = X + 3 * RNG.normal(size=(10, 8))[WHO.numbers] * X.std(0)
    found = probe("tap", x, WHO, GROUPS, SPLITS, 3)
    assert found.validation is None
    assert found.test is None
    assert found.judged == ("held out", found.held_out)
    assert found.held_out.error < 0.5 * found.held_out.constant
    assert any("not groups" in note for note in found.notes)
    assert any("no image of another split" in note for note in found.notes)


def scored(tap: str, target: str, error: float, constant: float) -> Probed:
    found = probe("tap", X, quantity(Y), GROUPS, SPLITS, 3)
    return replace(found, tap=tap, target=target, held_out=Score(error, constant, 1, 1, 9))


def test_taps_are_ranked_by_shares_of_the_constant_whatever_the_unit() -> None:
    found = [
        *(scored("early", "yaw", 20, 40), scored("early", "smile", 0.4, 0.5)),
        *(scored("late", "yaw", 30, 40), scored("late", "smile", 0.1, 0.5)),
        *(scored("odd", "yaw", 38, 40), scored("odd", "smile", 0.0, 0.0)),
    ]
    assert rank(found) == [
        ("late", pytest.approx((0.75 + 0.2) / 2)),
        ("early", pytest.approx((0.5 + 0.8) / 2)),
        ("odd", pytest.approx(0.95)),
    ]


@pytest.mark.slow
def test_a_recognition_network_knows_where_a_face_turns(
    recognition_weights: Path, pointing04_root: Path
) -> None:
    """Persons that no fit has seen, on a sixth of Pointing'04; so does no network of noise."""
    faces = Pointing04(str(pointing04_root))
    rows = np.arange(0, len(faces), 6)
    inside = {side: np.flatnonzero(np.isin(rows, where)) for side, where in faces.splits.items()}
    crops = [View().apply(faces.image(i), i, 150, faces.margin) for i in rows.tolist()]
    images = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float()
    backbone = Pooled(FaceRecognition(str(recognition_weights)))
    taps = ["conv64_down", "conv128_2"]
    with torch.inference_mode():
        parts = [backbone(part, taps) for part in images.split(64)]
    for tap in taps:
        pooled = torch.cat([part[tap] for part in parts]).flatten(1).double().numpy()
        for label, most in (("yaw", 0.5), ("pitch", 0.6)):
            target = read(faces, label)[0].of(rows)
            found = probe(tap, pooled, target, faces.groups[rows], inside, 3)
            assert found.judged[0] == "validation"
            assert found.judged[1].relative < most, (tap, label)
            assert found.held_out.relative < 0.75, (tap, label)
            assert found.judged[1].constant > 30, "degrees"

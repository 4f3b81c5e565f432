"""Classical models of feature maps: features, figures, files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from point_targets import EYES, named, rows
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from evonas.errors import InputError
from evonas.estimation.linear_models import PENALTIES
from evonas.tasks.classification import Classification
from evonas.tasks.head_pose import HeadPose
from evonas.tasks.key_points import KeyPoints
from evonas.tasks.regression import Regression
from evonas.tasks.several import Several
from evonas.workflows import classical_models as classical

rng = np.random.default_rng(1)
MAPS = rng.normal(size=(90, 3, 4, 4)).astype(np.float16)
TRAIN, OTHERS = np.arange(60), np.arange(60, 90)
AGES = Regression({"age": ()}, unit="years")
MOODS = Classification({"mood": ("sad", "glad", "odd")})
LABELS = (30 + 9 * MAPS[:, :1, 0, 0] + rng.normal(size=(90, 1))).astype(np.float32)
CLASSES = MAPS[:, :2].astype(np.float32).mean((2, 3)).argmax(1)[:, None].astype(np.float32)


def test_the_methods_follow_from_task_and_map() -> None:
    both = ["ridge of pooled features", "ridge of flattened features"]
    assert [one.name for one in classical.methods(AGES, (3, 4, 4), LABELS)] == both
    assert [one.name for one in classical.methods(AGES, (3, 1, 1), LABELS)] == both[:1]
    assert [one.name for one in classical.methods(MOODS, (3, 1, 1), CLASSES)] == [
        "ridge of pooled features",
        "logistic regression of pooled features",
        "linear SVM of pooled features",
    ]
    many = np.zeros((10_000, 1), np.float32)  # a support vector machine would take long
    assert len(classical.methods(MOODS, (512, 1, 1), many)) == 2
    assert not classical.methods(AGES.minimising("loss"), (3, 4, 4), LABELS)
    assert not classical.methods(AGES, (3, 4, 4), np.full((2, 1), np.nan, np.float32))


@pytest.mark.parametrize("flattened", [False, True])
def test_ridge_has_the_figures_of_scikit_learn(flattened: bool) -> None:
    method = classical.methods(AGES, (3, 4, 4), LABELS)[flattened]
    model = classical.fit(method, AGES, MAPS, LABELS, TRAIN)
    wide = MAPS.astype(np.float64)
    x = wide.reshape(90, 48) if flattened else wide.mean((2, 3))
    scaler = StandardScaler().fit(x[TRAIN])
    theirs = RidgeCV(alphas=PENALTIES).fit(scaler.transform(x[TRAIN]), LABELS[TRAIN, 0])
    error = np.abs(theirs.predict(scaler.transform(x[OTHERS])) - LABELS[OTHERS, 0]).mean()
    found = classical.metrics(AGES, model, MAPS, LABELS, OTHERS)
    assert found["mae"] == pytest.approx(error, rel=1e-5)
    assert model.complexity.macs == x.shape[1]
    assert model.complexity.params == x.shape[1] + 1


def test_classifiers_learn_classes_and_the_constant_does_not() -> None:
    constant = classical.constant(MOODS, CLASSES, TRAIN)
    theirs = MOODS.constant_metrics(CLASSES[TRAIN], CLASSES[OTHERS])
    assert classical.metrics(MOODS, constant, MAPS, CLASSES, OTHERS) == theirs
    for method in classical.methods(MOODS, (3, 4, 4), CLASSES[TRAIN]):
        model = classical.fit(method, MOODS, MAPS, CLASSES, TRAIN)
        error = classical.metrics(MOODS, model, MAPS, CLASSES, OTHERS)["error"]
        assert error < 0.7 * theirs["error"], method.name
        assert model.linear.weights.shape[1] == 3  # "odd" is among no training labels


def test_the_constant_of_points_has_all_their_columns() -> None:
    task = KeyPoints(named(*EYES))
    targets = rows(rng.random((90, 3, 3)))
    constant = classical.constant(task, targets, TRAIN)
    theirs = task.constant_metrics(targets[TRAIN], targets[OTHERS])
    assert classical.metrics(task, constant, MAPS, targets, OTHERS) == theirs


def test_what_is_cheap_with_the_training_images_is_fitted_with_more_images_around(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    labels = {"mood": ("sad", "glad", "odd"), "smile": ("no", "yes")}
    task = Several(labels, tasks=("mood", "smile"))
    targets = np.concatenate([CLASSES, CLASSES % 2], 1)
    monkeypatch.setattr(classical, "_CHEAP", 70 * 3 * 3)
    (method,) = [m for m in classical.methods(task, (3, 4, 4), targets[TRAIN]) if "SVM" in m.name]
    model = classical.fit(method, task, MAPS, targets, TRAIN)
    assert model.linear.weights.shape[1] == 3 + 2


def test_large_maps_are_averaged_and_many_images_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    assert classical.grid_of((128, 8, 8)) == (5, 6)
    assert classical.grid_of((64, 8, 8)) == (8, 8)
    assert classical.grid_of((9000, 7, 7)) == (1, 1)
    method = classical.methods(AGES, (3, 4, 4), LABELS)[1]
    maps = np.zeros((3000, 128, 6, 6), np.float16)
    maps[:, 0, 0, 0] = np.arange(3000) / 1000
    labels = np.arange(3000, dtype=np.float32)[:, None]
    monkeypatch.setattr(classical, "MOST_IMAGES", 40)
    model = classical.fit(method, AGES, maps, labels, np.arange(3000))
    assert model.note == (
        "fitted to 40 of 3000 training images, to save time; of maps averaged to 5 x 6"
    )
    assert classical.metrics(AGES, model, maps, labels, np.arange(3000))["mae"] < 30


def test_features_are_averages_of_cells() -> None:
    found = classical.features(MAPS, OTHERS, (2, 2))
    cells = MAPS[OTHERS].astype(np.float64).reshape(30, 3, 2, 2, 2, 2).mean((3, 5))
    assert found == pytest.approx(cells.reshape(30, 12), abs=1e-6)


def test_a_flip_test_averages_with_the_mirrored_answer() -> None:
    task = HeadPose({"yaw": (), "pitch": ()})
    labels = np.stack([LABELS[:, 0], 2 * LABELS[:, 0]], 1)
    method = classical.methods(task, (3, 4, 4), labels)[0]
    model = classical.fit(method, task, MAPS, labels, TRAIN)
    mirrored = np.ascontiguousarray(MAPS[:, ::-1])
    plain, other = (classical.predictions(task, model, [m], OTHERS) for m in (MAPS, mirrored))
    both = classical.predictions(task, model, [MAPS, mirrored], OTHERS)
    assert both == pytest.approx((plain + other * [-1, 1]) / 2, rel=1e-5)


def test_a_model_is_read_as_it_was_written(tmp_path: Path) -> None:
    method = classical.methods(AGES, (3, 4, 4), LABELS)[1]
    model = classical.fit(method, AGES, MAPS, LABELS, TRAIN)
    path = tmp_path / "ridge.safetensors"
    assert model.save(path)
    again = classical.ClassicalModel.load(path, (3, 4, 4), 1)
    assert (again.outputs(MAPS, OTHERS) == model.outputs(MAPS, OTHERS)).all()
    for shape, outputs in (((4, 4, 4), 1), ((3, 4, 4), 2), (None, 1), ((3, 3, 3), 1)):
        with pytest.raises(InputError, match="retrain again"):
            classical.ClassicalModel.load(path, shape, outputs)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="no linear model"):
        classical.ClassicalModel.load(path, (3, 4, 4), 1)

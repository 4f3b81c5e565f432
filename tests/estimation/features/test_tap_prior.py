"""The quick probe of taps: ridge regression in closed form on coarse maps."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from evonas.core import registry
from evonas.estimation.features.feature_cache import Features
from evonas.estimation.features.tap_prior import GRID, PENALTIES, TRAIN, _cells, _ridge, tap_errors
from evonas.estimation.features.views import View
from evonas.tasks.base import Task

N = 90
SIDES = {"train": np.arange(60), "validation": np.arange(60, N)}


def features(folder: Path, maps: dict[str, np.ndarray]) -> Features:
    files = {}
    for tap, values in maps.items():
        np.save(folder / f"{tap}.npy", values.astype(np.float16))
        files[tap] = (folder / f"{tap}.npy",)
    return Features(files, (View(),), np.arange(N), 0)


def angles() -> Task:
    labels: dict[str, tuple[str, ...]] = dict.fromkeys(("yaw", "pitch", "roll"), ())
    made: Task = registry.create("task", "head_pose", {}, labels)
    return made


def test_ridge_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x, y, asked = rng.normal(2, 3, (40, 5)), rng.standard_normal((40, 2)), rng.normal(2, 3, (7, 5))
    x[:, 4] = asked[:, 4] = 1.0  # a constant feature says nothing
    centre, scale = x.mean(0)[:4], x.std(0)[:4]
    z = (x[:, :4] - centre) / scale
    mean = float((z**2).sum() / len(z))
    for guess, penalty in zip(_ridge(x, y, asked), PENALTIES, strict=True):
        model = Ridge(alpha=penalty * mean).fit(z, y)
        assert np.allclose(guess, model.predict((asked[:, :4] - centre) / scale))


def test_cells_are_means_of_a_grid() -> None:
    maps = np.arange(2 * 3 * 10 * 6, dtype=np.float16).reshape(2, 3, 10, 6)
    found = _cells(maps, np.array([1])).reshape(3, GRID, GRID)
    assert found[0, 0, 0] == maps[1, 0, :2, :1].astype(float).mean()
    assert found[2, 3, 1] == maps[1, 2, 7:, 1:3].astype(float).mean()
    assert _cells(np.ones((2, 3, 1, 1), np.float16), np.arange(2)).shape == (2, 3)


def test_the_tap_with_the_answer_has_the_lowest_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(-40, 40, (N, 3)).astype(np.float32)
    noise = rng.standard_normal((N, 3, 6, 6))
    maps = {
        "says": noise + truth[:, :, None, None] / 4,
        "hints": noise + truth[:, :, None, None] / 400,
        "empty": np.ones((N, 3, 6, 6)),
    }
    found = tap_errors(features(tmp_path, maps), [*maps], SIDES, angles(), truth)
    assert [*found] == ["says", "hints", "empty"]
    assert found["says"] < 2.0 < found["hints"] < found["empty"] * 1.2
    constant = np.abs(truth[60:] - truth[:60].mean(0)).mean()
    assert found["empty"] == pytest.approx(constant, rel=1e-3)
    again = tap_errors(features(tmp_path, maps), ["hints"], SIDES, angles(), truth)
    assert again == {"hints": found["hints"]}


def test_where_something_is_counts_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    column = rng.integers(0, 4, N)
    maps = {"place": np.eye(4)[column][:, None, None, :].repeat(4, axis=2)}  # alike in the mean
    labels = {"side": ("a", "b", "c", "d")}
    task: Task = registry.create("task", "classification", {"label": "side"}, labels)
    targets = column[:, None].astype(np.float32)
    assert tap_errors(features(tmp_path, maps), ["place"], SIDES, task, targets) == {"place": 0.0}


def test_nothing_is_said_without_validation_images(tmp_path: Path) -> None:
    maps, truth = {"tap": np.ones((N, 1, 2, 2))}, np.zeros((N, 3), np.float32)
    lonely = {"train": np.arange(N), "validation": np.empty(0, np.intp)}
    assert tap_errors(features(tmp_path, maps), ["tap"], lonely, angles(), truth) == {}


def test_at_most_so_many_images_are_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    many = 3 * TRAIN
    path = tmp_path / "tap.npy"
    np.save(path, rng.standard_normal((many + 9, 8, 4, 4)).astype(np.float16))
    made = Features({"tap": (path,)}, (View(),), np.arange(many + 9), 0)
    truth = rng.standard_normal((many + 9, 3)).astype(np.float32)
    sides = {"train": np.arange(many), "validation": np.arange(many, many + 9)}
    start = time.process_time()
    assert tap_errors(made, ["tap"], sides, angles(), truth)["tap"] > 0
    assert time.process_time() - start < 5.0

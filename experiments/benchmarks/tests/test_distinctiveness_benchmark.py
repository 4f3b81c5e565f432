"""The benchmark of distinctiveness: its classes, its control, and its table."""

from __future__ import annotations

import distinctiveness as benchmark
import numpy as np
import pytest
import torch

from evonas.data.synthetic_faces import SyntheticFaces
from evonas.estimation.training.training import TrainingData


@pytest.fixture(scope="module")
def cases() -> list[benchmark.Case]:
    """One seed on maps of noise: a few seconds would go into rendering faces."""
    rng = np.random.default_rng(0)
    maps = rng.random((60, *benchmark.SHAPE)).astype(np.float16)
    targets = (np.arange(60) % benchmark.CLASSES).astype(np.float32)[None, :, None]
    sides = np.arange(40), np.arange(40, 60)
    return benchmark.studied(TrainingData([maps], targets, *sides), sides[1], 1, 1)


def test_classes_are_equally_frequent_ranges_in_order() -> None:
    faces = SyntheticFaces(identities=100, seed=3)
    numbers, yaw = benchmark.classes(faces)[:, 0], faces.labels["yaw"]
    assert set(numbers) == set(range(7))
    counts = np.bincount(numbers[faces.splits["train"]].astype(int))
    assert counts.min() >= counts.max() - 2
    for low in range(6):
        assert yaw[numbers == low].max() <= yaw[numbers == low + 1].min()


@pytest.mark.slow
def test_heads_have_the_published_shapes(cases: list[benchmark.Case]) -> None:
    shapes = {(case.removal.layer.units, case.removal.layer.outputs) for case in cases}
    assert shapes == {(2048, 7), (100, 7), (2048, 100)}
    assert len(cases) == 3 * 4  # layers, ways
    with torch.no_grad():
        assert benchmark.head(100, 1)(torch.zeros(2, *benchmark.SHAPE)).shape == (2, 7)


def test_the_control_drops_as_many_units(cases: list[benchmark.Case]) -> None:
    for case in cases:
        if not case.removal.removed:
            assert case.control == case.removal.before["accuracy"]
    table = benchmark.paired(cases, 20)
    assert len(table.rows) == 3 * 4
    assert table.columns[-1] == "dropped at random"
    row = table.rows[0]
    (case,) = [case for case in cases if case.key == tuple(row[:4])]
    change = case.removal.after["accuracy"] - case.removal.before["accuracy"]
    assert row[5] == f"{change:+.2f} ±0.00 (0.00)"
    assert benchmark._difference([3.0, 5.0], [1.0, 1.0]) == "+3.00 ±1.41 (1.00)"

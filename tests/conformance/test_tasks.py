"""What every task must do, on every registered data set that needs no files."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evonas import registry
from evonas.data.synthetic_faces import SyntheticFaces
from evonas.tasks.base import Array, Task

NAMES = registry.names("task")


@pytest.fixture(scope="module")
def dataset() -> SyntheticFaces:
    return SyntheticFaces(identities=12, images_per_identity=6)


@pytest.fixture(params=NAMES)
def task(request: pytest.FixtureRequest, dataset: SyntheticFaces) -> Task:
    made: Task = registry.create("task", request.param, {}, dataset.schema())
    return made


@pytest.fixture
def targets(task: Task, dataset: SyntheticFaces) -> Array:
    return task.targets(dataset)


def outputs_of(task: Task, targets: Array) -> Array:
    """Outputs whose predictions are the targets: predictions are linear or found by descent."""
    outputs = torch.zeros(len(targets), task.n_outputs, requires_grad=True)
    truth = torch.from_numpy(targets)
    optimizer = torch.optim.LBFGS([outputs], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = task.loss(outputs, truth)
        loss.backward()
        return loss

    for _ in range(5):
        optimizer.step(closure)
    return outputs.detach().numpy()


def test_there_is_something_to_test() -> None:
    assert "head_pose" in NAMES


def test_targets_are_a_finite_row_an_image(
    task: Task, targets: Array, dataset: SyntheticFaces
) -> None:
    assert targets.shape[0] == len(dataset)
    assert targets.ndim == 2
    assert targets.dtype == np.float32
    assert np.isfinite(targets).all()
    assert task.n_outputs >= 1
    assert task.unit


def test_mirrored_twice_is_the_identity_and_leaves_its_argument_alone(
    task: Task, targets: Array
) -> None:
    before = targets.copy()
    once = task.mirrored(targets)
    assert once.shape == targets.shape
    assert once.dtype == np.float32
    np.testing.assert_array_equal(task.mirrored(once), before)
    np.testing.assert_array_equal(targets, before)


def test_the_loss_is_a_finite_mean_with_a_gradient(task: Task, targets: Array) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(len(targets), task.n_outputs, requires_grad=True)
    loss = task.loss(outputs, torch.from_numpy(targets))
    assert loss.shape == ()
    assert float(loss.detach()) > 0
    loss.backward()
    assert outputs.grad is not None
    assert bool(torch.isfinite(outputs.grad).all())
    assert float(outputs.grad.abs().sum()) > 0
    twice = task.loss(outputs.repeat(2, 1), torch.from_numpy(targets).repeat(2, 1))
    torch.testing.assert_close(twice, loss)


def test_minimising_the_loss_gives_perfect_predictions(task: Task, targets: Array) -> None:
    outputs = outputs_of(task, targets)
    start = task.loss(torch.zeros_like(torch.from_numpy(outputs)), torch.from_numpy(targets))
    end = task.loss(torch.from_numpy(outputs), torch.from_numpy(targets))
    assert float(end) < 1e-4 * float(start)
    predictions = task.predictions(outputs)
    assert predictions.shape == targets.shape
    worst = task.metrics(task.predictions(np.zeros_like(outputs)), targets)[task.metric]
    assert task.metrics(predictions, targets)[task.metric] < 0.02 * worst


def test_perfect_predictions_have_no_error(task: Task, targets: Array) -> None:
    metrics = task.metrics(targets, targets)
    assert task.metric in metrics
    for name, value in metrics.items():
        assert isinstance(value, float)
        assert value == pytest.approx(0.0, abs=1e-5), name


def test_no_constant_is_better_than_the_constant(task: Task, targets: Array) -> None:
    guess = task.constant(targets)
    assert guess.shape == targets.shape[1:]

    def error(row: Array) -> float:
        return task.metrics(np.broadcast_to(row, targets.shape), targets)[task.metric]

    best = error(guess)
    assert best > 0
    rng = np.random.default_rng(0)
    scale = targets.std(0)
    others = [
        targets.mean(0),
        np.zeros_like(guess),
        *(guess + step * scale * sign for step in (0.01, 0.1, 1) for sign in (-1, 1)),
        *(guess + rng.normal(0, 0.3, guess.shape) * scale for _ in range(50)),
    ]
    assert all(error(other.astype(np.float32)) >= best - 1e-6 for other in others)


def test_the_loss_of_mirrored_pairs_is_the_same(task: Task, targets: Array) -> None:
    """A mirrored image is as hard as its original: the metric does not see the mirror."""
    rng = np.random.default_rng(1)
    wrong = targets + rng.normal(0, 5, targets.shape).astype(np.float32)
    straight = task.metrics(wrong, targets)
    mirrored = task.metrics(task.mirrored(wrong), task.mirrored(targets))
    for name, value in straight.items():
        assert mirrored[name] == pytest.approx(value, rel=1e-5), name

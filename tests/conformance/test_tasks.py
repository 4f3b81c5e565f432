"""What every task must do, on labels of every kind."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from evonas.core import registry
from evonas.core.array_types import Array
from evonas.data.base import Dataset
from evonas.deployment.probing.targets import read
from evonas.errors import InputError
from evonas.tasks.base import Task
from evonas.tasks.common.prediction_format import HELD_OUT_LOSS, Answer

NAMES = registry.names("task")
POINTS = {
    "left_eye": (0.33, 0.4),
    "right_eye": (0.67, 0.4),
    "nose": (0.5, 0.6),
    "left_mouth": (0.37, 0.78),
    "right_mouth": (0.63, 0.78),
}
EMOTIONS = ("neutral", "happy", "sad", "angry")
COUNT = 48


class Faces(Dataset):
    """Labels of every kind that a data set may have, without pictures."""

    def __init__(self) -> None:
        rng = np.random.default_rng(5)
        labels = {
            "yaw": rng.uniform(-85, 85, COUNT),
            "pitch": rng.normal(5, 15, COUNT),
            "roll": rng.normal(0, 10, COUNT),
            "age": rng.uniform(18, 80, COUNT),
            "emotion": rng.choice(len(EMOTIONS), COUNT, p=[0.4, 0.3, 0.2, 0.1]),
        }
        for name, (x, y) in POINTS.items():
            labels[f"{name}.x"] = x + rng.normal(0, 0.06, COUNT)
            labels[f"{name}.y"] = y + rng.normal(0, 0.06, COUNT)
            labels[f"{name}.v"] = rng.choice(3, COUNT, p=[0.1, 0.2, 0.7])
        labels |= {
            "box.left": rng.uniform(0, 100, COUNT),
            "box.top": rng.uniform(0, 100, COUNT),
            "box.side": rng.uniform(50, 150, COUNT),
            "area": rng.uniform(50, 150, COUNT) ** 2,
            "image": np.arange(COUNT) // 2,
        }
        self.labels = {name: values.astype(np.float32) for name, values in labels.items()}
        self.classes = {"emotion": EMOTIONS}
        self.groups = np.array([f"person {i}" for i in range(COUNT)])
        self.splits = {"train": np.arange(32), "validation": np.arange(32, COUNT)}
        self.fingerprint = "faces"
        self.check()

    def image(self, index: int) -> NDArray[np.uint8]:
        return np.zeros((32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def dataset() -> Faces:
    return Faces()


def made(name: str, dataset: Dataset) -> Task:
    """The task with what its training targets settle, as plain data, the way a run has it."""
    draft: Task = registry.create("task", name, {}, dataset.schema())
    settled = draft.fit_options(draft.targets(dataset)[dataset.splits["train"]])
    task: Task = registry.create("task", name, json.loads(json.dumps(settled)), dataset.schema())
    return task


@pytest.fixture(params=NAMES)
def task(request: pytest.FixtureRequest, dataset: Faces) -> Task:
    return made(request.param, dataset)


@pytest.fixture
def targets(task: Task, dataset: Faces) -> Array:
    return task.targets(dataset)


def shape(task: Task, count: int) -> tuple[int, ...]:
    return (count, task.n_outputs, 8, 8) if task.dense else (count, task.n_outputs)


def found_by_descent(task: Task, targets: Array) -> Array:
    """Return outputs that minimise the loss."""
    outputs = torch.zeros(shape(task, len(targets)), requires_grad=True)
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


def of_noise(task: Task) -> Array:
    """Return predictions from random outputs."""
    rng = np.random.default_rng(1)
    return task.predictions(rng.normal(0, 1, shape(task, COUNT)).astype(np.float32))


def is_discrete(task: Task) -> bool:
    """Whether predictions are whole numbers, so that one between two of them means nothing."""
    values = of_noise(task)
    return bool((values == np.rint(values)).all())


def wrong_rows(task: Task, targets: Array) -> Array:
    """Return predictions with errors, in rows like those of the targets."""
    if is_discrete(task):
        return of_noise(task)
    noise = np.random.default_rng(2).normal(0, 0.3, targets.shape) * targets.std(0)
    return targets + noise.astype(np.float32)


def test_there_is_something_to_test() -> None:
    assert {"head_pose", "classification", "regression"} <= set(NAMES)


def test_targets_are_a_finite_row_an_image(task: Task, targets: Array) -> None:
    assert targets.shape[0] == COUNT
    assert targets.ndim == 2
    assert targets.dtype == np.float32
    assert np.isfinite(targets).all()
    assert task.n_outputs >= 1
    assert task.unit
    assert task.metric not in task.higher_is_better


def test_it_says_which_labels_it_learns(task: Task, dataset: Faces) -> None:
    """Those that its targets follow from: a probe learns the same."""
    assert isinstance(task.labels, tuple)
    assert task.labels
    assert len(set(task.labels)) == len(task.labels)
    columns = np.concatenate([read(dataset, name)[0].values for name in task.labels], axis=1)
    learnt = {tuple(column) for column in columns.T.tolist()}
    known = {tuple(column) for column in task.targets(dataset).T.tolist()}
    assert learnt <= known
    assert task.dense or learnt == known, "key points have columns beside, of what is visible"


def test_what_is_settled_is_settled_once(task: Task, targets: Array) -> None:
    assert task.fit_options(targets) == {}


@pytest.mark.parametrize("name", NAMES)
def test_labels_that_do_not_carry_the_task_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(InputError, match=r"^task\.[^\n]+$"):
        registry.create("task", name, {}, {})


def test_mirrored_twice_is_the_identity_and_leaves_its_argument_alone(
    task: Task, targets: Array
) -> None:
    before = targets.copy()
    once = task.flip_targets(targets)
    assert once.shape == targets.shape
    assert once.dtype == np.float32
    np.testing.assert_allclose(task.flip_targets(once), before, atol=1e-6)
    np.testing.assert_array_equal(targets, before)


def test_outputs_for_mirrored_images_lead_to_the_mirrored_predictions(task: Task) -> None:
    """The mirror rule of outputs is that of targets; n may be 0."""
    rng = np.random.default_rng(3)
    outputs = rng.normal(0, 1, shape(task, COUNT)).astype(np.float32)
    before = outputs.copy()
    try:
        assert len(task.unflip_outputs(outputs[:0])) == 0
    except InputError:
        pytest.skip("the task says that it has no flip test")
    once = task.unflip_outputs(outputs)
    assert once.shape == outputs.shape
    assert once.dtype == np.float32
    np.testing.assert_allclose(task.unflip_outputs(once), outputs, atol=1e-5)
    np.testing.assert_array_equal(outputs, before)
    expected = task.flip_targets(task.predictions(outputs))
    np.testing.assert_allclose(task.predictions(once), expected, rtol=1e-5, atol=1e-4)


class Silent(registry.load("task", "regression")):  # type: ignore[misc]
    """A task of a user that says nothing about flip tests."""

    unflip_outputs = Task.unflip_outputs


def test_a_task_that_does_not_know_refuses_a_flip_test(dataset: Faces) -> None:
    task = Silent(dataset.schema())
    for count in (0, 3):
        with pytest.raises(InputError, match=r"^task Silent: has no flip test, since[^\n]+--flip$"):
            task.unflip_outputs(np.zeros((count, task.n_outputs), np.float32))


def test_the_same_crop_again_has_the_same_targets(task: Task, targets: Array) -> None:
    before = targets.copy()
    moved = task.crop_targets(targets, np.zeros((COUNT, 2), np.float32), np.ones(COUNT, np.float32))
    np.testing.assert_allclose(moved, before, atol=1e-6)
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(targets, before)


def test_the_loss_is_a_finite_mean_with_a_gradient(task: Task, targets: Array) -> None:
    torch.manual_seed(0)
    outputs = torch.randn(shape(task, COUNT), requires_grad=True)
    loss = task.loss(outputs, torch.from_numpy(targets))
    assert loss.shape == ()
    assert float(loss.detach()) > 0
    loss.backward()
    assert outputs.grad is not None
    assert bool(torch.isfinite(outputs.grad).all())
    assert float(outputs.grad.abs().sum()) > 0
    twice = task.loss(torch.cat([outputs, outputs]), torch.from_numpy(targets).repeat(2, 1))
    torch.testing.assert_close(twice, loss)


def test_minimising_the_loss_gives_good_predictions(task: Task, targets: Array) -> None:
    """Perfect ones, but for a map, which has no finer place than its cells."""
    outputs, blank = found_by_descent(task, targets), np.zeros(shape(task, COUNT), np.float32)
    truth = torch.from_numpy(targets)
    start, end = (float(task.loss(torch.from_numpy(o), truth)) for o in (blank, outputs))
    assert end < (0.1 if task.dense else 1e-4) * start
    predictions = task.predictions(outputs)
    assert predictions.dtype == np.float32
    assert predictions.shape[0] == COUNT
    if not task.dense:
        assert predictions.shape == targets.shape
    worst = task.metrics(task.predictions(blank), targets)
    best = task.metrics(predictions, targets)
    assert best[task.metric] < (0.5 if task.dense else 0.02) * worst[task.metric]
    for name in task.higher_is_better & set(best):
        assert best[name] >= worst[name], name


def test_perfect_predictions_are_as_good_as_can_be(task: Task, targets: Array) -> None:
    """Targets may hold more than is predicted; metrics take their rows for predictions."""
    perfect, other = (
        task.metrics(targets, targets),
        task.metrics(wrong_rows(task, targets), targets),
    )
    assert task.metric in perfect
    for name, value in perfect.items():
        assert isinstance(value, float)
        if name in task.higher_is_better:
            assert value > other[name], name
        else:
            assert value == pytest.approx(0.0, abs=1e-5), name
            assert other[name] > 0, name


def test_a_test_reports_all_metrics_and_finite_numbers(task: Task, targets: Array) -> None:
    predictions = of_noise(task)
    metrics, details = (dict(f(predictions, targets)) for f in (task.metrics, task.details))
    assert details.items() >= metrics.items()
    for name, value in details.items():
        assert isinstance(value, float), name
        assert np.isfinite(value), name
    matrix = task.matrix(predictions, targets)
    if matrix is not None:
        assert matrix.counts.shape == (len(matrix.names), len(matrix.names))
        assert matrix.counts.sum() == COUNT


def test_no_constant_is_better_than_the_constant(task: Task, targets: Array) -> None:
    """A row like those of the targets, so that it can stand in for predictions anywhere.

    A map's may be a little worse: the best place has no closed form.
    """
    guess = task.constant_baseline(targets)
    assert guess.shape == targets.shape[1:]

    def error(row: Array) -> float:
        return task.metrics(np.broadcast_to(row, targets.shape), targets)[task.metric]

    best = error(guess)
    assert best > 0
    rng, scale = np.random.default_rng(0), targets.std(0)
    others = [
        targets.mean(0),
        np.zeros_like(guess),
        *(guess + step * scale * sign for step in (0.01, 0.1, 1) for sign in (-1, 1)),
        *(guess + rng.normal(0, 0.3, guess.shape) * scale for _ in range(50)),
    ]
    if is_discrete(task):
        others = list(targets)
    slack = 0.05 * best if task.dense else 1e-6
    assert all(error(other.astype(np.float32)) >= best - slack for other in others)


def test_the_metrics_of_mirrored_pairs_are_the_same(task: Task, targets: Array) -> None:
    """A mirrored image is as hard as its original: the metric does not see the mirror."""
    wrong = wrong_rows(task, targets)
    straight = task.metrics(wrong, targets)
    mirrored = task.metrics(task.flip_targets(wrong), task.flip_targets(targets))
    assert straight.keys() == mirrored.keys()
    for name, value in straight.items():
        assert mirrored[name] == pytest.approx(value, rel=1e-5), name


def test_answers_are_told_and_predictions_follow_from_them(task: Task) -> None:
    """One formula: what an exported file answers is what tables are made of."""
    outputs = np.random.default_rng(4).normal(0, 1, shape(task, COUNT)).astype(np.float32)
    answer, found = task.answer, task.read(outputs)
    ends = (3,) if answer.kind == "points" else ()
    assert found.shape == (COUNT, len(answer.columns), *ends)
    assert found.dtype == np.float32
    assert Answer.from_dict(json.loads(json.dumps(answer.to_dict()))) == answer
    assert answer.unit
    assert (answer.label in task.labels) == (answer.kind == "classes")
    if answer.kind == "classes":
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
        found = found.argmax(1)[:, None]
    np.testing.assert_array_equal(task.predictions(outputs), found.reshape(COUNT, -1))
    with torch.no_grad():
        single = task.decode(torch.from_numpy(outputs))
    assert single.dtype == torch.float32
    np.testing.assert_allclose(single.numpy(), task.read(outputs), rtol=1e-4, atol=1e-4)
    assert task.read(outputs[:0]).shape == (0, len(answer.columns), *ends)


def test_the_held_out_loss_is_the_loss_of_these_images(task: Task, targets: Array) -> None:
    """In double precision; of more images than a batch, the mean over images of their batches."""
    outputs = np.random.default_rng(2).normal(0, 1, shape(task, COUNT)).astype(np.float32)

    def loss(rows: slice) -> float:
        said, truth = (torch.from_numpy(x[rows]).double() for x in (many, wanted))
        return float(task.loss(said, truth))

    many, wanted = outputs, targets
    assert task.held_out_loss(outputs, targets) == pytest.approx(loss(slice(None)), rel=1e-12)
    single = float(task.loss(torch.from_numpy(outputs), torch.from_numpy(targets)))
    assert loss(slice(None)) == pytest.approx(single, rel=1e-5)
    many, wanted = np.tile(outputs, (6, *[1] * (outputs.ndim - 1))), np.tile(targets, (6, 1))
    whole = (256 * loss(slice(256)) + 32 * loss(slice(256, None))) / 288
    assert task.held_out_loss(many, wanted) == pytest.approx(whole, rel=1e-12)


def test_the_loss_is_among_the_metrics_only_where_it_is_the_error(
    task: Task, targets: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = np.random.default_rng(2).normal(0, 1, shape(task, COUNT)).astype(np.float32)
    plain, metric = task.validate(outputs, targets), task.metric
    assert plain == dict(task.metrics(task.predictions(outputs), targets))
    by_loss = task.minimising("loss")
    assert by_loss.metric == HELD_OUT_LOSS not in by_loss.higher_is_better
    found = by_loss.validate(outputs, targets)
    assert found.pop(HELD_OUT_LOSS) == task.held_out_loss(outputs, targets) > 0
    assert found == plain
    assert task.metric == metric  # the other task is one of its own
    assert task.minimising("metric") is task
    monkeypatch.setattr(type(task), "loss", lambda *words: pytest.fail("the loss was computed"))
    assert task.validate(outputs, targets) == plain


def test_the_held_out_loss_leaves_the_task_as_it_trains(
    task: Task, targets: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A captured step reads tensors that a task keeps on the GPU: they must stay where they are."""
    own = type(task).loss

    def keeping(self: Task, outputs: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        vars(self)["kept"] = outputs
        return own(self, outputs, truth)

    monkeypatch.setattr(type(task), "loss", keeping)
    task.held_out_loss(np.zeros(shape(task, COUNT), np.float32), targets)
    assert "kept" not in vars(task)

"""What every task must do, on labels of every kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

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
from evonas.testing.conformance import Conformance
from evonas.testing.example_labels import COUNT, ExampleLabels

SIDE = 8  # cells of a map, for tasks with dense outputs


def made(name: str, options: Mapping[str, Any], dataset: Dataset) -> Task:
    """Return the task with what its training targets settle, as plain data: as in a run."""
    draft: Task = registry.create("task", name, dict(options), dataset.schema())
    settled = draft.fit_options(draft.targets(dataset)[dataset.splits["train"]])
    given = {**options, **json.loads(json.dumps(settled))}
    task: Task = registry.create("task", name, given, dataset.schema())
    return task


def shape(task: Task, count: int) -> tuple[int, ...]:
    """Return the shape of a task's outputs for some images."""
    return (count, task.n_outputs, SIDE, SIDE) if task.dense else (count, task.n_outputs)


def found_by_descent(task: Task, targets: Array) -> Array:
    """Return outputs that minimise the loss."""
    outputs = torch.zeros(shape(task, len(targets)), requires_grad=True)
    truth = torch.from_numpy(targets)
    optimizer = torch.optim.LBFGS([outputs], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = task.loss(outputs, truth)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    for _ in range(5):
        optimizer.step(closure)  # type: ignore[no-untyped-call]
    return outputs.detach().numpy()


def of_noise(task: Task) -> Array:
    """Return predictions from random outputs."""
    rng = np.random.default_rng(1)
    return task.predictions(rng.normal(0, 1, shape(task, COUNT)).astype(np.float32))


def drawn_columns(task: Task) -> NDArray[np.bool_]:
    """Return the columns of predictions, (k,), in which noise on the truth is no usual mistake.

    Those of whole numbers, between which nothing lies, and probabilities of yes/no labels, whose
    order counts.
    """
    if task.members:
        return np.concatenate([drawn_columns(member) for member in task.members.values()])
    values = of_noise(task)
    whole: NDArray[np.bool_] = (values == np.rint(values)).all(0)
    return whole | (task.answer.kind == "labels")


def wrong_rows(task: Task, targets: Array) -> Array:
    """Return predictions with errors, in rows like those of the targets."""
    noise = np.random.default_rng(2).normal(0, 0.3, targets.shape) * targets.std(0)
    wrong: Array = targets + noise.astype(np.float32)
    if not task.dense:
        columns = drawn_columns(task)
        wrong[:, columns] = of_noise(task)[:, columns]
    return wrong


def settled(answer: Answer, found: Array) -> Array:
    """Return the (n, k) predictions of decoded outputs: of classes, the index of the likeliest."""
    if answer.parts:
        return np.concatenate([settled(part, own) for _, part, own in answer.split(found)], 1)
    if answer.kind == "classes":
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
        found = found.argmax(1)[:, None].astype(np.float32)
    return found.reshape(COUNT, -1)


class TaskConformance(Conformance):
    """What every task must do, on labels of every kind.

    Attributes:
        options: of every task, as an experiment gives them.
    """

    options: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def dataset(self) -> Dataset:
        """A data set with the labels that the task needs; override it for others."""
        return ExampleLabels()

    @pytest.fixture
    def task(self, name: str, dataset: Dataset) -> Task:
        """The task with the options that its training targets settle."""
        return made(name, self.options, dataset)

    @pytest.fixture
    def targets(self, task: Task, dataset: Dataset) -> Array:
        """The task's targets of the example labels."""
        return task.targets(dataset)

    def test_targets_are_a_finite_row_an_image(self, task: Task, targets: Array) -> None:
        """Targets are (n, k) finite float32."""
        assert targets.shape[0] == COUNT
        assert targets.ndim == 2
        assert targets.dtype == np.float32
        assert np.isfinite(targets).all()
        assert task.n_outputs >= 1
        assert isinstance(task.unit, str)
        assert task.metric not in task.higher_is_better

    def test_it_says_which_labels_it_learns(self, task: Task, dataset: Dataset) -> None:
        """``labels`` are those that the targets follow from: a probe learns the same."""
        assert isinstance(task.labels, tuple)
        assert task.labels
        assert len(set(task.labels)) == len(task.labels)
        columns = np.concatenate([read(dataset, name)[0].values for name in task.labels], axis=1)
        learnt = {tuple(column) for column in columns.T.tolist()}
        known = {tuple(column) for column in task.targets(dataset).T.tolist()}
        assert learnt <= known
        assert task.dense or learnt == known, "key points have columns beside, of what is visible"

    def test_what_is_settled_is_settled_once(self, task: Task, targets: Array) -> None:
        """``fit_options`` of a settled task adds nothing."""
        assert task.fit_options(targets) == {}

    def test_labels_that_do_not_carry_the_task_are_refused_in_one_line(self, name: str) -> None:
        """The error names an option of the task."""
        with pytest.raises(InputError, match=r"^task\.[^\n]+$"):
            registry.create("task", name, {}, {})

    def test_mirrored_twice_is_the_identity_and_leaves_its_argument_alone(
        self, task: Task, targets: Array
    ) -> None:
        """``flip_targets`` is its own inverse and copies."""
        before = targets.copy()
        once = task.flip_targets(targets)
        assert once.shape == targets.shape
        assert once.dtype == np.float32
        np.testing.assert_allclose(task.flip_targets(once), before, atol=1e-6)
        np.testing.assert_array_equal(targets, before)

    def test_outputs_for_mirrored_images_lead_to_the_mirrored_predictions(self, task: Task) -> None:
        """``unflip_outputs`` agrees with ``flip_targets``; n may be 0."""
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

    def test_the_same_crop_again_has_the_same_targets(self, task: Task, targets: Array) -> None:
        """``crop_targets`` with no shift and scale 1 changes nothing."""
        before = targets.copy()
        moved = task.crop_targets(
            targets, np.zeros((COUNT, 2), np.float32), np.ones(COUNT, np.float32)
        )
        np.testing.assert_allclose(moved, before, atol=1e-6)
        assert moved.dtype == np.float32
        np.testing.assert_array_equal(targets, before)

    def test_the_loss_is_a_finite_mean_with_a_gradient(self, task: Task, targets: Array) -> None:
        """The loss is positive, a mean over images, and has a gradient."""
        torch.manual_seed(0)
        outputs = torch.randn(shape(task, COUNT), requires_grad=True)
        loss = task.loss(outputs, torch.from_numpy(targets))
        assert loss.shape == ()
        assert float(loss.detach()) > 0
        loss.backward()  # type: ignore[no-untyped-call]
        assert outputs.grad is not None
        assert bool(torch.isfinite(outputs.grad).all())
        assert float(outputs.grad.abs().sum()) > 0
        twice = task.loss(torch.cat([outputs, outputs]), torch.from_numpy(targets).repeat(2, 1))
        torch.testing.assert_close(twice, loss)

    def test_minimising_the_loss_gives_good_predictions(self, task: Task, targets: Array) -> None:
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

    def test_perfect_predictions_are_as_good_as_can_be(self, task: Task, targets: Array) -> None:
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

    def test_a_test_reports_all_metrics_and_finite_numbers(
        self, task: Task, targets: Array
    ) -> None:
        """``details`` extends ``metrics`` by finite floats."""
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

    def test_no_constant_is_better_than_the_constant(self, task: Task, targets: Array) -> None:
        """``constant_baseline`` has the lowest error of a constant; a map's may be 5 % off."""
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
        if not task.dense:
            columns = drawn_columns(task)
            for number, other in enumerate(others):
                other[columns] = targets[number % COUNT, columns]
        slack = 0.05 * best if task.dense else 1e-6
        assert all(error(other.astype(np.float32)) >= best - slack for other in others)

    def test_the_metrics_of_mirrored_pairs_are_the_same(self, task: Task, targets: Array) -> None:
        """A mirrored image is as hard as its original."""
        wrong = wrong_rows(task, targets)
        straight = task.metrics(wrong, targets)
        mirrored = task.metrics(task.flip_targets(wrong), task.flip_targets(targets))
        assert straight.keys() == mirrored.keys()
        for name, value in straight.items():
            assert mirrored[name] == pytest.approx(value, rel=1e-5), name

    def test_answers_are_told_and_predictions_follow_from_them(self, task: Task) -> None:
        """``decode``, ``read`` and ``predictions`` agree, and ``answer`` names the columns."""
        outputs = np.random.default_rng(4).normal(0, 1, shape(task, COUNT)).astype(np.float32)
        answer, found = task.answer, task.read(outputs)
        ends = (3,) if answer.kind == "points" else ()
        assert found.shape == (COUNT, len(answer.columns), *ends)
        assert found.dtype == np.float32
        assert Answer.from_dict(json.loads(json.dumps(answer.to_dict()))) == answer
        assert isinstance(answer.unit, str)
        assert (answer.label in task.labels) == (answer.kind == "classes")
        np.testing.assert_array_equal(task.predictions(outputs), settled(answer, found))
        with torch.no_grad():
            single = task.decode(torch.from_numpy(outputs))
        assert single.dtype == torch.float32
        np.testing.assert_allclose(single.numpy(), task.read(outputs), rtol=1e-4, atol=1e-4)
        assert task.read(outputs[:0]).shape == (0, len(answer.columns), *ends)

    def test_the_held_out_loss_is_the_loss_of_these_images(
        self, task: Task, targets: Array
    ) -> None:
        """In double precision, the mean over images of batches of 256."""
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
        self, task: Task, targets: Array, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``minimising('loss')`` adds the held-out loss to the metrics."""
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
        self, task: Task, targets: Array, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Validation leaves no tensor behind in the task that trains."""
        own = type(task).loss

        def keeping(self: Task, outputs: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
            vars(self)["kept"] = outputs
            return own(self, outputs, truth)

        monkeypatch.setattr(type(task), "loss", keeping)
        task.held_out_loss(np.zeros(shape(task, COUNT), np.float32), targets)
        assert "kept" not in vars(task)

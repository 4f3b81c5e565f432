"""Several tasks at once: masks, scales, combined errors, and what cannot share a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evonas.core import registry
from evonas.core.array_types import Array
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.tasks.several import Several
from evonas.testing.example_labels import COUNT, ExampleLabels
from evonas.testing.tasks import made

TASKS: dict[str, dict[str, Any]] = {
    "pose": {"name": "head_pose"},
    "age": {"name": "regression", "labels": ["age"]},
    "mood": {"name": "classification", "label": "emotion", "balanced": True},
}


class Gaps(ExampleLabels):
    """The example labels, of which most images lack some; the first of each split has all."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        rng, whole = np.random.default_rng(seed), [0, 1, 2, 32]
        gaps = {name: rng.random(COUNT) < 0.3 for name in self.labels}
        self.labels = {
            name: np.where(gaps[name] & ~np.isin(range(COUNT), whole), np.nan, values).astype("f4")
            for name, values in self.labels.items()
        }


def task_of(dataset: Dataset, **options: Any) -> Several:
    task = made("several", {"tasks": TASKS, **options}, dataset)
    assert isinstance(task, Several)
    return task


def alone(name: str, dataset: Dataset, rows: NDArray[np.bool_]) -> tuple[Any, Array]:
    """A member as a task of its own, fitted to the labelled training images; all its targets."""
    options = {key: value for key, value in TASKS[name].items() if key != "name"}
    draft = registry.create("task", TASKS[name]["name"], options, dataset.schema())
    columns = [dataset.labels[label] for label in draft.labels]
    targets = np.stack(columns, 1)
    train = dataset.splits["train"]
    options |= draft.fit_options(targets[train[rows[train]]])
    return registry.create("task", TASKS[name]["name"], options, dataset.schema()), targets


def known_rows(dataset: Dataset, name: str) -> NDArray[np.bool_]:
    labels = {"pose": ("yaw", "pitch", "roll"), "age": ("age",), "mood": ("emotion",)}[name]
    return np.array(
        [all(np.isfinite(dataset.labels[label][i]) for label in labels) for i in range(COUNT)]
    )


def test_labels_outputs_and_targets_stand_side_by_side() -> None:
    dataset = ExampleLabels()
    task = task_of(dataset)
    assert task.labels == ("yaw", "pitch", "roll", "age", "emotion")
    assert task.n_outputs == 3 + 1 + 4
    targets = task.targets(dataset)
    np.testing.assert_array_equal(targets[:, 3], dataset.labels["age"])
    answer = task.answer
    assert [*answer.outputs] == ["pose", "age", "mood"]
    assert answer.columns[:4] == ("pose.yaw", "pose.pitch", "pose.roll", "age.age")
    assert {"age.r2", "mood.accuracy"} <= task.higher_is_better


def test_a_list_of_labels_is_short_for_their_tasks() -> None:
    schema = ExampleLabels().schema()
    task = Several(schema, tasks=("pose", "age", "emotion"))
    kinds = [type(member).__name__ for member in task.members.values()]
    assert kinds == ["HeadPose", "Regression", "Classification"]
    assert [*task.members] == ["pose", "age", "emotion"]


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_loss_and_gradient_are_those_of_each_task_on_its_own_images(seed: int) -> None:
    dataset = Gaps(seed)
    task = task_of(dataset, weights={"age": 3.0})
    targets = task.targets(dataset)
    torch.manual_seed(seed)
    outputs = torch.randn(COUNT, task.n_outputs, dtype=torch.float64, requires_grad=True)
    loss = task.loss(outputs, torch.from_numpy(targets).double())
    loss.backward()  # type: ignore[no-untyped-call]
    total, start = 0.0, 0
    gradient = torch.zeros_like(outputs)
    for name, weight in (("pose", 1.0), ("age", 3.0), ("mood", 1.0)):
        rows = known_rows(dataset, name)
        member, own = alone(name, dataset, rows)
        end = start + member.n_outputs
        said = outputs.detach()[rows][:, start:end].clone().requires_grad_()
        value = member.loss(said, torch.from_numpy(own[rows]).double())
        (slope,) = torch.autograd.grad(value, said)
        share = weight / 5.0 / task._scales[name].loss
        total += share * float(value.detach())
        gradient[np.flatnonzero(rows), start:end] = share * slope
        start = end
    assert float(loss.detach()) == pytest.approx(total, rel=1e-6)
    torch.testing.assert_close(outputs.grad, gradient, rtol=1e-5, atol=1e-9)


def test_a_batch_without_labels_of_a_task_adds_nothing_for_it() -> None:
    dataset = ExampleLabels()
    task = task_of(dataset)
    targets = task.targets(dataset)
    targets[:, :3] = targets[:, 4:] = np.nan
    outputs = torch.randn(COUNT, task.n_outputs, requires_grad=True)
    loss = task.loss(outputs, torch.from_numpy(targets))
    loss.backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None
    assert bool(torch.isfinite(outputs.grad).all())
    assert not outputs.grad[:, :3].any()
    assert not outputs.grad[:, 4:].any()
    member, own = alone("age", dataset, np.ones(COUNT, bool))
    expected = member.loss(outputs[:, 3:4].detach(), torch.from_numpy(own))
    assert float(loss.detach()) == pytest.approx(
        float(expected) / 3 / task._scales["age"].loss, rel=1e-5
    )
    nothing = task.loss(outputs, torch.full((COUNT, 5), np.nan))
    assert float(nothing.detach()) == 0.0
    nothing.backward()  # type: ignore[no-untyped-call]
    assert bool(torch.isfinite(outputs.grad).all())


def test_metrics_of_a_task_are_those_of_its_own_on_its_images() -> None:
    dataset = Gaps()
    task = task_of(dataset)
    targets = task.targets(dataset)
    outputs = np.random.default_rng(0).normal(0, 1, (COUNT, 8)).astype(np.float32)
    found = task.details(task.predictions(outputs), targets)
    relative, start = {}, 0
    for name in TASKS:
        rows = known_rows(dataset, name)
        member, own = alone(name, dataset, rows)
        end = start + member.n_outputs
        expected = member.details(member.predictions(outputs[rows, start:end]), own[rows])
        for key, value in expected.items():
            kind, bar, span = key.partition("|")
            ours = f"{kind}|{name}.{span}" if bar else f"{name}.{key}"
            assert found[ours] == pytest.approx(value), ours
        train = rows & (np.arange(COUNT) < 32)
        constant = member.constant_metrics(own[train], own[train])[member.metric]
        relative[name] = expected[member.metric] / constant
        assert found[f"{name}.relative_error"] == pytest.approx(relative[name])
        start = end
    assert found["relative_error"] == pytest.approx(np.mean([*relative.values()]))
    worst = task_of(dataset, combine="worst", weights={"age": 9.0})
    both = worst.metrics(worst.predictions(outputs), targets)
    assert both["relative_error"] == pytest.approx(max(relative.values()))
    weighed = task_of(dataset, weights={"age": 2.0}).metrics(task.predictions(outputs), targets)
    ratio = (relative["pose"] + 2 * relative["age"] + relative["mood"]) / 4
    assert weighed["relative_error"] == pytest.approx(ratio)


def test_a_constant_has_loss_and_error_one_on_what_it_was_fitted_to() -> None:
    dataset = ExampleLabels()
    task = task_of(dataset)
    train = task.targets(dataset)[:32]
    assert task.constant_metrics(train, train)["relative_error"] == pytest.approx(1.0)
    # the best constant outputs, found by a coarse walk, are no better than 1
    rng, best = np.random.default_rng(0), np.inf
    output = np.zeros(8)
    for step in np.geomspace(0.5, 0.005, 4000):
        other = output + rng.normal(0, step, 8)
        rows = torch.from_numpy(np.broadcast_to(other, (32, 8)).copy())
        loss = float(task.loss(rows, torch.from_numpy(train)))
        if loss < best:
            best, output = loss, other
    assert best == pytest.approx(1.0, abs=2e-3)


def test_mirrored_and_moved_targets_stay_missing_where_they_are() -> None:
    dataset = Gaps()
    task = task_of(dataset)
    targets = task.targets(dataset)
    flipped = task.flip_targets(targets)
    np.testing.assert_array_equal(np.isnan(flipped), np.isnan(targets))
    np.testing.assert_array_equal(flipped[:, 0], -targets[:, 0])
    moved = task.crop_targets(targets, np.zeros((COUNT, 2), np.float32), np.ones(COUNT, np.float32))
    np.testing.assert_array_equal(moved, targets)


def test_an_image_needs_all_labels_of_a_task_or_one_of_yes_or_no() -> None:
    dataset = ExampleLabels()
    rng = np.random.default_rng(0)
    labels = {n: (rng.random(COUNT) < 0.5).astype(np.float32) for n in ("smile", "hat")}
    dataset.labels = {**dataset.labels, **labels}
    dataset.labels["smile"][5] = dataset.labels["yaw"][6] = np.nan
    tasks = {"pose": "head_pose", "looks": {"name": "multi_label", "labels": ["smile", "hat"]}}
    task = made("several", {"tasks": tasks}, dataset)
    assert isinstance(task, Several)
    pose, looks = task.split(task.targets(dataset))
    assert np.flatnonzero(~pose.known).tolist() == [6]
    assert np.isnan(pose.targets[6]).all()
    assert looks.known.all()
    assert np.isnan(looks.targets[5, 0])


def test_the_order_is_that_of_the_tasks_not_of_what_was_fitted() -> None:
    dataset = ExampleLabels()
    draft = Several(dataset.schema(), tasks=TASKS)
    fitted = draft.fit_options(draft.targets(dataset))["fitted"]
    turned = {name: fitted[name] for name in reversed(TASKS)}
    outputs = np.random.default_rng(0).normal(0, 1, (COUNT, 8)).astype(np.float32)
    first, second = (Several(dataset.schema(), tasks=TASKS, fitted=f) for f in (fitted, turned))
    np.testing.assert_array_equal(first.read(outputs), second.read(outputs))
    np.testing.assert_array_equal(first.targets(dataset), second.targets(dataset))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, r"^task\.tasks: expected two or more tasks, [^\n]+got none"),
        ({"tasks": ["pose"]}, "got pose: name a single task in task.name"),
        ({"tasks": {"pose": "head_pose"}}, "expected two or more"),
        ({"tasks": ["pose", "pose"]}, "expected each name once, got 'pose' twice"),
        ({"tasks": ["pose", "agee"]}, r"got 'agee': did you mean 'age'\?"),
        ({"tasks": {"pose": "head_pose", "a.b": "classification"}}, "letters, digits"),
        ({"tasks": {"pose": "head_pose", "images": "classification"}}, "rename this task"),
        ({"tasks": {"pose": "head_pose", "age": 3}}, r"^task\.tasks\.age: expected a task with"),
        ({"tasks": {"pose": "head_pose", "age": {"labels": ["age"]}}}, "expected a task with"),
        ({"tasks": {"pose": "head_pose", "age": "regresion"}}, r"^task\.tasks\.age: unknown task"),
        (
            {"tasks": {"pose": "head_pose", "age": {"name": "regression", "labels": ["agee"]}}},
            r"^task\.tasks\.age\.labels: expected quantities[^\n]+'agee'",
        ),
        (
            {"tasks": {"pose": "head_pose", "age": {"name": "regression", "lable": "age"}}},
            r"^task\.tasks\.age: unknown key task\.lable",
        ),
        (
            {"tasks": {"pose": "head_pose", "all": {"name": "several", "tasks": ["pose", "age"]}}},
            r"^task\.tasks\.all: expected a single task",
        ),
        ({"tasks": {"pose": "head_pose", "points": "key_points"}}, "learns maps"),
        ({"tasks": TASKS, "weights": {"agee": 1.0}}, r"^task\.weights: [^\n]+did you mean 'age'"),
        ({"tasks": TASKS, "weights": {"age": 0.0}}, r"^task\.weights\.age: expected a positive"),
        ({"tasks": TASKS, "fitted": {"age": {}}}, r"^task\.fitted: expected what fit_options"),
        ({"tasks": TASKS, "combine": "sum"}, r"^task\.combine"),
    ],
)
def test_what_cannot_share_a_network_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        registry.create("task", "several", options, ExampleLabels().schema())
    assert "\n" not in str(caught.value)


def test_a_label_that_nobody_has_is_refused() -> None:
    draft = Several(ExampleLabels().schema(), tasks=TASKS)
    for side in ("train", "validation"):
        dataset = ExampleLabels()
        dataset.labels["age"][dataset.splits[side]] = np.nan
        with pytest.raises(InputError, match=rf"^task\.tasks\.age: [^\n]+of the {side} split with"):
            draft.targets(dataset)
    targets = draft.targets(ExampleLabels())
    targets[:, 3] = np.nan
    for of in (draft.fit_options, draft.constant_baseline, lambda t: draft.metrics(t, t)):
        with pytest.raises(InputError, match=r"^task\.tasks\.age: expected images with age"):
            of(targets)
    same = draft.targets(ExampleLabels())
    same[:, 4] = 1.0
    with pytest.raises(InputError, match=r"^task\.tasks\.mood: expected labels that vary"):
        draft.fit_options(same)
    with pytest.raises(InputError, match=r"^task\.fitted: expected the scales"):
        draft.loss(torch.zeros(2, 8), torch.zeros(2, 5))


def test_a_wrong_label_is_named_with_its_image_in_the_data_set() -> None:
    dataset = Gaps()
    image = int(np.flatnonzero(np.isfinite(dataset.labels["emotion"]))[-1])
    dataset.labels["emotion"][image] = 9
    with pytest.raises(InputError, match=rf"^task\.tasks\.mood\.label: [^\n]+for image {image},"):
        Several(dataset.schema(), tasks=TASKS).targets(dataset)


def test_a_task_without_a_flip_test_is_named() -> None:
    tasks = {"pose": {"name": "head_pose", "output": "bins"}, "age": TASKS["age"]}
    task = Several(ExampleLabels().schema(), tasks=tasks)
    with pytest.raises(InputError, match=r"^task\.tasks\.pose"):
        task.unflip_outputs(np.zeros((0, task.n_outputs), np.float32))

"""What every registered task must do, on labels of every kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from evonas.core import registry
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.tasks.base import Task
from evonas.testing import TaskConformance
from evonas.testing.example_labels import COUNT, ExampleLabels

#: Tasks that need options, or other labels: each has a class below.
PARTICULAR = ("several", "multi_label")


class YesAndNo(ExampleLabels):
    """The example labels, and whether people wear glasses, smile or wink."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(6)
        shares = {"glasses": 0.2, "smile": 0.4, "left_wink": 0.4, "right_wink": 0.4}
        drawn = {name: rng.random(COUNT) < share for name, share in shares.items()}
        self.labels = {**self.labels, **{n: own.astype(np.float32) for n, own in drawn.items()}}
        self.classes = {**self.classes, "glasses": ("no", "yes")}


class TestTasks(TaskConformance):
    names = tuple(name for name in registry.names("task") if name not in PARTICULAR)

    def test_there_is_something_to_test(self) -> None:
        assert {"head_pose", "classification", "regression"} <= set(self.names)


class TestMultiLabel(TaskConformance):
    names = ("multi_label",)
    options: ClassVar[Mapping[str, Any]] = {
        "labels": ["glasses", "smile", "left_wink", "right_wink"],
        "balanced": True,
    }

    @pytest.fixture
    def dataset(self) -> Dataset:
        return YesAndNo()


class TestSeveral(TestMultiLabel):
    names = ("several",)
    options: ClassVar[Mapping[str, Any]] = {
        "tasks": {
            "pose": {"name": "head_pose", "output": "distribution"},
            "age": {"name": "regression", "labels": ["age"]},
            "emotion": {"name": "classification", "label": "emotion"},
            "looks": {"name": "multi_label", "labels": ["left_wink", "right_wink"]},
        },
        "weights": {"age": 2.0},
    }


class TestTheWorstOfSeveral(TaskConformance):
    names = ("several",)
    options: ClassVar[Mapping[str, Any]] = {"tasks": ["pose", "age"], "combine": "worst"}


class TestDistributions(TaskConformance):
    names = ("head_pose", "regression")
    options: ClassVar[Mapping[str, Any]] = {"output": "distribution"}


class Silent(registry.load("task", "regression")):  # type: ignore[misc]
    """A task of a user that says nothing about flip tests."""

    unflip_outputs = Task.unflip_outputs


def test_a_task_that_does_not_know_refuses_a_flip_test() -> None:
    task = Silent(ExampleLabels().schema())
    for count in (0, 3):
        with pytest.raises(InputError, match=r"^task Silent: has no flip test, since[^\n]+--flip$"):
            task.unflip_outputs(np.zeros((count, task.n_outputs), np.float32))

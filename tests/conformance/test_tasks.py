"""What every registered task must do, on labels of every kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from evonas.core import registry
from evonas.errors import InputError
from evonas.tasks.base import Task
from evonas.testing import TaskConformance
from evonas.testing.example_labels import ExampleLabels


class TestTasks(TaskConformance):
    names = registry.names("task")

    def test_there_is_something_to_test(self) -> None:
        assert {"head_pose", "classification", "regression"} <= set(self.names)


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

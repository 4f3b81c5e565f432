"""The task of an experiment, and the same task with options of a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from typing import Any

import numpy as np

from evonas.core import registry
from evonas.core.experiment import Part
from evonas.core.recipe import TASK, TASKS
from evonas.data.base import Dataset
from evonas.errors import InputError, nearest
from evonas.runs.training_record import Indices
from evonas.space.recipe import TaskChoices, with_choices
from evonas.tasks.base import Error, Task

#: (split name, options of a recipe) -> all options of the task; see ``TrainingContext``.
Settled = dict[tuple[str, TaskChoices], dict[str, Any]]


class RecipeTasks:
    """The task of an experiment with the options of recipes, each made once.

    Args:
        part: the task of the experiment.
        dataset: its data set.
        error: what the task minimises.
    """

    def __init__(self, part: Part, dataset: Dataset, error: Error) -> None:
        self._part, self._dataset, self._error = part, dataset, error
        self._made: dict[TaskChoices, Task] = {}

    def task(self, chosen: TaskChoices = ()) -> Task:
        """Return the task with the options of a recipe; without any, the experiment's own.

        Raises:
            InputError: an option is wrong, the labels do not carry the task, or its errors cannot
                be compared with those of the experiment's own task.
        """
        if chosen not in self._made:
            if chosen:
                self._refuse_incomparable(chosen)
            options = self.fit_options(self._dataset.sides()["train"], chosen)
            made: Task = registry.create("task", self._part.name, options, self._dataset.schema())
            self._made[chosen] = made.minimising(self._error)
        return self._made[chosen]

    def fit_options(self, train: Indices, chosen: TaskChoices = ()) -> dict[str, Any]:
        """Return the options of the task, with those that some training images settle.

        Args:
            train: (n,) numbers of the images.
            chosen: options of a recipe, in the place of the experiment's.

        Raises:
            InputError: an option is wrong, or the labels of these images do not carry the task.
        """
        draft = self._draft(chosen)
        fitted = draft.fit_options(draft.targets(self._dataset)[train])
        return with_choices(fitted | self._part.options, chosen)

    def settled(self, splits: Mapping[str, Indices], recipes: Iterable[TaskChoices]) -> Settled:
        """Return the options of the task by split and recipe.

        Args:
            splits: split name -> numbers of its training images.
            recipes: options of recipes.
        """
        every = set(recipes)
        return {
            (name, chosen): self.fit_options(train, chosen)
            for name, train in splits.items()
            for chosen in every
        }

    def _draft(self, chosen: TaskChoices) -> Task:
        """Return the task without what the training labels settle."""
        name = self._part.name
        for path, _ in chosen:
            self._check_option(path)
        options = with_choices(self._part.options, chosen)
        try:
            made: Task = registry.create("task", name, options, self._dataset.schema())
        except InputError as error:
            raise InputError(f"recipe: {error}" if chosen else str(error)) from error
        made.refuse_missing(self._dataset)
        return made

    def _check_option(self, path: str) -> None:
        """Refuse an option that the task, or one of several tasks, does not have.

        Raises:
            InputError: there is no such option, or no such task.
        """
        kind, key = self._part.name, path
        if path.startswith(TASKS):
            member, _, key = path.removeprefix(TASKS).partition(".")
            members = self._draft(()).members
            if member not in members:
                raise InputError(f"recipe: no task {member!r} in tasks: {nearest(member, members)}")
            kind = registry.name_of(type(members[member]))
        known = registry.options("task", kind)[1:]  # the labels come first
        if key not in known:
            raise InputError(f"recipe: task {kind} has no option {key!r}: {nearest(key, known)}")

    def _refuse_incomparable(self, chosen: TaskChoices) -> None:
        """Refuse options with which errors are not those of the experiment's own task.

        Raises:
            InputError: metric, unit, labels or targets differ, or the labels do not fit.
        """
        task, own, dataset = self._draft(chosen), self._draft(()), self._dataset
        given = ", ".join(
            f"{key if key.startswith(TASKS) else TASK + key}={value}" for key, value in chosen
        )
        if self._error == "loss":
            raise InputError(
                f"recipe: {given}: losses of different tasks cannot be compared: leave this out, "
                f"or use objective.error=metric"
            )
        pairs = [(task, own), *zip(task.members.values(), own.members.values(), strict=True)]
        for what, (one, other) in product(("metric", "unit", "labels", "dense", "combine"), pairs):
            here, there = getattr(one, what, ""), getattr(other, what, "")
            if here != there:
                raise InputError(
                    f"recipe: expected the {what} {there!r} of the experiment's own task, since "
                    f"errors of another cannot be compared, got {here!r} with {given}: leave "
                    f"this choice out"
                )
        try:
            targets = task.targets(dataset), own.targets(dataset)
        except InputError as error:
            raise InputError(f"recipe: {error}") from error
        mirrored = task.flip_targets(targets[0]), own.flip_targets(targets[1])
        if not all(np.array_equal(*pair, equal_nan=True) for pair in (targets, mirrored)):
            raise InputError(
                f"recipe: expected the targets of the experiment's own task, got others with "
                f"{given}: leave this choice out"
            )

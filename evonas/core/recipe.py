"""Names and values of recipe genes: settings of the training and options of the task.

A recipe gene is named ``training.KEY``, ``task.KEY``, or ``tasks.NAME.KEY`` for an option of one of
several tasks. Options of a task are checked where the task is known, see
``evonas.workflows.recipe_tasks``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from evonas.core.settings import TrainingSettings
from evonas.errors import InputError, nearest

TRAINING, TASK, TASKS = "training.", "task.", "tasks."
#: Settings of the training that are no genes, and why.
FIXED = {
    "epochs": "networks are compared, raced and timed at equal epochs",
    "milestones": "they are epochs of one training, and a retraining has others",
    "start": "a file of weights fits the networks of one shape",
    "precision": "it is a matter of the machine and not of the network",
    "keep": "it decides which epoch an error is of",
    "patience": "trainings of other lengths have other costs",
}
_FORM = "expected training.KEY, task.KEY or tasks.NAME.KEY, such as training.learning_rate"


def is_recipe(name: str) -> bool:
    """Return whether a setting of an architecture is one of its recipe."""
    return name.startswith((TRAINING, TASK, TASKS))


def is_of_task(name: str) -> bool:
    """Return whether a setting is an option of the task, or of one of several tasks."""
    return name.startswith((TASK, TASKS))


def as_lists(recipe: Any) -> Any:
    """Return a recipe in which a single value is a list of one; nothing is no recipe.

    ``task.tasks.NAME.KEY`` is ``tasks.NAME.KEY``.
    """
    if not isinstance(recipe, Mapping):
        return {} if recipe is None else recipe
    return {
        f"{TASKS}{key.removeprefix(TASK + TASKS)}" if str(key).startswith(TASK + TASKS) else key: [
            value
        ]
        if isinstance(value, str | int | float)
        else value
        for key, value in recipe.items()
    }


def trained_with(settings: TrainingSettings, recipe: Mapping[str, Any]) -> TrainingSettings:
    """Return the settings of a training with the ``training.*`` values of a recipe.

    Args:
        settings: of the experiment.
        recipe: gene -> value.

    Raises:
        InputError: a setting is unknown or no gene, or a value does not fit.
    """
    own = {
        name.removeprefix(TRAINING): value
        for name, value in recipe.items()
        if name.startswith(TRAINING)
    }
    if not own:
        return settings
    known = [key for key in TrainingSettings.model_fields if key not in FIXED]
    for key in own:
        if key in FIXED:
            raise InputError(
                f"{TRAINING}{key} cannot be in a recipe, since {FIXED[key]}: set it in training "
                f"and retraining themselves"
            )
        if key not in known:
            raise InputError(f"no setting {TRAINING}{key}: {nearest(key, known)}")
    try:
        return TrainingSettings.model_validate({**settings.model_dump(), **own})
    except ValidationError as error:
        detail = error.errors()[0]
        key = ".".join(map(str, detail["loc"]))
        reason = detail["msg"][0].lower() + detail["msg"][1:]
        # a value may contradict another that is not of the recipe
        given = "" if key in own else f" with {', '.join(f'{k}={v}' for k, v in own.items())}"
        raise InputError(
            f"{TRAINING}{key}: {reason}, got {str(detail['input'])[:40]!r}{given}"
        ) from error


def overruled(
    recipe: Mapping[str, Any], training: TrainingSettings, task: Mapping[str, Any]
) -> list[str]:
    """Return a line for each value of an experiment that a gene replaces in every network.

    Args:
        recipe: gene -> choices.
        training: settings; one that is the default is not mentioned.
        task: given options of the task.
    """
    default, given = TrainingSettings().model_dump(), training.model_dump()
    own = {f"{TRAINING}{k}": value for k, value in given.items() if value != default[k]}
    own |= {f"{TASK}{key}": value for key, value in task.items()}
    members = task.get("tasks")
    for member, options in members.items() if isinstance(members, Mapping) else ():
        if isinstance(options, Mapping):
            own |= {f"{TASKS}{member}.{key}": value for key, value in options.items()}
    return [
        f"{name}={own[name]} has no effect, since {name} is a gene of the recipe: set "
        f"recipe.{name} instead, or leave the gene out"
        for name in recipe
        if name in own
    ]


def check(
    recipe: Mapping[str, list[Any]], trainings: Mapping[str, TrainingSettings], error: str
) -> None:
    """Check the genes of a recipe as far as this is possible without the task.

    Args:
        recipe: gene -> choices.
        trainings: section of the experiment -> settings to which the genes apply.
        error: ``objective.error`` of the experiment.

    Raises:
        InputError: a name is no recipe gene, a list is empty, a value does not fit, or losses of
            different tasks would be compared.
    """
    for name, choices in recipe.items():
        if not is_recipe(name):
            raise InputError(f"{name!r}: {_FORM}")
        if not choices:
            raise InputError(f"{name}: expected at least one choice, got []: leave the gene out")
        if is_of_task(name) and error == "loss":
            raise InputError(
                f"{name}: losses of different tasks cannot be compared: leave the gene out, or "
                f"use objective.error=metric"
            )
        for value in choices:
            for section, settings in trainings.items():
                try:
                    trained_with(settings, {name: value})
                except InputError as problem:
                    where = "" if section == "training" else f" (with the values of {section})"
                    raise InputError(f"{problem}{where}") from problem

"""Tasks that share a network: their names, options and weights, as an experiment gives them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from evonas.core import registry
from evonas.errors import InputError, nearest, placed
from evonas.tasks.base import Labels, Task

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
#: Names of the other ends of an exported file.
_RESERVED = ("images", "embedding")
_POSE = ("pose", "head_pose")
_FORM = "such as {pose: head_pose, age: {name: regression, labels: [age]}}"

#: Registered name of a task, and its options.
Spec = tuple[str, dict[str, Any]]


def specs(schema: Labels, tasks: Mapping[str, Any] | tuple[str, ...] | None) -> dict[str, Spec]:
    """Return name -> registered name and options of each task, in order.

    Args:
        schema: label name -> names of its classes.
        tasks: name -> task, or names of labels; see ``Several``.

    Raises:
        InputError: there are fewer than two, or a name or a task is not of this form.
    """
    if not isinstance(tasks, Mapping):
        for name in tasks or ():
            if (tasks or ()).count(name) > 1:
                raise InputError(f"task.tasks: expected each name once, got {name!r} twice")
        tasks = {name: _guessed(name, schema) for name in tasks or ()}
    if len(tasks) < 2:
        raise InputError(
            f"task.tasks: expected two or more tasks, {_FORM}, got {', '.join(tasks) or 'none'}: "
            f"name a single task in task.name"
        )
    return {name: _spec(name, given) for name, given in tasks.items()}


def member(name: str, spec: Spec, schema: Labels) -> Task:
    """Return a task that shares a network.

    Args:
        name: among the tasks.
        spec: its registered name and options.
        schema: label name -> names of its classes.

    Raises:
        InputError: an option is wrong, its label is missing, or it cannot share a network.
    """
    kind, options = spec
    with within(name):
        made: Task = registry.create("task", kind, options, schema)
    if made.members:
        raise InputError(
            f"task.tasks.{name}: expected a single task, got {kind!r}: name its tasks beside the "
            f"others"
        )
    if made.dense or made.answer.kind == "points":
        raise InputError(
            f"task.tasks.{name}: expected a task whose output is a vector, got {kind!r}, which "
            f"learns maps: search a network of its own for it"
        )
    return made


def weights_of(members: Mapping[str, Task], given: Mapping[str, float] | None) -> dict[str, float]:
    """Return the weight of each task.

    Raises:
        InputError: a name is unknown, or a weight is not positive.
    """
    for name, value in (given or {}).items():
        if name not in members:
            raise InputError(
                f"task.weights: expected names of tasks, got {name!r}: {nearest(name, members)}"
            )
        if not 0 < value < np.inf:
            raise InputError(
                f"task.weights.{name}: expected a positive number, got {value}: leave the task "
                f"out of task.tasks if it has none"
            )
    return {name: float((given or {}).get(name, 1.0)) for name in members}


def within(name: str) -> AbstractContextManager[None]:
    """Say in errors of a task which one it is: ``task.label`` becomes ``task.tasks.NAME.label``."""
    return placed("task", f"task.tasks.{name}")


def _guessed(name: str, schema: Labels) -> dict[str, Any] | str:
    """Return the task of a label, or head pose."""
    if name in schema:
        labels = {"label": name} if schema[name] else {"labels": [name]}
        return {"name": "classification" if schema[name] else "regression", **labels}
    if name in _POSE:
        return "head_pose"
    raise InputError(
        f"task.tasks: expected names of labels, or pose, got {name!r}: "
        f"{nearest(name, [*schema, 'pose'])}"
    )


def _spec(name: str, given: Any) -> Spec:
    if not _NAME.fullmatch(name) or name in _RESERVED:
        raise InputError(
            f"task.tasks: expected names of letters, digits and _, other than "
            f"{' and '.join(_RESERVED)}, since they name outputs and metrics, got {name!r}: rename "
            f"this task"
        )
    if isinstance(given, str):
        return given, {}
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise InputError(
            f"task.tasks.{name}: expected a task with its name, {_FORM}, got {given!r}"
        )
    options = {str(key): value for key, value in given.items() if key != "name"}
    return str(given["name"]), options

"""Short forms of an experiment's keys, such as ``budget: {minutes: 10}`` and ``tasks: {...}``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from evonas.core import budget
from evonas.core.overrides import Override, Word
from evonas.errors import InputError

#: Key of an experiment, which is short for the same key of the task of this name.
_TASKS, SEVERAL = "tasks", "several"


def written_out(data: Any) -> Any:
    """Return the content of an experiment file without short forms.

    Raises:
        InputError: as ``budget.split``, or both ``task`` and ``tasks`` are given.
    """
    data = budget.split(data)
    if not isinstance(data, Mapping) or _TASKS not in data:
        return data
    if "task" in data:
        raise InputError("tasks: expected either task or tasks, got both: leave one out")
    rest = {key: value for key, value in data.items() if key != _TASKS}
    return {**rest, "task": {"name": SEVERAL, _TASKS: data[_TASKS]}}


def overrides(words: Iterable[Word]) -> Sequence[Override]:
    """Return overrides without short forms; those of ``tasks`` choose the task ``several``.

    Raises:
        InputError: as ``budget.amounts``.
    """
    found: list[Override] = []
    for one in budget.amounts(words):
        if one.path[0] == _TASKS:
            found.append(Override(("task", "name"), SEVERAL, one.said))
            found.append(replace(one, path=("task", *one.path)))
        else:
            found.append(one)
    return found

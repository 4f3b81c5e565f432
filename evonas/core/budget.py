"""Budget of a search: distinct trainings, minutes, or both, whichever is spent first.

``budget: 32`` is a number of trainings, ``budget: {minutes: 10}`` or ``minutes: 10`` minutes, and
``budget: {trainings: 32, minutes: 10}`` both. Overrides that set minutes and no number of trainings
take the place of the number that the experiment has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer

from evonas.core.overrides import Override, Word, parse
from evonas.errors import InputError, nearest

#: ``Experiment.budget`` of a search that minutes alone limit; a file has ``null``.
UNLIMITED = 10**9
#: Type of ``Experiment.budget``.
Trainings = Annotated[
    int,
    Field(ge=1),
    BeforeValidator(lambda value: UNLIMITED if value is None else value),
    PlainSerializer(lambda value: None if value >= UNLIMITED else value),
]
#: Key inside ``budget`` -> key of the experiment.
_KEYS = {"trainings": "budget", "minutes": "minutes"}


def split(data: Any) -> Any:
    """Return the content of an experiment file with ``budget`` and ``minutes`` as plain values.

    Raises:
        InputError: ``budget`` has another key, minutes are given twice, or nothing is limited.
    """
    if not isinstance(data, Mapping):
        return data
    inside = data.get("budget")
    if isinstance(inside, Mapping):
        given = {_key(key): value for key, value in inside.items()}
        if given.get("minutes") is not None and data.get("minutes") is not None:
            raise InputError(
                "minutes: expected once, got budget.minutes and minutes: leave one out"
            )
        data = {**{key: value for key, value in data.items() if key != "budget"}, **given}
    if data.get("minutes") is not None:
        return {"budget": None, **data}
    if "budget" in data and data["budget"] is None:
        raise InputError("budget: expected a number of networks, {minutes: N} or both, got none")
    return data


def amounts(words: Iterable[Word]) -> Sequence[Override]:
    """Return overrides, those of ``budget`` and what is inside as plain ``budget`` and ``minutes``.

    Raises:
        InputError: an override has no form of one, or names another key inside ``budget``.
    """
    found: list[Override] = []
    for override in map(parse, words):
        first, *rest = override.path
        if first == "budget" and isinstance(override.value, Mapping) and not rest:
            found += [
                replace(override, path=(_key(key),), value=value)
                for key, value in override.value.items()
            ]
        elif first == "budget" and len(rest) == 1:
            found.append(replace(override, path=(_key(rest[0]),)))
        else:
            found.append(override)
    keys = {override.path for override in found if override.value is not None}
    if ("minutes",) in keys and ("budget",) not in keys:
        said = next(one.said for one in found if one.path == ("minutes",))
        found.append(Override(("budget",), None, said))
    return found


def statement(trainings: int, minutes: float | None, fidelity: str = "full") -> str:
    """Return a budget as text, such as ``32 networks or as many as fit 10 min``."""
    unit = "networks" if fidelity != "curves" else "whole trainings"
    if minutes is None:
        return f"{trainings} {unit}"
    if trainings >= UNLIMITED:
        return f"as many {unit} as fit {minutes:g} min"
    return f"{trainings} {unit} or as many as fit {minutes:g} min"


def whole_epochs(fidelity: str, epochs: int) -> int:
    """Return the epochs of a whole training, of which paused trainings are parts; 0: none pauses.

    Args:
        fidelity: name of the fidelity.
        epochs: ``training.epochs``.
    """
    return epochs if fidelity == "curves" else 0


def _key(key: Any) -> str:
    """Return the key of the experiment for a key inside ``budget``.

    Raises:
        InputError: there is no such key.
    """
    if key in _KEYS:
        return _KEYS[key]
    raise InputError(f"unknown key 'budget.{key}': {nearest(str(key), _KEYS)}")

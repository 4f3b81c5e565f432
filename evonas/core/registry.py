"""Names of the exchangeable parts: a file's name is the public name.

``evonas/optimizers/cma.py`` is the optimizer ``cma``. Nothing registers itself:
listing reads file names, and a module is imported only when its part is used, so
adding a part touches one file and listing costs nothing.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from abc import ABCMeta
from collections.abc import Mapping
from inspect import Parameter
from pathlib import Path
from typing import Any, get_type_hints

from evonas.errors import InputError, nearest

_PACKAGE = Path(__file__).parents[1]

#: kind -> (folder, module and name of the base class)
KINDS: dict[str, tuple[str, str, str]] = {
    "optimizer": ("optimizers", "evonas.optimizers.base", "Optimizer"),
    "network": ("models/networks", "evonas.models.networks.base", "Network"),
    "backbone": ("models/backbones", "evonas.models.backbones.base", "Backbone"),
    "data": ("data", "evonas.data.base", "Dataset"),
    "task": ("tasks", "evonas.tasks.base", "Task"),
    "executor": ("estimation/execution", "evonas.estimation.execution.base", "Executor"),
    "logger": ("runs/loggers", "evonas.runs.loggers.base", "Logger"),
}


def names(kind: str) -> list[str]:
    """Return the public names of a kind, sorted, without importing any of them.

    Raises:
        InputError: there is no such kind (the nearest is offered).
    """
    folder = _PACKAGE / _entry(kind)[0]
    stems = (path.stem for path in folder.glob("*.py"))
    return sorted(stem for stem in stems if not stem.startswith("_") and stem != "base")


def load(kind: str, name: str) -> Any:
    """Return the class behind a public name.

    Raises:
        InputError: there is no such kind, or no part of it has the name (the nearest is
            offered).
    """
    folder, base_module, base_name = _entry(kind)
    _check_name(kind, name)
    base = getattr(importlib.import_module(base_module), base_name)
    module = importlib.import_module(f"evonas.{folder.replace(chr(47), chr(46))}.{name}")
    own = [
        value
        for key, value in vars(module).items()
        if not key.startswith("_")
        and inspect.isclass(value)
        and value.__module__ == module.__name__
        and issubclass(value, base)
    ]
    found = [value for value in own if not inspect.isabstract(value)]
    if len(found) != 1:
        lacking = [f"{value.__name__} lacks {_abstract(value)}" for value in own if not found]
        raise TypeError(
            f"{module.__name__} must define exactly one public {base_name}, has "
            f"{', '.join(lacking) or found}"
        )
    return found[0]


def _abstract(value: type) -> str:
    """Return what a class has to define and does not."""
    return ", ".join(sorted(getattr(value, "__abstractmethods__", ())))


def summary(kind: str, name: str) -> str:
    """Return the first line of a part's docstring, read from its file, not imported.

    Raises:
        InputError: as ``load``.
    """
    _check_name(kind, name)
    source = (_PACKAGE / KINDS[kind][0] / f"{name}.py").read_text(encoding="utf-8")
    text = ast.get_docstring(ast.parse(source)) or ""
    return text.split("\n", 1)[0]


def options(kind: str, name: str) -> list[str]:
    """Return the names of a part's options, those of evonas itself included.

    Raises:
        InputError: as ``load``.
    """
    return list(_parameters(load(kind, name)))


def create(kind: str, name: str, given: dict[str, Any], /, *args: Any, **fixed: Any) -> Any:
    """Build the part ``name`` from a user's options ``given``.

    ``args`` and ``fixed`` are what evonas itself passes; ``given`` may name only
    the other keyword parameters of the constructor.

    Raises:
        InputError: unknown kind or part, unknown option, an option that is missing or of
            the wrong type.
    """
    part = load(kind, name)
    if not isinstance(given, dict):
        raise InputError(
            f"{kind} {name!r}: expected its options as a mapping of names to values, got {given!r}"
        )
    own = _parameters(part)
    _check_keys(kind, name, own, [key for key in list(own)[len(args) :] if key not in fixed], given)
    checked = {key: _checked(own[key][1], f"{kind}.{key}", value) for key, value in given.items()}
    return part(*args, **fixed, **checked)


class CheckedCall(ABCMeta):
    """Makes ``load(kind, name)(...)`` answer a wrong option as ``create`` does.

    The metaclass of a base class of parts. Every constructor names its options, each with a
    default, or passes the rest on, as ``_parameters`` reads it.
    """

    def __call__(cls, *args: Any, **given: Any) -> Any:
        """Build the part.

        Raises:
            InputError: unknown option, or one that is missing.
        """
        package, _, name = cls.__module__.rpartition(".")
        folder = package.rpartition(".")[2]
        kind = next((kind for kind, entry in KINDS.items() if entry[0] == folder), folder)
        own = _parameters(cls)
        _check_keys(kind, name, own, list(own)[len(args) :], given)
        return super().__call__(*args, **given)


def _entry(kind: str) -> tuple[str, str, str]:
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"unknown kind of part {kind!r}: {nearest(str(kind), KINDS)}")
    return KINDS[kind]


def _check_name(kind: str, name: str) -> None:
    known = names(kind)
    if name not in known:
        raise InputError(f"unknown {kind} {name!r}: {nearest(str(name), known)}")


def _check_keys(
    kind: str, name: str, own: Mapping[str, tuple[Parameter, Any]], allowed: list[str], given: Any
) -> None:
    """Check that the keys of ``given`` are allowed and that none without a default is missing."""
    for key in given:
        if key not in allowed:
            raise InputError(
                f"unknown key {kind}.{key} of {kind} {name!r}: {nearest(str(key), allowed)}"
            )
    for key in allowed:
        if own[key][0].default is Parameter.empty and key not in given:
            raise InputError(f"{kind} {name!r} needs {kind}.{key}=...: no value was given")


def _parameters(part: type) -> dict[str, tuple[Parameter, Any]]:
    """Return name -> (parameter, annotation) of a constructor.

    Where it passes keywords on (``**common``), those of the base class are added.
    """
    found: dict[str, tuple[Parameter, Any]] = {}
    for owner in part.__mro__:
        if "__init__" not in vars(owner):
            continue
        init = vars(owner)["__init__"]
        hints = get_type_hints(init)
        parameters = list(inspect.signature(init).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind in (Parameter.KEYWORD_ONLY, Parameter.POSITIONAL_OR_KEYWORD):
                found.setdefault(parameter.name, (parameter, hints.get(parameter.name, Any)))
        if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def _checked(annotation: Any, key: str, value: Any) -> Any:
    """Return a user's value as the type that the constructor's annotation names."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(annotation).validate_python(value)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InputError(f"{key}: {reason[0].lower()}{reason[1:]}, got {value!r}") from error

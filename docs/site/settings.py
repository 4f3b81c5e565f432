"""The page of every setting of an experiment, as the checked models themselves know them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel

from evonas.core import registry
from evonas.core.experiment import Baseline, Experiment, Part

#: What evonas itself gives a part, so that no experiment may.
_GIVEN = {"space", "budget", "seed", "macs", "max_macs"}
_KINDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "none",
}
_HEADER = """# Every setting

Generated from the models that check an experiment. A setting is given in the experiment's file,
or as `key=value` on the command line, which wins: `training.epochs=8`. A part, such as the
backbone, is a name (`backbone=none`) or a name with its [options](#options-of-parts)
(`backbone.input_size=64`). `evonas validate` says everything that is wrong with an experiment.
"""


def every_setting() -> str:
    """Return the Markdown of the page."""
    lines = [_HEADER]
    for section, model, values in sections():
        lines += [f"## {section or 'The experiment'}", "", _summary(model), ""]
        lines += ["| key | kind | default | what it is |", "| --- | --- | --- | --- |"]
        words = described(model, "Attributes")
        for name, field in model.model_fields.items():
            key = f"{section}.{name}" if section else name
            default = (
                "" if field.is_required() else _value(getattr(values, name, field.get_default()))
            )
            cells = (f"`{key}`", _kind(field.annotation), default, words.get(name, ""))
            lines.append(f"| {' | '.join(map(_cell, cells))} |")
        lines.append("")
    lines += ["## Options of parts", ""]
    for kind in ("optimizer", "backbone", "data", "task", "logger"):
        for name in registry.names(kind):
            lines += [*_part(kind, name)]
    return "\n".join(lines)


def sections(
    model: type[BaseModel] = Experiment, key: str = "", values: Any = None
) -> Iterator[tuple[str, type[BaseModel], Any]]:
    """Yield every section of an experiment: its key, its model, and its values if none are given.

    The experiment itself, the first, has no key, and no values, since some have no default.
    """
    yield key, model, values
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            yield from sections(inner, f"{key}.{name}".lstrip("."), field.get_default())


def part_options(kind: str, name: str) -> dict[str, Any]:
    """Return option -> default of a part that an experiment may name; ``...``: none."""
    found: dict[str, Any] = {}
    every = registry.options(kind, name)[1 if kind == "task" else 0 :]  # a task's labels come first
    allowed = [key for key in every if key not in _GIVEN]
    for owner in registry.load(kind, name).__mro__:
        if "__init__" in vars(owner):
            for key, parameter in inspect.signature(vars(owner)["__init__"]).parameters.items():
                if key in allowed:
                    required = parameter.default is inspect.Parameter.empty
                    found.setdefault(key, ... if required else parameter.default)
    return {key: found[key] for key in allowed}


def described(owner: type, header: str) -> dict[str, str]:
    """Return name -> words of the entries below a header of a class's docstring."""
    entries: list[str] = []
    inside = False
    for line in inspect.cleandoc(owner.__doc__ or "").splitlines():
        if line and not line.startswith(" "):
            inside = line == f"{header}:"
        elif inside and re.match(r" {4}\S", line):
            entries.append(line.strip())
        elif inside and line and entries:
            entries[-1] += f" {line.strip()}"
    found: dict[str, str] = {}
    for entry in entries:
        names, _, words = entry.partition(": ")
        found |= dict.fromkeys(re.split(r",\s+", names), words)
    return found


def _part(kind: str, name: str) -> Iterator[str]:
    own = part_options(kind, name)
    yield from (f"### {kind}: {name}", "", registry.summary(kind, name), "")
    if not own:
        yield from ("It has no options.", "")
        return
    words: dict[str, str] = {}
    for owner in registry.load(kind, name).__mro__[::-1]:
        words |= described(owner, "Args") if owner.__module__.startswith("evonas") else {}
    yield from ("| key | default | what it is |", "| --- | --- | --- |")
    for key, default in own.items():
        shown = "required" if default is ... else _value(default)
        yield f"| `{kind}.{key}` | {_cell(shown)} | {_cell(words.get(key, ''))} |"
    yield ""


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models in an annotation, such as the one of ``Settings | None``; no parts."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [] if issubclass(annotation, Part) else [annotation]
    return [model for inner in get_args(annotation) for model in _models(inner)]


def _kind(annotation: Any) -> str:
    """Return what a value has to be, for people."""
    inner = get_args(annotation)
    if not inner and inspect.isclass(annotation):
        if issubclass(annotation, BaseModel):
            return "part" if issubclass(annotation, Part) else "section"
        return _KINDS[annotation]
    origin = get_origin(annotation)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is tuple:
        return f"list of {_kind(inner[0])}"
    if origin is dict:
        return "name: value"
    return " or ".join(map(_kind, inner))


def _value(value: Any) -> str:
    """Return a default, for people."""
    if isinstance(value, Part):
        return f"`{value.name}`"
    if isinstance(value, BaseModel):
        return "see its section"
    if isinstance(value, tuple | list):
        plain = [
            v.model_dump(exclude_defaults=True) if isinstance(v, Baseline) else v for v in value
        ]
        return f"`[{', '.join(map(str, plain))}]`"
    if value is None or value == "":
        return "none"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _summary(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "").split("\n", 1)[0]


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")

"""The page of all verbs and options, as the command line itself knows them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from evonas.cli.app import app

_MARKUP = re.compile(r"\[/?(?:bold|dim|italic|red|green|cyan)\]")


def command_line() -> str:
    """Return the Markdown of the page."""
    return "\n".join(
        [
            "# Command line",
            "",
            "Generated from the command line itself. Any value of an experiment is given as",
            "`key=value`: see [every setting](settings.md).",
            *(line for path, verb in verbs() for line in _section(path, verb)),
        ]
    )


def verbs(group: Any = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield the words and the command of every verb, those in groups included."""
    group = group or typer.main.get_command(app)
    for name, verb in group.commands.items():
        if hasattr(verb, "commands"):
            yield from verbs(verb, (*path, name))
        elif not verb.hidden:
            yield " ".join((*path, name)), verb


def options(verb: Any) -> list[tuple[str, str, str]]:
    """Return what a verb takes: its name as it is typed, its default and its help."""
    found = []
    for parameter in verb.params:
        if getattr(parameter, "hidden", False):  # the former name of another
            continue
        help_ = _MARKUP.sub("", getattr(parameter, "help", None) or "")
        if parameter.param_type_name == "argument":
            words = (parameter.metavar or parameter.name).upper()
            words += "..." if parameter.nargs == -1 else ""
            found.append((words if parameter.required else f"[{words}]", "", help_))
            continue
        flag = getattr(parameter, "is_flag", False)
        typed = ", ".join(parameter.opts) + ("" if flag else f" {_kind(parameter)}")
        default = parameter.default
        shown = "" if flag or default is None or default in ("", ()) else str(default)
        found.append((typed, shown, help_))
    return found


def _kind(parameter: Any) -> str:
    annotation = parameter.type_descriptor.annotation
    return {Path: "PATH", int: "N", float: "X"}.get(annotation, "TEXT")


def _section(path: str, verb: Any) -> Iterator[str]:
    yield from ("", f"## evonas {path}", "", _MARKUP.sub("", verb.help or ""), "")
    yield from ("| word | default | what it does |", "| --- | --- | --- |")
    for typed, default, help_ in options(verb):
        shown = f"`{default}`" if default else ""
        yield f"| `{_cell(typed)}` | {_cell(shown)} | {_cell(help_)} |"
    if verb.epilog:
        yield from ("", f"```\n{verb.epilog.removeprefix('Example: ')}\n```")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")

"""Dotted names: ``package.module:attribute``, imported from what is installed or from here.

Importing runs the module's code: such a name is trusted as a program is.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from evonas.errors import InputError, one_line


@contextmanager
def working_directory() -> Iterator[None]:
    """Let imports find modules in the working directory, behind everything installed."""
    here = os.getcwd()
    sys.path.append(here)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(here)


def imported(name: str, where: str, form: str) -> Any:
    """Import a module and return the attribute of it that a dotted name names.

    Args:
        name: ``package.module:attribute``; the attribute may have dots.
        where: what holds the name, the start of every message.
        form: the form that is expected, with an example, for the message.

    Raises:
        InputError: the name has another form, the module cannot be imported, or it has no
            such attribute (the nearest are offered).
    """
    path, colon, attribute = name.partition(":")
    if not (colon and all(part.isidentifier() for part in (*path.split("."), *_parts(attribute)))):
        raise InputError(f"{where}: expected {form}")
    found: Any = _module(path, where)
    for part in _parts(attribute):
        if not hasattr(found, part):
            public = [key for key in dir(found) if not key.startswith("_")]
            close = difflib.get_close_matches(part, public, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "none is close"
            place = getattr(found, "__file__", None) or getattr(found, "__name__", path)
            raise InputError(f"{where}: {place} has no {part!r}: {hint}")
        found = getattr(found, part)
    return found


def _parts(attribute: str) -> list[str]:
    return attribute.split(".")


def _module(path: str, where: str) -> Any:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        absent = error.name or path
        if path == absent or path.startswith(f"{absent}."):
            reason = f"there is no module {absent!r} among what is installed or in {os.getcwd()}"
        else:
            reason = f"importing {path!r} needs {absent!r}, which is not installed"
        raise InputError(f"{where}: {reason}") from error
    except Exception as error:  # it is a user's code that runs here
        raise InputError(f"{where}: importing {path!r} fails ({one_line(error)})") from error

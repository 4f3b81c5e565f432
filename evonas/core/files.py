"""Files: JSON and YAML that a user might hand us, bounded and never unpickled; safe replacing."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from evonas.errors import InputError, RunError

_MAX_BYTES = 1_000_000  # of a YAML file: beyond it, it is none that a person wrote
_MAX_VALUES = 100_000  # in it, each alias counted as what it stands for
_NAMED = 40  # characters of a file name that its draft repeats: names have 255 bytes at most


def read_yaml(path: Path) -> dict[str, Any]:
    """Return what a YAML file holds (safe loader).

    Raises:
        InputError: the file cannot be read, is too large, or is no mapping.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path}: expected at most {_MAX_BYTES} bytes of YAML")
        data = parse_yaml(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as YAML: {_flat(error)}") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping, got {type(data).__name__}")
    return data


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file.

    Raises:
        InputError: the file is missing or holds no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def move_into_place(draft: Path, path: Path) -> None:
    """Replace a file by a finished draft in one step, which also survives a power cut.

    A rename may reach the disk before the content does, which would leave an empty file where
    a whole one was.

    Raises:
        OSError: it cannot be written; the old file stays.
    """
    _settle(draft)
    os.replace(draft, path)
    _settle(path.parent)


@contextmanager
def draft_of(path: Path, suffix: str = ".draft") -> Iterator[Path]:
    """Yield a draft's path beside a file; at the end the draft replaces the file in one step.

    The draft's name is random, so no two writers of one file share a draft, whether they are
    threads of a process or processes of several machines on one disk. After an error the old
    file stays and the draft is removed.

    Args:
        path: of the file.
        suffix: of the draft's name.

    Raises:
        OSError: the file cannot be replaced.
    """
    draft = path.with_name(f".{path.name[:_NAMED]}.{secrets.token_hex(8)}{suffix}")
    try:
        yield draft
        move_into_place(draft, path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def write_file(path: Path, content: str | bytes) -> None:
    """Replace a file in one step: whoever reads it sees the old or the new.

    Raises:
        OSError: it cannot be written; the old one stays.
    """
    with draft_of(path) as draft:
        if isinstance(content, str):
            draft.write_text(content, "utf-8")
        else:
            draft.write_bytes(content)


def keep(path: Path, content: str | bytes) -> None:
    """Write a result in one step.

    Raises:
        RunError: it cannot be written; the old one stays.
    """
    try:
        write_file(path, content)
    except OSError as error:
        raise RunError(
            f"{path}: cannot be written ({error.strerror}): free some space or change the rights, "
            "or choose another folder, then do it again"
        ) from error


def _settle(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, option: str = "--out") -> None:
    """Make a folder for results, and those above it; one that is there will do.

    Args:
        folder: to make.
        option: of the command line that chooses another.

    Raises:
        InputError: it cannot be made, or nothing can be written into it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):  # said now, not after hours of training
            raise PermissionError(errno.EACCES, "it may not be written into")
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}): choose another folder with {option}"
        ) from error


def parse_yaml(text: str, where: str) -> Any:
    """Return what a YAML text holds (safe loader).

    Raises:
        InputError: it is not YAML, or its aliases unfold beyond all measure.
    """
    try:
        data = yaml.safe_load(text)
    except Exception as error:  # a tag before what it does not fit fails in any way whatever
        raise InputError(f"{where}: cannot be read as YAML: {_flat(error)}") from error
    if _unfolds(data):
        raise InputError(f"{where}: its aliases unfold to more than {_MAX_VALUES} values")
    return data


def _unfolds(data: Any) -> bool:
    """Whether a few aliases stand for more values than anyone writes (or for themselves)."""
    waiting, seen = [data], 0
    while waiting and seen <= _MAX_VALUES:
        item, seen = waiting.pop(), seen + 1
        waiting += (
            item.values() if isinstance(item, dict) else item if isinstance(item, list) else []
        )
    return bool(waiting)


def _flat(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

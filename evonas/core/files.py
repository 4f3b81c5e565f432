"""Read untrusted JSON and YAML files within limits, and write files atomically."""

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

from evonas.errors import EvonasError, InputError, RunError

_MAX_BYTES = 1_000_000  # size of a YAML file; nobody writes a larger one by hand
_MAX_VALUES = 100_000  # values in a YAML file, with all aliases expanded
_NAMED = 40  # characters of the file name in the name of its draft (255 bytes are allowed)


@contextmanager
def reading(path: Path | str, remedy: str = "", *others: type[Exception]) -> Iterator[None]:
    """Raise an ``InputError`` of one line where a file or folder cannot be read.

    Args:
        path: file or folder, for the message.
        remedy: what the user can do; empty if nothing is known.
        others: exceptions beside those of the system and of UTF-8, such as a parser's.

    Examples:
        >>> with reading(table, "data.boxes must be a CSV file", csv.Error):
        ...     rows = list(csv.reader(table.open(newline="")))
    """
    caught: tuple[type[Exception], ...] = (OSError, UnicodeDecodeError, *others)
    try:
        yield
    except caught as error:
        raise InputError(_failed(path, "read", error, remedy)) from error


@contextmanager
def writing(
    path: Path | str, remedy: str = "", raised: type[EvonasError] = InputError
) -> Iterator[None]:
    """Raise an error of one line where a file or folder cannot be written.

    Args:
        path: file or folder, for the message.
        remedy: what the user can do; empty if nothing is known.
        raised: class of the error.
    """
    try:
        yield
    except OSError as error:
        raise raised(_failed(path, "written", error, remedy)) from error


def _failed(path: Path | str, how: str, error: Exception, remedy: str) -> str:
    reason = getattr(error, "strerror", None) or _flat(error)
    return f"{path}: cannot be {how} ({reason})" + (f": {remedy}" if remedy else "")


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file (safe loader).

    Raises:
        InputError: the file cannot be read, is too large, or is not a mapping.
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
        InputError: the file is missing or does not contain a JSON object.
    """
    data = _json(path)
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(data).__name__}")
    return data


def read_json_list(path: Path) -> list[Any]:
    """Return the list in a JSON file.

    Raises:
        InputError: the file is missing or does not contain a JSON list.
    """
    data = _json(path)
    if not isinstance(data, list):
        raise InputError(f"{path}: expected a JSON list, got {type(data).__name__}")
    return data


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error


def move_into_place(draft: Path, path: Path) -> None:
    """Replace a file by a finished draft atomically, also across a power failure.

    Content and folder are flushed, since otherwise the renaming might reach the disk before the
    content, which would leave an empty file.

    Raises:
        OSError: the file cannot be written; the old file stays.
    """
    _flush(draft)
    os.replace(draft, path)
    _flush(path.parent)


@contextmanager
def draft_of(path: Path, suffix: str = ".draft") -> Iterator[Path]:
    """Yield the path of a draft beside a file; on exit the draft atomically replaces the file.

    The draft has a random name, so that several writers of a file never share a draft, be they
    threads or processes on several machines with a common disk. After an error the old file stays
    and the draft is removed.

    Args:
        path: path of the file.
        suffix: suffix of the draft's name.

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
    """Write a file atomically: a reader sees the old content or the new one.

    Raises:
        OSError: the file cannot be written; the old file stays.
    """
    with draft_of(path) as draft:
        if isinstance(content, str):
            draft.write_text(content, "utf-8")
        else:
            draft.write_bytes(content)


def keep(path: Path, content: str | bytes) -> None:
    """Write a result file atomically, with an error message for users.

    Raises:
        RunError: the file cannot be written; the old file stays.
    """
    remedy = "free some space or change the rights, or choose another folder, then do it again"
    with writing(path, remedy, RunError):
        write_file(path, content)


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, option: str = "--out") -> None:
    """Create a folder for results, with its parents, unless it exists.

    Args:
        folder: folder to create.
        option: command-line option for another folder, for messages.

    Raises:
        InputError: the folder cannot be created or is not writable.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):  # refused before hours of training
            raise PermissionError(errno.EACCES, "it may not be written into")
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}): choose another folder with {option}"
        ) from error


class _Loader(yaml.SafeLoader):
    """The safe loader, which refuses a key that a mapping has twice instead of taking the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping.

        Raises:
            ConstructorError: a key occurs twice.
        """
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} occurs twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def parse_yaml(text: str, where: str) -> Any:
    """Return the value of a YAML text (safe loader).

    Args:
        text: YAML text.
        where: description of the source, for messages.

    Raises:
        InputError: the text is not YAML, a key occurs twice in a mapping, or aliases expand to
            too many values.
    """
    try:
        data = yaml.load(text, _Loader)
    except Exception as error:  # a tag on an unfitting value raises various exceptions
        raise InputError(f"{where}: cannot be read as YAML: {_flat(error)}") from error
    if _unfolds(data):
        raise InputError(f"{where}: its aliases unfold to more than {_MAX_VALUES} values")
    return data


def _unfolds(data: Any) -> bool:
    """Return whether the data have too many values with all aliases expanded, maybe endless."""
    waiting, seen = [data], 0
    while waiting and seen <= _MAX_VALUES:
        item, seen = waiting.pop(), seen + 1
        waiting += (
            item.values() if isinstance(item, dict) else item if isinstance(item, list) else []
        )
    return bool(waiting)


def _flat(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

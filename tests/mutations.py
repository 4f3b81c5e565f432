"""Damaged files for the fuzz tests, and what every command owes whoever hands it one."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

settings.register_profile(
    "fuzz",
    derandomize=True,  # a run of the suite tells the same twice
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)

#: Values that nobody writes where they then stand.
ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 2, 10**30, 10**400, -(10**400), 0.5, -1e308, 1e308),
    *(float("nan"), float("inf"), float("-inf"), "", "nan", "x" * 5000, "\x00", "a\nb", "\x1b[31m"),
    *("é\u202e\U0001f600", "../../x", "1e999", "@x", "!!python/none"),
    *([], {}, [None], [[]], [{}], {"name": None}, {"": 1}, [1, "a", None], ["a", "a"]),
)


def _deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def fuzz(examples: int) -> Callable[[Any], Any]:
    """Settings of a fuzz test; the environment's EVONAS_FUZZ=N asks for N examples instead."""
    count = int(os.environ.get("EVONAS_FUZZ") or examples)
    return settings(settings.get_profile("fuzz"), max_examples=count)


_EDIT = st.tuples(
    st.integers(0, 10**6),
    st.sampled_from(["replace", "replace", "replace", "drop", "rename", "repeat", "add"]),
    st.one_of(st.sampled_from(ODD), st.builds(_deep, st.sampled_from([30, 200]))),
)


def edited(data: Any, odd: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Any]:
    """Plain data with one to three places changed."""
    edit = _EDIT if odd is None else st.tuples(st.integers(0, 10**6), st.just("replace"), odd)
    return st.lists(edit, min_size=1, max_size=3).map(lambda edits: _applied(data, edits))


def _applied(data: Any, edits: list[tuple[int, str, Any]]) -> Any:
    changed = copy.deepcopy(data)
    for number, kind, value in edits:
        places = list(_places(changed))
        if not places:
            break
        inside, key = places[number % len(places)]
        if kind == "drop":
            del inside[key]
        elif kind == "rename" and isinstance(inside, dict):
            inside[f"{key}x"] = inside.pop(key)
        elif kind == "repeat" and isinstance(inside, list):
            inside.append(copy.deepcopy(inside[key]))
        elif kind == "add" and isinstance(inside, dict):
            inside["unheard_of"] = copy.deepcopy(value)
        else:
            inside[key] = copy.deepcopy(value)
    return changed


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    waiting = [data]
    while waiting:
        item = waiting.pop()
        pairs = item.items() if isinstance(item, dict) else enumerate(item)
        for key, value in pairs:
            yield item, key
            if isinstance(value, dict | list):
                waiting.append(value)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes that were cut off, flipped, doubled, blanked or mixed with others."""
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, max(len(changed) - 1, 0)))
        length = draw(st.sampled_from([1, 2, 4, 8, 64]))
        kind = draw(st.sampled_from(["cut", "flip", "flip", "byte", "zero", "double", "insert"]))
        if kind == "cut":
            del changed[place:]
        elif kind == "flip":
            changed[place : place + 1] = bytes(
                b ^ (1 << draw(st.integers(0, 7))) for b in changed[place : place + 1]
            )
        elif kind == "byte":
            changed[place : place + 1] = draw(st.sampled_from([b"\x00", b"\xff", b"\x80", b"9"]))
        elif kind == "zero":
            changed[place : place + length] = bytes(length)
        elif kind == "double":
            changed[place:place] = changed[place : place + length]
        else:
            changed[place:place] = draw(st.binary(min_size=1, max_size=16))
    return bytes(changed)


def flipped(data: bytes, chance: random.Random) -> bytes:
    """Bytes of which one bit is another."""
    changed, place = bytearray(data), chance.randrange(8 * len(data))
    changed[place // 8] ^= 1 << place % 8
    return bytes(changed)


def command(folder: Path, *words: object, also: Path | None = None) -> tuple[int, str, str]:
    """Run the command line in this process, in a folder: (exit status, stdout, stderr).

    It may write there, and into one folder more.
    """
    from evonas.cli import app as cli

    out, err, argv, before = io.StringIO(), io.StringIO(), sys.argv, Path.cwd()
    sys.argv = ["evonas", *map(str, words)]
    os.chdir(folder)
    try:
        with (
            watched(folder, also or folder),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                cli.main()
                code = 0
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    finally:
        sys.argv = argv
        os.chdir(before)
    return code, out.getvalue(), err.getvalue()


def owed(result: tuple[int, str, str]) -> None:
    """What a command owes: it works, or says in one line why it does not."""
    code, out, err = result
    assert code in (0, 2), result
    assert "Traceback" not in out + err, result
    if code == 2:
        lines = err.splitlines()
        assert len(lines) == 1, err
        assert lines[0].startswith("evonas: "), err
        assert "\x1b" not in err, err  # a file must not colour the terminal


_SEEN: dict[str, Any] = {"hook": False, "roots": None, "found": []}
_PROGRAMS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "pty.spawn")


@contextlib.contextmanager
def watched(*roots: Path) -> Iterator[None]:
    """Fail if a program is started, or a file is written outside some folders and the caches."""
    if not _SEEN["hook"]:
        sys.addaudithook(_note)  # one for ever: a hook cannot be taken away
        _SEEN["hook"] = True
    caches = (os.environ.get("XDG_CACHE_HOME"), "~/.cache", "~/.config", tempfile.gettempdir())
    allowed = [Path(place).expanduser() for place in caches[:3] if place] + [*roots]
    _SEEN["roots"] = [way(root) for root in allowed for way in (os.path.realpath, os.path.abspath)]
    _SEEN["found"] = []
    try:
        yield
    finally:
        _SEEN["roots"] = None
    assert not _SEEN["found"], _SEEN["found"]


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    roots = _SEEN["roots"]
    if roots is None:
        return
    if event in _PROGRAMS and arguments[0] not in ("git", "uname"):  # facts for a model card
        _SEEN["found"].append((event, str(arguments)[:200]))
    elif event == "open" and isinstance(arguments[0], str | bytes) and len(arguments) > 2:
        if not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        path = os.path.abspath(os.fsdecode(arguments[0]))
        known = ("__pycache__" in path, path.startswith("/dev/"))
        if not any(known) and not any(path.startswith(root) for root in roots):
            _SEEN["found"].append((event, path))


def refused_or_read(read: Callable[[], object]) -> None:
    """What a reader owes: an answer, or an EvonasError, which becomes one line."""
    from evonas.errors import EvonasError

    with contextlib.suppress(EvonasError):
        read()

"""The few exceptions of evonas. What a user did wrong is said in one line.

Every message answers four questions: what was expected, what came, where, and
what to do. The command line prints the message alone and exits with
``exit_code``; a library user catches ``EvonasError``.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

#: Number of known names that a message lists at most.
_LISTED = 60


class EvonasError(Exception):
    """Base of everything evonas raises on purpose."""

    exit_code = 1


class InputError(EvonasError):
    """The input is wrong: a name, a value, a file. Nothing was trained."""

    exit_code = 2


class UnreadableImage(InputError):
    """An image file cannot be decoded."""


class RunError(EvonasError):
    """A run could not go on through no fault of its input (a worker died, say)."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``known names; did you mean 'x'?`` for an unknown ``name``."""
    names = sorted(known)
    if len(names) > _LISTED:
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, close))}?" if close else "none is close"
        return f"{hint} ({len(names)} are known)"
    listing = "known: " + ", ".join(names) if names else "none is known"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}? ({listing})" if close else listing


@contextmanager
def placed(section: str, place: str) -> Iterator[None]:
    """Say in errors of a part among others which one it is: ``SECTION.key`` becomes ``PLACE.key``.

    Raises:
        InputError: with these words.
    """
    try:
        yield
    except InputError as error:
        text = str(error)
        own = text.removeprefix(f"{section}.")
        raise InputError(f"{place}.{own}" if own != text else f"{place}: {text}") from error


def one_line(error: BaseException) -> str:
    """Return ``Type: message`` of an error in one line of bounded length."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:300] if text else type(error).__name__


def clear_frames(error: BaseException | None) -> None:
    """Clear the local variables of all frames that an error, its cause and its context hold.

    A caught error keeps the tensors of every function that it passed through, so emptying
    torch's cache would free nothing. Its message and the lines of its traceback stay.
    """
    pending, seen = [error], set[int]()
    while pending:
        one = pending.pop()
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            traceback.clear_frames(one.__traceback__)  # skips frames that still run
            pending += [one.__cause__, one.__context__]

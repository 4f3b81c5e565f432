"""Tensors that an error keeps alive: the local variables of the frames in its traceback."""

from __future__ import annotations

import traceback


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

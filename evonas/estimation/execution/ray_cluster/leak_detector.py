"""Whether a long-lived process leaks, from its memory and open files after each training."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import torch

#: Bytes of a GPU that a process has for itself: kernels and their handles.
CONTEXT = 6e8
_WARM = 8  # trainings after which libraries hold what they need
_LEAK = 2**30  # bytes above the highest of these
_FILES = 256  # open files above their most
_PAGE = os.sysconf("SC_PAGE_SIZE")


class LeakDetector:
    """Compares a process with itself when it was young.

    Args:
        held: the bytes that it holds.
        kept: those of them that it keeps on purpose, however late it got them.
        files: how many files it has open.
    """

    def __init__(
        self,
        held: Callable[[], int],
        kept: Callable[[], int] = lambda: 0,
        files: Callable[[], int] = lambda: 0,
    ) -> None:
        self._all, self._kept, self._files = held, kept, files
        self._trainings = self._young = self._few = 0

    def after_a_training(self) -> bool:
        """Whether so much has come on top that a new process would be better."""
        self._trainings += 1
        now, files = self._extra(), self._files()
        if self._trainings <= _WARM:
            self._young, self._few = max(self._young, now), max(self._few, files)
            return False
        if now - self._young > _LEAK or files - self._few > _FILES:
            gc.collect()
            return self._extra() - self._young > _LEAK or self._files() - self._few > _FILES
        return False

    def _extra(self) -> int:
        return self._all() - self._kept()


def held() -> int:
    """Return the bytes that this process alone holds: memory, and of a GPU what is allocated.

    Pages of files, such as mapped features, are not its own. Where the system tells
    nothing of it (no /proc), they are 0.
    """
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0
    own = (int(pages[1]) - int(pages[2])) * _PAGE
    return own + (torch.cuda.memory_allocated() if torch.cuda.is_initialized() else 0)  # type: ignore[no-untyped-call]


def open_files() -> int:
    """Return how many files, pipes and sockets this process has open; 0 where nothing tells."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0

"""Detects leaks of memory and open files in a long-lived worker."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import torch

#: GPU memory of a CUDA context in bytes.
CONTEXT = 6e8
_WARM = 8  # first trainings, in which libraries allocate their memory
_LEAK = 2**30  # bytes above the peak of the first trainings
_FILES = 256  # open files above the peak of the first trainings
_PAGE = os.sysconf("SC_PAGE_SIZE")


class LeakDetector:
    """Compares the memory and open files of a process with those of its first trainings.

    Args:
        held: returns the bytes that the process holds.
        kept: returns how many of them it keeps on purpose, such as features.
        files: returns the number of open files.
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
        """Return whether the process leaks and should be replaced; call it after each training."""
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
    """Return the bytes of private memory and allocated GPU memory of this process.

    Pages of mapped files, such as features, do not count. 0 on a system without /proc.
    """
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0
    own = (int(pages[1]) - int(pages[2])) * _PAGE
    return own + (torch.cuda.memory_allocated() if torch.cuda.is_initialized() else 0)  # type: ignore[no-untyped-call]


def open_files() -> int:
    """Return the number of open files, pipes and sockets; 0 on a system without /proc."""
    try:
        return len(os.listdir("/proc/self/fd"))
    except OSError:
        return 0

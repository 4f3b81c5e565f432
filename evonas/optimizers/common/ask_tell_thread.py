"""Ask and tell for libraries that only offer ``solve(function, ...)``.

The solver runs in its own thread, in lock-step with the caller: it runs only while ``advance``
waits for it, so that the order of all operations is fixed. The thread ends when its bridge is
garbage collected.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from evonas.space import Genome

Function = Callable[[NDArray[np.float64]], float]


class _Abandoned(BaseException):
    """Ends an abandoned solver; a BaseException, so that ``except Exception`` cannot catch it."""


class _Channel:
    """State shared by the solver's thread and the bridge.

    It has no reference to the bridge or the optimizer, so that a waiting thread does not keep
    them alive.
    """

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.done = threading.Semaphore(0)
        self.point: Genome | None = None
        self.value = 0.0
        self.abandoned = False
        self.error: Exception | None = None

    def call(self, x: NDArray[np.float64]) -> float:
        """Pass a point to the bridge and wait for its value; the solver's objective function."""
        self.point = np.clip(np.array(x, dtype=np.float64), 0.0, 1.0)
        self.done.release()
        self.go.acquire()
        if self.abandoned:
            raise _Abandoned
        return self.value

    def abandon(self) -> None:
        self.abandoned = True
        self.go.release()


class CallbackBridge:
    """Run a solver step by step: each ``advance`` gives a value and returns the next point.

    Args:
        solve: function that runs the solver on the objective function it is given. It must
            not refer to the owner of the bridge, which would then never be collected.
    """

    def __init__(self, solve: Callable[[Function], object]) -> None:
        self._channel = _Channel()
        self._thread = threading.Thread(
            target=_run, args=(solve, self._channel), name="evonas-solver", daemon=True
        )
        self._finalizer = weakref.finalize(self, self._channel.abandon)
        self._thread.start()

    @property
    def error(self) -> Exception | None:
        """The exception that ended the solver; None if there was none."""
        return self._channel.error

    def advance(self, value: float | None = None) -> Genome | None:
        """Give the value of the last point and wait for the next point.

        Args:
            value: finite value of the last point; None at the first call.

        Returns:
            (dim,) the next point in [0, 1]; None: the solver has ended.
        """
        if value is not None:
            self._channel.value = float(value)
        self._channel.point = None
        self._channel.go.release()
        self._channel.done.acquire()
        return self._channel.point

    def close(self) -> None:
        """Stop the solver and wait for its thread."""
        self._finalizer()
        self._thread.join(timeout=5.0)


def _run(solve: Callable[[Function], object], channel: _Channel) -> None:
    channel.go.acquire()
    try:
        # numpy's error state is per thread
        with np.errstate(all="ignore"):
            if not channel.abandoned:
                solve(channel.call)
    except _Abandoned:
        return
    except Exception as error:  # a failed solver ends its run, not the search
        channel.error = error
    channel.point = None
    channel.done.release()

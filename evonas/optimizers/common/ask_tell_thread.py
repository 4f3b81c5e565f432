"""Ask and tell for libraries that only offer ``solve(function, ...)``.

The solver runs in a thread of its own, in strict lock-step: it moves only while
``advance`` waits for it, so never two run at once and the order of everything is
fixed. A forgotten bridge ends its thread.
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
    """Unwinds a solver that nobody waits for; no ``except Exception`` stops it."""


class _Channel:
    """What both sides hold. It knows neither the bridge nor the optimizer, so that a
    waiting thread keeps neither of them alive."""

    def __init__(self) -> None:
        self.go = threading.Semaphore(0)
        self.done = threading.Semaphore(0)
        self.question: Genome | None = None
        self.answer = 0.0
        self.abandoned = False
        self.error: Exception | None = None

    def call(self, x: NDArray[np.float64]) -> float:
        """The function that the solver sees: hand over a point, wait for its value."""
        self.question = np.clip(np.array(x, dtype=np.float64), 0.0, 1.0)
        self.done.release()
        self.go.acquire()
        if self.abandoned:
            raise _Abandoned
        return self.answer

    def abandon(self) -> None:
        self.abandoned = True
        self.go.release()


class CallbackBridge:
    """One run of a solver, one question at a time.

    Args:
        solve: runs the solver on the function it is given. It must not refer to the
            owner of the bridge, or neither would ever be collected.
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
        """What the solver raised, if it did."""
        return self._channel.error

    def advance(self, answer: float | None = None) -> Genome | None:
        """Answer the last question and wait for the next.

        Args:
            answer: finite value of the last point; None at the first call.

        Returns:
            (dim,) the next point in [0, 1]; None: the solver has ended.
        """
        if answer is not None:
            self._channel.answer = float(answer)
        self._channel.question = None
        self._channel.go.release()
        self._channel.done.acquire()
        return self._channel.question

    def close(self) -> None:
        """End the solver, wherever it stands."""
        self._finalizer()
        self._thread.join(timeout=5.0)


def _run(solve: Callable[[Function], object], channel: _Channel) -> None:
    channel.go.acquire()
    try:
        # numpy's error state belongs to the thread
        with np.errstate(all="ignore"):
            if not channel.abandoned:
                solve(channel.call)
    except _Abandoned:
        return
    except Exception as error:  # a failed solver has ended, the search has not
        channel.error = error
    channel.question = None
    channel.done.release()

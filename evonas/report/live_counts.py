"""What a watcher wants to know of a search so far, counted as its trials come."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from evonas.runs.run_store import Trial

_BARS = "▁▂▃▄▅▆▇█"


class Tally:
    """Counts trials.

    Args:
        budget: distinct trainings of the whole run.
        known: trainings that the journal holds already; they are not timed.
        clock: seconds from any moment on.

    Attributes:
        counts: trials by status.
        failures: failed trainings by kind, such as ``diverged``.
        best: the trial of lowest fitness; None before the first success.
        history: the lowest fitness after each training that followed the first success.
        generation: the last one of which a trial is known, from 0.
    """

    def __init__(
        self, budget: int, known: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.budget, self.known = budget, known
        self.counts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.best: Trial | None = None
        self.history: list[float] = []
        self.generation = 0
        self._clock, self._start = clock, clock()

    def take(self, trial: Trial) -> bool:
        """Take a trial into account; return whether it is the new best."""
        self.counts[trial.status] += 1
        self.generation = max(trial.generation, self.generation)
        if trial.status == "failed":
            self.failures[trial.error.partition(":")[0] or "unknown"] += 1
        better = trial.succeeded and (self.best is None or trial.value < self.best.value)
        if better:
            self.best = trial
        if trial.trained and self.best is not None:
            self.history.append(self.best.value)
        return better

    @property
    def trained(self) -> int:
        """Distinct networks trained so far."""
        return self.counts["ok"] + self.counts["failed"] + self.counts["stopped"]

    @property
    def spent(self) -> float:
        """Seconds since this began."""
        return self._clock() - self._start

    @property
    def rate(self) -> float | None:
        """Trainings a minute of this start; None before the first."""
        new, spent = self.trained - self.known, self.spent
        return None if new < 1 or spent <= 0 else 60 * new / spent

    @property
    def left(self) -> float | None:
        """Seconds to the end of the budget at this rate; None before the first training."""
        return None if self.rate is None else 60 * (self.budget - self.trained) / self.rate


def sparkline(values: Sequence[float], width: int) -> str:
    """Return a row of bars of at most ``width`` characters, the lowest value as the lowest bar.

    Of more values than that, each bar shows the last of its share.
    """
    if not values:
        return ""
    cells = min(width, len(values))
    shown = [values[(i + 1) * len(values) // cells - 1] for i in range(cells)]
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in shown)

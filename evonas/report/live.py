"""The live view of a search: a panel in a terminal, plain lines in a pipe."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evonas.store import Trial


class SearchView:
    """Shows trials as they come.

    Args:
        console: where to draw; a panel if it is a terminal, lines otherwise.
        budget: distinct trainings of the whole run.
        metric: name of the error, and its unit.
        known: trainings that the journal holds already; they are not timed.
    """

    def __init__(
        self, console: Console, budget: int, metric: tuple[str, str], known: int = 0
    ) -> None:
        self._console, self._budget, self._known = console, budget, known
        self._metric, self._unit = metric
        self._start = time.monotonic()
        self._counts = dict.fromkeys(
            ("ok", "failed", "stopped", "repeat", "infeasible", "earlier", "final"), 0
        )
        self._finals = 0
        self._best: Trial | None = None
        self._generation = 0
        self._live = Live(console=console, get_renderable=self._panel, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def finals(self, trainings: int) -> None:
        """Say that the search is over and its best are trained again, so many times in all."""
        self._finals = trainings
        if not self._console.is_terminal:
            self._console.print(
                f"Finals: {trainings} further training(s) of the best, with other seeds",
                soft_wrap=True,
            )

    def show(self, trial: Trial) -> None:
        """Take a trial into account."""
        self._counts[trial.status] += 1
        self._generation = max(trial.generation, self._generation)
        better = trial.succeeded and (self._best is None or trial.value < self._best.value)
        if better:
            self._best = trial
        if self._console.is_terminal or trial.status == "final":
            return
        last = trial.trained and self.trained == self._budget
        if (better or trial.status == "failed" or last) and self.trained > self._known:
            self._console.print(
                f"{self._progress()}; best {self._best_line()}", soft_wrap=True, highlight=False
            )
            if trial.status == "failed":
                self._console.print(f"  {trial.digest} failed: {trial.error}", soft_wrap=True)

    @property
    def trained(self) -> int:
        """Distinct networks trained so far."""
        return sum(self._counts[status] for status in ("ok", "failed", "stopped"))

    def _progress(self) -> str:
        return (
            f"{self.trained}/{self._budget} trained, {self._counts['repeat']} repeats, "
            f"{self._counts['failed']} failed, {self._left()} left"
        )

    def _best_line(self) -> str:
        if self._best is None:
            return "no result yet"
        error = self._best.metrics.get(self._metric, math.nan)
        return (
            f"fitness {self._best.value:.3f}: {self._metric} {error:.3f} {self._unit}, "
            f"{2 * self._best.macs / 1e6:.2f} MFLOPs of head"
        )

    def _left(self) -> str:
        new = self.trained - self._known
        if new < 1:
            return "?"
        return duration((time.monotonic() - self._start) / new * (self._budget - self.trained))

    def _panel(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        grid.add_row(
            "trained", f"{self.trained} / {self._budget}  (generation {self._generation + 1})"
        )
        grid.add_row("best", Text(self._best_line(), overflow="fold"))
        grid.add_row(
            "besides",
            f"{self._counts['repeat']} repeats, {self._counts['infeasible']} over the limit, "
            f"{self._counts['failed']} failed",
        )
        if self._finals:
            grid.add_row("finals", f"{self._counts['final']} / {self._finals} further trainings")
        spent = duration(time.monotonic() - self._start)
        grid.add_row("time", f"{spent} spent, about {self._left()} left")
        bar = Table.grid()
        bar.add_row(ProgressBar(self._budget, self.trained, width=60))
        return Group(bar, grid)


def duration(seconds: float) -> str:
    """Return a span of time for people: ``42 s``, ``3 min 05 s``, ``2 h 07 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"

"""Live view of a search: a panel in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evonas.report.tables import multiply_adds
from evonas.runs.run_store import Trial
from evonas.runs.training_curves import overfitting

_TRUSTED = 4  # trainings a worker after which their rate counts as much as their seconds
_BAR, _SPARKS = 60, 24  # characters, at most
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class TimeLeft:
    """Budget of a search in seconds.

    Attributes:
        seconds: for the whole run.
        before: seconds that the run had taken before the view began.
    """

    seconds: float
    before: float


@dataclass(frozen=True)
class Work:
    """Trainings of a search.

    Attributes:
        budget: distinct trainings of the whole run; None: only its time is limited.
        known: trainings in the journal at the start; they do not count for the rate.
        workers: that train at once.
        further: most trainings after those of the budget: finals and baselines.
        epochs: of a whole training, if trainings pause; else 0.
    """

    budget: int | None
    known: int = 0
    workers: int = 1
    further: int = 0
    epochs: int = 0


class Tally:
    """Counts of the trials of a search, for its live view.

    Args:
        work: what is to be trained.
        clock: returns seconds.
        time_budget: budget in seconds; None: there is none.
        start: seconds of the clock at the start; None: now.

    Attributes:
        counts: status -> number of trials; of a training that pauses, the last one.
        known: whole trainings that what was known at the start amounts to.
        failures: kind, such as ``diverged`` -> number of failed trainings.
        best: the trial of lowest fitness; None before the first success.
        history: lowest fitness after each training since the first success.
        last: the last finished training whose training losses are known; None before it.
        generation: highest generation of a trial, from 0.
    """

    def __init__(
        self,
        work: Work,
        clock: Callable[[], float] = time.monotonic,
        time_budget: TimeLeft | None = None,
        start: float | None = None,
    ) -> None:
        self.work, self.time_budget = work, time_budget
        self.budget, self.further = work.budget, work.further
        self.known: float = work.known
        self._epochs: dict[str, int] = {}  # digest -> epochs, of trainings that pause
        self.counts: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.best: Trial | None = None
        self.history: list[float] = []
        self.last: Trial | None = None
        self.generation = 0
        self._seconds: list[float] = []  # of each training since the start
        self._clock, self._start = clock, clock() if start is None else start

    def take(self, trial: Trial) -> bool:
        """Count a trial; return whether it is the new best."""
        self.counts[trial.status] += 1
        if self.work.epochs and trial.trained:
            if trial.digest in self._epochs:  # it was stopped, and went on
                self.counts["stopped"] -= 1
            self._epochs[trial.digest] = trial.epochs
            if self.trained == self.work.known:
                self.known = self.done
        self.generation = max(trial.generation, self.generation)
        if trial.status == "failed":
            self.failures[trial.error.partition(":")[0] or "unknown"] += 1
        if trial.losses and (trial.trained or trial.status == "final"):
            self.last = trial
        better = trial.succeeded and (self.best is None or trial.value < self.best.value)
        if better:
            self.best = trial
        if trial.trained and self.best is not None:
            self.history.append(self.best.value)
        if trial.trained and self.done > self.known and trial.seconds > 0:
            self._seconds.append(trial.seconds)
        return better

    @property
    def trained(self) -> int:
        """Distinct networks trained so far."""
        return self.counts["ok"] + self.counts["failed"] + self.counts["stopped"]

    @property
    def done(self) -> float:
        """Whole trainings that the epochs so far amount to."""
        if not self.work.epochs:
            return self.trained
        return sum(self._epochs.values()) / self.work.epochs

    @property
    def spent(self) -> float:
        """Seconds since the start; of a run with a budget in seconds, over all its starts."""
        before = 0.0 if self.time_budget is None else self.time_budget.before
        return before + self._here

    @property
    def rate(self) -> float | None:
        """Trainings per minute since the start; None before the first."""
        new, spent = self.done - self.known, self._here
        return None if new <= 0 or spent <= 0 else 60 * new / spent

    @property
    def left(self) -> float | None:
        """Seconds until all is trained, finals and baselines too; None before the first training.

        At first from the seconds of the trainings themselves, since workers take their time to
        start and all end their first training at once; more and more from the rate so far.
        """
        if self.time_budget is not None:
            return max(0.0, self.time_budget.seconds - self.spent)
        if self.rate is None or self.budget is None:
            return None
        rest = max(0, self.budget - self.done) + max(0, self.further - self.counts["final"])
        each = 60 / self.rate
        if self._seconds and not self.work.epochs:
            alone = sum(self._seconds) / len(self._seconds) / self.work.workers
            new = self.done - self.known
            each = alone + (each - alone) * new / (new + _TRUSTED * self.work.workers)
        return rest * each

    @property
    def share(self) -> tuple[float, float]:
        """What is used up of what, for a bar: seconds or trainings."""
        if self.time_budget is not None:
            return min(self.spent, self.time_budget.seconds), self.time_budget.seconds
        return min(self.done, self.budget or 1), self.budget or 1

    @property
    def words(self) -> str:
        """What is trained of what, such as ``7/32 trained``."""
        if self.work.epochs:
            of = "" if self.budget is None else f"of {self.budget} "
            return f"{self.trained} networks for {self.done:.3g} {of}whole trainings"
        return f"{self.trained}{'' if self.budget is None else f'/{self.budget}'} trained"

    @property
    def _here(self) -> float:
        return self._clock() - self._start


class SearchView:
    """Shows the trials of a search as they finish.

    Args:
        console: where to draw; a panel if it is a terminal, lines otherwise.
        work: what is to be trained.
        metric: name of the error, and its unit.
        clock: returns monotonic seconds.
        time_budget: budget in seconds; None: there is none.
    """

    def __init__(
        self,
        console: Console,
        work: Work,
        metric: tuple[str, str],
        clock: Callable[[], float] = time.monotonic,
        time_budget: TimeLeft | None = None,
    ) -> None:
        self._console = console
        self._metric, self._unit = metric
        self._tally = Tally(work, clock, time_budget)
        self._finals, self._at_most = 0, ""
        self._terminal = console.is_terminal  # slow to compute
        self._live = Live(console=console, get_renderable=self.panel, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._terminal:
            self._live.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._terminal:
            self._live.stop()

    def finals(self, trainings: int, race: bool = False) -> None:
        """Announce the finals: further trainings of the best networks with other seeds.

        Args:
            trainings: to come.
            race: whether they are that many at most.
        """
        self._finals = self._tally.counts["final"] + trainings
        self._at_most = "at most " if race else ""
        if not self._terminal:
            words = f"{self._at_most}{trainings} further training(s) of the best"
            self._print(f"Finals: {words}, with other seeds")

    def catch_up(self, known: Iterable[Trial]) -> None:
        """Count the trials in the journal, before any new one."""
        for trial in known:
            self._tally.take(trial)

    def show(self, trial: Trial) -> None:
        """Count and show a new trial."""
        better = self._tally.take(trial)
        if self._terminal or trial.status == "final":
            return
        if self._tally.done <= self._tally.known:
            return
        last = trial.trained and self._tally.done == self._tally.budget
        if better or trial.status == "failed" or last:
            loss = f"; training loss {_losses(trial)}" if trial.losses else ""
            self._print(f"{self._progress()}; best {', '.join(self._best())}{loss}")
            if trial.status == "failed":
                self._print(f"  {trial.digest} failed: {trial.error}")
            elif remark := overfitting(trial.curve, trial.losses):
                self._print(f"  {trial.digest} {remark}")

    @property
    def trained(self) -> int:
        """Distinct networks trained so far."""
        return self._tally.trained

    def panel(self) -> RenderableType:
        """Return the panel of a terminal, with rows clipped to its width."""
        rows = [
            Text(plain(f"{name:<9}{words}"), overflow="ellipsis", no_wrap=True)
            for name, words in self._rows()
        ]
        width = min(_BAR, self._console.width)
        bar = Table.grid()  # a ProgressBar does not end its row
        done, whole = self._tally.share
        bar.add_row(ProgressBar(whole, done, width=width))
        return Group(bar, *rows)

    def _rows(self) -> Iterator[tuple[str, str]]:
        tally, counts = self._tally, self._tally.counts
        beside = f"{counts['repeat']} repeats, {counts['infeasible']} over the limit"
        stopped = f", {counts['stopped']} stopped" if counts["stopped"] else ""
        of = "" if tally.budget is None else f" / {tally.budget}"
        done = tally.words if tally.work.epochs else f"{self.trained}{of}"
        done += f"  (generation {tally.generation + 1}; "
        yield "trained", f"{done}{beside}{stopped})"
        error, *cost = self._best()
        yield "best", error
        if cost:
            yield "cost", ", ".join(cost)
        if len(tally.history) > 1 and not self._console.options.ascii_only:
            first, last = tally.history[0], tally.history[-1]
            line = sparkline(tally.history, _SPARKS)
            yield "history", f"{line}  fitness {first:.3f} to {last:.3f}"
        if tally.last is not None:
            remark = overfitting(tally.last.curve, tally.last.losses)
            words = f"{_losses(tally.last)} on training images, last training"
            yield "loss", f"{words}; {remark}" if remark else words
        if tally.failures:
            kinds = [f"{number} {kind}" for kind, number in tally.failures.most_common()]
            yield "failed", f"{counts['failed']}: {', '.join(kinds)}"
        if self._finals:
            yield "finals", f"{counts['final']} / {self._at_most}{self._finals} further trainings"
        rate = "?" if tally.rate is None else f"{tally.rate:.3g}"
        if tally.time_budget is None:
            words = f"{duration(tally.spent)} spent, about {self._left()} left"
        else:
            whole = duration(tally.time_budget.seconds)
            words = f"{duration(tally.spent)} of {whole} spent, {self._left()} left"
        yield "time", f"{words}; {rate} a minute"

    def _progress(self) -> str:
        counts = self._tally.counts
        return (
            f"{self._tally.words}, {counts['repeat']} repeats, "
            f"{counts['failed']} failed, {self._left()} left"
        )

    def _best(self) -> list[str]:
        """Return fitness, error and costs of the best trial."""
        best = self._tally.best
        if best is None:
            return ["no result yet"]
        error = best.metrics.get(self._metric, math.nan)
        return [
            f"fitness {best.value:.3f}: {self._metric} {error:.3f} {self._unit}".rstrip(),
            f"{multiply_adds(best.macs)} of head",
            *([f"{best.params / 1e3:.1f} k parameters"] if best.params else []),
            *([f"{best.latency:.3f} ms"] if best.latency else []),
        ]

    def _left(self) -> str:
        return "?" if self._tally.left is None else duration(self._tally.left)

    def _print(self, line: str) -> None:
        # an error message may hold markup or control characters
        self._console.print(Text(plain(line)), soft_wrap=True)


def _losses(trial: Trial) -> str:
    """Return the training loss of the first and the last epoch as text."""
    first, last = f"{trial.losses[0]:.3g}", f"{trial.losses[-1]:.3g}"
    return f"{first} to {last}" if len(trial.losses) > 1 else last


def plain(text: str) -> str:
    """Return a text without control characters."""
    return "".join(character if character.isprintable() else " " for character in text)


def duration(seconds: float) -> str:
    """Return a duration as text: ``42 s``, ``3 min 05 s``, ``2 h 07 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def sparkline(values: Sequence[float], width: int) -> str:
    """Return a sparkline of at most ``width`` characters, scaled to the range of the values.

    With more values than characters, a bar shows the last value of its segment.
    """
    if not values:
        return ""
    cells = min(width, len(values))
    shown = [values[(i + 1) * len(values) // cells - 1] for i in range(cells)]
    low, high = min(shown), max(shown)
    span = (high - low) or 1.0
    return "".join(_BARS[round((value - low) / span * (len(_BARS) - 1))] for value in shown)

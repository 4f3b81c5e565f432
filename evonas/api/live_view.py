"""Live view: callback that draws a panel in a terminal, and prints lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Self

from rich.console import Console

from evonas.api.search_result import SearchResult
from evonas.core.budget import UNLIMITED, whole_epochs
from evonas.core.progress_bars import progress_bars
from evonas.report.live_view import SearchView, TimeLeft, Work
from evonas.runs.callbacks import Callback, SearchStart, Stage
from evonas.runs.run_store import Trial


class LiveView(Callback):
    """Prints what the command line prints: messages, progress of features, trials as they come.

    Args:
        console: where to print; a panel where it is a terminal, lines elsewhere. None: the
            standard output.

    Examples:
        >>> evonas.search("quickstart", callbacks=[evonas.LiveView()])
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._drawing = ExitStack()  # progress bars, or the panel
        self._progress: Callable[[str, int, int], None] | None = None
        self._view: SearchView | None = None
        self._race = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._drawing.close()

    def on_message(self, line: str) -> None:
        """Print a line."""
        self._end_progress()
        self.console.print(line, soft_wrap=True)

    def on_progress(self, label: str, done: int, total: int) -> None:
        """Draw a progress bar for each label."""
        if self._progress is None:
            self._progress = self._drawing.enter_context(progress_bars(self.console))
        self._progress(label, done, total)

    def on_search(self, optimizer: str, seed: int) -> None:
        """Draw a line between the searches of a comparison."""
        self.console.rule(f"{optimizer}, seed {seed}")

    def on_start(self, start: SearchStart) -> None:
        """Draw the panel."""
        self._end_progress()
        metric = (start.metric, start.unit)
        self._race = start.experiment.finals.method == "race"
        minutes = start.experiment.minutes
        budget = start.experiment.budget if start.experiment.budget < UNLIMITED else None
        time_budget = None if minutes is None else TimeLeft(60.0 * minutes, start.seconds)
        epochs = whole_epochs(start.experiment.fidelity.name, start.experiment.training.epochs)
        work = Work(budget, start.trained, start.workers, start.further, epochs)
        view = SearchView(self.console, work, metric, time_budget=time_budget)
        view.catch_up(start.trials)
        self._view = self._drawing.enter_context(view)

    def on_trial(self, trial: Trial) -> None:
        """Show a trial."""
        if self._view is not None:
            self._view.show(trial)

    def on_stage(self, stage: Stage, trainings: int) -> None:
        """Show the finals; take the panel away before the baselines."""
        if stage == "finals" and self._view is not None:
            self._view.finals(trainings, self._race)
        else:
            self._drawing.close()

    def on_end(self, result: SearchResult) -> None:
        """Take away what is still drawn; say what the search was worth."""
        self._drawing.close()
        if result.verdict:
            self.console.print(result.verdict, soft_wrap=True)

    def on_stop(self, error: BaseException, message: str) -> None:
        """Print how to resume a search that a user stopped; an error contains it already."""
        self._drawing.close()
        if isinstance(error, KeyboardInterrupt) and message:
            self.console.print(f"\n{message}", soft_wrap=True)

    def _end_progress(self) -> None:
        if self._progress is not None:
            self._drawing.close()
            self._progress = None

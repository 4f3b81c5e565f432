"""Callbacks of a search: what it reports while it runs, to any number of listeners."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from evonas.config import Experiment
from evonas.errors import InputError, one_line
from evonas.store import Trial

if TYPE_CHECKING:
    from evonas.api.search_result import SearchResult

#: What a search trains after its budget is spent: its best again, then the baselines.
Stage = Literal["finals", "baselines"]


@dataclass(frozen=True)
class SearchStart:
    """What is known when a search starts to train.

    Attributes:
        run_dir: of the run.
        experiment: as it runs, with everything that was left to the optimizer.
        metric, unit: name of the metric that counts as the error, and its unit.
        trials: those that the journal holds already, of earlier starts or of another run.
        trained: how many of these cost a training.
    """

    run_dir: Path
    experiment: Experiment
    metric: str
    unit: str
    trials: tuple[Trial, ...]
    trained: int


class Callback:
    """Base class of what listens to a search; every method does nothing until it is overridden.

    A trial is in the journal, and best.json and front.json are up to date, before ``on_trial``
    is called. What a callback raises ends the search, comes through to the caller of
    ``evonas.search``, and loses nothing: the run can be resumed.

    Example:
        >>> class Stop(evonas.Callback):
        ...     def on_trial(self, trial):
        ...         if trial.succeeded and trial.metrics["mae"] < 5.0:
        ...             raise RuntimeError(f"{trial.digest} is good enough")
        >>> evonas.search(experiment, run_dir="runs/demo", callbacks=[Stop()])
    """

    def on_message(self, line: str) -> None:
        """Take a line for people: what is searched, warnings, results."""

    def on_progress(self, label: str, done: int, total: int) -> None:
        """Take how many of how many steps are done while features are computed."""

    def on_search(self, optimizer: str, seed: int) -> None:
        """Take which search of a comparison comes next."""

    def on_start(self, start: SearchStart) -> None:
        """Take what is known before the first training."""

    def on_trial(self, trial: Trial) -> None:
        """Take a new trial; trainings end in any order, those of a generation together."""

    def on_generation(self, generation: int, trials: Sequence[Trial]) -> None:
        """Take all trials of a generation, one for each genome, in the order of the genomes.

        Generations that the journal holds are replayed in silence.
        """

    def on_stage(self, stage: Stage, trainings: int) -> None:
        """Take that the search is over, and what is trained next, so many times."""

    def on_end(self, result: SearchResult) -> None:
        """Take the result; all files are written."""

    def on_stop(self, error: BaseException, message: str) -> None:
        """Take why a search ended early, and how to go on (empty if it cannot go on)."""


class CallbackList(Callback):
    """Calls several callbacks one after the other.

    Raises:
        InputError: one of them is no ``Callback``.
    """

    def __init__(self, callbacks: Iterable[Callback]) -> None:
        self._each = tuple(callbacks)
        for one in self._each:
            if not isinstance(one, Callback):
                raise InputError(
                    f"callbacks: expected objects of subclasses of evonas.Callback, got {one!r}"
                )

    def on_message(self, line: str) -> None:
        """Pass a line on."""
        for one in self._each:
            one.on_message(line)

    def on_progress(self, label: str, done: int, total: int) -> None:
        """Pass progress on."""
        for one in self._each:
            one.on_progress(label, done, total)

    def on_search(self, optimizer: str, seed: int) -> None:
        """Pass the next search on."""
        for one in self._each:
            one.on_search(optimizer, seed)

    def on_start(self, start: SearchStart) -> None:
        """Pass the start on."""
        for one in self._each:
            one.on_start(start)

    def on_trial(self, trial: Trial) -> None:
        """Pass a trial on."""
        for one in self._each:
            one.on_trial(trial)

    def on_generation(self, generation: int, trials: Sequence[Trial]) -> None:
        """Pass a generation on."""
        for one in self._each:
            one.on_generation(generation, trials)

    def on_stage(self, stage: Stage, trainings: int) -> None:
        """Pass the next stage on."""
        for one in self._each:
            one.on_stage(stage, trainings)

    def on_end(self, result: SearchResult) -> None:
        """Pass the result on."""
        for one in self._each:
            one.on_end(result)

    def on_stop(self, error: BaseException, message: str) -> None:
        """Pass the end on to all; what one of them raises becomes a note of the error."""
        for one in self._each:
            try:
                one.on_stop(error, message)
            except Exception as other:
                error.add_note(f"{type(one).__name__}.on_stop raised {one_line(other)}")

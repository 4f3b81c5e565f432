"""Callbacks: objects that receive the events of a search or another long task.

Result files, loggers and reports of a search are callbacks too; they come before those of a user.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evonas.core.experiment import Experiment
from evonas.errors import InputError, one_line
from evonas.estimation.measurement import Measurement
from evonas.runs.run_store import Trial

#: Stages after the budget is spent: the best are trained again, then the baselines.
Stage = Literal["finals", "baselines"]


@dataclass(frozen=True)
class SearchStart:
    """State of a search at its first training; the argument of ``on_start``.

    Attributes:
        run_dir: the run directory.
        experiment: the resolved experiment, with the optimizer's population size.
        metric, unit: name and unit of the metric that is minimised.
        trials: trials that the journal holds already, from earlier starts or a warm start.
        trained: number of networks that earlier starts of this run trained.
        seconds: that the run has taken so far, over all its starts.
        workers: candidates that train at once.
        further: most trainings after those of the search: finals and baselines.
    """

    run_dir: Path
    experiment: Experiment
    metric: str
    unit: str
    trials: tuple[Trial, ...]
    trained: int
    seconds: float = 0.0
    workers: int = 1
    further: int = 0


@dataclass(frozen=True)
class TrainedBaseline:
    """A baseline after its training or fit; the argument of ``on_baseline``.

    Attributes:
        name: name of the model and its tap, such as ``linear on block3``.
        digest: digest of the architecture; empty for a classical model and the constant.
        measurement: metrics, costs, and the error if the training failed.
        note: what the fit of a classical model left out; empty if nothing.
        over_limit: its costs are beyond the limits of the candidates.
        further: metrics on the folds of the winner's further trainings, in their order; the best
            baseline alone has them, where there are folds.
    """

    name: str
    digest: str
    measurement: Measurement
    note: str = ""
    over_limit: bool = False
    further: Sequence[Mapping[str, float]] = ()


class Callback:
    """Base class of callbacks: override the methods of the events that you need.

    ``evonas.search`` sends all events; retraining, evaluation, pruning, quantisation and export
    send ``on_message`` and ``on_progress``. A trial is in the journal, and best.json and
    front.json are up to date, before ``on_trial`` is called. An exception that a callback raises
    stops the search and reaches the caller of ``evonas.search``; no trial is lost, and the run
    can be resumed.

    Examples:
        >>> class Stop(evonas.Callback):
        ...     def on_trial(self, trial):
        ...         if trial.succeeded and trial.metrics["mae"] < 5.0:
        ...             raise RuntimeError(f"{trial.digest} is good enough")
        >>> evonas.search(experiment, run_dir="runs/demo", callbacks=[Stop()])
    """

    def on_message(self, line: str) -> None:
        """Receive a line of text for the user: what is searched, warnings, results."""

    def on_progress(self, label: str, done: int, total: int) -> None:
        """Receive the progress of a long step, such as the features: ``done`` of ``total``."""

    def on_search(self, optimizer: str, seed: int) -> None:
        """Receive the optimizer and the seed of the next search of a comparison."""

    def on_start(self, start: SearchStart) -> None:
        """Receive the state of the search before its first training."""

    def on_trial(self, trial: Trial) -> None:
        """Receive a new trial. Within a generation, trials arrive in the order they finish."""

    def on_generation(self, generation: int, trials: Sequence[Trial]) -> None:
        """Receive a finished generation: its number and one trial for each genome, in order.

        With a window of asks, each ask in its order: its number and its one trial.

        Generations that a resumed search only replays from its journal are not reported.
        """

    def on_stage(self, stage: Stage, trainings: int) -> None:
        """Receive the next stage after the search, and its number of trainings, at most."""

    def on_baseline(self, baseline: TrainedBaseline) -> None:
        """Receive a baseline: a network that was trained as briefly as the candidates, or a fit."""

    def on_end(self, result: Any) -> None:
        """Receive the ``evonas.SearchResult``, when all files of the run are written."""

    def on_stop(self, error: BaseException, message: str) -> None:
        """Receive the error that stops the search, and how to resume it (empty if unknown)."""


class CallbackList(Callback):
    """Sends each event to several callbacks, in their order.

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

    def on_stop(self, error: BaseException, message: str) -> None:
        """Send it to each callback; an exception of one becomes a note of the error."""
        for one in self._each:
            try:
                one.on_stop(error, message)
            except Exception as other:
                error.add_note(f"{type(one).__name__}.on_stop raised {one_line(other)}")


def _sender(event: str) -> Callable[..., None]:
    def send(self: CallbackList, *values: Any) -> None:
        for one in self._each:
            getattr(one, event)(*values)

    return send


for _event in vars(Callback):
    if _event.startswith("on_") and _event not in vars(CallbackList):
        setattr(CallbackList, _event, _sender(_event))

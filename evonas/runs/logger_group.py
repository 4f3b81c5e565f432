"""Loggers of a search as one callback; a logger that fails is switched off."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evonas.core import registry
from evonas.core.files import read_json
from evonas.errors import InputError, one_line
from evonas.runs.callbacks import Callback, SearchStart
from evonas.runs.loggers.base import Logger
from evonas.runs.run_store import Trial
from evonas.runs.training_curves import kept_loss


class Loggers(Callback):
    """Sends each distinct training to all loggers, in the order of the journal.

    Trainings end in any order; one that ends early waits until those before it in its generation
    have ended, so that step 7 is the same training with 1 or 8 workers and after a resume.

    Args:
        parts: (registered name, options) of each logger.
        experiment: the resolved experiment, as plain data.
        folder: the run directory.
        metric: name of the metric that is minimised.
        warn: receives a line for the user.

    Raises:
        InputError: there is no such logger, an option is wrong, its package is missing, or a log
            cannot be opened.
    """

    def __init__(
        self,
        parts: Sequence[tuple[str, dict[str, Any]]],
        experiment: Mapping[str, Any],
        folder: Path,
        metric: str,
        warn: Callable[[str], None],
    ) -> None:
        self._on: dict[str, Logger] = {
            name: registry.create("logger", name, options, folder) for name, options in parts
        }
        self._folder, self._metric, self._warn = folder, metric, warn
        self._held: dict[str, int] = {}  # steps that each log has already
        self._waiting: dict[int, Trial] = {}
        self._generation = self._next = self._step = 0
        self._best = math.inf
        for name, logger in self._on.items():
            try:
                self._held[name] = logger.begin(experiment)
            except Exception as error:  # of a library, which raises what it likes
                self._close()
                raise InputError(
                    f"logger={name}: its log cannot be opened ({one_line(error)}): mend this, or "
                    f"search without it"
                ) from error

    def on_start(self, start: SearchStart) -> None:
        """Log the trials of the journal that a log lacks."""
        for trial in start.trials:
            self.on_trial(trial)

    def on_trial(self, trial: Trial) -> None:
        """Log a trial when those before it in its generation are logged."""
        if not self._on or trial.repeat or trial.generation < 0:
            return
        if trial.generation > self._generation:
            self._flush()
            self._generation, self._next = trial.generation, 0
        self._waiting[trial.index] = trial
        while self._next in self._waiting:
            self._log(self._waiting.pop(self._next))
            self._next += 1

    def on_end(self, result: Any) -> None:
        """Log the winner and close the logs."""
        self._flush()
        if self._on:
            best = self._folder / "best.json"
            winner = read_json(best)
            self._each(lambda name, logger: logger.finish(self._step, winner, best))
        self._close()

    def on_stop(self, error: BaseException, message: str) -> None:
        """Close the logs."""
        self._close()

    def _close(self) -> None:
        self._each(lambda name, logger: logger.close())

    def _flush(self) -> None:
        for index in sorted(self._waiting):
            self._log(self._waiting.pop(index))

    def _log(self, trial: Trial) -> None:
        if not trial.trained:
            return
        self._step += 1
        if trial.succeeded:
            self._best = min(self._best, trial.value)
        values = self._values(trial)

        def log(name: str, logger: Logger) -> None:
            if self._step > self._held[name]:
                logger.trial(self._step, trial, values)

        self._each(log)

    def _values(self, trial: Trial) -> dict[str, float]:
        found = {"best_fitness": self._best, "macs": trial.macs, "seconds": trial.seconds}
        if trial.succeeded:  # a trial stopped at a rung has the fitness of another one
            found["fitness"] = trial.value
            found["error"] = trial.metrics.get(self._metric, math.nan)
            found["params"] = trial.params
            found["train_loss"] = kept_loss(trial.losses, trial.metrics)
        if trial.latency:
            found["latency_ms"] = trial.latency
        return {name: float(value) for name, value in found.items() if math.isfinite(value)}

    def _each(self, do: Callable[[str, Logger], None]) -> None:
        for name, logger in list(self._on.items()):
            try:
                do(name, logger)
            except Exception as error:  # a full disk, a server that is gone
                del self._on[name]
                self._warn(
                    f"logger {name} is off from here on ({one_line(error)}); the search goes on, "
                    f"and when it is resumed, the log catches up"
                )

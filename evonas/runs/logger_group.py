"""The loggers of a search, none of which may end it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evonas.core import registry
from evonas.core.files import read_json
from evonas.errors import InputError, one_line
from evonas.runs.loggers.base import Logger
from evonas.runs.run_store import Trial


class Loggers:
    """Hands each distinct training to all loggers, in the order of the journal.

    Trainings end in any order; one that is ahead of its turn waits, so that step 7 is the
    same training with 1 or 8 workers and after a resume. It waits no longer than its
    generation lasts.

    Args:
        parts: (registered name, options) of each.
        folder: of the run.
        metric: of the task, that counts as the error.
        warn: says a line to the person.

    Raises:
        InputError: there is no such logger, an option is wrong, or its package is missing.
    """

    def __init__(
        self,
        parts: Sequence[tuple[str, dict[str, Any]]],
        folder: Path,
        metric: str,
        warn: Callable[[str], None],
    ) -> None:
        self._on: dict[str, Logger] = {
            name: registry.create("logger", name, options, folder) for name, options in parts
        }
        self._metric, self._warn = metric, warn
        self._held: dict[str, int] = {}
        self._waiting: dict[int, Trial] = {}
        self._generation = self._next = self._step = 0
        self._best = math.inf

    def begin(self, experiment: Mapping[str, Any]) -> None:
        """Open all logs.

        Raises:
            InputError: one cannot be opened; without it the search would be as it was not meant.
        """
        for name, logger in self._on.items():
            try:
                self._held[name] = logger.begin(experiment)
            except Exception as error:  # of a library, which raises what it likes
                raise InputError(
                    f"logger={name}: its log cannot be opened ({one_line(error)}): mend this, or "
                    f"search without it"
                ) from error

    def note(self, trial: Trial) -> None:
        """Take note of a trial, also of one that the journal knew."""
        if not self._on or trial.repeat or trial.generation < 0:
            return
        if trial.generation > self._generation:
            self._flush()
            self._generation, self._next = trial.generation, 0
        self._waiting[trial.index] = trial
        while self._next in self._waiting:
            self._log(self._waiting.pop(self._next))
            self._next += 1

    def finish(self, best: Path) -> None:
        """Write the winner down; best.json tells it."""
        self._flush()
        if self._on:
            winner = read_json(best)
            self._each(lambda name, logger: logger.finish(self._step, winner, best))

    def close(self) -> None:
        """Let go of the logs."""
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
        if trial.succeeded:  # what was stopped at a rung has the fitness of another
            found["fitness"] = trial.value
            found["error"] = trial.metrics.get(self._metric, math.nan)
            found["params"] = trial.params
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

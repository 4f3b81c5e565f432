"""Budget in minutes: how many trainings fit before the finals, baselines and report have to begin.

The time of a training is the mean of those of this run. Every decision is a line of the journal,
see ``evonas.runs.clock_decisions``: a resumed run does what is written, whatever its clock says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np

from evonas.core.settings import FinalsSettings
from evonas.errors import InputError
from evonas.estimation.estimator import Job
from evonas.estimation.features.feature_cache import IN_FLIGHT, Progress
from evonas.runs import finals as finals_of
from evonas.runs.callbacks import Callback
from evonas.runs.clock_decisions import ClockDecision, Stage, standing
from evonas.runs.run_store import RunStore
from evonas.runs.trial import Trial

#: Most of the time after the features that is kept for finals, and for networks as baselines.
FINALS_SHARE, BASELINES_SHARE = 0.3, 0.15
#: Seconds that are kept for fitted baselines, the report and what else comes last, at most and as
#: a share of all minutes.
LAST, LAST_SHARE = 20.0, 0.1
#: Factors on the mean seconds of a training for what lies between trainings: before it can be
#: measured, and at most.
BETWEEN, MOST_BETWEEN = 1.1, 1.5
_SURE = 0.05  # of the images of a view, which tell how long all of it takes


class TimeBudget:
    """The minutes of a search and what fits into them.

    Args:
        minutes: for the whole search, over all starts of it.
        store: the run directory, which has the clock and the decisions.
        workers: trainings at once.
        finals: settings of the finals; None: there are none.
        baselines: networks that are trained as baselines, at most.
        epochs: of a whole training, if trainings pause: then what fits is whole trainings, and
            those that were stopped count as parts of one; else 0.

    Attributes:
        limited: whether the clock has limited the search.
    """

    def __init__(
        self,
        minutes: float,
        store: RunStore,
        workers: int = 1,
        finals: FinalsSettings | None = None,
        baselines: int = 0,
        epochs: int = 0,
    ) -> None:
        self.minutes, self._store, self._workers = minutes, store, workers
        self._finals, self._baselines, self._epochs = finals, baselines, epochs
        held = standing(store.decisions, "search", minutes)
        self._held = {decision.ask: decision for decision in held}
        self.limited = False

    @property
    def left(self) -> float:
        """Seconds that are left; below 0 when the minutes are over."""
        return 60.0 * self.minutes - self._store.elapsed

    @property
    def measured(self) -> bool:
        """Whether it is known what fits."""
        return self._fits() is not None

    def at_ask(self, ask: int, replayed: bool, pending: int = 0) -> int | None:
        """Return the number of new networks that an ask may have; None: as many as it likes.

        Args:
            ask: number of the ask.
            replayed: whether the journal has trials of this ask or a later one.
            pending: networks that were asked and are not trained yet.
        """
        if (held := self._held.get(ask)) is not None:
            return held.fits
        fits = None if replayed else self._fits()
        return None if fits is None or fits > pending else 0

    def limit(self, ask: int, fits: int) -> None:
        """Write down that an ask ends the search with ``fits`` networks, for lack of time."""
        self.limited = True
        if ask not in self._held:
            self._decide("search", ask, fits)

    def parts(
        self, ask: int, jobs: Sequence[Job], known: Collection[int]
    ) -> Iterator[Sequence[Job]]:
        """Yield the jobs of an ask in parts, without those that do not fit.

        Jobs of which all fit are one part. Otherwise a part is a job for each worker, in the order
        of the ask, as long as one fits.

        Args:
            ask: number of the ask.
            jobs: its trainings.
            known: indices of the trials of this ask that were trained before.
        """
        rest = sorted(jobs, key=lambda job: job.index)
        while rest:
            fits = len(jobs) if ask in self._held else self._fits()
            if fits is not None and fits >= len(rest):
                yield [job for job in jobs if job in rest]
                return
            part = rest[: self._workers if fits is None else min(fits, self._workers)]
            if not part:
                before = sum(index < rest[0].index for index in known)
                self.limit(ask, before + len(jobs) - len(rest))
                return
            yield part
            rest = rest[len(part) :]

    def plan_finals(self, settings: FinalsSettings) -> list[str]:
        """Decide how many trainings the finals have; see ``finals.decided``.

        Args:
            settings: of the finals, without limit by the clock.

        Returns:
            A line for the user if not all fit.
        """
        succeeded = len({trial.digest for trial in self._store.trials() if trial.succeeded})
        networks = min(settings.networks, succeeded)
        possible = settings.model_copy(update={"networks": networks})
        full = sum(finals_of.rounds(possible))
        if not full:
            return []
        if not self._held_for("finals"):
            left = self.left - self._last() - self._reserved_for_baselines()
            self._decide("finals", 0, self._finals_in(left, possible, full))
        fits = self._held_for("finals")[-1].fits
        if fits >= full:
            return []
        return [f"Finals: {fits} of at most {full} further trainings fit {self.minutes:g} min."]

    def plan_baselines(self, count: int) -> tuple[int, list[str]]:
        """Decide how many networks are trained as baselines; return it, and lines for the user."""
        if not self._held_for("baselines"):
            fits = self._in(self.left - self._last(), self._mean())
            self._decide("baselines", 0, count if fits is None else min(count, fits))
        fits = min(count, self._held_for("baselines")[-1].fits)
        line = f"Baselines: {fits} of {count} networks fit {self.minutes:g} min."
        return fits, [line] if fits < count else []

    def statement(self) -> str:
        """Return a line on what fits; empty before a training has shown how long one takes."""
        mean, more = self._mean(), self._fits()
        if mean is None or more is None:
            return ""
        words = [f"about {self._store.trained + more} networks fit {self.minutes:g} min"]
        if self._finals is not None:
            full = sum(finals_of.rounds(self._finals))
            fits = self._finals_in(self._reserved_for_finals(), self._finals, full)
            words.append(f"{fits} of at most {full} trainings of the finals")
        if self._baselines:
            fits = self._in(self._reserved_for_baselines(), mean) or 0
            words.append(f"{min(fits, self._baselines)} of {self._baselines} baselines")
        return f"A training takes about {mean:.2g} s: {', then '.join(words)}."

    def _fits(self) -> int | None:
        """Return how many trainings fit before the finals; None: unknown, and there is time."""
        kept = self._reserved_for_finals() + self._reserved_for_baselines()
        return self._in(self.left - self._last() - kept, self._mean())

    def _in(self, seconds: float, mean: float | None) -> int | None:
        if seconds <= 0.0:
            return 0
        if mean is None:
            return None
        each = mean * self._between()
        return self._workers * int(seconds / each) if each > 0.0 else None

    def _mean(self) -> float | None:
        """Return the mean seconds of a whole training; None before the first."""
        took = [trial for trial in self._store.trials() if _took(trial)]
        whole = self._epochs
        amount = sum(trial.epochs for trial in took) / whole if whole else len(took)
        return sum(trial.seconds for trial in took) / amount if amount else None

    def _between(self) -> float:
        """Return wall time over the time of trainings on all workers, from 1 to MOST_BETWEEN."""
        took = sorted(filter(_took, self._store.trials()), key=lambda trial: trial.at)
        if len(took) < 2 * self._workers:
            return BETWEEN
        seconds = np.array([trial.seconds for trial in took])
        ends = np.array([took[0].at - took[0].seconds, *(trial.at for trial in took)])
        # Longer than any training takes only what comes before the first one of another start.
        steps = np.minimum(np.diff(ends), MOST_BETWEEN * seconds.max())
        share = float(steps.sum()) * self._workers / float(seconds.sum())
        return min(max(share, 1.0), MOST_BETWEEN)

    def _seconds(self, trainings: int, mean: float) -> float:
        return math.ceil(trainings / self._workers) * mean * self._between()

    def _finals_seconds(self, settings: FinalsSettings) -> float:
        """Return the seconds of finals: the best networks may take longer than the others."""
        known = {trial.digest: trial for trial in self._store.trials() if trial.succeeded}
        best = sorted(known.values(), key=lambda trial: trial.value)[: settings.networks]
        if not best or not settings.networks:
            return 0.0
        mean = max(sum(trial.seconds for trial in best) / len(best), self._mean() or 0.0)
        sizes, left = finals_of.rounds(settings), 1.0
        if any(trial.status == "final" for trial in self._store.trials()):  # of fewer minutes
            left = finals_of.due(self._store.trials(), settings)[1] / max(sum(sizes), 1)
        return left * sum(self._seconds(size, mean) for size in sizes)

    def _finals_in(self, seconds: float, settings: FinalsSettings, full: int) -> int:
        """Return how many of at most ``full`` trainings of finals fit some seconds."""
        fits = full
        while fits and self._finals_seconds(finals_of.limited(settings, fits)) > seconds:
            fits -= 1
        return fits

    def _reserved_for_finals(self) -> float:
        if self._finals is None:
            return 0.0
        return min(self._finals_seconds(self._finals), FINALS_SHARE * self._after_features())

    def _reserved_for_baselines(self) -> float:
        seconds = self._seconds(self._baselines, self._mean() or 0.0)
        return min(seconds, BASELINES_SHARE * self._after_features())

    def _last(self) -> float:
        return min(LAST, LAST_SHARE * 60.0 * self.minutes)

    def _after_features(self) -> float:
        first = min((trial.at - trial.seconds for trial in self._store.trials()), default=0.0)
        return max(0.0, 60.0 * self.minutes - max(first, 0.0) - self._last())

    def _held_for(self, stage: Stage) -> list[ClockDecision]:
        held = standing(self._store.decisions, stage, self.minutes)
        return [decision for decision in held if decision.trained == self._store.trained]

    def _decide(self, stage: Stage, ask: int, fits: int) -> None:
        store = self._store
        store.decide(ClockDecision(stage, self.minutes, ask, store.trained, fits, store.elapsed))


class TimePlan(Callback):
    """Says what fits the minutes when the first training has shown how long one takes.

    Args:
        time_budget: the minutes.
        say: receives the line.
    """

    def __init__(self, time_budget: TimeBudget, say: Callable[[str], None]) -> None:
        self._time, self._say, self._done = time_budget, say, False

    def on_trial(self, trial: Trial) -> None:
        """Say it once."""
        if not self._done and (line := self._time.statement()):
            self._done = True
            self._say(line)


class FeatureTime:
    """Progress of the features, which ends a search whose minutes they exceed.

    Args:
        progress: receives the progress.
        minutes: of the whole search.
        store: the run directory, which has the clock.
        passes: images of all views that the backbone has to see.
    """

    def __init__(self, progress: Progress, minutes: float, store: RunStore, passes: int) -> None:
        self._progress, self._minutes, self._store = progress, minutes, store
        self._passes, self._label = passes, ""
        self._begun = self._last = store.elapsed  # of the present view, and of the last report
        self._views = self._done = 0  # views before the present one, and their images

    def __call__(self, label: str, done: int, total: int) -> None:
        """Pass the progress on.

        Raises:
            InputError: the features take longer than all minutes.
        """
        self._progress(label, done, total)
        if label != self._label:
            self._done += total if self._label else 0
            self._views += 1
            self._label, self._begun = label, self._last
        now = self._last = self._store.elapsed
        finished = done if done == total else done - IN_FLIGHT
        if finished < _SURE * total:
            return
        each = (now - self._begun) / finished
        rest = max(self._passes - self._done - finished, 0)
        # The first view also decodes the images, which may take longer than the backbone.
        sure = rest if self._views > 1 else total - finished
        if now + each * sure > 60.0 * self._minutes:
            need = (now + each * rest) / 60.0
            raise InputError(
                f"minutes={self._minutes:g}: expected more than the features take, which is about "
                f"{need:.2g} minutes ({self._done + finished:,} of {self._passes:,} passes of "
                f"images are done): give at least {math.ceil(2 * need)}; views that are done stay "
                "in the cache"
            )


def check_time(minutes: float, spent: float) -> None:
    """Refuse to begin a search whose minutes are over.

    Args:
        minutes: of the whole search.
        spent: seconds until now.

    Raises:
        InputError: nothing is left for a training.
    """
    if spent >= 60.0 * minutes:
        need = spent / 60.0
        raise InputError(
            f"minutes={minutes:g}: expected more than features and checks took, which is "
            f"{need:.2g} minutes: give at least {math.ceil(2 * need)}; features stay in the cache"
        )


def _took(trial: Trial) -> bool:
    """Whether a trial is a training whose seconds count."""
    return (trial.trained or trial.status == "final") and trial.seconds > 0.0

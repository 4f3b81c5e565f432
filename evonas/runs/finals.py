"""Finals: the best networks of a search, trained again with further seeds, and their ranking.

The lowest of many noisy results is lower than what it stands for: luck takes part in the
choice. So the search's own results choose the networks that are trained again, and the error of
the winner is the mean of its further trainings. Those decide who wins, in a race together with the
search's own; see ``evonas.runs.finals_race``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from msgspec.structs import replace

from evonas.core.settings import FinalsSettings
from evonas.runs import finals_race
from evonas.runs.clock_decisions import ClockDecision, standing
from evonas.runs.run_store import Trial

#: Two networks are statistically tied within so many standard errors of their difference.
DOUBT = 2.0


@dataclass(frozen=True)
class Finalist:
    """A network of a search with its further trainings.

    Attributes:
        trial: the search's own training.
        further: trainings with other seeds, and on other folds of the images where there are
            such, that worked, in the order of the seeds.
    """

    trial: Trial
    further: tuple[Trial, ...] = ()

    @property
    def folds(self) -> bool:
        """Whether folds of the images judged the further trainings, one each."""
        return any(trial.fold for trial in self.further)

    @property
    def fitness(self) -> float:
        """Mean over the further seeds; the search's own where there are none."""
        return float(np.mean([trial.value for trial in self.further or (self.trial,)]))

    def metrics(self) -> dict[str, float]:
        """Return the mean of each metric, over the further seeds where there are any."""
        results = [trial.metrics for trial in self.further or (self.trial,)]
        return {name: float(np.mean([r[name] for r in results])) for name in results[0]}

    def compared(self) -> dict[str, float]:
        """Return the metrics that compare with those of networks which were trained once.

        After folds those are of the search's own training, on the same images.
        """
        return dict(self.trial.metrics) if self.folds else self.metrics()

    def spread(self) -> dict[str, float]:
        """Return the sample standard deviation of each metric and of ``fitness``.

        Empty with fewer than two further seeds.
        """
        if len(self.further) < 2:
            return {}
        rows = [{"fitness": trial.value, **trial.metrics} for trial in self.further]
        return {name: float(np.std([r[name] for r in rows], ddof=1)) for name in rows[0]}


@dataclass(frozen=True)
class Outcome:
    """Outcome of a search with or without finals.

    Attributes:
        finalists: the winner first; empty where nothing was trained successfully.
        cheaper: networks that are cheaper than the winner and statistically tied with the leader,
            the cheapest first.
        leader: the finalist of the lowest mean; the winner, unless the settings prefer cost. None:
            unknown, or nothing was trained successfully.
    """

    finalists: list[Finalist]
    cheaper: list[Finalist]
    leader: Finalist | None

    @classmethod
    def of(
        cls,
        trials: Sequence[Trial],
        settings: FinalsSettings | None,
        metric: str,
        cost: str | Callable[[Trial], float],
    ) -> Outcome:
        """Return the outcome of the trials of a search.

        Args:
            trials: of the search, with its finals.
            settings: of the finals; see ``rank_finalists``.
            metric: that counts as the error.
            cost: what is cheap: ``macs``, ``params``, ``latency``, or the cost of a trial.
        """
        ranked = rank_finalists(trials, settings)
        if not ranked:
            return cls([], [], None)
        leader, cheaper = ranked[0], statistically_tied(ranked, trials, metric, cost)
        if settings is not None and settings.prefer == "cost":
            for place, one in enumerate(cheaper):
                if len(one.further) > 1:
                    others = [other for other in ranked if other is not one]
                    return cls([one, *others], cheaper[:place], leader)
        return cls(ranked, cheaper, leader)


def settings_of(content: Mapping[str, Any]) -> FinalsSettings | None:
    """Return the settings of the finals that an experiment.yaml names; None: none are named.

    A file without a method is older than races, one without ``validation`` older than folds.
    """
    known = {key: content[key] for key in FinalsSettings.model_fields if key in content}
    return FinalsSettings(**{"method": "fixed", "validation": "search", **known}) if known else None


def rounds(settings: FinalsSettings) -> list[int]:
    """Return the number of trainings of each round, at most; ``fixed`` finals have one round."""
    if settings.method == "race":
        return finals_race.round_sizes(settings.networks, settings.seeds, settings.budget)
    return [settings.networks * settings.seeds]


def limited(settings: FinalsSettings, trainings: int) -> FinalsSettings:
    """Return the settings of finals that take no more than a number of trainings.

    A race has that budget. ``fixed`` finals keep their seeds for as many networks as possible, or
    two networks for as many seeds as possible.
    """
    if trainings < 1:
        return settings.model_copy(update={"networks": 0})
    if settings.method == "race":
        most = trainings if settings.budget is None else min(settings.budget, trainings)
        return settings.model_copy(update={"budget": most})
    networks = min(settings.networks, max(trainings // settings.seeds, min(2, trainings)))
    seeds = min(settings.seeds, trainings // max(networks, 1))
    return settings.model_copy(update={"networks": networks, "seeds": seeds})


def decided(
    settings: FinalsSettings,
    trials: Sequence[Trial],
    decisions: Iterable[ClockDecision],
    minutes: float | None,
) -> FinalsSettings:
    """Return the settings of finals within what the clock decided for them.

    Args:
        settings: of the finals.
        trials: of the search. A decision after another number of trainings does not count.
        decisions: of the clock.
        minutes: of the whole search; None: there is no clock.
    """
    trained = sum(trial.trained for trial in trials)
    held = [d for d in standing(decisions, "finals", minutes) if d.trained == trained]
    return limited(settings, held[-1].fits) if held else settings


def planned(settings: FinalsSettings, budget: int) -> dict[str, int]:
    """Return the number of trainings of the finals, at most, by what they are for.

    Args:
        settings: of the finals.
        budget: distinct networks of the search.
    """
    networks, seeds = min(settings.networks, budget), settings.seeds
    most = sum(rounds(settings.model_copy(update={"networks": networks})))
    if settings.method == "race":
        return {f"at most in the finals (race of {networks}, up to {seeds} more seeds)": most}
    return {f"in the finals ({networks} best, {seeds} more seeds each)": most}


def due(trials: Sequence[Trial], settings: FinalsSettings) -> tuple[Sequence[Trial], int]:
    """Return the trainings to do next, without results, and how many are left at most.

    Args:
        trials: of the search; trainings that they hold are not due.
        settings: of the finals.

    Returns:
        Trials of status ``final`` and the number of trainings to come, these included. All
        ``fixed`` finals are due at once, those of a race round by round.
    """
    if settings.method == "race":
        standing = finals_race.replay(trials, settings)
        return standing.waiting, standing.at_most
    own = {trial.digest: trial for trial in trials if trial.succeeded}
    best = sorted(own.values(), key=lambda trial: trial.value)[: settings.networks]
    done = {(trial.digest, trial.repeat) for trial in trials if trial.status == "final"}
    waiting = [
        replace(trial, status="final", repeat=repeat, error="", parent="")
        for repeat in range(1, settings.seeds + 1)
        for trial in best
        if (trial.digest, repeat) not in done
    ]
    return waiting, len(waiting)


def rank_finalists(
    trials: Sequence[Trial], settings: FinalsSettings | None = None
) -> list[Finalist]:
    """Return the networks with further trainings, that of the lowest mean first.

    One that was dropped from a race stands behind all that were left then, and one that was
    trained less often than others behind those.

    Args:
        trials: of the search.
        settings: of the finals: only the search's best take part, not what was trained again
            before the budget of the search was raised. None: all that were trained again.

    Where none of a search's best could be trained again, or none was, the list holds its
    best alone; it is empty where nothing was trained successfully.
    """
    networks = (settings and settings.networks) or None
    known = {trial.digest: trial for trial in trials if trial.succeeded}
    own = dict(sorted(known.items(), key=lambda item: item[1].value)[:networks])
    if settings is not None and settings.networks and settings.method == "race":
        ranked = finals_race.replay(trials, settings).ranked
        found = [Finalist(trial, further) for trial, further in ranked if further]
    else:
        found = _all_finalists(trials, own)
    if found:
        return found
    best = min(own.values(), key=lambda trial: trial.value, default=None)
    return [Finalist(best)] if best else []


def _all_finalists(trials: Sequence[Trial], own: Mapping[str, Trial]) -> list[Finalist]:
    """Return finalists by their number of further trainings and the mean of those."""
    further: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.repeat):
        if trial.status == "final" and trial.fitness is not None and trial.digest in own:
            further.setdefault(trial.digest, []).append(trial)
    found = [Finalist(own[digest], tuple(rows)) for digest, rows in further.items()]
    # One that was not trained as often as the others may have been lucky.
    most = max((len(finalist.further) for finalist in found), default=0)
    return sorted(found, key=lambda one: (len(one.further) < most, one.fitness))


def noise(finalists: Sequence[Finalist], metric: str) -> float:
    """Return the standard deviation of a metric between seeds, pooled; nan if unknown.

    Where each seed has a fold of its own, what is common to all networks on a fold is left out.
    """
    results = {
        one.trial.digest: {trial.repeat: trial.metrics[metric] for trial in one.further}
        for one in finalists
    }
    return finals_race.deviation(results, paired=any(one.folds for one in finalists))[0]


def statistically_tied(
    finalists: Sequence[Finalist],
    trials: Sequence[Trial],
    metric: str,
    cost: str | Callable[[Trial], float] = "macs",
) -> list[Finalist]:
    """Return networks that are cheaper than the winner and statistically tied with it.

    Their error is within ``DOUBT`` standard errors of the winner's, or lower. One that was
    trained once counts with that one training, so it is a hint, not a result. Where folds judged,
    errors on the same images are compared: of the folds that both were trained on, or of the
    search.

    Args:
        finalists: as ``rank_finalists`` returns them.
        trials: of the search.
        metric: that counts as the error.
        cost: what is cheap: ``macs``, ``params``, ``latency``, or the cost of a trial.

    Returns:
        The cheapest first; empty where the noise is unknown.
    """
    deviation = noise(finalists, metric)
    if math.isnan(deviation):
        return []
    price: Callable[[Trial], float] = attrgetter(cost) if isinstance(cost, str) else cost
    winner, known = finalists[0], {finalist.trial.digest: finalist for finalist in finalists}
    for trial in trials:
        # One that started with a parent's weights had a longer training, so to speak.
        if trial.succeeded and metric in trial.metrics and not trial.inherited:
            known.setdefault(trial.digest, Finalist(trial))
    found = []
    for other in known.values():
        if price(other.trial) >= price(winner.trial):
            continue
        gap, shares = difference(other, winner, metric)
        if gap <= DOUBT * deviation * math.sqrt(shares):
            found.append(other)
    return sorted(found, key=lambda finalist: price(finalist.trial))


def difference(one: Finalist, other: Finalist, metric: str) -> tuple[float, float]:
    """Return how much higher the error of one network is than that of another.

    Where folds judged, errors are of the folds that both were trained on, or of the search.

    Returns:
        The difference, and its variance as a multiple of that of one training.
    """
    first, second = ([*(finalist.further or (finalist.trial,))] for finalist in (one, other))
    if one.folds or other.folds:
        common = {row.repeat for row in one.further} & {row.repeat for row in other.further}
        first = [row for row in one.further if row.repeat in common] or [one.trial]
        second = [row for row in other.further if row.repeat in common] or [other.trial]
    means = [float(np.mean([row.metrics[metric] for row in rows])) for rows in (first, second)]
    return means[0] - means[1], 1.0 / len(first) + 1.0 / len(second)

"""Finals: the best networks of a search, trained again with further seeds, and their ranking.

The lowest of many noisy results is lower than what it stands for: luck takes part in the
choice. So the search's own results choose the networks that are trained again, and only
the further trainings decide on the winner and its error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from evonas.runs.run_store import Trial

#: Two networks are statistically tied within so many standard errors of their difference.
DOUBT = 2.0


@dataclass(frozen=True)
class Finalist:
    """A network of a search with its further trainings.

    Attributes:
        trial: the search's own training.
        further: trainings with other seeds that worked, in the order of the seeds.
    """

    trial: Trial
    further: tuple[Trial, ...] = ()

    @property
    def fitness(self) -> float:
        """Mean over the further seeds; the search's own where there are none."""
        return float(np.mean([trial.value for trial in self.further or (self.trial,)]))

    def metrics(self) -> dict[str, float]:
        """Return the mean of each metric, over the further seeds where there are any."""
        results = [trial.metrics for trial in self.further or (self.trial,)]
        return {name: float(np.mean([r[name] for r in results])) for name in results[0]}

    def spread(self) -> dict[str, float]:
        """Return the sample standard deviation of each metric and of ``fitness``.

        Empty with fewer than two further seeds.
        """
        if len(self.further) < 2:
            return {}
        rows = [{"fitness": trial.value, **trial.metrics} for trial in self.further]
        return {name: float(np.std([r[name] for r in rows], ddof=1)) for name in rows[0]}


def rank_finalists(trials: Sequence[Trial], networks: int | None = None) -> list[Finalist]:
    """Return the networks with further trainings, the winner first.

    Args:
        trials: of the search.
        networks: only so many of the search's best take part; None: all that were trained
            again, also by finals before the budget was raised.

    Where none of a search's best could be trained again, or none was, the list holds its
    best alone; it is empty where nothing was trained successfully.
    """
    known = {trial.digest: trial for trial in trials if trial.succeeded}
    own = dict(sorted(known.items(), key=lambda item: item[1].value)[:networks])
    further: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: trial.repeat):
        if trial.status == "final" and trial.fitness is not None and trial.digest in own:
            further.setdefault(trial.digest, []).append(trial)
    found = [Finalist(own[digest], tuple(rows)) for digest, rows in further.items()]
    # One that was not trained as often as the others may have been lucky.
    most = max((len(finalist.further) for finalist in found), default=0)
    full = [finalist for finalist in found if len(finalist.further) == most]
    rest = [finalist for finalist in found if len(finalist.further) < most]
    if found:
        return [*sorted(full, key=_fitness), *sorted(rest, key=_fitness)]
    best = min(own.values(), key=lambda trial: trial.value, default=None)
    return [Finalist(best)] if best else []


def noise(finalists: Sequence[Finalist], metric: str) -> float:
    """Return the standard deviation of a metric between seeds, pooled; nan if unknown."""
    squares, freedom = 0.0, 0
    for finalist in finalists:
        values = [trial.metrics[metric] for trial in finalist.further]
        if len(values) > 1:
            squares += float(np.var(values)) * len(values)
            freedom += len(values) - 1
    return math.sqrt(squares / freedom) if freedom else math.nan


def statistically_tied(
    finalists: Sequence[Finalist],
    trials: Sequence[Trial],
    metric: str,
    cost: str | Callable[[Trial], float] = "macs",
) -> list[Finalist]:
    """Return networks that are cheaper than the winner and statistically tied with it.

    Their error is within ``DOUBT`` standard errors of the winner's, or lower. One that was
    trained once counts with that one training, so it is a hint, not a result.

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
        shares = 1.0 / len(winner.further) + 1.0 / max(len(other.further), 1)
        gap = other.metrics()[metric] - winner.metrics()[metric]
        if gap <= DOUBT * deviation * math.sqrt(shares):
            found.append(other)
    return sorted(found, key=lambda finalist: price(finalist.trial))


def _fitness(finalist: Finalist) -> float:
    return finalist.fitness

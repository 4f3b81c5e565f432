"""Race of the finals: rounds of further seeds, after each of which the worse networks are dropped.

Each round may also have a fold of the images of its own, so that the people who chose the finalists
do not choose among them.

Successive halving (Jamieson and Talwalkar 2016, https://arxiv.org/abs/1502.07943) over seeds, with
a t-test that drops networks earlier, as races of models do (Maron and Moore 1994). In round n every
network that is left is trained with its n-th further seed. All networks that are compared have as
many trainings as each other, so nothing is shrunk towards a common mean: it would not change their
order. That of the search counts as one of them: given equally many trainings, the order of the
means is that of the expected errors, however the networks were chosen. The error that is reported
is the mean of the further seeds alone.

A race is never stored. It is replayed from the trials of the journal, which hold its trainings by
network and seed, so that a resumed race decides as one that was never stopped.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from evonas.core.settings import FinalsSettings
from evonas.runs.trial import Trial

#: Level of the one-sided t-test of a network against the leader, without correction for their
#: number.
ALPHA = 0.05
_LEAST = 2  # networks that halving leaves: two say which of them is better


@dataclass(frozen=True)
class Standing:
    """State of a race after its last complete round.

    Attributes:
        ranked: each network's training of the search and its further ones that worked; first
            those that are left, then those that were dropped, the last of them first.
        waiting: trainings that the present round lacks, of status ``final`` and without a
            result; empty: the race is over.
        at_most: trainings to come, the waiting ones included, if the t-test drops nothing.
    """

    ranked: tuple[tuple[Trial, tuple[Trial, ...]], ...]
    waiting: tuple[Trial, ...] = ()
    at_most: int = 0


def deviation(
    results: Mapping[str, Mapping[int, float]], paired: bool = False
) -> tuple[float, int]:
    """Return the standard deviation of a network's results and its degrees of freedom.

    It is that of the residuals of a linear model with an effect of each network, pooled over the
    networks. nan without a degree of freedom.

    Args:
        results: network -> round -> result.
        paired: whether all networks of a round were judged on a fold of its own, so that the model
            also has an effect of each round (two-way analysis of variance).
    """
    rows = [(one, at, value) for one, done in results.items() for at, value in done.items()]
    effects: list[Any] = [[row[0] for row in rows]]
    effects += [[row[1] for row in rows]] if paired else []
    columns = [np.array(e)[:, None] == np.unique(e) for e in effects if e]
    if not columns:
        return math.nan, 0
    design, values = np.hstack(columns).astype(float), np.array([row[2] for row in rows])
    solution, _, rank, _ = np.linalg.lstsq(design, values, rcond=None)
    freedom = len(rows) - int(rank)
    if freedom < 1:
        return math.nan, 0
    return math.sqrt(float(np.sum((values - design @ solution) ** 2)) / freedom), freedom


def round_sizes(networks: int, seeds: int, budget: int | None = None) -> list[int]:
    """Return how many networks each round trains if the t-test drops none."""
    sizes: list[int] = []
    left = networks * seeds if budget is None else budget
    for _ in range(seeds):
        size = _affordable(networks, left, first=not sizes)
        if not size:
            break
        sizes.append(size)
        left -= size
        networks = _half(size)
    return sizes


def after_round(
    running: Sequence[str],
    further: Mapping[str, Mapping[int, float]],
    own: Mapping[str, float],
    paired: bool = False,
) -> tuple[list[str], list[str]]:
    """Return the networks that go on after a round and those that do not, each the best first.

    At most half of them, but two, go on, and none whose mean is higher than the lowest beyond
    noise: by a one-sided t-test with the deviation between seeds, pooled over all networks.

    Args:
        running: networks that the round trained; of equal ones the first is better.
        further: network -> round -> fitness of the further seed, if it worked, of all networks of
            the race.
        own: fitness in the search, where it counts; else empty.
        paired: whether each round has a fold of its own; see ``deviation``.
    """
    results = {
        key: [*further[key].values(), *([own[key]] if key in own else [])] for key in running
    }
    means = {key: float(np.mean(row)) if row else math.inf for key, row in results.items()}
    ranked = sorted(running, key=lambda key: means[key])
    spread, freedom = deviation(further, paired)
    limit = _quantile(freedom) * spread if freedom else math.inf
    best = ranked[0]

    def goes_on(key: str) -> bool:
        shares = 1.0 / max(len(results[key]), 1) + 1.0 / max(len(results[best]), 1)
        return key == best or means[key] - means[best] <= limit * math.sqrt(shares)

    kept = [key for key in ranked[: _half(len(ranked))] if goes_on(key)]
    return kept, [key for key in ranked if key not in kept]


def replay(trials: Sequence[Trial], settings: FinalsSettings) -> Standing:
    """Return the state of the race that the trials of a journal hold.

    The race is over when all seeds are trained, when one network of several is left and has two
    further seeds, or when the budget allows no round of two. A network whose training failed is
    dropped, unless all of its round failed.

    Args:
        trials: of the search, with its finals.
        settings: of the finals.
    """
    known = {trial.digest: trial for trial in trials if trial.succeeded}
    own = dict(sorted(known.items(), key=lambda item: item[1].value)[: settings.networks])
    rows = {(trial.digest, trial.repeat): trial for trial in trials if trial.status == "final"}
    # A training that began with weights of a parent is not one of the kind of the finals.
    alike = not any(trial.inherited for trial in own.values())
    counted = {digest: trial.value for digest, trial in own.items()} if alike else {}
    folds = any(row.fold for row in rows.values())
    taken: dict[str, list[Trial]] = {digest: [] for digest in own}
    field, dropped = list(own), list[str]()
    left = sum(round_sizes(len(own), settings.seeds, settings.budget))

    def standing(waiting: Sequence[Trial] = (), at_most: int = 0) -> Standing:
        ranked = [(own[digest], tuple(taken[digest])) for digest in (*field, *dropped)]
        return Standing(tuple(ranked), tuple(waiting), at_most)

    for repeat in range(1, settings.seeds + 1):
        if repeat > 2 and len(field) == 1 < len(own):
            break
        running = field[: _affordable(len(field), left, first=repeat == 1)]
        if not running:
            break
        missing = [digest for digest in running if (digest, repeat) not in rows]
        if missing:
            later = sum(round_sizes(len(running), settings.seeds - repeat + 1, left)[1:])
            waiting = [
                replace(own[digest], status="final", repeat=repeat, error="", parent="")
                for digest in missing
            ]
            return standing(waiting, len(missing) + later)
        left -= len(running)
        worked = [d for d in running if rows[d, repeat].fitness is not None]
        for digest in worked:
            taken[digest].append(rows[digest, repeat])
        further = {digest: {row.repeat: row.value for row in taken[digest]} for digest in own}
        kept, worse = after_round(worked or running, further, counted, folds)
        others = [digest for digest in field if digest not in (*kept, *worse)]
        field, dropped = kept, [*worse, *others, *dropped]
    return standing()


def _quantile(freedom: int) -> float:
    """Return the quantile of Student's t distribution at the level of the test."""
    from scipy.special import stdtrit  # slow to import, and only a race needs it

    return float(stdtrit(freedom, 1.0 - ALPHA))


def _half(size: int) -> int:
    return min(size, max(_LEAST, math.ceil(size / 2)))


def _affordable(size: int, left: int, first: bool) -> int:
    """Return how many networks a round may train; one of several only in the first round."""
    fits = min(size, left)
    return fits if first or fits >= min(size, _LEAST) else 0

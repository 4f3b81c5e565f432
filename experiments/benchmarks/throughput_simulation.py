"""A search on many workers, event by event, without a clock: generations, or a window of asks."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Simulated:
    """What a simulated search took.

    Attributes:
        wall: seconds from the first question to the last answer.
        busy: seconds that workers trained, all together.
        workers: how many there were.
    """

    wall: float
    busy: float
    workers: int

    @property
    def utilisation(self) -> float:
        """Share of the workers' time in which they trained."""
        return self.busy / (self.workers * self.wall) if self.wall else 1.0


def simulate(
    generations: Iterable[Sequence[float]],
    workers: int,
    latency: float = 0.0,
    driver: float = 0.0,
) -> Simulated:
    """Return what a search of these generations takes.

    A generation is handed out in its order, the next when all of it is answered. The
    process that searches takes one answer at a time, which holds it up for ``driver``
    seconds; the worker's next training begins ``latency`` seconds after that.

    Args:
        generations: seconds of each training, in the order in which they are handed out.
        workers: trainings at once.
        latency: from the decision to the begin of a training.
        driver: to take an answer: judge it, write it down, hand out the next.
    """
    now, busy = 0.0, 0.0
    for durations in generations:
        waiting = list(durations)[::-1]
        busy += sum(durations)
        running: list[float] = []
        while waiting and len(running) < workers:
            running.append(now + latency + waiting.pop())
        heapq.heapify(running)
        while running:
            now = max(now, heapq.heappop(running)) + driver
            if waiting:
                heapq.heappush(running, now + latency + waiting.pop())
    return Simulated(now, busy, workers)


def simulate_window(
    durations: Sequence[float], workers: int, window: int, latency: float = 0.0, driver: float = 0.0
) -> Simulated:
    """Return what a search takes that asks for training k as soon as training k - window is done.

    Args:
        durations: seconds of each training, in the order of the asks, which is that of handing out.
        workers: trainings at once.
        window: asks whose trainings may be missing at once.
        latency: from the decision to the begin of a training.
        driver: to take an answer: judge it, write it down, ask for the next.
    """
    now, asked, oldest = 0.0, 0, 0
    waiting: deque[int] = deque()
    running: list[tuple[float, int]] = []
    done: set[int] = set()
    while oldest < len(durations):
        while asked < min(oldest + window, len(durations)):
            waiting.append(asked)
            asked += 1
        while waiting and len(running) < workers:
            number = waiting.popleft()
            heapq.heappush(running, (now + latency + durations[number], number))
        end, number = heapq.heappop(running)
        now = max(now, end) + driver
        done.add(number)
        while oldest in done:
            oldest += 1
    return Simulated(now, sum(durations), workers)


@dataclass(frozen=True)
class Pair:
    """A training, and what could be said of it beforehand.

    Attributes:
        seconds: that it takes.
        predicted: what was predicted, in any unit.
        macs: the multiply-adds of its network.
    """

    seconds: float
    predicted: float
    macs: float

    def times(self, factor: float) -> Pair:
        """Return one that takes ``factor`` times as long."""
        return Pair(factor * self.seconds, self.predicted, self.macs)


def drawn(
    pairs: Sequence[Pair], trials: int, population: int, by: str | None, seed: int
) -> list[list[float]]:
    """Return generations of seconds drawn with replacement, in the order of handing out.

    Args:
        pairs: to draw from.
        trials: how many at least; the last generation is filled up.
        population: how many a generation.
        by: attribute of the pairs by which the largest go first; None: as drawn.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(0, trials, population):
        chosen = [pairs[n] for n in rng.integers(0, len(pairs), population)]
        if by is not None:
            chosen.sort(key=lambda pair: -float(getattr(pair, by)))
        found.append([pair.seconds for pair in chosen])
    return found


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's correlation of two rows without ties."""
    ranks: list[NDArray[np.intp]] = [np.argsort(np.argsort(np.asarray(x))) for x in (one, other)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])

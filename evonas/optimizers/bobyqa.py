"""BOBYQA: derivative-free optimization by quadratic models in a trust region, with several starts.

Powell 2009, "The BOBYQA algorithm for bound constrained optimization without
derivatives", https://www.damtp.cam.ac.uk/user/na/NA_papers/NA2009_06.pdf; library
Py-BOBYQA: Cartis, Fiala, Marteau, Roberts 2019, https://arxiv.org/abs/1804.00154.

The method is made for smooth functions of ordered variables. Three measures adapt it to genes
with discrete values. The coordinates of a run are the positions of the values, not the widths of
their bins, so that its first steps reach other values and the range ends at values. The values of
an unordered gene are sorted by their mean fitness rank at the start of each run, as regression
trees do (Fisher 1958, https://doi.org/10.1080/01621459.1958.10501479). And each run starts at the
best known architecture, at first the best of a small random design, with other directions of the
genes.

A point whose fitness is known is answered from the archive, without an ask. A run can therefore be
repeated at no cost. This is done when a success turns out worse than the penalised fitness of a
failure that the run's model contains.
"""

from __future__ import annotations

import math
import warnings
from functools import partial
from typing import Any, Unpack

import numpy as np
import pybobyqa
from numpy.typing import NDArray
from scipy.stats import rankdata

from evonas.optimizers.base import Common, Optimizer, guarded_global_rng, number_in
from evonas.optimizers.common.ask_tell_thread import CallbackBridge, Function
from evonas.space import Genome, SearchSpace

#: Runs in one slot of an ask, the current one included, before a start at a random point.
STARTS_AT_BEST = 2
#: Step, as a share of the range, that changes a gene of two values.
BINARY_STEP = 0.25


class Bobyqa(Optimizer):
    """A random design of dim genomes, then parallel BOBYQA runs from the best one.

    A run that has ended or failed is replaced by a run from the best architecture so far, or,
    if that asks nothing new, from a random point.

    Args:
        radius: initial trust region radius as a share of each gene's range, in (0, 0.5];
            raised if necessary so that a step of this size changes every gene. Long first steps
            jump over neighbours that are worse than both ends.
        population_size: genomes per ask, other arguments as in ``Optimizer``; number of
            parallel runs; default: 2, the smallest, since each run spends dim + 2 evaluations
            before its first model step.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        radius: float = 0.5,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        # Values are 1 / (n - 1) apart, and half of that changes the value.
        steps = [1.0 / (len(g.values) - 1) for g in space.genes if len(g.values) > 2]
        least = max([0.55 * step for step in steps], default=0.0)
        if any(len(g.values) == 2 for g in space.genes):
            least = max(least, 1.1 * BINARY_STEP)
        # Py-BOBYQA requires bounds that are at least 2 radii apart.
        self._radius = min(max(number_in("radius", radius, 1e-3, 0.5), least), 0.49)
        self._last_radius = min([step / 4.0 for step in steps] + [0.01 if not steps else 1.0])
        self._last_radius = min(self._last_radius, self._radius / 4.0)
        self._state = np.random.RandomState(self.rng.integers(2**31))
        self._runs: list[_Run | None] = [None] * self.population_size
        self._open: dict[int, str] = {}  # slot -> digest whose fitness its run waits for

    def _default_population_size(self) -> int:
        return 2

    def _restart(self) -> None:
        self._close()

    def _close(self) -> None:
        for run in self._runs:
            if run is not None:
                run.bridge.close()
        self._runs = [None] * self.population_size
        self._open = {}

    def _ask(self) -> NDArray[np.float64]:
        if len(self.archive.genomes) < self.space.dim and self.restarts == 0:
            return self.sample(self.population_size)
        asked, self._open = self._open, {}
        rows: dict[str, Genome] = {}
        for slot in range(self.population_size):
            value = self.fitness_of(asked[slot]) if slot in asked else None
            unknown = self._next(slot, value)
            if unknown is not None:
                self._open[slot], genome = unknown
                # runs may ask the same architecture; it is asked once
                rows.setdefault(self._open[slot], genome)
        return np.array(list(rows.values()), dtype=np.float64).reshape(-1, self.space.dim)

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        """Repeat the runs whose model holds a penalty that is better than a later success.

        The runs read the fitness of this generation from the archive at the next ask.
        """
        for slot, run in enumerate(self._runs):
            penalties = [v for d, v in run.values.items() if self._failed(d)] if run else []
            if run and penalties and min(penalties) <= self.archive.worst:
                run.bridge.close()
                self._runs[slot] = _Run(run.options, run.chart)
                self._open.pop(slot, None)

    def parents(self) -> list[str]:
        """Return the digests of all data of the current runs' models, lowest fitness first."""
        waiting = {digest: self.fitness_of(digest) for digest in self._open.values()}
        values = {digest: value for digest, value in waiting.items() if value is not None}
        for run in self._runs:
            values |= run.values if run else {}
        return sorted(values, key=lambda digest: values[digest])

    def _failed(self, digest: str) -> bool:
        return self.success(digest) is None

    def _next(self, slot: int, value: float | None) -> tuple[str, Genome] | None:
        """Advance the run of a slot to its next unknown architecture; None: there is none."""
        for start in range(STARTS_AT_BEST + 1):
            run = self._runs[slot]
            if run is None:
                run = self._runs[slot] = self._start(at_best=start < STARTS_AT_BEST)
            point = self._advance(run, value)
            while point is not None:
                genome = run.chart.genome(point)
                run.asked = self.identify(genome)[0]
                value = self.fitness_of(run.asked)
                if value is None:
                    return run.asked, genome
                point = self._advance(run, value)
            self._runs[slot] = value = None
            self.restarts += 1
        return None

    def _advance(self, run: _Run, value: float | None) -> NDArray[np.float64] | None:
        if value is not None:
            run.values[run.asked] = value
        # The solver's thread runs only inside this call, so the guards here also cover it.
        with warnings.catch_warnings(), guarded_global_rng(self._state):
            warnings.simplefilter("ignore")
            return run.bridge.advance(None if value is None else _compressed(value))

    def _start(self, at_best: bool) -> _Run:
        dim = self.space.dim
        best = self.best_genome if at_best else None
        start = self.sample(1)[0] if best is None else best
        chart = Chart(self.space, start, self.archive.history(), self.rng)
        options: dict[str, Any] = {
            "x0": chart.point(start),
            "bounds": (np.zeros(dim), np.ones(dim)),
            "npt": dim + 2,
            "rhobeg": self._radius,
            "rhoend": self._last_radius,
            # bounds the calls of one run, most of which repeat known points
            "maxfun": 40 * (dim + 2),
            "do_logging": False,
        }
        return _Run(options, chart)


class _Run:
    """One run of the solver in its coordinates.

    Args:
        options: keyword arguments of ``pybobyqa.solve``.
        chart: the coordinates of the run.

    Attributes:
        asked: digest of the architecture whose fitness the run waits for.
        values: digest -> fitness that the solver was given.
    """

    def __init__(self, options: dict[str, Any], chart: Chart) -> None:
        self.options, self.chart = options, chart
        self.bridge = CallbackBridge(partial(_solve, options))
        self.asked = ""
        self.values: dict[str, float] = {}


class Chart:
    """Coordinates of one run: each gene's values in some order, evenly spaced in [0, 1].

    Args:
        space: the search space.
        start: (dim,) genome where the run starts.
        known: genomes and their finite fitness, smaller is better; they order the values of
            unordered genes.
        rng: draws the direction and the position of each gene. The solver's first steps go
            up, one coordinate after another, so another chart gives other first steps.
    """

    def __init__(
        self,
        space: SearchSpace,
        start: Genome,
        known: list[tuple[Genome, float]],
        rng: np.random.Generator,
    ) -> None:
        # ranks, so that a single failure does not dominate the values of its genome
        shares = rankdata([value for _, value in known]) / max(len(known), 1)
        # gene of each coordinate: runs from the same start differ from the first step on
        self._genes = rng.permutation(space.dim)
        self._orders: list[NDArray[np.int64]] = []
        for i, gene in enumerate(space.genes):
            n = len(gene.values)
            order = np.arange(n)
            if gene.kind == "choice":
                held = np.array([_index(genome[i], n) for genome, _ in known], dtype=np.int64)
                count = np.bincount(held, minlength=n)
                total = np.bincount(held, weights=shares, minlength=n)
                # one pseudo-observation of average rank covers values never seen
                order = np.lexsort((rng.random(n), (total + 0.5) / (count + 1.0)))
            if rng.random() < 0.5:
                order = order[::-1]
            if n == 2 and order[0] != _index(start[i], n):
                # with two values, the first step has to lead to the other one
                order = order[::-1]
            self._orders.append(order)

    def genome(self, point: NDArray[np.float64]) -> Genome:
        """Return the genome of bin centres nearest to (dim,) coordinates in [0, 1]."""
        genome = np.empty_like(point)
        genome[self._genes] = point
        for i, order in enumerate(self._orders):
            n = len(order)
            if n == 2:
                genome[i] = (order[int(genome[i] > BINARY_STEP)] + 0.5) / n
            elif n:
                genome[i] = (order[int(genome[i] * (n - 1) + 0.5)] + 0.5) / n
        return genome

    def point(self, genome: Genome) -> NDArray[np.float64]:
        """Return the (dim,) coordinates in [0, 1] of a genome's values."""
        point = genome.copy()
        for i, order in enumerate(self._orders):
            n = len(order)
            if n:
                place = int(np.flatnonzero(order == _index(genome[i], n))[0])
                point[i] = place / (n - 1) if n > 1 else 0.5
        return point[self._genes]


def _index(x: float, n: int) -> int:
    return min(max(math.ceil(x * n), 1), n) - 1


def _solve(options: dict[str, Any], function: Function) -> object:
    return pybobyqa.solve(function, **options)


def _compressed(fitness: float) -> float:
    """Return arcsinh of the fitness: linear near 0, logarithmic for large values.

    A single huge value would dominate the quadratic model; the order of values is preserved.
    """
    return float(np.arcsinh(fitness))

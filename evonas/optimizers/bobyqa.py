"""BOBYQA: quadratic models in a trust region, without derivatives, several starts.

Powell 2009, "The BOBYQA algorithm for bound constrained optimization without
derivatives", https://www.damtp.cam.ac.uk/user/na/NA_papers/NA2009_06.pdf; library
Py-BOBYQA: Cartis, Fiala, Marteau, Roberts 2019, https://arxiv.org/abs/1804.00154.

It is made for smooth functions of ordered quantities. Three measures bring genomes of
bins near to that. A run moves on the places of the values, not on the widths of their
bins, so that its first steps reach other values and the range ends on values. The
values of a gene without order are ranked by what is known of them, as regression trees
do (Fisher 1958, https://doi.org/10.1080/01621459.1958.10501479), anew for each run. And
runs start at the best architecture known, at first that of a small random design, each
with other directions of the genes; what an earlier run met is answered from memory and
costs neither a training nor an ask. For the same reason a run can be repeated for nothing:
what stood for a failure stays in its model, and as soon as a success is worse than that,
the run begins anew.
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

#: Runs at one place of an ask, the present one among them, before a start elsewhere.
STARTS_AT_BEST = 2
#: A step of this share of the range changes a gene of two values.
BINARY_STEP = 0.25


class Bobyqa(Optimizer):
    """A random design of dim genomes, then BOBYQA runs side by side from the best.

    A run that ends, or fails, is replaced by one that starts at the best architecture so
    far; where this brings nothing new, by one from a random point.

    Args:
        radius: initial trust region radius as a share of each gene's range, in
            (0, 0.5]; raised so that a step of it changes every gene. Long first steps pass
            over neighbours that are worse than both ends.
        population_size: and the rest of ``common``: as in ``Optimizer``; number of runs
            side by side; default: 2, the fewest, since each spends dim + 2 evaluations
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
        # Places of values are 1 / (n - 1) apart, and half of that changes the value.
        steps = [1.0 / (len(g.values) - 1) for g in space.genes if len(g.values) > 2]
        least = max([0.55 * step for step in steps], default=0.0)
        if any(len(g.values) == 2 for g in space.genes):
            least = max(least, 1.1 * BINARY_STEP)
        # The box must hold 2 radii.
        self._radius = min(max(number_in("radius", radius, 1e-3, 0.5), least), 0.49)
        self._last_radius = min([step / 4.0 for step in steps] + [0.01 if not steps else 1.0])
        self._last_radius = min(self._last_radius, self._radius / 4.0)
        self._state = np.random.RandomState(self.rng.integers(2**31))
        self._runs: list[_Run | None] = [None] * self.population_size
        self._open: dict[int, str] = {}  # place -> digest that its run waits for

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
        answers, self._open = self._open, {}
        rows: dict[str, Genome] = {}
        for place in range(self.population_size):
            found = self._next(place, self.fitness_of(answers[place]) if place in answers else None)
            if found is not None:
                self._open[place], genome = found
                # where two runs meet, one question serves both
                rows.setdefault(self._open[place], genome)
        return np.array(list(rows.values()), dtype=np.float64).reshape(-1, self.space.dim)

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        """Repeat the runs that took a failure for better than a success of this generation.

        The rest of what was told stands in the books, where each run looks it up.
        """
        for place, run in enumerate(self._runs):
            failures = [v for d, v in run.answers.items() if self._failed(d)] if run else []
            if run and failures and min(failures) <= self.archive.worst:
                run.bridge.close()
                self._runs[place] = _Run(run.options, run.chart)
                self._open.pop(place, None)

    def parents(self) -> list[str]:
        """Return the digests of all data of the present runs' models, as these rank them."""
        answers = {digest: self.fitness_of(digest) for digest in self._open.values()}
        found = {digest: value for digest, value in answers.items() if value is not None}
        for run in self._runs:
            found |= run.answers if run else {}
        return sorted(found, key=lambda digest: found[digest])

    def _failed(self, digest: str) -> bool:
        return self.success(digest) is None

    def _next(self, place: int, answer: float | None) -> tuple[str, Genome] | None:
        """Drive the run at a place to its next unknown architecture; None: there is none."""
        for start in range(STARTS_AT_BEST + 1):
            current = self._runs[place]
            if current is None:
                current = self._runs[place] = self._start(at_best=start < STARTS_AT_BEST)
            point = self._advance(current, answer)
            while point is not None:
                genome = current.chart.genome(point)
                current.asked = self.identify(genome)[0]
                answer = self.fitness_of(current.asked)
                if answer is None:
                    return current.asked, genome
                point = self._advance(current, answer)
            self._runs[place] = answer = None
            self.restarts += 1
        return None

    def _advance(self, run: _Run, answer: float | None) -> NDArray[np.float64] | None:
        if answer is not None:
            run.answers[run.asked] = answer
        # The solver moves only inside this call, so fences here hold in its thread.
        with warnings.catch_warnings(), guarded_global_rng(self._state):
            warnings.simplefilter("ignore")
            return run.bridge.advance(None if answer is None else _tamed(answer))

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
            # most calls repeat; this bounds a run, the budget bounds the search
            "maxfun": 40 * (dim + 2),
            "do_logging": False,
        }
        return _Run(options, chart)


class _Run:
    """One run of the solver.

    Attributes:
        asked: digest of the architecture that it waits for.
        answers: digest -> fitness that it was given.
    """

    def __init__(self, options: dict[str, Any], chart: Chart) -> None:
        self.options, self.chart = options, chart
        self.bridge = CallbackBridge(partial(_solve, options))
        self.asked = ""
        self.answers: dict[str, float] = {}


class Chart:
    """The coordinates of one run: each gene's values in some order, evenly over [0, 1].

    Args:
        space: the search space.
        start: (dim,) genome where the run starts.
        known: genomes and their finite fitness, smaller is better; they order the
            values of genes without an order of their own.
        rng: decides in which direction each gene counts, and which gene comes first:
            the solver's first steps go up where they can, one coordinate after another,
            so another chart is another set of first steps.
    """

    def __init__(
        self,
        space: SearchSpace,
        start: Genome,
        known: list[tuple[Genome, float]],
        rng: np.random.Generator,
    ) -> None:
        # ranks: one failure must not decide about all values that it has
        shares = rankdata([value for _, value in known]) / max(len(known), 1)
        # gene of each coordinate: runs that start at one place part with their first step
        self._genes = rng.permutation(space.dim)
        self._orders: list[NDArray[np.int64]] = []
        for i, gene in enumerate(space.genes):
            n = len(gene.values)
            order = np.arange(n)
            if gene.kind == "choice":
                held = np.array([_index(genome[i], n) for genome, _ in known], dtype=np.int64)
                count = np.bincount(held, minlength=n)
                total = np.bincount(held, weights=shares, minlength=n)
                # one observation of average rank stands for a value never seen
                order = np.lexsort((rng.random(n), (total + 0.5) / (count + 1.0)))
            if rng.random() < 0.5:
                order = order[::-1]
            if n == 2 and order[0] != _index(start[i], n):
                # half a range cannot be told from either end: the start is one end
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


def _tamed(fitness: float) -> float:
    """arcsinh: the fitness itself near 0, its logarithm far away.

    A quadratic through one huge value would be nothing but that value; the order of
    any two values stays.
    """
    return float(np.arcsinh(fitness))

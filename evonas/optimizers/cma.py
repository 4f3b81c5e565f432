"""CMA-ES: a normal distribution whose mean, step size and covariance adapt to the fitness.

Hansen and Ostermeier 2001, "Completely derandomized self-adaptation in evolution
strategies", https://doi.org/10.1162/106365601750190398; tutorial: Hansen 2016,
https://arxiv.org/abs/1604.00772; library: https://github.com/CMA-ES/pycma.

On genes with discrete values the step size can collapse inside one bin, after which every draw is
a repeat. There are two remedies. As in CMA-ES with margin (Hamano, Saito, Nomura, Shirakawa 2022,
https://arxiv.org/abs/2205.13482), the marginal probability of leaving the mean's bin stays above
a margin in every coordinate. And a generation is drawn until it holds only new architectures, from
a distribution that widens with each repeat; several times as many are drawn as are asked, and a
model of the fitness chooses among them (``common.preselection``).

The distribution is updated with its own draws only. If fewer evaluations succeed than the update
of the mean uses, a failure in their place counts as a draw of the mean itself, so that it moves
nothing and the step size shrinks. A converged run restarts with twice the population (Auger and
Hansen 2005, https://doi.org/10.1109/CEC.2005.1554902).
"""

from __future__ import annotations

import math
from typing import Any, Unpack

import cma
import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from evonas.errors import InputError
from evonas.optimizers.base import Common, Optimizer, number_in
from evonas.optimizers.common.preselection import Preselection
from evonas.space import Genome, SearchSpace

#: pycma's stop conditions that mean "converged". The others (flat fitness, stagnation) are normal
#: on the plateaus of discrete genes; the base class restarts a strategy that only repeats itself.
CONVERGED = ("tolx", "tolfacupx", "tolupsigma", "noeffectaxis", "noeffectcoord", "tolconditioncov")
#: Draws per genome of a generation before a repeat or an infeasible genome is accepted.
DRAWS = 20
#: Limit on the population after restarts, as a multiple of the first population.
LARGEST = 8
#: Factor on the standard deviation of the draws for each repeat: doubled after 35.
WIDENING = 1.02
#: Limit on that factor, so that its square stays finite; draws then cover the whole cube.
WIDEST = 1e3


class CMAES(Optimizer):
    """CMA-ES on [0, 1] that asks only new architectures as long as it can draw any.

    The first generation is random; the mean starts at its best genome.

    Args:
        sigma: initial standard deviation, in (0, 1].
        margin: least probability, in each coordinate, that a genome leaves the bin of the
            mean, in [0, 0.5]; None: 1 / dim, about one gene per genome.
        start: ``random`` starts the mean at the best of a random generation, ``centre`` at the
            centre of the space without one; restarts are random.
        preselection: new draws for each asked genome, from which the model chooses, in
            1 .. 100; 1: no preselection. More than 24 help little, and not at all with strong
            interactions of genes and many trainings.
        population_size: genomes per ask, other arguments as in ``Optimizer``; at least 4, of
            which two update the mean; default: 6, less than the usual 4 + 3 ln(dim), since the
            asked genomes are preselected.
    """

    least_population_size = 4

    def __init__(
        self,
        space: SearchSpace,
        *,
        sigma: float = 0.3,
        margin: float | None = None,
        start: str = "random",
        preselection: int = 24,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        self._sigma = number_in("sigma", sigma, 1e-3, 1.0)
        share = (
            min(0.5, 1.0 / space.dim) if margin is None else number_in("margin", margin, 0.0, 0.5)
        )
        self._quantile = float(norm.isf(max(share, 1e-12) / 2.0))
        if start not in ("random", "centre"):
            raise InputError(f"start: expected 'random' or 'centre', got {start!r}")
        if preselection != int(number_in("preselection", preselection, 1, 100)):
            raise InputError(
                f"preselection: expected a whole number in [1, 100], got {preselection!r}"
            )
        self._draws_each = int(preselection)
        self._preselection = Preselection(space)
        self._solutions: list[NDArray[np.float64]] = []
        self._es: Any = None
        self._parents: list[str] = []
        self._size = self.population_size  # of the current run; it grows with restarts
        self._centre = start == "centre"

    def _default_population_size(self) -> int:
        return 6

    def _restart(self) -> None:
        if self._es is not None:
            self._size = min(2 * self._size, LARGEST * self.population_size)
        self._es = None
        self._parents = []

    def _begin(self, mean: Genome) -> None:
        # pycma needs two dimensions: a space of one gene gets a second coordinate without effect.
        # Its boundary transformation cannot start at an edge of the cube.
        x0 = np.resize(np.clip(mean, 0.02, 0.98), max(2, self.space.dim))
        rng = self.rng  # not self: pycma keeps the function, a reference cycle
        self._es = cma.CMAEvolutionStrategy(
            x0,
            self._sigma,
            {
                "bounds": [0.0, 1.0],
                "popsize": self._size,
                "CMA_mirrors": 0,
                # seed= would reseed numpy's global generator
                "seed": np.nan,
                "randn": lambda *shape: rng.standard_normal(shape),
                # below -9 pycma prints nothing and does not read cma_signals.in
                "verbose": -10,
                "signals_filename": "",
                "verb_log": 0,
                "verb_disp": 0,
            },
        )

    def _ask(self) -> NDArray[np.float64]:
        if self._es is not None and any(key in self._es.stop() for key in CONVERGED):
            self.restarts += 1
            self._restart()
        if self._es is None:
            if self.archive.seen or not self._centre:
                return self.sample(self._size)
            self._begin(np.full(self.space.dim, 0.5))
        new, rest = self._draw(self._draws_each if self.archive.genomes else 1)
        chosen = self._preselection.order([self._genome(x) for x in new])
        if self._draws_each == 1:
            chosen = np.arange(len(new))
        self._solutions = [*(new[i] for i in chosen), *rest][: self._size]
        return np.array([self._genome(x) for x in self._solutions])

    def _genome(self, solution: NDArray[np.float64]) -> Genome:
        return np.clip(solution[: self.space.dim], 0.0, 1.0)

    def _draw(self, each: int) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """Return new feasible solutions, ``each`` per genome, then repeats and infeasible ones."""
        new: dict[str, NDArray[np.float64]] = {}
        repeats: list[NDArray[np.float64]] = []
        infeasible: list[NDArray[np.float64]] = []
        wanted = each * self._size
        widening, draws = 1.0, 0
        while len(new) < wanted and draws < DRAWS * wanted:
            batch = self._es.ask(wanted - len(new), sigma_fac=widening)
            draws += len(batch)
            for x in batch:
                digest, violation = self.identify(self._genome(x))
                if violation > 0.0:
                    infeasible.append(x)
                elif self.is_new(digest) and digest not in new:
                    new[digest] = x
                else:
                    repeats.append(x)
                    widening = min(widening * WIDENING, WIDEST)
        return list(new.values()), [*repeats, *infeasible]

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        known = self.archive.history()
        if known:
            self._preselection.fit([genome for genome, _ in known], [value for _, value in known])
        identified = [self.identify(genome) for genome in genomes]
        # The cost of an infeasible genome ranks it; a failed evaluation has nothing to rank by.
        failed = np.array([v == 0.0 and self.success(d) is None for d, v in identified])
        ranked = np.argsort(fitness, kind="stable")
        if self._es is None:
            ranked = ranked[[self.success(identified[i][0]) is not None for i in ranked]][:1]
            if len(ranked) == 0:
                return  # the next ask is another random generation
            self._begin(genomes[ranked[0]])
        else:
            ranked = ranked[: self._es.sp.weights.mu]
            for i in ranked[failed[ranked]]:
                self._es.sent_solutions.insert(
                    self._solutions[i], geno=self._es.mean.copy(), iteration=self._es.countiter
                )
            self._es.opts["minstd"] = self._floor()
            self._es.tell(self._solutions, fitness.tolist())
        moving = ranked[~failed[ranked]].tolist()
        self._parents = [identified[i][0] for i in moving] or self._parents

    def parents(self) -> list[str]:
        """Return the digests of the genomes of the last update of the mean, the best first.

        Infeasible ones may be among them, at the end.
        """
        return list(self._parents)

    def _floor(self) -> NDArray[np.float64]:
        """Return the (dim,) least standard deviations that keep the margin around the mean."""
        mean = np.asarray(self._es.result.xfavorite)[: self.space.dim]
        floor = np.zeros(self._es.N)
        for i, (x, gene) in enumerate(zip(mean.tolist(), self.space.genes, strict=True)):
            bins = len(gene.values)
            if bins > 1:
                own = max(math.ceil(x * bins), 1) - 1
                edges = [edge / bins for edge in (own, own + 1) if 0 < edge < bins]
                floor[i] = min(abs(x - edge) for edge in edges) / self._quantile
        return floor

"""CMA-ES: a normal distribution that learns its mean, step size and covariance.

Hansen and Ostermeier 2001, "Completely derandomized self-adaptation in evolution
strategies", https://doi.org/10.1162/106365601750190398; tutorial: Hansen 2016,
https://arxiv.org/abs/1604.00772; library: https://github.com/CMA-ES/pycma.

On a genome of bins the step size collapses inside one bin, after which every draw
repeats itself. Two remedies. Following CMA-ES with margin (Hamano, Saito, Nomura,
Shirakawa 2022, https://arxiv.org/abs/2205.13482), in every coordinate the marginal
probability of leaving the mean's bin stays above a margin. And draws are free, trainings
are not: each generation is drawn until it holds only new architectures, from a
distribution that widens with each repeat, several times over; a model of what is known
chooses among the draws (``_screen``). The strategy learns only from its own draws. Where
fewer succeed than move the mean, a failure in their place counts as a draw of the mean
itself: it moves nothing, and the next draws are nearer.
What has converged restarts with twice the population (Auger and Hansen 2005,
https://doi.org/10.1109/CEC.2005.1554902).
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

#: Stops that mean "converged". The others (flat fitness, stagnation) are everyday
#: life on plateaus; the base restarts a strategy that only repeats itself.
CONVERGED = ("tolx", "tolfacupx", "tolupsigma", "noeffectaxis", "noeffectcoord", "tolconditioncov")
#: Draws for one place of a generation before it takes a repeat or an infeasible one.
DRAWS = 20
#: A restart doubles the population, up to so many times what it was.
LARGEST = 8
#: Growth of the draws' deviation with each repeat: twice as wide after 35.
WIDENING = 1.02
#: Wider than this a draw is anywhere in the cube, and its square must stay finite.
WIDEST = 1e3


class CMAES(Optimizer):
    """CMA-ES with bounds [0, 1] that spends its trainings on new architectures.

    The first generation is a random design; the distribution starts at its best.

    Args:
        sigma: initial standard deviation, in (0, 1].
        margin: least probability, in each coordinate, that a genome leaves the bin of
            the mean, in [0, 0.5]; None: 1 / dim, about one gene a genome.
        start: where the mean starts, ``random`` (at the best of the design) or
            ``centre``, without a design; restarts are random.
        screen: new draws for one genome that is asked, among which the model chooses,
            in 1 .. 100; 1: no choice. Beyond 24 little is gained, and where genes
            interact strongly and trainings are many, nothing.
        population_size: and the rest of ``common``: as in ``Optimizer``; default: 6, fewer
            than the usual 4 + 3 ln(dim), since what is told was chosen from more;
            no fewer than 4, of which two shape the next generation.
    """

    least_population_size = 4

    def __init__(
        self,
        space: SearchSpace,
        *,
        sigma: float = 0.3,
        margin: float | None = None,
        start: str = "random",
        screen: int = 24,
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
        if screen != int(number_in("screen", screen, 1, 100)):
            raise InputError(f"screen: expected a whole number in [1, 100], got {screen!r}")
        self._draws_each = int(screen)
        self._screen = Preselection(space)
        self._solutions: list[NDArray[np.float64]] = []
        self._es: Any = None
        self._parents: list[str] = []
        self._size = self.population_size  # of the present run; it grows with restarts
        self._centre = start == "centre"

    def _default_population_size(self) -> int:
        return 6

    def _restart(self) -> None:
        if self._es is not None:
            self._size = min(2 * self._size, LARGEST * self.population_size)
        self._es = None
        self._parents = []

    def _begin(self, mean: Genome) -> None:
        # pycma has no strategy in one dimension: a second coordinate without effect
        # stands in. An edge of the cube is no start for its boundary transformation.
        x0 = np.resize(np.clip(mean, 0.02, 0.98), max(2, self.space.dim))
        rng = self.rng  # not self: pycma keeps the function, and so would keep its owner
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
                # below -9 neither messages nor a look for cma_signals.in
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
            if self.archive.met or not self._centre:
                return self.sample(self._size)
            self._begin(np.full(self.space.dim, 0.5))
        new, rest = self._drawn(self._draws_each if self.archive.genomes else 1)
        chosen = self._screen.order([self._genome(x) for x in new])
        if self._draws_each == 1:
            chosen = np.arange(len(new))
        self._solutions = [*(new[i] for i in chosen), *rest][: self._size]
        return np.array([self._genome(x) for x in self._solutions])

    def _genome(self, solution: NDArray[np.float64]) -> Genome:
        return np.clip(solution[: self.space.dim], 0.0, 1.0)

    def _drawn(self, each: int) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
        """Draw ``each`` new feasible architectures for each place; the rest, repeats first."""
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
            self._screen.learn([genome for genome, _ in known], [value for _, value in known])
        digests = [self.identify(genome) for genome in genomes]
        # An infeasible genome shows by its cost a way back; a failure shows nothing.
        failed = np.array([v == 0.0 and self.success(d) is None for d, v in digests])
        ranked = np.argsort(fitness, kind="stable")
        if self._es is None:
            ranked = ranked[[self.success(digests[i][0]) is not None for i in ranked]][:1]
            if len(ranked) == 0:
                return  # the next ask is another design
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
        self._parents = [digests[i][0] for i in moving] or self._parents

    def parents(self) -> list[str]:
        """Return the digests of those that moved the mean last, the best first.

        Infeasible ones may be among them, behind all others.
        """
        return list(self._parents)

    def _floor(self) -> NDArray[np.float64]:
        """Least standard deviations, (dim,), that keep the margin around the present mean."""
        mean = np.asarray(self._es.result.xfavorite)[: self.space.dim]
        floor = np.zeros(self._es.N)
        for i, (x, gene) in enumerate(zip(mean.tolist(), self.space.genes, strict=True)):
            bins = len(gene.values)
            if bins > 1:
                own = max(math.ceil(x * bins), 1) - 1
                edges = [edge / bins for edge in (own, own + 1) if 0 < edge < bins]
                floor[i] = min(abs(x - edge) for edge in edges) / self._quantile
        return floor

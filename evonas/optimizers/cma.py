"""CMA-ES: a normal distribution that learns its mean, step size and covariance.

Hansen and Ostermeier 2001, "Completely derandomized self-adaptation in evolution
strategies", https://doi.org/10.1162/106365601750190398; tutorial: Hansen 2016,
https://arxiv.org/abs/1604.00772; library: https://github.com/CMA-ES/pycma.

On a genome of bins the step size collapses inside one bin, after which every ask
repeats itself. The remedy follows CMA-ES with margin (Hamano, Saito, Nomura,
Shirakawa 2022, https://arxiv.org/abs/2205.13482): in every coordinate the marginal
probability of leaving the mean's bin stays above a margin.
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
from evonas.space import SearchSpace

#: Stops that mean "converged". The others (flat fitness, stagnation) are everyday
#: life on plateaus; the base restarts a strategy that only repeats itself.
CONVERGED = ("tolx", "tolfacupx", "tolupsigma", "noeffectaxis", "noeffectcoord", "tolconditioncov")
#: Draws for one infeasible genome before it is asked as it is.
RESAMPLES = 20


class CMAES(Optimizer):
    """CMA-ES with bounds [0, 1] and a margin against freezing inside a bin.

    Args:
        sigma: initial standard deviation, in (0, 1].
        margin: least probability, in each coordinate, that a genome leaves the bin of
            the mean, in [0, 0.5]; None: 1 / dim, about one gene a genome.
        start: where the mean starts, ``random`` or ``centre``; restarts are random.
        population_size: and the rest of ``common``: as in ``Optimizer``; default: 4 + 3 ln(dim), at
            least 6; no fewer than 4, of which two shape the next generation.
    """

    least_population_size = 4

    def __init__(
        self,
        space: SearchSpace,
        *,
        sigma: float = 0.3,
        margin: float | None = None,
        start: str = "random",
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
        self._es: Any = None
        self._centre = start == "centre"

    def _default_population_size(self) -> int:
        return max(6, 4 + int(3 * math.log(self.space.dim)))

    def _restart(self) -> None:
        self._es = None

    def _begin(self) -> None:
        x0 = np.full(self.space.dim, 0.5)
        if self._met or not self._centre:
            x0 = self.sample(1)[0]
        # pycma has no strategy in one dimension: a second coordinate without effect
        # stands in. An edge of the cube is no start for its boundary transformation.
        x0 = np.resize(np.clip(x0, 0.02, 0.98), max(2, self.space.dim))
        rng = self.rng  # not self: pycma keeps the function, and so would keep its owner
        self._es = cma.CMAEvolutionStrategy(
            x0,
            self._sigma,
            {
                "bounds": [0.0, 1.0],
                "popsize": self.population_size,
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
        if self._es is None or any(key in self._es.stop() for key in CONVERGED):
            self.restarts += self._es is not None
            self._begin()
        self._solutions = [self._resampled(x) for x in self._es.ask()]
        return np.array(self._solutions)[:, : self.space.dim]

    def _resampled(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        for _ in range(RESAMPLES):
            if self.identify(np.clip(x[: self.space.dim], 0.0, 1.0))[1] == 0.0:
                break
            x = self._es.ask(1)[0]
        return x

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        self._es.opts["minstd"] = self._floor()
        self._es.tell(self._solutions, fitness.tolist())

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

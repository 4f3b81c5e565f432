"""BOBYQA: quadratic models in a trust region, without derivatives, several starts.

Powell 2009, "The BOBYQA algorithm for bound constrained optimization without
derivatives", https://www.damtp.cam.ac.uk/user/na/NA_papers/NA2009_06.pdf; library
Py-BOBYQA: Cartis, Fiala, Marteau, Roberts 2019, https://arxiv.org/abs/1804.00154.

Made for smooth functions of ordered genes. A start spends dim + 2 evaluations before
its first model step, so few starts with long runs are better than many short ones.
On a plateau it asks the same architecture again and again; those calls are answered
from memory and cost neither a training nor an ask.
"""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any, Unpack

import numpy as np
import pybobyqa
from numpy.typing import NDArray

from evonas.optimizers._callback_bridge import CallbackBridge, Function
from evonas.optimizers.base import Common, Optimizer, fenced_global_rng, number_in
from evonas.space import Genome, SearchSpace

#: Fresh starts for one place in an ask that all meet only known architectures.
VAIN_STARTS = 2


class Bobyqa(Optimizer):
    """Independent BOBYQA runs side by side; population_size is their number.

    A run that ends, or fails, is replaced by one from a new random point.

    Args:
        radius: initial trust region radius, in (0, 0.5]; raised above the widest bin.
        population_size: and the rest of ``common``: as in ``Optimizer``; default: 2 to 4,
            as many runs as the budget gives three times their first model.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        radius: float = 0.3,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        bins = space.bins[(space.bins > 0.0) & (space.bins < 1.0)]
        widest = float(bins.max()) if len(bins) else 0.0
        finest = float(bins.min()) if len(bins) else 0.04
        # Below a bin no step would change the architecture. The box must hold 2 radii.
        self._radius = min(max(number_in("radius", radius, 1e-3, 0.5), 1.05 * widest), 0.49)
        self._last_radius = min(finest / 4.0, self._radius / 4.0)
        self._state = np.random.RandomState(self.rng.integers(2**31))
        self._runs: list[CallbackBridge | None] = [None] * self.population_size
        self._waiting: list[int] = []
        self._answers: dict[int, float] = {}

    def _default_population_size(self) -> int:
        return int(np.clip(self.budget // (3 * (self.space.dim + 2)), 2, 4))

    def _restart(self) -> None:
        self._close()

    def _close(self) -> None:
        for run in self._runs:
            if run is not None:
                run.close()
        self._runs = [None] * self.population_size
        self._waiting = []
        self._answers = {}

    def _ask(self) -> NDArray[np.float64]:
        answers = self._answers
        self._waiting, rows = [], []
        for place in range(self.population_size):
            genome = self._next(place, answers.get(place))
            if genome is not None:
                self._waiting.append(place)
                rows.append(genome)
        self._answers = {}
        return np.array(rows, dtype=np.float64).reshape(-1, self.space.dim)

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        self._answers = dict(zip(self._waiting, map(_tamed, fitness.tolist()), strict=True))

    def _next(self, place: int, answer: float | None) -> Genome | None:
        """Drive the run at a place to its next unknown architecture; None: there is none."""
        for _ in range(1 + VAIN_STARTS):
            run = self._runs[place]
            if run is None:
                run = self._runs[place] = self._start()
            genome = self._advance(run, answer)
            while genome is not None:
                known = self.recall(self.identify(genome)[0])
                if known is None:
                    return genome
                genome = self._advance(run, _tamed(known))
            self._runs[place] = answer = None
            self.restarts += 1
        return None

    def _advance(self, run: CallbackBridge, answer: float | None) -> Genome | None:
        # The solver moves only inside this call, so fences here hold in its thread.
        with warnings.catch_warnings(), fenced_global_rng(self._state):
            warnings.simplefilter("ignore")
            return run.advance(answer)

    def _start(self) -> CallbackBridge:
        dim = self.space.dim
        options: dict[str, Any] = {
            "x0": self.sample(1)[0],
            "bounds": (np.zeros(dim), np.ones(dim)),
            "npt": dim + 2,
            "rhobeg": self._radius,
            "rhoend": self._last_radius,
            # most calls repeat; this bounds a run, the budget bounds the search
            "maxfun": 40 * (dim + 2),
            "do_logging": False,
        }
        return CallbackBridge(partial(_solve, options))


def _solve(options: dict[str, Any], function: Function) -> object:
    return pybobyqa.solve(function, **options)


def _tamed(fitness: float) -> float:
    """arcsinh: the fitness itself near 0, its logarithm far away.

    A quadratic through one huge value would be nothing but that value; the order of
    any two values stays.
    """
    return float(np.arcsinh(fitness))

"""Random search: distinct feasible architectures, drawn uniformly.

Bergstra and Bengio 2012, "Random search for hyper-parameter optimization",
https://jmlr.org/papers/v13/bergstra12a.html. In architecture search it is the usual baseline:
Li and Talwalkar 2019, https://arxiv.org/abs/1902.07638.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evonas.optimizers.base import Optimizer


class Random(Optimizer):
    """Draw genomes uniformly, without repeats, independently of the fitness."""

    asks_ahead = True

    def _ask(self) -> NDArray[np.float64]:
        return self.sample_new(self.population_size)

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        """Ignore the fitness."""

    def parents(self) -> list[str]:
        """Return an empty list: every draw is independent."""
        return []

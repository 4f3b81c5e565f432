"""Particle swarm: particles drawn towards their own best place and the swarm's.

Kennedy and Eberhart 1995, https://doi.org/10.1109/ICNN.1995.488968; inertia weight:
Shi and Eberhart 1998, https://doi.org/10.1109/ICEC.1998.699146; constriction constants:
Clerc and Kennedy 2002, https://doi.org/10.1109/4235.985692. Library: pyswarms,
https://github.com/ljvmiranda921/pyswarms, of which only the functions for one step
are used: its optimizers have no ask and tell, log to the root logger and write
report.log, and its handler classes set up logging each time they are built.
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from evonas.optimizers._fences import no_logging_setup
from evonas.optimizers.base import Common, Optimizer, fenced_global_rng, number_in
from evonas.space import SearchSpace

with no_logging_setup():  # merely importing pyswarms writes report.log
    from pyswarms.backend.operators import compute_pbest, compute_position, compute_velocity
    from pyswarms.backend.swarms import Swarm


class ParticleSwarm(Optimizer):
    """A global-best swarm that moves one step an ask; population_size is the swarm.

    Args:
        inertia: share of the velocity that is kept, in [0, 1).
        cognitive: pull of a particle's own best place, in [0, 4].
        social: pull of the swarm's best place, in [0, 4].
        population_size: and the rest of ``common``: as in ``Optimizer``; default: 10.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        inertia: float = 0.7298,
        cognitive: float = 1.49618,
        social: float = 1.49618,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        self._pulls = {
            "w": number_in("inertia", inertia, 0.0, 1.0 - 1e-9),
            "c1": number_in("cognitive", cognitive, 0.0, 4.0),
            "c2": number_in("social", social, 0.0, 4.0),
        }
        # pyswarms draws from numpy's global generator and from nothing else
        self._state = np.random.RandomState(self.rng.integers(2**31))
        self._swarm: Any = None

    def _restart(self) -> None:
        self._swarm = None

    def _ask(self) -> NDArray[np.float64]:
        if self._swarm is None:
            shape = (self.population_size, self.space.dim)
            self._swarm = Swarm(
                self.sample(self.population_size),
                self.rng.uniform(-0.25, 0.25, shape),
                options=dict(self._pulls),
            )
        else:
            with fenced_global_rng(self._state):
                self._swarm.velocity = compute_velocity(self._swarm, None, _limited)
                before = self._swarm.position
                self._swarm.position = compute_position(self._swarm, (0.0, 1.0), _clipped)
            # a particle at a wall loses the speed that pushes it out
            self._swarm.velocity = self._swarm.position - before
        return np.array(self._swarm.position)

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        swarm = self._swarm
        swarm.current_cost = fitness
        if len(swarm.pbest_cost) == 0:
            swarm.pbest_pos, swarm.pbest_cost = genomes.copy(), fitness.copy()
        else:
            swarm.pbest_pos, swarm.pbest_cost = compute_pbest(swarm)
        leader = int(np.argmin(swarm.pbest_cost))
        swarm.best_pos, swarm.best_cost = swarm.pbest_pos[leader], float(swarm.pbest_cost[leader])


def _limited(velocity: NDArray[np.float64], clamp: Any, **kwargs: Any) -> NDArray[np.float64]:
    """At most half the range a step, the customary limit."""
    return np.clip(velocity, -0.5, 0.5)


def _clipped(position: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.float64]:
    return np.clip(position, *bounds)

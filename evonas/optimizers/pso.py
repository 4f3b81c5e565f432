"""Particle swarm optimization: particles move towards their own and the swarm's best position.

Kennedy and Eberhart 1995, https://doi.org/10.1109/ICNN.1995.488968; inertia weight:
Shi and Eberhart 1998, https://doi.org/10.1109/ICEC.1998.699146. Genes with discrete values need
three changes. A step has at least the width of one bin in some gene, since a shorter one would
decode to the same architecture. A particle that reaches a known architecture uses its recorded
fitness and moves on in the same ask, since that needs no training. A gene of unordered choices
has no velocity: it is copied from the own best, the swarm's best or the current position, with
the coefficients as probabilities, as in the binary swarm (Kennedy and Eberhart 1997,
https://doi.org/10.1109/ICSMC.1997.637339). Each particle tries several moves, and a model of the
fitness chooses among them, as Regis 2014, https://doi.org/10.1016/j.jocs.2013.07.004, does with
another model (``common.preselection``).

Library: pyswarms, https://github.com/ljvmiranda921/pyswarms. Only its functions for one step are
used: its optimizers have no ask and tell, log to the root logger and write report.log, and its
handler classes set up logging each time they are created.
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from evonas.optimizers.base import Common, Optimizer, guarded_global_rng, number_in
from evonas.optimizers.common.arguments import whole_number
from evonas.optimizers.common.global_state_guards import no_logging_setup
from evonas.optimizers.common.preselection import Preselection
from evonas.optimizers.common.stagnation import Stagnation
from evonas.space import SearchSpace

with no_logging_setup():  # merely importing pyswarms writes report.log
    from pyswarms.backend.operators import compute_pbest, compute_position, compute_velocity
    from pyswarms.backend.swarms import Swarm

#: Largest absolute velocity of a gene: the customary half of the range.
LIMIT = 0.5
#: Smallest step of a gene without bins.
CONTINUOUS_FLOOR = 0.1
#: Moves of a particle in one ask before it is left out, as they all reached known or infeasible
#: architectures.
MOVES = 40
#: The first moves have no minimal step: a particle with enough velocity does not need it.
FREE_MOVES = 3

#: Generations without a better position after which the swarm is drawn anew: by then it has
#: contracted, and unordered genes hold few values that could be copied.
STALE = 10


class ParticleSwarm(Optimizer):
    """Global-best particle swarm of ``population_size`` particles.

    The social coefficient is large and the inertia small: a search of some tens of trainings
    has to converge faster than the usual coefficients, made for thousands of evaluations, allow.

    A failed evaluation never becomes a personal best: a particle without a success moves
    towards the swarm's best position only.

    An ask may have fewer genomes than ``population_size``: a particle that reaches no new
    architecture in 40 moves is left out.

    Args:
        inertia: share of the velocity that is kept, in [0, 1).
        cognitive: attraction to a particle's own best position, in [0, 4].
        social: attraction to the swarm's best position, in [0, 4].
        preselection: moves that each particle tries, from which the model chooses, at least
            1; 1: no preselection.
        population_size: genomes per ask, other arguments as in ``Optimizer``; default: 5.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        inertia: float = 0.3,
        cognitive: float = 0.5,
        social: float = 1.5,
        preselection: int = 24,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        self._coefficients = {
            "w": number_in("inertia", inertia, 0.0, 1.0 - 1e-9),
            "c1": number_in("cognitive", cognitive, 0.0, 4.0),
            "c2": number_in("social", social, 0.0, 4.0),
        }
        self._tries = whole_number("preselection", preselection, 1)
        self._preselection = Preselection(space)
        self._stagnation = Stagnation(STALE)
        self._own: int | None = None  # number of genomes of this swarm; None: there was no other
        self._floor = np.where(space.bins > 0.0, space.bins, CONTINUOUS_FLOOR)
        self._movable = np.flatnonzero(space.bins < 1.0)
        # pyswarms draws from numpy's global generator and from nothing else
        self._state = np.random.RandomState(self.rng.integers(2**31))
        self._swarm: Any = None

    def _default_population_size(self) -> int:
        return 5

    def _restart(self) -> None:
        self._swarm = None

    def _ask(self) -> NDArray[np.float64]:
        if self._swarm is None:
            shape = (self.population_size, self.space.dim)
            self._swarm = Swarm(
                self.sample(self.population_size),
                self.rng.uniform(-LIMIT / 2, LIMIT / 2, shape),
                options=dict(self._coefficients),
            )
            self._asked_particles = np.arange(self.population_size)
            return np.array(self._swarm.position)
        self._asked_particles = np.array(self._moved(), dtype=np.intp)
        return np.array(self._swarm.position[self._asked_particles])

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        swarm = self._swarm
        self._own = None if self._own is None else self._own + len(genomes)
        swarm.position[self._asked_particles] = genomes
        good = [self.success(self.identify(genome)[0]) is not None for genome in genomes]
        cost = np.where(good, fitness, np.inf)  # a failure never becomes a personal best
        if self._stagnation.after(float(cost.min())):
            self.restarts += 1
            self._restart()
            self._own = 0
        elif len(swarm.pbest_cost):
            self._update_bests(self._asked_particles, cost)
        elif any(good):
            swarm.pbest_pos, swarm.pbest_cost = genomes.copy(), cost
            self._update_swarm_best()
        else:  # no success in the first generation, hence no best position
            self.restarts += 1
            self._restart()

    def parents(self) -> list[str]:
        """Return the digests of the personal bests, the best first; particles may share one."""
        if self._swarm is None or len(self._swarm.pbest_cost) == 0:
            return []
        order = np.argsort(self._swarm.pbest_cost, kind="stable")
        return [self.identify(position)[0] for position in self._swarm.pbest_pos[order]]

    def _update_bests(self, particles: NDArray[np.intp], fitness: NDArray[np.float64]) -> None:
        """Update the personal bests of some particles with the fitness of their positions."""
        swarm = self._swarm
        swarm.current_cost = np.full(len(swarm.pbest_cost), np.inf)
        swarm.current_cost[particles] = fitness
        swarm.pbest_pos, swarm.pbest_cost = compute_pbest(swarm)
        self._update_swarm_best()

    def _update_swarm_best(self) -> None:
        swarm = self._swarm
        leader = int(np.argmin(swarm.pbest_cost))
        swarm.best_pos, swarm.best_cost = swarm.pbest_pos[leader], float(swarm.pbest_cost[leader])
        # A particle without a personal best is attracted to the swarm's best by both terms.
        swarm.pbest_pos[np.isinf(swarm.pbest_cost)] = swarm.best_pos

    def _moved(self) -> list[int]:
        """Make the most promising of several moves of each particle; return the moved particles."""
        if self._tries == 1:
            with guarded_global_rng(self._state):
                return self._move()
        swarm = self._swarm
        positions, velocities = swarm.position.copy(), swarm.velocity.copy()
        tried: list[tuple[int, NDArray[np.float64], NDArray[np.float64]]] = []
        # One guard for all tries: swapping the global state takes longer than ten steps.
        with guarded_global_rng(self._state):
            for _ in range(self._tries):
                swarm.position, swarm.velocity = positions.copy(), velocities.copy()
                for particle in self._move():
                    tried.append((particle, swarm.position[particle], swarm.velocity[particle]))
        swarm.position, swarm.velocity = positions, velocities
        # Of the present swarm: those of an abandoned one would lead back to where it ended.
        history = self.archive.history()[-self._own if self._own else None :]
        self._preselection.fit([genome for genome, _ in history], [value for _, value in history])
        taken: dict[int, str] = {}
        for index in self._preselection.order([position for _, position, _ in tried]).tolist():
            particle, position, velocity = tried[index]
            digest = self.identify(position)[0]
            if particle not in taken and digest not in taken.values():
                taken[particle] = digest
                swarm.position[particle], swarm.velocity[particle] = position, velocity
        return sorted(taken)

    def _move(self) -> list[int]:
        """Move each particle until its architecture is new; return the successful particles.

        pyswarms draws from numpy's global generator: call this inside ``guarded_global_rng``.
        """
        moved: dict[str, int] = {}
        pending = np.arange(self.population_size)
        for move in range(MOVES):
            self._step(pending, floor=move >= FREE_MOVES)
            remaining, known, values = [], [], []
            for particle in pending.tolist():
                digest, violation = self.identify(self._swarm.position[particle])
                if violation == 0.0 and self.is_new(digest) and digest not in moved:
                    moved[digest] = particle
                    continue
                remaining.append(particle)
                value = self.success(digest)
                if value is not None:
                    known.append(particle)
                    values.append(value)
            if known:
                self._update_bests(
                    np.array(known, dtype=np.intp), np.array(values, dtype=np.float64)
                )
            pending = np.array(remaining, dtype=np.intp)
            if len(pending) == 0:
                break
        return sorted(moved.values())

    def _step(self, particles: NDArray[np.intp], floor: bool) -> None:
        """Move some particles by their velocity, at least a minimal step if ``floor``."""
        swarm = self._swarm
        part = Swarm(
            swarm.position[particles],
            swarm.velocity[particles],
            options=swarm.options,
            pbest_pos=swarm.pbest_pos[particles],
            best_pos=swarm.best_pos,
        )
        part.velocity = compute_velocity(part, None, _limited)
        part.position = self._copied(part)
        if floor:
            self._push(part)
        position = compute_position(part, (0.0, 1.0), _clipped)
        # clipping at the bounds also removes the velocity beyond them
        swarm.velocity[particles] = position - part.position
        swarm.position[particles] = position

    def _copied(self, part: Any) -> NDArray[np.float64]:
        """Return positions whose unordered genes are copied from a best; they have no velocity."""
        choice = ~self.space.ordered
        part.velocity[:, choice] = 0.0
        bounds = np.cumsum([self._coefficients[key] for key in ("c2", "c1", "w")])
        drawn = self.rng.random(part.position.shape) * max(bounds[-1], 1e-9)
        copied = np.where(drawn < bounds[1], part.pbest_pos, part.position)
        copied = np.where(drawn < bounds[0], part.best_pos, copied)
        copied = np.where(choice, copied, part.position)
        return np.asarray(copied, dtype=np.float64)

    def _push(self, part: Any) -> None:
        """Raise one gene's velocity to at least a bin, or draw another choice, in each particle."""
        if len(self._movable) == 0:
            return
        for row, gene in enumerate(self.rng.choice(self._movable, len(part.position))):
            if self.space.ordered[gene]:
                x, velocity = part.position[row, gene], part.velocity[row, gene]
                floor = self._floor[gene]
                if abs(velocity) < floor:
                    velocity = floor * self.rng.choice((-1.0, 1.0))
                # a step out of the range is reversed; clipping would undo it
                inside = 0.0 <= x + velocity <= 1.0
                part.velocity[row, gene] = velocity if inside else -velocity
            else:
                values = len(self.space.genes[gene].values)
                own = max(int(np.ceil(part.position[row, gene] * values)), 1) - 1
                other = (own + self.rng.integers(1, values)) % values
                part.position[row, gene] = (other + 0.5) / values


def _limited(velocity: NDArray[np.float64], clamp: Any, **kwargs: Any) -> NDArray[np.float64]:
    """Clip velocities to LIMIT; pyswarms' own handler would set up logging."""
    return np.clip(velocity, -LIMIT, LIMIT)


def _clipped(position: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.float64]:
    return np.clip(position, *bounds)

"""Particle swarm: particles drawn towards their own best place and the swarm's.

Kennedy and Eberhart 1995, https://doi.org/10.1109/ICNN.1995.488968; inertia weight:
Shi and Eberhart 1998, https://doi.org/10.1109/ICEC.1998.699146. Genes are values in bins,
which changes three things. A step is never shorter than a bin in every gene, as it would
end where it began. A particle that lands on a known architecture flies on at once, since
that costs no training, and learns from what the architecture is known to be worth. And
between choices there is no order, hence no way: such a gene is copied, with the same pulls
as probabilities, as in the binary swarm (Kennedy and Eberhart 1997,
https://doi.org/10.1109/ICSMC.1997.637339). Flights are free and trainings are not: each
particle tries several, and a small model of what is known chooses among them (as Regis
2014, https://doi.org/10.1016/j.jocs.2013.07.004, does with another model; see ``_screen``).

Library: pyswarms, https://github.com/ljvmiranda921/pyswarms, of which only the functions
for one step are used: its optimizers have no ask and tell, log to the root logger and
write report.log, and its handler classes set up logging each time they are built.
"""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from evonas.optimizers.base import Common, Optimizer, guarded_global_rng, number_in
from evonas.optimizers.common.arguments import whole_number
from evonas.optimizers.common.global_state_guards import no_logging_setup
from evonas.optimizers.common.preselection import Preselection
from evonas.space import SearchSpace

with no_logging_setup():  # merely importing pyswarms writes report.log
    from pyswarms.backend.operators import compute_pbest, compute_position, compute_velocity
    from pyswarms.backend.swarms import Swarm

#: The longest step in a gene, the customary half of the range.
LIMIT = 0.5
#: The shortest step of a gene without bins.
CONTINUOUS_FLOOR = 0.1
#: Steps of a particle in one ask that may end at known or infeasible architectures.
FLIGHTS = 40
#: As many of them without a floor: a particle that still flies needs no push.
FREE_FLIGHTS = 3


class ParticleSwarm(Optimizer):
    """A global-best swarm; population_size is the swarm.

    The pull of the swarm is strong and the inertia small: with some tens of trainings
    there is no time to circle around the best place, as coefficients for thousands do.

    What failed is no place to remember: a particle that has met no success yet is drawn to
    the swarm's best place alone.

    An ask may be shorter than population_size: a particle that finds nothing new in
    forty steps sits it out.

    Args:
        inertia: share of the velocity that is kept, in [0, 1).
        cognitive: pull of a particle's own best place, in [0, 4].
        social: pull of the swarm's best place, in [0, 4].
        screen: flights that each particle tries, among which the model chooses, at least 1;
            1: no choice.
        population_size: and the rest of ``common``: as in ``Optimizer``; default: 5.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        inertia: float = 0.3,
        cognitive: float = 0.5,
        social: float = 1.5,
        screen: int = 24,
        **common: Unpack[Common],
    ) -> None:
        super().__init__(space, **common)
        self._pulls = {
            "w": number_in("inertia", inertia, 0.0, 1.0 - 1e-9),
            "c1": number_in("cognitive", cognitive, 0.0, 4.0),
            "c2": number_in("social", social, 0.0, 4.0),
        }
        self._tries = whole_number("screen", screen, 1)
        self._screen = Preselection(space)
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
                options=dict(self._pulls),
            )
            self._asked_particles = np.arange(self.population_size)
            return np.array(self._swarm.position)
        self._asked_particles = np.array(self._chosen(), dtype=np.intp)
        return np.array(self._swarm.position[self._asked_particles])

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        swarm = self._swarm
        swarm.position[self._asked_particles] = genomes
        good = [self.success(self.identify(genome)[0]) is not None for genome in genomes]
        cost = np.where(good, fitness, np.inf)  # beats no personal best
        if len(swarm.pbest_cost):
            self._learn(self._asked_particles, cost)
        elif any(good):
            swarm.pbest_pos, swarm.pbest_cost = genomes.copy(), cost
            self._follow()
        else:  # a first generation without a place to fly to
            self.restarts += 1
            self._restart()

    def parents(self) -> list[str]:
        """Return the digests of the personal bests, the best first; one may be of several."""
        if self._swarm is None or len(self._swarm.pbest_cost) == 0:
            return []
        order = np.argsort(self._swarm.pbest_cost, kind="stable")
        return [self.identify(place)[0] for place in self._swarm.pbest_pos[order]]

    def _learn(self, particles: NDArray[np.intp], fitness: NDArray[np.float64]) -> None:
        """Let some particles remember where they are, if it is better than their best."""
        swarm = self._swarm
        swarm.current_cost = np.full(len(swarm.pbest_cost), np.inf)
        swarm.current_cost[particles] = fitness
        swarm.pbest_pos, swarm.pbest_cost = compute_pbest(swarm)
        self._follow()

    def _follow(self) -> None:
        swarm = self._swarm
        leader = int(np.argmin(swarm.pbest_cost))
        swarm.best_pos, swarm.best_cost = swarm.pbest_pos[leader], float(swarm.pbest_cost[leader])
        # Whoever has no place of its own is drawn to this one by both pulls.
        swarm.pbest_pos[np.isinf(swarm.pbest_cost)] = swarm.best_pos

    def _chosen(self) -> list[int]:
        """Let each particle try several flights and take the most promising; return who did."""
        if self._tries == 1:
            with guarded_global_rng(self._state):
                return self._fly()
        swarm = self._swarm
        place, speed = swarm.position.copy(), swarm.velocity.copy()
        tried: list[tuple[int, NDArray[np.float64], NDArray[np.float64]]] = []
        # One fence for all: lending a state and taking it back costs more than ten steps.
        with guarded_global_rng(self._state):
            for _ in range(self._tries):
                swarm.position, swarm.velocity = place.copy(), speed.copy()
                for particle in self._fly():
                    tried.append((particle, swarm.position[particle], swarm.velocity[particle]))
        swarm.position, swarm.velocity = place, speed
        history = self.archive.history()
        self._screen.learn([genome for genome, _ in history], [value for _, value in history])
        taken: dict[int, str] = {}
        for index in self._screen.order([position for _, position, _ in tried]).tolist():
            particle, position, velocity = tried[index]
            digest = self.identify(position)[0]
            if particle not in taken and digest not in taken.values():
                taken[particle] = digest
                swarm.position[particle], swarm.velocity[particle] = position, velocity
        return sorted(taken)

    def _fly(self) -> list[int]:
        """Move each particle to something new; return those that got there, in order.

        Draws from the global generator, which has to be fenced.
        """
        found: dict[str, int] = {}
        pending = np.arange(self.population_size)
        for flight in range(FLIGHTS):
            self._step(pending, floor=flight >= FREE_FLIGHTS)
            stay, known, worth = [], [], []
            for particle in pending.tolist():
                digest, violation = self.identify(self._swarm.position[particle])
                if violation == 0.0 and self.is_new(digest) and digest not in found:
                    found[digest] = particle
                    continue
                stay.append(particle)
                worth_there = self.success(digest)
                if worth_there is not None:
                    known.append(particle)
                    worth.append(worth_there)
            if known:
                self._learn(np.array(known, dtype=np.intp), np.array(worth, dtype=np.float64))
            pending = np.array(stay, dtype=np.intp)
            if len(pending) == 0:
                break
        return sorted(found.values())

    def _step(self, particles: NDArray[np.intp], floor: bool) -> None:
        """Move some particles by one velocity."""
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
        # a particle at a wall loses the speed that pushes it out
        swarm.velocity[particles] = position - part.position
        swarm.position[particles] = position

    def _copied(self, part: Any) -> NDArray[np.float64]:
        """Return positions with the genes of choices copied; those keep no velocity."""
        choice = ~self.space.ordered
        part.velocity[:, choice] = 0.0
        pulls = np.cumsum([self._pulls["c2"], self._pulls["c1"], self._pulls["w"]])
        drawn = self.rng.random(part.position.shape) * max(pulls[-1], 1e-9)
        copied = np.where(drawn < pulls[1], part.pbest_pos, part.position)
        copied = np.where(drawn < pulls[0], part.best_pos, copied)
        copied = np.where(choice, copied, part.position)
        return np.asarray(copied, dtype=np.float64)

    def _push(self, part: Any) -> None:
        """Give each particle the speed of at least a bin in one gene, or another choice there."""
        if len(self._movable) == 0:
            return
        for row, gene in enumerate(self.rng.choice(self._movable, len(part.position))):
            if self.space.ordered[gene]:
                x, speed = part.position[row, gene], part.velocity[row, gene]
                least = self._floor[gene]
                if abs(speed) < least:
                    speed = least * self.rng.choice((-1.0, 1.0))
                # a wall reflects, or the push would be lost
                inside = 0.0 <= x + speed <= 1.0
                part.velocity[row, gene] = speed if inside else -speed
            else:
                values = len(self.space.genes[gene].values)
                own = max(int(np.ceil(part.position[row, gene] * values)), 1) - 1
                other = (own + self.rng.integers(1, values)) % values
                part.position[row, gene] = (other + 0.5) / values


def _limited(velocity: NDArray[np.float64], clamp: Any, **kwargs: Any) -> NDArray[np.float64]:
    """At most half the range a step, the customary limit."""
    return np.clip(velocity, -LIMIT, LIMIT)


def _clipped(position: NDArray[np.float64], bounds: tuple[float, float]) -> NDArray[np.float64]:
    return np.clip(position, *bounds)

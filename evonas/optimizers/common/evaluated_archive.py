"""What a search knows of every architecture that it met, and how it speaks of failures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from evonas.space import Genome

Array = NDArray[np.float64]

#: Told architectures that models are fitted to, the latest: beyond, a fit would take ever longer
#: and say ever less of where the search is by now.
MEMORY = 1000
#: Beyond this a fitness is only "very bad": squares of it must stay finite.
HUGE = 1e100


class EvaluatedArchive:
    """Architectures by digest: how far over the limit, and what was told of them.

    A failure has no value of its own. It stands behind every success, one over the limit
    on cost further behind, by its cost, so there is a way back.

    Attributes:
        met: digest -> cost violation, of all ever asked or learned.
        genomes: digest -> (dim,) genome, of all that was told.
        best_genome: (dim,) best genome so far; None as long as nothing succeeded.
        best_fitness: its fitness; inf as long as nothing succeeded.
        width: how many axes were told; None as long as none were.
        worst: the highest fitness of a success, bounded; -inf as long as nothing succeeded.
    """

    def __init__(self) -> None:
        self.met: dict[str, float] = {}
        self.best_genome: Genome | None = None
        self.best_fitness = float("inf")
        self.genomes: dict[str, Genome] = {}
        self._fitness: dict[str, float] = {}  # as told, nan if failed
        self._axes: dict[str, Array] = {}  # as told, of successes alone
        self._range: tuple[Array, Array] | None = None  # least and most of these
        self.width: int | None = None
        self.worst = -float("inf")

    @property
    def any_success(self) -> bool:
        """Whether anything succeeded yet: until then nothing ranks."""
        return bool(np.isfinite(self.worst))

    def remember(self, digests: Sequence[str], genomes: Array, fitness: Array, axes: Array) -> None:
        """Write down what was told; nan is a failure, and gives way to a later success.

        Args:
            digests: n of them.
            genomes: (n, dim), which are kept.
            fitness: (n,).
            axes: (n, m).
        """
        if not digests:
            return
        self.width = axes.shape[1]
        told, new, lost = np.clip(axes, -HUGE, HUGE), [], np.isnan(fitness)
        whole = np.logical_and.reduce(np.isfinite(axes), axis=1) & ~lost
        rows = zip(digests, genomes, fitness.tolist(), told, whole.tolist(), strict=True)
        for number, (digest, genome, value, sides, known) in enumerate(rows):
            self.genomes.setdefault(digest, genome)
            if math.isnan(self._fitness.get(digest, math.nan)):
                self._fitness[digest] = value
            if known and digest not in self._axes:
                self._axes[digest] = sides
                new.append(number)
        if new:
            least, most = self._range or (told[new[0]], told[new[0]])
            self._range = (
                np.minimum(least, told[new].min(axis=0)),
                np.maximum(most, told[new].max(axis=0)),
            )
        if not lost.all():
            self.worst = max(self.worst, _bounded(fitness[~lost].max()))
            best = int(np.where(lost, np.inf, fitness).argmin())
            if fitness[best] < self.best_fitness:
                self.best_fitness, self.best_genome = float(fitness[best]), genomes[best].copy()

    def fitness_of(self, digest: str) -> float | None:
        """Return the fitness, repaired if it failed; None if it, or any success, is unknown."""
        if digest not in self._fitness or not self.any_success:
            return None
        return self.repaired(digest, self._fitness[digest])

    def success(self, digest: str) -> float | None:
        """Return the fitness of an architecture that succeeded; None if it never did."""
        fitness = self._fitness.get(digest, math.nan)
        return None if math.isnan(fitness) else _bounded(fitness)

    def repaired_all(self, digests: Sequence[str], fitness: Array) -> Array:
        """Return (n,) finite fitness, as ``repaired`` each; an earlier success is no failure."""
        found = np.clip(fitness, -HUGE, HUGE)
        for lost in np.flatnonzero(np.isnan(fitness)).tolist():
            digest = digests[lost]
            found[lost] = self.repaired(digest, self._fitness.get(digest, math.nan))
        return found

    def repaired(self, digest: str, fitness: float) -> float:
        """Return a finite fitness: a failure is worse than every success, by its cost.

        The distance is the range of the successes, at least a hundredth of the worst:
        enough to rank last in floating point, too little to bend a model. It holds for now:
        a later success may be worse than what is returned, so who keeps values looks this one
        up again.
        """
        if not np.isnan(fitness):
            return _bounded(fitness)
        best = _bounded(self.best_fitness)
        return float(self._behind(digest, np.array([best]), np.array([self.worst]))[0])

    def axes_of(self, digest: str) -> Array | None:
        """Return the (m,) axes, repaired as a fitness is; None as ``fitness_of``."""
        if self._range is None:
            return None
        known = self._axes.get(digest)
        return self._behind(digest, *self._range) if known is None else known

    def successes(self) -> tuple[Array, Array, Array]:
        """Return (n, dim) genomes, (n,) fitness and (n, m) axes of all that succeeded."""
        digests = [
            digest
            for digest, fitness in self._fitness.items()
            if self.met[digest] == 0.0 and digest in self._axes and not np.isnan(fitness)
        ]
        return (
            np.array([self.genomes[digest] for digest in digests], dtype=np.float64),
            np.array([self._fitness[digest] for digest in digests], dtype=np.float64),
            np.array([self._axes[digest] for digest in digests], dtype=np.float64),
        )

    def latest(self) -> list[str]:
        """Return the digests of the MEMORY feasible architectures that were told last, in order."""
        told = (digest for digest in reversed(self.genomes) if self.met[digest] == 0.0)
        return [*islice(told, MEMORY)][::-1]

    def history(self) -> list[tuple[Genome, float]]:
        """Return genome and (repaired) fitness of the latest feasible architectures."""
        told = [(self.genomes[digest], self.fitness_of(digest)) for digest in self.latest()]
        return [(genome, value) for genome, value in told if value is not None]

    def _behind(self, digest: str, best: Array, worst: Array) -> Array:
        step = np.maximum(worst - best, 0.01 * np.abs(worst))
        step = np.where(step == 0.0, 0.1, step)
        violation = self.met[digest]
        behind: Array = worst + step * (
            1.0 + (1.0 + violation / (1.0 + violation)) * (violation > 0.0)
        )
        return behind


def _bounded(fitness: float) -> float:
    return min(max(float(fitness), -HUGE), HUGE)

"""Archive of evaluated architectures, with penalised fitness for failed evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from evonas.space import Genome

Array = NDArray[np.float64]

#: Number of latest evaluations that models are fitted to: a fit to all would take ever longer,
#: and old evaluations say little about the region being searched.
MEMORY = 1000
#: Bound on the magnitude of a fitness, so that squares of it stay finite.
HUGE = 1e100


@dataclass(frozen=True)
class AskedGeneration:
    """A generation that was asked and whose fitness is not known yet."""

    genomes: NDArray[np.float64]
    digests: tuple[str, ...]
    violations: NDArray[np.float64]
    own: bool  # all of what _ask returned, so _tell may be called with its fitness


class EvaluatedArchive:
    """Fitness and axes of the evaluated architectures, by digest.

    A failed evaluation has no fitness. It gets a penalised one, worse than every success, and
    for an architecture above the cost limit worse still, growing with its cost, which leads a
    strategy back to the feasible region.

    Attributes:
        seen: digest -> cost violation of every architecture asked or observed.
        genomes: digest -> (dim,) genome of every evaluated architecture.
        best_genome: (dim,) genome of lowest fitness; None before the first success.
        best_fitness: its fitness; inf before the first success.
        width: number of axes; None before the first evaluation.
        worst: highest fitness of a success, bounded; -inf before the first success.
    """

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self.best_genome: Genome | None = None
        self.best_fitness = float("inf")
        self.genomes: dict[str, Genome] = {}
        self._fitness: dict[str, float] = {}  # as reported, nan if failed
        self._axes: dict[str, Array] = {}  # as reported, of successes only
        self._range: tuple[Array, Array] | None = None  # lowest and highest value of each axis
        self.width: int | None = None
        self.worst = -float("inf")

    @property
    def any_success(self) -> bool:
        """Whether any evaluation succeeded; before that, nothing can be ranked."""
        return bool(np.isfinite(self.worst))

    def record(
        self,
        digests: Sequence[str],
        genomes: Array,
        fitness: Array,
        axes: Array,
        again: bool = False,
    ) -> None:
        """Add evaluations; a later success replaces a failure, nothing replaces a success.

        Args:
            digests: n digests.
            genomes: (n, dim); the rows are kept without a copy.
            fitness: (n,), nan for failed evaluations.
            axes: (n, m).
            again: whether a later evaluation replaces any, since trainings go on.
        """
        if not digests:
            return
        self.width = axes.shape[1]
        bounded, new, failed = np.clip(axes, -HUGE, HUGE), [], np.isnan(fitness)
        complete = np.logical_and.reduce(np.isfinite(axes), axis=1) & ~failed
        rows = zip(digests, genomes, fitness.tolist(), bounded, complete.tolist(), strict=True)
        for index, (digest, genome, value, row, has_axes) in enumerate(rows):
            self.genomes.setdefault(digest, genome)
            if again or math.isnan(self._fitness.get(digest, math.nan)):
                self._fitness[digest] = value
            if has_axes and (again or digest not in self._axes):
                self._axes[digest] = row
                new.append(index)
        if new:
            low, high = self._range or (bounded[new[0]], bounded[new[0]])
            self._range = (
                np.minimum(low, bounded[new].min(axis=0)),
                np.maximum(high, bounded[new].max(axis=0)),
            )
        if not failed.all():
            self.worst = max(self.worst, _bounded(fitness[~failed].max()))
            best = int(np.where(failed, np.inf, fitness).argmin())
            if fitness[best] < self.best_fitness:
                self.best_fitness, self.best_genome = float(fitness[best]), genomes[best].copy()

    def fitness_of(self, digest: str) -> float | None:
        """Return the fitness of an evaluated architecture, penalised if its evaluation failed.

        None if it was not evaluated, and before the first success.
        """
        if digest not in self._fitness or not self.any_success:
            return None
        return self.penalised(digest, self._fitness[digest])

    def success(self, digest: str) -> float | None:
        """Return the fitness of a successful evaluation; None if there is none."""
        fitness = self._fitness.get(digest, math.nan)
        return None if math.isnan(fitness) else _bounded(fitness)

    def penalised_all(self, digests: Sequence[str], fitness: Array) -> Array:
        """Return (n,) finite fitness: earlier successes, else penalties, in place of nan."""
        finite = np.clip(fitness, -HUGE, HUGE)
        for index in np.flatnonzero(np.isnan(fitness)).tolist():
            digest = digests[index]
            finite[index] = self.penalised(digest, self._fitness.get(digest, math.nan))
        return finite

    def penalised(self, digest: str, fitness: float) -> float:
        """Return the fitness, or for nan a penalised fitness that is worse than every success.

        It exceeds the worst success by the range of the successes, at least by 1 % of the
        worst: enough to rank last in floating point, too little to distort a model. A later
        success may be worse than the value returned now, so it must not be stored.
        """
        if not np.isnan(fitness):
            return _bounded(fitness)
        best = _bounded(self.best_fitness)
        return float(self._behind(digest, np.array([best]), np.array([self.worst]))[0])

    def axes_of(self, digest: str) -> Array | None:
        """Return the (m,) axes, penalised if the evaluation failed; None before any success."""
        if self._range is None:
            return None
        axes = self._axes.get(digest)
        return self._behind(digest, *self._range) if axes is None else axes

    def successes(self) -> tuple[Array, Array, Array]:
        """Return (n, dim) genomes, (n,) fitness and (n, m) axes of all successes."""
        digests = [
            digest
            for digest, fitness in self._fitness.items()
            if self.seen[digest] == 0.0 and digest in self._axes and not np.isnan(fitness)
        ]
        return (
            np.array([self.genomes[digest] for digest in digests], dtype=np.float64),
            np.array([self._fitness[digest] for digest in digests], dtype=np.float64),
            np.array([self._axes[digest] for digest in digests], dtype=np.float64),
        )

    def latest(self) -> list[str]:
        """Return the digests of the last MEMORY feasible architectures, in order of evaluation."""
        feasible = (digest for digest in reversed(self.genomes) if self.seen[digest] == 0.0)
        return [*islice(feasible, MEMORY)][::-1]

    def history(self) -> list[tuple[Genome, float]]:
        """Return genome and fitness, penalised if failed, of the ``latest`` architectures."""
        pairs = [(self.genomes[digest], self.fitness_of(digest)) for digest in self.latest()]
        return [(genome, value) for genome, value in pairs if value is not None]

    def _behind(self, digest: str, best: Array, worst: Array) -> Array:
        """Return values worse than ``worst`` by the range, up to thrice it above the cost limit."""
        step = np.maximum(worst - best, 0.01 * np.abs(worst))
        step = np.where(step == 0.0, 0.1, step)
        violation = self.seen[digest]
        behind: Array = worst + step * (
            1.0 + (1.0 + violation / (1.0 + violation)) * (violation > 0.0)
        )
        return behind


def _bounded(fitness: float) -> float:
    return min(max(float(fitness), -HUGE), HUGE)

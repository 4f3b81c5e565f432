"""Start of a search from earlier results: observations, and genomes to ask first."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evonas.errors import InputError
from evonas.optimizers.common.arguments import observed_axes, observed_fitness, unit_cube
from evonas.optimizers.common.evaluated_archive import EvaluatedArchive
from evonas.space import Genome, SearchSpace


class EarlierResults:
    """What an optimizer is given before its first ask, and the best of it to start from."""

    space: SearchSpace
    archive: EvaluatedArchive
    population_size: int
    identify: Callable[[Genome], tuple[str, float]]
    _begun: bool
    _queue: list[Genome]
    _initial: list[Genome] | None

    def add_observations(
        self, genomes: ArrayLike, fitness: ArrayLike, axes: ArrayLike | None = None
    ) -> None:
        """Add evaluations of an earlier search; call before the first ask.

        These architectures use no budget, now or later, and the strategy starts from the
        best of them.

        Args:
            genomes: (n, dim) values in [0, 1].
            fitness: (n,) on the scale of the fitness given to ``tell``; nan or inf: failed.
            axes: (n, m), as in ``tell``.

        Raises:
            InputError: ask() was called before, or a shape is wrong.
        """
        observed = self._before_first_ask("add_observations", genomes)
        values = observed_fitness("add_observations", fitness, len(observed))
        objectives = observed_axes("add_observations", axes, values, self.archive.width)
        identified = [self.identify(genome) for genome in observed]
        self.archive.seen.update(identified)
        values[[violation > 0.0 for _, violation in identified]] = np.nan
        self.archive.record([digest for digest, _ in identified], observed, values, objectives)

    def enqueue(self, genomes: ArrayLike) -> None:
        """Queue genomes that are asked, in this order, before those of the strategy.

        They use budget like all others. Call before the first ask.

        Args:
            genomes: (n, dim) values in [0, 1].

        Raises:
            InputError: ask() was called before, or the shape is wrong.
        """
        self._queue = [*self._before_first_ask("enqueue", genomes)]

    def _preferred(
        self, fitness: NDArray[np.float64], axes: NDArray[np.float64]
    ) -> NDArray[np.intp]:
        """Return (n,) indices of successes, the preferred starting points first.

        Args:
            fitness: (n,) fitness of the successes.
            axes: (n, m) their axes.
        """
        return np.argsort(fitness, kind="stable")

    def initial_genomes(self, n: int) -> NDArray[np.float64]:
        """Return (m, dim) genomes to start from, m <= n: the best known before the first ask.

        They come from ``add_observations`` and ``enqueue``, so most searches have none. Each
        is returned once.
        """
        if self._initial is None:
            genomes, fitness, axes = self.archive.successes()
            order = self._preferred(fitness, axes).tolist() if len(fitness) else []
            self._initial = [genomes[i] for i in order[: self.population_size]]
        taken, self._initial = self._initial[:n], self._initial[n:]
        return np.array(taken, dtype=np.float64).reshape(-1, self.space.dim)

    def _before_first_ask(self, method: str, genomes: ArrayLike) -> NDArray[np.float64]:
        """Return checked (n, dim) genomes; refuse them after the first ask."""
        if self._begun:
            told = "expected it before the first ask; create a new optimizer"
            raise InputError(f"{method}() came after ask(): {told}")
        return unit_cube(method, genomes, self.space.dim)

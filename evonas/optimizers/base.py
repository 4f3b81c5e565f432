"""What every search strategy offers: ask for genomes, tell their fitness.

The public ``ask`` and ``tell`` keep the books: which architectures were met, what
the budget still allows, what was best, how a failure is passed on, when a strategy
only repeats itself. A strategy is one file with ``_ask``, ``_tell`` and ``_restart``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Required, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evonas.errors import InputError
from evonas.optimizers._arguments import Cost, number_in, whole_number
from evonas.optimizers._fences import fenced_global_rng
from evonas.optimizers._sampling import Sampler
from evonas.space import Genome, SearchSpace

__all__ = ["Cost", "Optimizer", "fenced_global_rng", "number_in"]

#: An ask of mere repeats weighs 3, one of new but infeasible architectures 1: the
#: latter may be on its way back to feasibility.
REPEATS, INFEASIBLE, PATIENCE = 3, 1, 9
#: Restarts in a row that bring nothing new, before the rest is drawn at random.
FRUITLESS_RESTARTS = 3
#: Beyond this a fitness is only "very bad": squares of it must stay finite.
HUGE = 1e100


@dataclass(frozen=True)
class _Asked:
    """One generation, as long as it waits for its fitness."""

    genomes: NDArray[np.float64]
    digests: tuple[str, ...]
    violations: NDArray[np.float64]
    own: bool  # proposed by the strategy itself, complete, so that it may learn from it


class Common(TypedDict, total=False):
    """The arguments that every strategy passes on to ``Optimizer``."""

    budget: Required[int]
    seed: Required[int]
    population_size: int | None
    macs: Cost | None
    max_macs: int | None


class Optimizer(ABC):
    """A search strategy that minimises. Two with equal arguments ask the same genomes.

    Args:
        space: the search space.
        budget: number of distinct architectures that may be trained, at least 1.
        seed: of the strategy's own random state; at least 0.
        population_size: genomes of one ask, at least 2; None: the strategy's default.
        macs: exact cost of an architecture in multiply-adds, without training it.
        max_macs: hard limit on that cost. An architecture above it is infeasible: it
            must not be trained, costs no budget, and counts as failed whatever is told.

    A strategy with options of its own repeats these keyword-only parameters, adds its
    own, each with a default, and passes these on: its signature and annotations are
    what a user's keys and values are checked against.

    Attributes:
        best_genome: (dim,) best genome so far; None as long as nothing succeeded.
        best_fitness: its fitness; inf as long as nothing succeeded.
        trained: number of distinct feasible architectures asked so far.
        restarts: how often the strategy started afresh.
        stop_reason: why the search ended, one sentence; empty while it goes on.

    Raises:
        InputError: an argument is out of its range.
    """

    least_population_size: ClassVar[int] = 2

    def __init__(
        self,
        space: SearchSpace,
        *,
        budget: int,
        seed: int,
        population_size: int | None = None,
        macs: Cost | None = None,
        max_macs: int | None = None,
    ) -> None:
        self.space = space
        self.budget = whole_number("budget", budget, 1)
        self.seed = whole_number("seed", seed, 0)
        self.rng = np.random.default_rng(self.seed)
        if max_macs is not None and macs is None:
            raise InputError("max_macs needs macs, the cost of an architecture; macs is None")
        self.macs = macs
        self.max_macs = None if max_macs is None else whole_number("max_macs", max_macs, 1)
        self.population_size = (
            self._default_population_size()
            if population_size is None
            else whole_number("population_size", population_size, self.least_population_size)
        )
        self.best_genome: Genome | None = None
        self.best_fitness = float("inf")
        self.trained = 0
        self.restarts = 0
        self.stop_reason = ""
        self._worst = -float("inf")
        self._met: dict[str, float] = {}  # digest -> cost violation, of all ever asked
        self._fitness: dict[str, float] = {}  # digest -> fitness as told, nan if failed
        self._asked: _Asked | None = None
        self._stale = 0
        self._fruitless = 0
        self._at_random = False
        self._sampler = Sampler(space, self.rng, self._met)

    # ------------------------------------------------------------------ public

    def ask(self) -> NDArray[np.float64]:
        """Return the next generation.

        Returns:
            (n, dim) genomes in [0, 1]. Repeats of earlier architectures and, with
            ``max_macs``, infeasible ones may be among them; the new feasible ones
            never exceed what is left of the budget. n == 0: the search is finished,
            see ``stop_reason``.

        Raises:
            InputError: the last generation was not told.
        """
        if self._asked is not None:
            raise InputError(
                "ask() came twice: expected tell(fitness) for the last ask, got another ask; "
                f"tell its {len(self._asked.genomes)} genomes first"
            )
        if not self.stop_reason and not self._met:
            self._check_feasible()
        genomes = self._none() if self.stop_reason else self._generation()
        if len(genomes) == 0:
            return genomes
        self._asked = self._enter(genomes)
        return self._asked.genomes.copy()

    def tell(self, fitness: ArrayLike) -> None:
        """Take the fitness of the last ask.

        Args:
            fitness: (n,) in the order of the ask, smaller is better; nan or inf: failed.

        Raises:
            InputError: nothing was asked, or the shape is wrong (the ask stays open).
        """
        if self._asked is None:
            raise InputError(
                "tell() came before ask(): expected an ask first, got fitness; call ask()"
            )
        asked = self._asked
        told = self._values(fitness, len(asked.genomes))
        self._asked = None
        self._remember(asked, told)
        if self.trained >= self.budget:
            self._finish(f"The budget of {self.budget} distinct architectures is spent.")
        elif len(self._met) >= self.space.size:
            self._finish(f"The space is exhausted: all {len(self._met)} architectures were met.")
        elif asked.own and not np.isfinite(self._worst):
            # Failures alone rank nothing: whatever stood for them now would be wrong
            # once the first success shows the scale. Better look elsewhere.
            self.restarts += 1
            self._restart()
        elif asked.own:
            repaired = [self._repaired(d, f) for d, f in zip(asked.digests, told, strict=True)]
            self._tell(asked.genomes.copy(), np.array(repaired, dtype=np.float64))

    # -------------------------------------------------------- for the strategies

    @abstractmethod
    def _ask(self) -> NDArray[np.float64]:
        """Return (n, dim) genomes; numbers outside [0, 1] are clipped; n may be 0 when stuck."""

    @abstractmethod
    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        """Learn from (n, dim) genomes of the last ``_ask`` and their (n,) finite fitness."""

    def _restart(self) -> None:  # noqa: B027  a strategy without memory has nothing to do
        """Start afresh elsewhere; the generation asked last, if untold, is void."""

    def _close(self) -> None:  # noqa: B027  most strategies hold nothing
        """Free what the strategy holds; the search is finished."""

    def _default_population_size(self) -> int:
        return 10

    def sample(self, n: int) -> NDArray[np.float64]:
        """Return (n, dim) random genomes, feasible and new as far as draws can find."""
        return self._sampler.start(n, self.identify)

    def sample_new(self, n: int) -> NDArray[np.float64]:
        """Return (m, dim) random feasible genomes of m <= n architectures never asked."""
        return self._sampler.new(n, self.identify)

    def identify(self, genome: Genome) -> tuple[str, float]:
        """Return a genome's digest and its cost violation, macs / max_macs - 1 or 0."""
        architecture = self.space.decode(genome)
        digest = architecture.digest
        if self.max_macs is None or self.macs is None:
            return digest, 0.0
        if digest in self._met:
            return digest, self._met[digest]
        return digest, max(0.0, self.macs(architecture) / self.max_macs - 1.0)

    def is_new(self, digest: str) -> bool:
        """Whether an architecture was never asked."""
        return digest not in self._met

    def recall(self, digest: str) -> float | None:
        """Return the (repaired) fitness of an architecture that was told, else None.

        None too as long as every architecture failed.
        """
        if digest not in self._fitness or not np.isfinite(self._worst):
            return None
        return self._repaired(digest, self._fitness[digest])

    # ---------------------------------------------------------------- the books

    def _none(self) -> NDArray[np.float64]:
        return np.empty((0, self.space.dim), dtype=np.float64)

    def _check_feasible(self) -> None:
        if self.max_macs is None or self.macs is None:
            return
        genome = self.sample(1)[0]
        if self.identify(genome)[1] > 0.0:
            cheapest = self.macs(self.space.decode(genome))
            self._finish(
                f"No feasible architecture was found: the cheapest has {cheapest} macs, "
                f"max_macs is {self.max_macs}."
            )

    def _generation(self) -> NDArray[np.float64]:
        """The strategy's next genomes, restarted where it is stuck, in the end at random."""
        while not self._at_random:
            if self._stale >= PATIENCE:
                if self._fruitless == FRUITLESS_RESTARTS:
                    self._at_random = True
                    break
                self._fruitless += 1
                self._stale = 0
                self.restarts += 1
                self._restart()
            genomes = self._checked(self._ask())
            if len(genomes):
                return genomes
            self._stale = PATIENCE
        genomes = self.sample_new(self.population_size)
        if len(genomes) == 0:
            self._finish(
                f"The space is exhausted: after {len(self._met)} architectures no new "
                f"{'feasible ' if self.max_macs else ''}one could be found."
            )
        return genomes

    def _checked(self, genomes: NDArray[np.float64]) -> NDArray[np.float64]:
        genomes = np.array(genomes, dtype=np.float64)
        if genomes.ndim != 2 or genomes.shape[1] != self.space.dim or np.isnan(genomes).any():
            raise TypeError(
                f"{type(self).__name__}._ask() must return numbers of shape (n, {self.space.dim}), "
                f"got shape {genomes.shape}"
            )
        return np.clip(genomes, 0.0, 1.0)

    def _enter(self, genomes: NDArray[np.float64]) -> _Asked:
        """Enter a generation in the books, cut where it would exceed the budget."""
        digests: list[str] = []
        violations: list[float] = []
        met_before, trained_before = len(self._met), self.trained
        for genome in genomes:
            digest, violation = self.identify(genome)
            if digest not in self._met:
                if violation == 0.0:
                    if self.trained == self.budget:
                        break
                    self.trained += 1
                self._met[digest] = violation
            digests.append(digest)
            violations.append(violation)
        if self.trained > trained_before:
            self._stale = self._fruitless = 0
        else:
            self._stale += INFEASIBLE if len(self._met) > met_before else REPEATS
        return _Asked(
            genomes[: len(digests)],
            tuple(digests),
            np.array(violations, dtype=np.float64),
            own=len(digests) == len(genomes) and not self._at_random,
        )

    def _values(self, fitness: ArrayLike, n: int) -> NDArray[np.float64]:
        try:
            told = np.array(fitness, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InputError(
                f"tell() expected {n} numbers, got {fitness!r}; nan stands for failed"
            ) from error
        if told.shape != (n,):
            raise InputError(
                f"tell() expected fitness of shape ({n},), one number for each genome of the last "
                f"ask, got shape {told.shape}; tell all of them in the order of the ask"
            )
        return told

    def _remember(self, asked: _Asked, told: NDArray[np.float64]) -> None:
        told[~np.isfinite(told) | (asked.violations > 0.0)] = np.nan
        for genome, digest, value in zip(asked.genomes, asked.digests, told.tolist(), strict=True):
            if np.isnan(self._fitness.get(digest, np.nan)):
                self._fitness[digest] = value
            if np.isnan(value):
                continue
            self._worst = max(self._worst, _bounded(value))
            if value < self.best_fitness:
                self.best_fitness, self.best_genome = value, genome.copy()

    def _repaired(self, digest: str, fitness: float) -> float:
        """A failure is worse than every success, an infeasible one worse still, by its cost.

        The distance is the range of the successes, at least a hundredth of the worst:
        enough to rank last in floating point, too little to bend a model.
        """
        if not np.isnan(fitness):
            return _bounded(fitness)
        spread = self._worst - _bounded(self.best_fitness)
        step = max(spread, 0.01 * abs(self._worst)) or 0.1
        violation = self._met[digest]
        return self._worst + step * (
            1.0 + (1.0 + violation / (1.0 + violation)) * (violation > 0.0)
        )

    def _finish(self, reason: str) -> None:
        self.stop_reason = reason
        self._close()


def _bounded(fitness: float) -> float:
    return min(max(fitness, -HUGE), HUGE)

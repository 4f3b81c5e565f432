"""What every search strategy offers: ask for genomes, tell their fitness.

The public ``ask`` and ``tell`` keep the books: which architectures were met, what
the budget still allows, what was best, how a failure is passed on, when a strategy
only repeats itself. A strategy is one file with ``_ask``, ``_tell`` and ``_restart``.

A search need not begin with nothing: ``add_observations`` takes over what an earlier one found out,
and what ``enqueue`` names is asked first. ``sample``, where strategies start, then offers
the best of both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evonas.core.registry import CheckedCall
from evonas.errors import InputError
from evonas.optimizers.common.arguments import (
    Common,
    Cost,
    checked_space,
    clipped,
    number_in,
    told_axes,
    told_fitness,
    unit_cube,
    whole_number,
)
from evonas.optimizers.common.evaluated_archive import EvaluatedArchive
from evonas.optimizers.common.global_state_guards import guarded_global_rng
from evonas.optimizers.common.identity import Identity
from evonas.optimizers.common.sampling import Sampler
from evonas.space import Genome, SearchSpace

__all__ = ["Common", "Cost", "Optimizer", "guarded_global_rng", "number_in"]

#: An ask of mere repeats weighs 3, one of new but infeasible architectures 1: the
#: latter may be on its way back to feasibility.
REPEATS, INFEASIBLE, PATIENCE = 3, 1, 9
#: Restarts in a row that bring nothing new, before the rest is drawn at random.
FRUITLESS_RESTARTS = 3


@dataclass(frozen=True)
class _Asked:
    """One generation, as long as it waits for its fitness."""

    genomes: NDArray[np.float64]
    digests: tuple[str, ...]
    violations: NDArray[np.float64]
    own: bool  # proposed by the strategy itself, complete, so that it may learn from it


class Optimizer(ABC, metaclass=CheckedCall):
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
        books: what is known of every architecture that was met.
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
        self.space = checked_space(space)
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
        self.archive = EvaluatedArchive()
        self._identity = Identity(space, macs, self.max_macs, self.archive.met)
        self.trained = 0
        self.restarts = 0
        self.stop_reason = ""
        self._begun = False
        self._asked: _Asked | None = None
        self._suggestions: list[Genome] = []
        self._favourites: list[Genome] | None = None  # not looked up yet
        self._stale = 0
        self._fruitless = 0
        self._at_random = False
        self._sampler = Sampler(self.rng, self._identity)

    # ------------------------------------------------------------------ public

    @property
    def best_genome(self) -> Genome | None:
        """The (dim,) best genome so far; None as long as nothing succeeded."""
        return self.archive.best_genome

    @property
    def best_fitness(self) -> float:
        """The lowest fitness so far; inf as long as nothing succeeded."""
        return self.archive.best_fitness

    def add_observations(
        self, genomes: ArrayLike, fitness: ArrayLike, axes: ArrayLike | None = None
    ) -> None:
        """Take over what an earlier search found out, before the first ask.

        These architectures cost no budget, now or later, and the strategy starts from
        the best of them.

        Args:
            genomes: (n, dim) numbers in [0, 1].
            fitness: (n,) comparable with what will be told; nan or inf: failed.
            axes: (n, m), as in ``tell``.

        Raises:
            InputError: the search has begun, or a shape is wrong.
        """
        told = self._early("add_observations", genomes)
        values = told_fitness("add_observations", fitness, len(told))
        sides = told_axes("add_observations", axes, values, self.archive.width)
        known = [self.identify(genome) for genome in told]
        self.archive.met.update(known)
        values[[violation > 0.0 for _, violation in known]] = np.nan
        self.archive.remember([digest for digest, _ in known], told, values, sides)

    def enqueue(self, genomes: ArrayLike) -> None:
        """Ask these before the strategy decides, the first of them soonest.

        They cost their share of the budget. Comes before the first ask.

        Args:
            genomes: (n, dim) numbers in [0, 1].

        Raises:
            InputError: the search has begun, or the shape is wrong.
        """
        self._suggestions = [*self._early("enqueue", genomes)]

    def preload(self, known: Mapping[bytes, tuple[str, int]]) -> None:
        """Be told digest and multiply-adds by a genome's bytes: such a one is not decoded again.

        The mapping is looked into, not copied: who gives it may take away what was asked.
        """
        self._identity.expected = known

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
        if not self._begun:
            self._begun = True
            self._check_feasible()
        own = not self._suggestions
        genomes = self._none() if self.stop_reason else self._generation()
        if len(genomes) == 0:
            return genomes
        self._asked = self._enter(genomes, own)
        return self._asked.genomes.copy()

    def tell(self, fitness: ArrayLike, axes: ArrayLike | None = None) -> None:
        """Take the fitness of the last ask.

        Args:
            fitness: (n,) in the order of the ask, smaller is better; nan or inf: failed.
            axes: (n, m) what is traded off, such as error and cost, each smaller is
                better. Only a strategy that looks for a whole front heeds them; without
                them it takes the fitness for the only axis.

        Raises:
            InputError: nothing was asked, or the shape is wrong (the ask stays open).
        """
        if self._asked is None:
            raise InputError(
                "tell() came before ask(): expected an ask first, got fitness; call ask()"
            )
        asked = self._asked
        told = told_fitness("tell", fitness, len(asked.genomes))
        told[asked.violations > 0.0] = np.nan
        sides = told_axes("tell", axes, told, self.archive.width)
        self._asked = None
        self.archive.remember(asked.digests, asked.genomes, told, sides)
        if self.trained >= self.budget:
            self._finish(f"The budget of {self.budget} distinct architectures is spent.")
        elif len(self.archive.met) >= self.space.size:
            count = len(self.archive.met)
            self._finish(f"The space is exhausted: all {count} architectures were met.")
        elif asked.own and not self.archive.any_success:
            # Failures alone rank nothing: whatever stood for them now would be wrong
            # once the first success shows the scale. Better look elsewhere.
            self.restarts += 1
            self._restart()
        elif asked.own:
            self._tell(asked.genomes.copy(), self.archive.repaired_all(asked.digests, told))

    # -------------------------------------------------------- for the strategies

    @abstractmethod
    def _ask(self) -> NDArray[np.float64]:
        """Return (n, dim) genomes; numbers outside [0, 1] are clipped; n may be 0 when stuck."""

    @abstractmethod
    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        """Learn from (n, dim) genomes of the last ``_ask`` and their (n,) finite fitness.

        A failure's fitness ranks behind every success so far, not behind later ones: who
        keeps fitness keeps that of a ``success`` alone, or looks it up with ``fitness_of``.
        """

    @abstractmethod
    def parents(self) -> list[str]:
        """Return digests of what the next ask derives from, the best first; [] if from nothing.

        They are parents, personal bests, the incumbent or all data of a model, ranked as the
        strategy itself ranks them. A failure may only stand among a model's data, and last.
        """

    def _restart(self) -> None:
        """Start afresh elsewhere; the generation asked last, if untold, is void."""

    def _close(self) -> None:
        """Free what the strategy holds; the search is finished."""

    def _default_population_size(self) -> int:
        return 10

    def _preferred(
        self, fitness: NDArray[np.float64], axes: NDArray[np.float64]
    ) -> NDArray[np.intp]:
        """Return indices of what succeeded, first from where the strategy would rather start."""
        return np.argsort(fitness, kind="stable")

    def initial_genomes(self, n: int) -> NDArray[np.float64]:
        """Return (m, dim) genomes to start from, m <= n, each once: none in most searches.

        They are the best of what was known before the strategy's first own ask.
        """
        if self._favourites is None:
            genomes, fitness, axes = self.archive.successes()
            order = self._preferred(fitness, axes).tolist() if len(fitness) else []
            self._favourites = [genomes[i] for i in order[: self.population_size]]
        taken, self._favourites = self._favourites[:n], self._favourites[n:]
        return np.array(taken, dtype=np.float64).reshape(-1, self.space.dim)

    def sample(self, n: int) -> NDArray[np.float64]:
        """Return (n, dim) genomes to start from: initial_genomes, then random ones.

        The latter are feasible and new as far as draws can find.
        """
        first = self.initial_genomes(n)
        rest = self._sampler.start(n - len(first))
        return np.concatenate([first, rest])

    def sample_new(self, n: int) -> NDArray[np.float64]:
        """Return (m, dim) random feasible genomes of m <= n architectures never asked."""
        return self._sampler.new(n)

    def identify(self, genome: Genome) -> tuple[str, float]:
        """Return a genome's digest and its cost violation, macs / max_macs - 1 or 0."""
        return self._identity(genome)

    def is_new(self, digest: str) -> bool:
        """Whether an architecture was never asked."""
        return digest not in self.archive.met

    def success(self, digest: str) -> float | None:
        """Return the fitness of an architecture that succeeded; None if it never did."""
        return self.archive.success(digest)

    def fitness_of(self, digest: str) -> float | None:
        """Return the (repaired) fitness of an architecture that was told, else None.

        None too as long as every architecture failed.
        """
        return self.archive.fitness_of(digest)

    # ---------------------------------------------------------------- the books

    def _none(self) -> NDArray[np.float64]:
        return np.empty((0, self.space.dim), dtype=np.float64)

    def _check_feasible(self) -> None:
        if self.max_macs is None or self.macs is None or self.stop_reason:
            return
        genome = self._sampler.start(1)[0]
        if self.identify(genome)[1] > 0.0:
            cheapest = self.macs(self.space.decode(genome))
            self._finish(
                f"No feasible architecture was found: the cheapest has {cheapest} macs, "
                f"max_macs is {self.max_macs}."
            )

    def _generation(self) -> NDArray[np.float64]:
        """The strategy's next genomes, restarted where it is stuck, in the end at random."""
        if self._suggestions:
            first, rest = np.split(np.array(self._suggestions), [self.population_size])
            self._suggestions = [*rest]
            return first
        while not self._at_random:
            if self._stale >= PATIENCE:
                if self._fruitless == FRUITLESS_RESTARTS:
                    self._at_random = True
                    break
                self._fruitless += 1
                self._stale = 0
                self.restarts += 1
                self._restart()
            genomes = clipped(type(self).__name__, self._ask(), self.space.dim)
            if len(genomes):
                return genomes
            self._stale = PATIENCE
        genomes = self.sample_new(self.population_size)
        if len(genomes) == 0:
            self._finish(
                f"The space is exhausted: after {len(self.archive.met)} architectures no new "
                f"{'feasible ' if self.max_macs else ''}one could be found."
            )
        return genomes

    def _enter(self, genomes: NDArray[np.float64], own: bool) -> _Asked:
        """Enter a generation in the books, cut where it would exceed the budget."""
        digests: list[str] = []
        violations: list[float] = []
        met = self.archive.met
        met_before, trained_before = len(met), self.trained
        for genome in genomes:
            digest, violation = self.identify(genome)
            if digest not in met:
                if violation == 0.0:
                    if self.trained == self.budget:
                        break
                    self.trained += 1
                met[digest] = violation
            digests.append(digest)
            violations.append(violation)
        if self.trained > trained_before:
            self._stale = self._fruitless = 0
        else:
            self._stale += INFEASIBLE if len(met) > met_before else REPEATS
        return _Asked(
            genomes[: len(digests)],
            tuple(digests),
            np.array(violations, dtype=np.float64),
            own=own and len(digests) == len(genomes) and not self._at_random,
        )

    def _early(self, verb: str, genomes: ArrayLike) -> NDArray[np.float64]:
        """Return (n, dim) genomes that may still decide where the search starts."""
        if self._begun:
            raise InputError(f"{verb}() came after ask(): expected it before the first ask")
        return unit_cube(verb, genomes, self.space.dim)

    def _finish(self, reason: str) -> None:
        self.stop_reason = reason
        self._close()

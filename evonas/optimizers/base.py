"""Base class of all search strategies: the ask and tell interface.

The public ``ask`` and ``tell`` check arguments, keep the archive of evaluated architectures,
count the budget, penalise failed evaluations and restart a strategy that only repeats itself.
A strategy is one file that implements ``_ask``, ``_tell``, ``parents`` and ``_restart``.

A search can start from earlier results: ``add_observations`` records them without using budget,
and the genomes given to ``enqueue`` are asked first. A strategy that draws its first generation
with ``sample`` starts from the best of both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evonas.core.registry import CheckedCall
from evonas.errors import InputError
from evonas.optimizers.common.arguments import (
    Common,
    Cost,
    Excess,
    checked_space,
    checked_steps,
    checked_window,
    clipped,
    number_in,
    observed_axes,
    observed_fitness,
    whole_number,
)
from evonas.optimizers.common.earlier_results import EarlierResults
from evonas.optimizers.common.evaluated_archive import AskedGeneration, EvaluatedArchive
from evonas.optimizers.common.global_state_guards import guarded_global_rng
from evonas.optimizers.common.learning_curves import LearningCurves
from evonas.optimizers.common.sampling import GenomeIdentifier, Sampler
from evonas.optimizers.common.staleness import Staleness
from evonas.optimizers.common.training_limit import TrainingLimit
from evonas.space import Genome, SearchSpace

__all__ = ["Common", "Cost", "Optimizer", "guarded_global_rng", "number_in"]


class Optimizer(EarlierResults, TrainingLimit, ABC, metaclass=CheckedCall):
    """Minimise a fitness over a search space by ask and tell, reproducibly for a given seed.

    Args:
        space: the search space.
        budget: number of distinct architectures that may be trained, at least 1.
        seed: seed of the strategy's random generator, at least 0.
        population_size: genomes per ask, at least 2; None: the strategy's default.
        macs: function that returns the multiply-adds of an architecture without training it.
        max_macs: hard limit on the multiply-adds. An architecture above it is infeasible: it
            must not be trained, uses no budget, and counts as failed whatever fitness is given.
        excess: function that returns by how much an architecture violates further limits, which
            holds like ``max_macs``: 0 if it violates none; None: there are none.
        window: number of asks, of one genome each, that may wait for their fitness at once: ask k
            knows the fitness up to ask k - window and no other. 0: every ask is a generation,
            whose fitness comes before the next ask.
        steps: epochs at which a training pauses, increasing; the last is its end. An architecture
            that is asked again goes on to its next step. Empty: trainings never pause.

    A strategy with its own options declares them as keyword-only parameters with defaults and
    passes the rest on as ``**common``. A user's keys and values are checked against the
    signature and its annotations.

    Attributes:
        archive: the evaluated architectures, with their fitness and axes.
        trained: number of distinct feasible architectures asked so far; with ``steps``, of whole
            trainings that the epochs asked so far amount to.
        curves: the learning curves so far; none without ``steps``.
        restarts: number of restarts of the strategy.
        stop_reason: one sentence on why the search ended; empty while it goes on.

    Raises:
        InputError: an argument is out of its range.
    """

    least_population_size: ClassVar[int] = 2
    #: Whether the strategy can be asked while the fitness of earlier asks is missing.
    asks_ahead: ClassVar[bool] = False
    #: Whether the strategy decides which paused trainings go on.
    resumes: ClassVar[bool] = False

    def __init__(
        self,
        space: SearchSpace,
        *,
        budget: int,
        seed: int,
        population_size: int | None = None,
        macs: Cost | None = None,
        max_macs: int | None = None,
        excess: Excess | None = None,
        window: int = 0,
        steps: Sequence[int] = (),
    ) -> None:
        self.space = checked_space(space)
        self.budget = whole_number("budget", budget, 1)
        self.seed = whole_number("seed", seed, 0)
        self.rng = np.random.default_rng(self.seed)
        if max_macs is not None and macs is None:
            raise InputError("max_macs needs macs, the cost of an architecture; macs is None")
        self.macs = macs
        self.max_macs = None if max_macs is None else whole_number("max_macs", max_macs, 1)
        self.excess = excess
        self.window = checked_window(type(self).__name__, window, population_size, self.asks_ahead)
        self.curves = LearningCurves(checked_steps(type(self).__name__, steps, self.resumes))
        if self.window:
            self.population_size = 1
        elif population_size is None:
            self.population_size = self._default_population_size()
        else:
            least = self.least_population_size
            self.population_size = whole_number("population_size", population_size, least)
        self.archive = EvaluatedArchive()
        seen = self.archive.seen
        self._identifier = GenomeIdentifier(space, macs, self.max_macs, seen, excess)
        self._sampler = Sampler(self.rng, self._identifier)
        self.begin_count(self.budget)
        self.restarts = 0
        self.stop_reason = ""
        self._begun = False
        self._asked: deque[AskedGeneration] = deque()  # without fitness, the oldest first
        self._queue: list[Genome] = []
        self._initial: list[Genome] | None = None  # filled at the first initial_genomes()
        self._staleness = Staleness()

    # ------------------------------------------------------------------ public

    @property
    def best_genome(self) -> Genome | None:
        """The (dim,) genome of lowest fitness so far; None before the first success."""
        return self.archive.best_genome

    @property
    def best_fitness(self) -> float:
        """The lowest fitness so far; inf before the first success."""
        return self.archive.best_fitness

    def preload(self, known: Mapping[bytes, tuple[str, int]]) -> None:
        """Give the digest and multiply-adds of genomes, so that they need not be decoded.

        Args:
            known: bytes of a (dim,) genome -> (digest, multiply-adds). The mapping is not
                copied: the caller may remove entries of genomes that were asked.
        """
        self._identifier.preloaded = known

    def ask(self) -> NDArray[np.float64]:
        """Return the next generation.

        Returns:
            (n, dim) genomes in [0, 1]. They may contain repeats of earlier architectures
            and, with a limit, infeasible ones; the number of new feasible ones never
            exceeds the remaining budget. n == 0: the search has ended, see ``stop_reason``.

        Raises:
            InputError: tell() was not called for the last generation, or for the ask ``window``
                asks before.
        """
        if len(self._asked) >= max(self.window, 1):
            came = f"with {self.window} asks waiting" if self.window else "twice"
            raise InputError(
                f"ask() came {came}: expected tell(fitness) for the last ask, got another ask; "
                f"tell its {len(self._asked[0].genomes)} genomes first"
            )
        if not self._begun:
            self._begun = True
            self._check_feasible()
        own = not self._queue
        ended = self.stop_reason or (self._asked and self.limit_reached)
        genomes = np.empty((0, self.space.dim)) if ended else self._generation()
        if len(genomes) == 0:
            return genomes
        self._asked.append(self._register(genomes, own))
        return self._asked[-1].genomes.copy()

    def tell(
        self,
        fitness: ArrayLike,
        axes: ArrayLike | None = None,
        curves: Sequence[Sequence[float]] | None = None,
    ) -> None:
        """Report the fitness of the genomes of the last ask; with a ``window``, of the oldest one.

        Args:
            fitness: (n,) in the order of the ask, smaller is better; nan or inf: failed.
            axes: (n, m) objectives to trade off, such as error and cost, smaller is better.
                Only multi-objective strategies use them; None: the fitness is the only one.
            curves: fitness after each epoch of each training, from its first one; needed with
                ``steps``, and ignored without.

        Raises:
            InputError: ask() was not called, curves are missing, or a shape is wrong; tell() can
                then be called again for the same generation.
        """
        if not self._asked:
            raise InputError(
                "tell() came before ask(): expected an ask first, got fitness; call ask()"
            )
        asked = self._asked[0]
        values = observed_fitness("tell", fitness, len(asked.genomes))
        values[asked.violations > 0.0] = np.nan
        objectives = observed_axes("tell", axes, values, self.archive.width)
        if self.curves.steps:
            self.curves.update(asked.digests, values, curves)
        self._asked.popleft()
        again = bool(self.curves.steps)
        self.archive.record(asked.digests, asked.genomes, values, objectives, again)
        if self.limit_reached:
            what = "whole trainings" if self.curves.steps else "distinct architectures"
            self._finish(f"The budget of {self._most} {what} is spent.")
        elif len(self.archive.seen) >= self.space.size and not self.curves.any_paused:
            count = len(self.archive.seen)
            self._finish(f"The space is exhausted: all {count} architectures have been seen.")
        elif asked.own and not self.archive.any_success:
            # Failures alone cannot be ranked, and a penalty given now would be wrong once the
            # first success shows the scale: restart elsewhere instead.
            self.restarts += 1
            self._restart()
        elif asked.own:
            self._tell(asked.genomes.copy(), self.archive.penalised_all(asked.digests, values))

    # -------------------------------------------------------- for the strategies

    @abstractmethod
    def _ask(self) -> NDArray[np.float64]:
        """Return (n, dim) genomes; values outside [0, 1] are clipped; n == 0 causes a restart."""

    @abstractmethod
    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        """Update the strategy with the (n, dim) genomes of ``_ask`` and their (n,) finite fitness.

        The penalised fitness of a failed evaluation is worse than every success so far, but
        maybe not than later ones. A strategy that stores fitness therefore stores that of a
        ``success`` only, or calls ``fitness_of`` each time.
        """

    @abstractmethod
    def parents(self) -> list[str]:
        """Return digests of the architectures that the next ask derives from, the best first.

        They are parents, personal bests, the incumbent or all data of a model, ranked as the
        strategy ranks them. Failed ones may only be data of a model, and come last. The list
        is empty if the next ask derives from none.
        """

    def _restart(self) -> None:
        """Discard the strategy's state; a generation without fitness becomes void."""

    def _close(self) -> None:
        """Free the strategy's resources at the end of the search."""

    def _default_population_size(self) -> int:
        return 10

    def sample(self, n: int) -> NDArray[np.float64]:
        """Return (n, dim) genomes to start from: ``initial_genomes``, then random ones.

        The random ones are feasible and new unless the sampler finds none.
        """
        first = self.initial_genomes(n)
        rest = self._sampler.start(n - len(first))
        return np.concatenate([first, rest])

    def sample_new(self, n: int) -> NDArray[np.float64]:
        """Return (m, dim) random feasible genomes of m <= n distinct unseen architectures."""
        return self._sampler.new(n)

    def identify(self, genome: Genome) -> tuple[str, float]:
        """Return a genome's digest and its cost violation: 0 if it is within all limits.

        It is max(0, macs / max_macs - 1) plus the excess over further limits.
        """
        return self._identifier(genome)

    def is_new(self, digest: str) -> bool:
        """Return whether an architecture was neither asked nor added as an observation."""
        return digest not in self.archive.seen

    def success(self, digest: str) -> float | None:
        """Return the fitness of a successful evaluation; None if there is none."""
        return self.archive.success(digest)

    def fitness_of(self, digest: str) -> float | None:
        """Return the fitness of an evaluated architecture, penalised if its evaluation failed.

        None if it was not evaluated, and before the first success.
        """
        return self.archive.fitness_of(digest)

    # ----------------------------------------------------------------- internals

    def _check_feasible(self) -> None:
        if not self.stop_reason and (shortfall := self._sampler.shortfall()):
            self._finish(shortfall)

    def _generation(self) -> NDArray[np.float64]:
        """Return queued genomes, else those of the strategy, else (still stuck) random ones."""
        if self._queue:
            first = np.array(self._queue[: self.population_size])
            del self._queue[: self.population_size]
            return first
        while (following := self._staleness.next()) != "draw":
            if following == "restart":
                self.restarts += 1
                self._restart()
            genomes = clipped(type(self).__name__, self._ask(), self.space.dim)
            if len(genomes):
                return genomes
            self._staleness.asked_nothing()
        genomes = self.sample_new(self.population_size)
        if len(genomes) == 0:
            self._finish(
                f"The space is exhausted: after {len(self.archive.seen)} architectures no new "
                f"{'feasible ' if self._identifier.limited else ''}one could be found."
            )
        return genomes

    def _register(self, genomes: NDArray[np.float64], own: bool) -> AskedGeneration:
        """Mark a generation as seen and count it, cut off where it would exceed the budget."""
        digests: list[str] = []
        violations: list[float] = []
        seen = self.archive.seen
        seen_before, counted = len(seen), 0
        for genome in genomes:
            digest, violation = self.identify(genome)
            if digest not in seen or self.curves.paused(digest):
                if violation == 0.0:
                    if self.limit_reached:
                        break
                    self.count(digest)
                    counted += 1
                seen[digest] = violation
            digests.append(digest)
            violations.append(violation)
        self._staleness.asked(counted > 0, len(seen) > seen_before)
        return AskedGeneration(
            genomes[: len(digests)],
            tuple(digests),
            np.array(violations, dtype=np.float64),
            own=own and len(digests) == len(genomes) and not self._staleness.at_random,
        )

    def _finish(self, reason: str) -> None:
        self.stop_reason = reason
        self._close()

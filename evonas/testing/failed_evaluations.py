"""No strategy prefers a failed evaluation to a success, whenever the success comes.

``Optimizer.parents`` says what the next ask derives from. A failure has no fitness: whatever
stands for it was the worst value of its moment, and later successes may be worse than that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evonas.core import registry
from evonas.optimizers.base import Optimizer
from evonas.space import Architecture
from evonas.testing.conformance import StrategyConformance
from evonas.testing.optimizer_problems import bowl, build, cost, drive, mixed, ordinal

Array = NDArray[np.float64]
#: (turn, genomes) -> fitness
Outcome = Callable[[int, Array], Array]


class Record:
    """Record of the evaluated architectures of a search, and of those that succeeded."""

    def __init__(self, optimizer: Optimizer, model_based: bool) -> None:
        self.optimizer, self.model_based = optimizer, model_based
        self.good: set[str] = set()
        self.seen: set[str] = set()

    def told(self, genomes: Array, fitness: Array) -> None:
        """Note a generation, then check what the next one is going to derive from."""
        space, limit = self.optimizer.space, self.optimizer.max_macs
        for genome, value in zip(genomes, fitness, strict=True):
            architecture = space.decode(genome)
            self.seen.add(architecture.digest)
            if np.isfinite(value) and (limit is None or cost(architecture) <= limit):
                self.good.add(architecture.digest)
        self.check()

    def check(self) -> None:
        """Check that no failure is a parent, or ranks before a success."""
        parents = self.optimizer.parents()
        assert set(parents) <= self.seen
        good = [digest in self.good for digest in parents]
        assert good == sorted(good, reverse=True), "a failure ranks before a success"
        if self.model_based:
            return
        failed = {digest for digest in parents if digest not in self.good}
        infeasible = {
            digest for digest, excess in self.optimizer.archive.seen.items() if excess > 0
        }
        assert failed <= infeasible, "a failure is a parent"


def run(optimizer: Optimizer, outcome: Outcome, model_based: bool) -> int:
    """Run a search to its end and check it after every tell; return the most parents seen."""
    record = Record(optimizer, model_based)
    most = turn = 0
    while len(genomes := optimizer.ask()):
        fitness = outcome(turn, genomes)
        optimizer.tell(fitness)
        record.told(genomes, fitness)
        most = max(most, len(optimizer.parents()))
        turn += 1
    return most


class FailedEvaluationConformance(StrategyConformance):
    """No failed evaluation is preferred to a success, whenever the success comes.

    Attributes:
        model_based: names of strategies whose parents are all data of a model; failures are
            data as well.
    """

    model_based: ClassVar[Collection[str]] = ()

    @pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
    @pytest.mark.parametrize("limit", [None, 20])
    def test_successes_that_become_worse_and_worse_outrank_every_failure(
        self, name: str, share: float, limit: int | None
    ) -> None:
        """Each success is worse than whatever may have stood for any failure before it."""
        optimizer = build(name, ordinal(), budget=50, macs=cost, max_macs=limit)
        rng = np.random.default_rng(3)

        def outcome(turn: int, genomes: Array) -> Array:
            values = 10.0 ** (optimizer.trained - rng.random(len(genomes)))
            return np.where(rng.random(len(genomes)) < share, np.nan, values)

        most = run(optimizer, outcome, name in self.model_based)
        assert (most == 0) == (name in self.memoryless)

    @settings(
        max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(
        outcomes=st.lists(
            st.one_of(st.just(np.nan), st.floats(-1e6, 1e6), st.sampled_from([np.inf, 1e300, 0.0])),
            min_size=1,
            max_size=30,
        ),
        population=st.integers(0, 5),
        limit=st.sampled_from([None, 20]),
        seed=st.integers(0, 3),
    )
    def test_any_sequence_of_failures_and_successes(
        self, name: str, outcomes: list[float], population: int, limit: int | None, seed: int
    ) -> None:
        """Property: no order of failures and successes makes a failure a parent."""
        population += registry.load("optimizer", name).least_population_size
        optimizer = build(
            name,
            mixed(),
            budget=30,
            seed=seed,
            population_size=population,
            macs=cost,
            max_macs=limit,
        )
        told = 0

        def outcome(turn: int, genomes: Array) -> Array:
            nonlocal told
            told += len(genomes)
            return np.array([outcomes[i % len(outcomes)] for i in range(told - len(genomes), told)])

        run(optimizer, outcome, name in self.model_based)

    def test_failures_of_an_earlier_search_and_failed_suggestions_are_no_parents(
        self, name: str
    ) -> None:
        """Neither observations nor enqueued genomes that failed are parents."""
        space = ordinal()
        optimizer = build(name, space, budget=40)
        rng = np.random.default_rng(5)
        known = rng.random((8, space.dim))
        fitness = np.array([5.0, *[np.nan] * 5, 6.0, 7.0])
        optimizer.add_observations(known, fitness)
        optimizer.enqueue(rng.random((6, space.dim)))
        record = Record(optimizer, name in self.model_based)
        record.told(known, fitness)
        turn = 0
        while len(genomes := optimizer.ask()):
            # the suggestions and the first generation fail, initial_genomes from before among them
            told = np.full(len(genomes), np.nan) if turn < 4 else 9.0 + bowl(space, genomes)
            optimizer.tell(told)
            record.told(genomes, told)
            turn += 1
        assert optimizer.best_fitness == 5.0

    def test_further_limits_hold_like_the_limit_on_cost(self, name: str) -> None:
        """A limit given as ``excess`` leads to the genomes that it leads to as ``max_macs``."""

        def over(architecture: Architecture) -> float:
            return max(0.0, cost(architecture) / 12 - 1.0)

        limits: list[dict[str, Any]] = [
            {"max_macs": 12},
            {"excess": over},
            {"max_macs": 12, "excess": lambda architecture: 0.0},
        ]
        asked = [
            np.concatenate(drive(build(name, ordinal(), budget=25, macs=cost, **limit), bowl))
            for limit in limits
        ]
        assert np.array_equal(asked[0], asked[1])
        assert np.array_equal(asked[0], asked[2])

    def test_limits_that_exclude_one_another_end_at_once(self, name: str) -> None:
        """The stop reason says by how much the nearest architecture exceeds the limits."""
        optimizer = build(name, ordinal(), macs=cost, max_macs=50, excess=lambda a: 0.25)
        assert len(optimizer.ask()) == 0
        assert "the nearest is 25 % over the limits" in optimizer.stop_reason

    def test_failures_that_are_met_again_in_a_small_space(self, name: str) -> None:
        """Known results are looked up, and restarts begin among what is left."""
        for seed in range(6):
            optimizer = build(name, ordinal(3, 4), budget=24, seed=seed)
            rng = np.random.default_rng(seed)

            def outcome(turn: int, genomes: Array, rng: np.random.Generator = rng) -> Array:
                values = 10.0**turn * (1.0 + rng.random(len(genomes)))
                return np.where(rng.random(len(genomes)) < 0.75, np.nan, values)

            run(optimizer, outcome, name in self.model_based)

    def test_a_generation_of_failures_after_successes_changes_no_parent_to_a_failure(
        self,
        name: str,
    ) -> None:
        """Every third generation succeeds, so that restarts find failures alone."""
        optimizer = build(name, ordinal(3, 6), budget=60)

        def outcome(turn: int, genomes: Array) -> Array:
            values = 1.0 + turn + bowl(optimizer.space, genomes)
            return values if turn % 3 == 0 else np.full(len(genomes), np.nan)

        run(optimizer, outcome, name in self.model_based)

    def test_what_is_asked_is_near_the_parents(self, learner: str) -> None:
        """The next ask lies nearer to ``parents`` than random draws do."""
        near: list[float] = []
        random: list[float] = []
        for seed in range(3):
            optimizer = build(learner, ordinal(10, 8), budget=40, seed=seed, macs=cost)
            rng = np.random.default_rng(seed)
            while len(genomes := optimizer.ask()):
                if optimizer.trained > 20 and optimizer.parents():
                    known = optimizer.archive.genomes
                    # all data of a model are near anything; the better half is what it follows
                    parents = optimizer.parents()
                    parents = (
                        parents[: max(1, len(parents) // 2)]
                        if learner in self.model_based
                        else parents
                    )
                    places = np.array([known[digest] for digest in parents])
                    for asked, found in ((genomes, near), (rng.random(genomes.shape), random)):
                        apart = np.abs(asked[:, None] - places[None]).mean(axis=2)
                        found.extend(apart.min(axis=1))
                values = bowl(optimizer.space, genomes)
                optimizer.tell(np.where(genomes[:, 0] > 0.7, np.nan, values))
        assert np.mean(near) < 0.75 * np.mean(random)

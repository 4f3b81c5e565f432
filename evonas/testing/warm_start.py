"""What every strategy does with known fitness and enqueued genomes before its first ask."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from numpy.typing import NDArray

from evonas.errors import InputError
from evonas.optimizers.base import Optimizer
from evonas.space import SearchSpace
from evonas.testing.conformance import StrategyConformance
from evonas.testing.optimizer_problems import (
    best_genome,
    bowl,
    build,
    by_digest,
    cost,
    distinct,
    drive,
    mixed,
    ordinal,
    space_of,
)

Array = NDArray[np.float64]


def drawn(space: SearchSpace, n: int, seed: int = 0) -> Array:
    """Return (n, dim) random genomes of different architectures."""
    found: dict[str, Array] = {}
    rng = np.random.default_rng(seed)
    while len(found) < n:
        genome = rng.random(space.dim)
        found.setdefault(space.decode(genome).digest, genome)
    return np.array(list(found.values()))


def digests(space: SearchSpace, genomes: Array) -> list[str]:
    """Return the digests of (n, dim) genomes."""
    return [space.decode(genome).digest for genome in genomes]


def learned(name: str, space: SearchSpace, genomes: Array, **arguments: object) -> Optimizer:
    """Return a strategy with observations of ``by_digest`` at (n, dim) genomes."""
    optimizer = build(name, space, **arguments)
    optimizer.add_observations(genomes, by_digest(space, genomes))
    return optimizer


def traded(space: SearchSpace, genomes: Array) -> Array:
    """Return (n, 2) axes: a rugged one, and one that falls where the first gene rises."""
    return np.stack([by_digest(space, genomes), 1.0 - genomes[:, 0]], axis=1)


class WarmStartConformance(StrategyConformance):
    """Earlier results (``add_observations``) and enqueued genomes before the first ask."""

    def test_what_was_learned_costs_no_budget_and_is_never_new(self, name: str) -> None:
        """Known architectures are not trained again."""
        space = mixed()
        genomes = drawn(space, 30)
        optimizer = learned(name, space, genomes, budget=20)
        known = set(digests(space, genomes))
        assert optimizer.trained == 0
        assert not any(optimizer.is_new(digest) for digest in known)
        assert [optimizer.fitness_of(d) for d in digests(space, genomes)] == by_digest(
            space, genomes
        ).tolist()
        asked = drive(optimizer)
        assert len(distinct(optimizer, asked) - known) == optimizer.trained == 20
        assert optimizer.stop_reason == "The budget of 20 distinct architectures is spent."

    def test_the_best_is_that_of_all_that_is_known(self, name: str) -> None:
        """An observation may stay the best."""
        space = mixed()
        genomes = drawn(space, 10)
        values = np.linspace(0.5, 1.0, 10)
        values[3] = -1.0
        optimizer = build(name, space, budget=10)
        optimizer.add_observations(genomes, values)
        assert optimizer.best_fitness == -1.0
        assert np.array_equal(best_genome(optimizer), genomes[3])
        drive(optimizer)
        assert optimizer.best_fitness == -1.0
        assert np.array_equal(best_genome(optimizer), genomes[3])

    def test_a_search_that_knows_something_is_better(self, learner: str) -> None:
        """With 30 observations the new networks are better on average."""
        space = ordinal()

        def found(seed: int, knows: bool) -> float:
            optimizer = build(learner, space, budget=12, seed=seed)
            genomes = drawn(space, 30, seed)
            if knows:
                optimizer.add_observations(genomes, bowl(space, genomes))
            known = set(digests(space, genomes)) if knows else set()
            asked = np.concatenate(drive(optimizer, bowl))
            own = [d not in known for d in digests(space, asked)]
            return float(bowl(space, asked)[own].min())

        with_it, without = ([found(seed, knows) for seed in range(8)] for knows in (True, False))
        assert statistics.mean(with_it) <= statistics.mean(without)

    def test_after_the_first_ask_it_is_too_late(self, name: str) -> None:
        """Observations and enqueued genomes after the first ask are refused."""
        space = mixed()
        optimizer = build(name, space)
        genomes = optimizer.ask()
        for told in (False, True):
            late = "came after ask(): expected it before the first ask; create a new optimizer"
            with pytest.raises(InputError) as caught:
                optimizer.add_observations(genomes, np.zeros(len(genomes)))
            assert str(caught.value) == f"add_observations() {late}"
            with pytest.raises(InputError) as caught:
                optimizer.enqueue(genomes)
            assert str(caught.value) == f"enqueue() {late}"
            if not told:
                optimizer.tell(by_digest(space, genomes))
        assert len(drive(optimizer))

    @pytest.mark.parametrize("n", [1, 4, 10])
    def test_what_is_suggested_is_asked_first(self, name: str, n: int) -> None:
        """``enqueue`` says: ask these first; a run enqueues up to ten."""
        space = ordinal()
        genomes = drawn(space, n)
        optimizer = build(name, space, budget=30)
        optimizer.enqueue(genomes)
        asked = np.concatenate(drive(optimizer, bowl))
        first = list(dict.fromkeys(digests(space, asked)))
        assert set(first[:n]) == set(digests(space, genomes))
        assert len(first) == 30

    def test_nothing_learned_and_nothing_suggested_changes_nothing(self, name: str) -> None:
        """Empty arrays leave a search as it is."""
        space = mixed()
        optimizer = build(name, space)
        optimizer.add_observations(np.empty((0, space.dim)), [])
        optimizer.enqueue(np.empty((0, space.dim)))
        pairs = zip(drive(optimizer), drive(build(name, space)), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)

    def test_the_same_seed_and_the_same_knowledge_ask_the_same(self, name: str) -> None:
        """A warm-started search is reproducible."""
        space = mixed()
        genomes = drawn(space, 15)
        first, again = (drive(learned(name, space, genomes)) for _ in range(2))
        assert len(first) == len(again)
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))

    def test_axes_that_are_learned_go_with_axes_that_are_told(self, name: str) -> None:
        """Objectives of observations are kept, those of failures are not."""
        space = mixed()
        genomes = drawn(space, 15)
        values = traded(space, genomes)
        values[3] = np.nan
        optimizer = build(name, space, budget=15)
        optimizer.add_observations(genomes, values[:, 0], values)
        while len(asked := optimizer.ask()):
            axes = traded(space, asked)
            optimizer.tell(axes[:, 0], axes)
        assert optimizer.trained == 15
        for genome, axes in zip(genomes, values, strict=True):
            found = optimizer.archive.axes_of(space.decode(genome).digest)
            assert (found is not None and np.array_equal(found, axes)) == bool(
                np.isfinite(axes).all()
            )

    def test_what_was_handed_over_may_be_changed_afterwards(self, name: str) -> None:
        """Observations are copied."""
        space = mixed()
        genomes, values = drawn(space, 8), np.arange(8.0)
        clean, spoilt = build(name, space), build(name, space)
        clean.add_observations(genomes.copy(), values.copy())
        spoilt.add_observations(genomes, values)
        genomes[:], values[:] = 0.5, -9.0
        pairs = zip(drive(clean), drive(spoilt), strict=True)
        assert all(np.array_equal(a, b) for a, b in pairs)

    @pytest.mark.parametrize("failed", [0.5, 1.0])
    def test_failures_among_what_was_learned_spoil_nothing(self, name: str, failed: float) -> None:
        """Failed observations are known and never the best."""
        space = mixed()
        genomes = drawn(space, 20)
        values = by_digest(space, genomes)
        values[: int(20 * failed)] = [np.nan, np.inf] * int(10 * failed)
        optimizer = build(name, space, budget=15)
        optimizer.add_observations(genomes, values)
        known = values[np.isfinite(values)]
        assert optimizer.best_fitness == min(known, default=np.inf)
        asked = drive(optimizer)
        assert len(distinct(optimizer, asked) - set(digests(space, genomes))) == 15
        told = by_digest(space, np.concatenate(asked))
        assert np.isfinite(optimizer.best_fitness)
        assert optimizer.best_fitness <= min(known, default=np.inf)
        assert optimizer.best_fitness >= min(*told, *known, 1.0)

    def test_infeasible_results_are_neither_best_nor_a_start(self, name: str) -> None:
        """An observation over the limit starts nothing."""
        space, limit = ordinal(), 20
        genomes = drawn(space, 30)
        over = np.array([cost(space.decode(genome)) > limit for genome in genomes])
        assert 3 < over.sum() < 27
        optimizer = build(name, space, budget=25, macs=cost, max_macs=limit)
        values = bowl(space, genomes)
        optimizer.add_observations(genomes, np.where(over, -1.0, values))
        assert optimizer.best_fitness == values[~over].min()
        known = set(digests(space, genomes[over]))
        first = optimizer.ask()
        assert not known & set(digests(space, first)), "what cannot win is no place to start from"
        optimizer.tell(bowl(space, first))
        drive(optimizer, bowl)
        assert optimizer.trained == 25
        assert cost(space.decode(best_genome(optimizer))) <= limit

    def test_learning_everything_ends_the_search(self, name: str) -> None:
        """Nothing is left to train, and the stop reason says so."""
        space = ordinal(2, 4)
        genomes = drawn(space, 16)
        optimizer = learned(name, space, genomes)
        asked = drive(optimizer)
        assert not asked or distinct(optimizer, asked) <= set(digests(space, genomes))
        assert optimizer.trained == 0
        assert optimizer.stop_reason.startswith("The space is exhausted: ")
        assert len(optimizer.ask()) == 0
        assert optimizer.best_fitness == by_digest(space, genomes).min()

    def test_learning_all_but_one_leaves_one(self, name: str) -> None:
        """The last unknown architecture is found."""
        space = space_of(*[{"kind": "choice", "choices": [1, 2, 3]}] * 2)
        genomes = drawn(space, 9)
        optimizer = learned(name, space, genomes[:8])
        asked = drive(optimizer)
        assert distinct(optimizer, asked) - set(digests(space, genomes[:8])) == set(
            digests(space, genomes[8:])
        )
        assert optimizer.trained == 1
        assert optimizer.stop_reason.startswith("The space is exhausted: ")

"""Traps of pymoo."""

from __future__ import annotations

import numpy as np
import pytest

from evonas.optimizers.ga import _Tournaments
from evonas.optimizers.pymoo_support.operators import OneGene
from evonas.testing.optimizer_problems import (
    bowl,
    build,
    by_digest,
    cost,
    distinct,
    drive,
    mixed,
    ordinal,
    space_of,
    trainings,
)


def test_no_architecture_is_asked_twice() -> None:
    optimizer = build("ga", ordinal(4, 4), budget=200)
    asked = drive(optimizer, bowl)
    assert sum(map(len, asked)) == len(distinct(optimizer, asked)) == 200


def test_generations_are_full_as_long_as_there_is_room() -> None:
    optimizer = build("ga", ordinal(), budget=100, population_size=10)
    assert [len(genomes) for genomes in drive(optimizer, bowl)] == [10] * 10


def test_fewer_offspring_than_asked_end_nothing() -> None:
    optimizer = build("ga", ordinal(2, 4), budget=16, population_size=5)
    sizes = [len(genomes) for genomes in drive(optimizer, bowl)]
    assert sum(sizes) == 16


def test_offspring_are_feasible() -> None:
    optimizer = build("ga", ordinal(), budget=80, macs=cost, max_macs=15)
    genomes = np.concatenate(drive(optimizer, bowl))
    assert all(cost(optimizer.space.decode(g)) <= 15 for g in genomes)


def test_the_best_survive_and_a_failure_does_not() -> None:
    optimizer = build("ga", mixed(), budget=100, population_size=8)
    told = []
    for _ in range(5):
        genomes = optimizer.ask()
        values = by_digest(optimizer.space, genomes)
        values[0] = np.nan
        told.extend(values[1:])
        optimizer.tell(values)
    survivors = optimizer._algorithm.pop.get("F")[:, 0]
    assert np.array_equal(np.sort(survivors), np.sort(told)[:3])


def test_pymoo_uses_the_optimizers_generator() -> None:
    optimizer = build("ga", ordinal(), budget=100)
    drive(optimizer, bowl, asks=2)
    assert optimizer._algorithm.random_state is optimizer.rng


def _values(genome: np.ndarray, n: int) -> np.ndarray:
    return np.maximum(np.ceil(genome * n), 1).astype(int) - 1


def test_the_model_halves_the_trainings() -> None:
    assert trainings("ga", preselection=6) <= 0.7 * trainings("ga", preselection=1)


def test_without_crossover_a_child_is_one_of_the_best_parents_with_one_gene_mutated() -> None:
    optimizer = build("ga", ordinal(30), budget=100, crossover=0.0, mutation=1.0)
    first = optimizer.ask()
    fitness = bowl(optimizer.space, first)
    optimizer.tell(fitness)
    parents = first[np.argsort(fitness)[:3]]
    for child in optimizer.ask():
        assert min(np.count_nonzero(child != parent) for parent in parents) == 1


def test_ordered_values_move_to_neighbours_more_often_than_far() -> None:
    mutate = OneGene(ordinal(1, 9), probability=1.0, step=0.1)
    middle = np.full((2000, 1), 0.5)
    moved = np.abs(_values(mutate._do(None, middle, np.random.default_rng(0)), 9) - 4).ravel()
    counts = np.bincount(moved, minlength=5)
    assert counts[0] == 0
    assert counts[1] > 4 * counts[2:].sum() > 0


def test_a_wall_reflects_a_mutation() -> None:
    mutate = OneGene(ordinal(1, 3), probability=1.0, step=0.001)
    for place, expected in ((0.1, 1), (0.9, 1)):
        moved = mutate._do(None, np.full((50, 1), place), np.random.default_rng(1))
        assert set(_values(moved, 3).ravel()) == {expected}


def test_choices_jump_to_every_other_value_alike() -> None:
    space = space_of({"kind": "choice", "choices": list("abcde")})
    mutate = OneGene(space, probability=1.0, step=0.001)
    moved = mutate._do(None, np.full((4000, 1), 0.1), np.random.default_rng(2))
    counts = np.bincount(_values(moved, 5).ravel(), minlength=5)
    assert counts[0] == 0
    assert counts[1:].min() > 900


def test_more_genes_are_mutated_where_matings_bring_too_little() -> None:
    mutate = OneGene(ordinal(6, 4), probability=1.0, step=0.1)
    start = np.full((20, 6), 0.5)
    changed = []
    for matings in (0, 24, 25, 50, 1000):
        mutate.matings = matings
        moved = mutate._do(None, start, np.random.default_rng(3))
        changed.append(set(np.count_nonzero(moved != start, axis=1)))
    assert changed == [{1}, {1}, {2}, {3}, {6}]


def test_a_gene_with_one_value_is_left_alone() -> None:
    fixed = {"kind": "choice", "choices": ["only"]}
    mutate = OneGene(space_of(fixed, {"kind": "ordinal", "choices": [1, 2]}), 1.0, 0.2)
    moved = mutate._do(None, np.full((30, 2), 0.25), np.random.default_rng(4))
    assert np.all(moved == [0.25, 0.75])


def test_only_the_fittest_mate_and_the_fittest_most_often() -> None:
    class Crowd:
        def get(self, key: str) -> np.ndarray:
            return np.array([[5.0], [1.0], [3.0], [2.0]])

    drawn = _Tournaments(3)._do(None, Crowd(), 3000, 2, np.random.default_rng(5))
    counts = np.bincount(drawn.ravel(), minlength=4)
    assert drawn.shape == (3000, 2)
    assert counts[0] == 0
    # the best of three draws from three: 19, 7 and 1 of 27
    assert np.allclose(counts[[1, 3, 2]] / 6000, np.array([19, 7, 1]) / 27, atol=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_a_bowl_of_65536_is_solved_in_120_trainings(seed: int) -> None:
    optimizer = build("ga", ordinal(8, 4), budget=120, seed=seed)
    drive(optimizer, bowl)
    assert optimizer.best_fitness == 0.0


def test_children_have_the_genes_of_successes_alone() -> None:
    """The first success outshines all later ones; four failures stand beside it."""
    optimizer = build("ga", ordinal(8, 8), budget=60, preselection=1)
    genes = [set() for _ in range(8)]
    for generation in range(9):
        genomes = optimizer.ask()
        values = np.ceil(genomes * 8.0)
        if generation > 2:
            # a mutation changes one gene, more of them where matings bring nothing new
            strange = [sum(v not in seen for v, seen in zip(r, genes, strict=True)) for r in values]
            assert np.median(strange) <= 1
        fitness = 6.0 + generation + bowl(optimizer.space, genomes)
        if generation == 0:
            fitness = np.where(np.arange(len(genomes)) == 0, 5.0, np.nan)
        for row in values[np.isfinite(fitness)]:
            for value, seen in zip(row, genes, strict=True):
                seen.add(value)
        optimizer.tell(fitness)
        assert np.all(optimizer._algorithm.pop.get("F") < 1e3)
    told = {optimizer.success(digest) for digest in optimizer.parents()}
    assert len(told) == 3
    assert None not in told
    assert min(told) == 5.0
    assert sorted(told)[1] >= 6.0, "successes of later generations beside the first"


def test_a_first_generation_without_success_is_no_population() -> None:
    optimizer = build("ga", ordinal(), budget=60)
    optimizer.enqueue(np.full((1, 6), 0.5))
    optimizer.tell([5.0] * len(optimizer.ask()))
    optimizer.ask()
    favourite_and_rest = len(optimizer._offspring)
    optimizer.tell([np.nan] * favourite_and_rest)
    assert optimizer.parents() == [optimizer.identify(np.full(6, 0.5))[0]]

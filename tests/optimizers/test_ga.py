"""Traps of pymoo."""

from __future__ import annotations

import numpy as np
import pytest
from optimizer_problems import bowl, build, by_digest, cost, distinct, drive, mixed, ordinal

from evonas.errors import InputError


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
    survivors = optimizer._ga.pop.get("F")[:, 0]
    assert np.array_equal(np.sort(survivors), np.sort(told)[:8])


def test_pymoo_uses_the_optimizers_generator() -> None:
    optimizer = build("ga", ordinal(), budget=100)
    drive(optimizer, bowl, asks=2)
    assert optimizer._ga.random_state is optimizer.rng


def test_without_crossover_a_child_is_a_mutated_parent() -> None:
    optimizer = build("ga", ordinal(30), budget=100, crossover=0.0, mutation=0.001, step=0.1)
    parents = optimizer.ask()
    optimizer.tell(bowl(optimizer.space, parents))
    for child in optimizer.ask():
        assert 1 <= min(np.count_nonzero(child != parent) for parent in parents) <= 2


@pytest.mark.parametrize(("option", "value"), [("mutation", 0), ("step", 2), ("crossover", -0.1)])
def test_options_out_of_range(option: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{option}: expected a number"):
        build("ga", ordinal(), **{option: value})

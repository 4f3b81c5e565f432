"""Local search: neighbours, moves, restarts."""

from __future__ import annotations

import numpy as np
import pytest

from evonas.testing.optimizer_problems import (
    bowl,
    build,
    by_digest,
    conditional,
    distinct,
    drive,
    mixed,
    ordinal,
    space_of,
)


@pytest.mark.parametrize("acceptance", ["first", "steepest"])
@pytest.mark.parametrize("space", [mixed(), conditional(), ordinal(3, 4)])
def test_no_architecture_is_asked_twice(acceptance: str, space: object) -> None:
    optimizer = build("local", space, budget=60, acceptance=acceptance)
    asked = drive(optimizer, by_digest)
    assert sum(map(len, asked)) == len(distinct(optimizer, asked))


@pytest.mark.parametrize("acceptance", ["first", "steepest"])
def test_it_reaches_the_optimum_of_a_bowl_and_starts_again(acceptance: str) -> None:
    optimizer = build("local", ordinal(4, 6), budget=250, acceptance=acceptance)
    drive(optimizer, bowl)
    assert optimizer.best_fitness == 0.0
    assert optimizer.restarts >= 1


def test_neighbours_differ_in_one_gene_by_one_step_where_ordered() -> None:
    space = space_of(
        {"kind": "ordinal", "choices": list(range(10))},
        {"kind": "choice", "choices": list("abcdefgh")},
    )
    optimizer = build("local", space, population_size=2, acceptance="steepest")
    first = optimizer.ask()
    optimizer.tell([1.0, 2.0])
    centre = space.decode(first[0]).settings
    letters = set()
    for _ in range(4):
        for genome in optimizer.ask():
            neighbour = space.decode(genome).settings
            changed = [key for key in centre if centre[key] != neighbour[key]]
            assert len(changed) == 1
            assert abs(neighbour["g0"] - centre["g0"]) <= 1
            letters.add(neighbour["g1"])
        optimizer.tell([3.0, 3.0])
    assert len(letters) >= 6


def test_steepest_tries_all_neighbours_before_it_moves() -> None:
    space = ordinal(3, 9)
    optimizer = build("local", space, population_size=2, acceptance="steepest")
    optimizer.ask()
    optimizer.tell([5.0, 9.0])
    centre = optimizer._centre
    optimizer.ask()
    optimizer.tell([4.0, 3.0])
    assert optimizer._centre is centre
    quick = build("local", space, population_size=2)
    quick.ask()
    quick.tell([5.0, 9.0])
    better = quick.ask()[1]
    quick.tell([4.0, 3.0])
    assert np.array_equal(quick._centre, better)

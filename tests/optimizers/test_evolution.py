"""Who may have children: the fittest, the youngest, what crossover mixes."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import pytest
from evolving import B0, EVOPOSE, Array, changes, digests, evolution, told

from evonas.space import Mutation
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
)

# ------------------------------------------------------------------- (mu + lambda)


@pytest.mark.parametrize("parents", [1, 3, 16, 50])
def test_the_fittest_of_children_and_parents_live(parents: int) -> None:
    optimizer = evolution(ordinal(), budget=200, parents=parents, population_size=10)
    rows: list[tuple[str, float]] = []
    for _ in range(8):
        rows += told(optimizer, 1)
        best = sorted(rows, key=lambda row: row[1])[:parents]
        assert optimizer.living() == {digest for digest, _ in best}


def test_parents_are_the_living_and_each_has_as_many_children() -> None:
    optimizer = evolution(ordinal(), budget=200, parents=4, population_size=10)
    rows = told(optimizer, 3)
    fittest = [digest for digest, _ in sorted(rows, key=lambda row: row[1])[:4]]
    children = digests(optimizer.space, optimizer.ask())
    born = [optimizer.parent_of(child) for child in children]
    # the fitter get what is left over; in turns, so that a cut takes from all alike
    assert born == [fittest[turn % 4] for turn in range(10)]


def test_a_good_parent_survives_its_children_and_stays() -> None:
    optimizer = evolution(ordinal(), budget=300, population_size=8)
    first = optimizer.ask()
    best = digests(optimizer.space, first)[5]
    optimizer.tell(np.where(np.arange(8) == 5, -1.0, 1.0))
    for _ in range(6):
        assert best in optimizer.living()
        optimizer.tell(1.0 + by_digest(optimizer.space, optimizer.ask()))
    assert best in optimizer.living()


def test_fewer_children_than_parents_are_those_of_the_fittest() -> None:
    optimizer = evolution(ordinal(), budget=100, parents=5, population_size=3, generation0=5)
    rows = told(optimizer, 1)
    fittest = [digest for digest, _ in sorted(rows, key=lambda row: row[1])]
    children = digests(optimizer.space, optimizer.ask())
    assert [optimizer.parent_of(child) for child in children] == fittest[:3]


def test_a_child_differs_from_its_parent_in_one_gene() -> None:
    optimizer = evolution(mixed(), budget=150)
    genomes: dict[str, Array] = {}
    for n, asked in enumerate(drive(optimizer)):
        if n:
            assert all(len(changes(optimizer, child, genomes)) == 1 for child in asked)
        genomes |= zip(digests(optimizer.space, asked), asked, strict=True)


def test_no_architecture_is_asked_twice_and_generations_are_full() -> None:
    optimizer = evolution(ordinal(), budget=200, population_size=20)
    asked = drive(optimizer, bowl)
    assert [len(genomes) for genomes in asked] == [20] * 10
    assert len(distinct(optimizer, asked)) == 200


def test_more_genes_are_mutated_where_one_brings_nothing_new() -> None:
    # 8 neighbours of one parent: the rest of 40 children are further away
    space = space_of(*[{"kind": "choice", "choices": [0, 1]}] * 8)
    optimizer = evolution(space, budget=256, parents=1, population_size=40, generation0=1)
    (first,) = optimizer.ask()
    optimizer.tell([0.0])
    children = optimizer.ask()
    away = [np.count_nonzero((child > 0.5) != (first > 0.5)) for child in children]
    assert len(children) == 40
    assert away[:8] == [1] * 8
    assert max(away) <= 3
    assert sum(n == 2 for n in away) >= 25


def test_where_nothing_new_is_within_reach_it_starts_elsewhere() -> None:
    genes = [{"kind": "integer", "low": 1, "high": 30, "mutable": []}] * 2
    space = space_of(*genes, {"kind": "choice", "choices": [1, 2, 3]})
    optimizer = evolution(space, budget=60, generation0=1)
    asked = drive(optimizer)
    assert [len(genomes) for genomes in asked[:4]] == [1, 2, 1, 2]
    assert optimizer.restarts > 10
    assert len(distinct(optimizer, asked)) == 60


def test_children_are_feasible_whatever_their_parents_could_afford() -> None:
    optimizer = evolution(ordinal(), budget=100, macs=cost, max_macs=15)
    genomes = np.concatenate(drive(optimizer, bowl))
    assert all(cost(optimizer.space.decode(g)) <= 15 for g in genomes)


# ------------------------------------------------------------------------- failures


def test_what_failed_never_becomes_a_parent() -> None:
    optimizer = evolution(ordinal(), budget=300, parents=6, population_size=8)
    failed: set[str] = set()
    for turn in range(12):
        genomes = optimizer.ask()
        names = digests(optimizer.space, genomes)
        assert not failed & {optimizer.parent_of(name) for name in names}
        values = by_digest(optimizer.space, genomes)
        # of the first eight five fail, so that there are fewer than parents may be
        values[: 5 if turn == 0 else 3] = np.nan
        failed |= {name for name, value in zip(names, values, strict=True) if np.isnan(value)}
        optimizer.tell(values)
        assert not failed & optimizer.living()
        assert len(optimizer.living()) == (3 if turn == 0 else 6)


def test_a_generation_that_fails_leaves_the_parents() -> None:
    optimizer = evolution(ordinal(), budget=100, population_size=8)
    told(optimizer, 2)
    living = optimizer.living()
    for _ in range(3):
        optimizer.tell(np.full(len(optimizer.ask()), np.nan))
        assert optimizer.living() == living
    assert {optimizer.parent_of(d) for d in digests(optimizer.space, optimizer.ask())} <= living


def test_a_failed_ancestor_gives_way_to_random_ones() -> None:
    optimizer = evolution(EVOPOSE, budget=50, population_size=6)
    assert digests(EVOPOSE, optimizer.ask()) == [B0.digest]
    optimizer.tell([np.inf])
    again = optimizer.ask()
    assert len(again) == 6
    assert optimizer.restarts == 1
    assert all(optimizer.parent_of(d) == "" for d in digests(EVOPOSE, again))
    assert all(Mutation(EVOPOSE).fits(genome) for genome in again)


# --------------------------------------------------------------------------- ageing


def test_with_ageing_the_oldest_dies_even_if_it_is_the_best() -> None:
    optimizer = evolution(ordinal(), budget=200, ageing=True, parents=20, population_size=8)
    rows: list[str] = []
    for turn in range(6):
        genomes = optimizer.ask()
        rows += digests(optimizer.space, genomes)
        optimizer.tell(by_digest(optimizer.space, genomes) + turn)  # older is always better
        assert optimizer.living() == set(rows[-20:])
    assert optimizer.fitness_of(rows[0]) is not None
    assert rows[0] not in optimizer.living()
    assert not {optimizer.parent_of(d) for d in digests(optimizer.space, optimizer.ask())} & {
        *rows[:-20]
    }


def test_failures_take_no_place_among_the_most_recent() -> None:
    optimizer = evolution(ordinal(), budget=200, ageing=True, parents=5, population_size=4)
    succeeded: list[str] = []
    for _ in range(6):
        genomes = optimizer.ask()
        values = by_digest(optimizer.space, genomes)
        values[1::2] = np.nan
        optimizer.tell(values)
        succeeded += digests(optimizer.space, genomes)[::2]
        assert optimizer.living() == set(succeeded[-5:])


@pytest.mark.parametrize("sample", [1, 2, 5])
def test_a_parent_is_the_fittest_of_a_sample(sample: int) -> None:
    """Rank r of 4 wins with chance ((5 - r)^s - (4 - r)^s) / 4^s, drawn with replacement."""
    space = ordinal(12, 6)
    optimizer = evolution(
        space, budget=9999, ageing=True, parents=4, sample=sample, population_size=2000,
        generation0=4,
    )  # fmt: skip
    first = digests(space, optimizer.ask())
    optimizer.tell([2.0, 0.0, 3.0, 1.0])
    children = digests(space, optimizer.ask())
    born = [optimizer.parent_of(child) for child in children]
    shares = [born.count(first[i]) / len(born) for i in (1, 3, 0, 2)]
    assert len(born) > 200
    expected = [((5 - r) ** sample - (4 - r) ** sample) / 4**sample for r in (1, 2, 3, 4)]
    assert np.allclose(shares, expected, atol=0.04)


# ------------------------------------------------------------------------ crossover


def test_with_crossover_a_child_takes_genes_from_two_and_one_mutates() -> None:
    space = ordinal(9, 8)
    optimizer = evolution(space, budget=500, crossover=1.0, parents=2, population_size=60)
    told(optimizer, 1)
    living = sorted(optimizer.living(), key=lambda digest: optimizer.fitness_of(digest) or 0.0)
    settings_of = {d: space.decode(optimizer.archive.genomes[d]).settings for d in living}
    ties = mixed_ones = 0
    for genome in optimizer.ask():
        child = space.decode(genome)
        shared = [sum(child.settings[k] == s[k] for k in s) for s in settings_of.values()]
        neither = [
            name
            for name, value in child.settings.items()
            if all(s[name] != value for s in settings_of.values())
        ]
        assert len(neither) <= 1
        mixed_ones += min(shared) >= 2
        ties += shared[0] == shared[1]
        nearer = living[0] if shared[0] >= shared[1] else living[1]
        assert optimizer.parent_of(child.digest) == nearer, "of equals the fitter"
    assert mixed_ones > 30
    assert ties > 3


def test_crossover_is_as_frequent_as_said() -> None:
    space = ordinal(30, 8)
    shares = []
    for crossover in (0.0, 0.3):
        optimizer = evolution(
            space, budget=999, crossover=crossover, parents=2, population_size=300
        )
        told(optimizer, 1)
        parents = [space.decode(optimizer.archive.genomes[d]).settings for d in optimizer.living()]
        children = [space.decode(genome).settings for genome in optimizer.ask()]
        away = [min(sum(c[k] != p[k] for k in c) for p in parents) for c in children]
        shares.append(np.mean(np.array(away) > 1))
    assert shares[0] == 0.0
    assert shares[1] == pytest.approx(0.3, abs=0.07)


# ------------------------------------------------------------------- quality, options


@pytest.mark.parametrize(
    "options", [{}, {"ageing": True}, {"crossover": 0.5}, {"ageing": True, "crossover": 0.5}]
)
def test_it_beats_random_search_by_far(options: dict[str, Any]) -> None:
    """On a separable bowl of 2e9 architectures: less than half of its error."""

    def error(name: str, **given: Any) -> float:
        best = []
        for seed in range(7):
            optimizer = build(name, ordinal(12, 6), budget=150, seed=seed, **given)
            drive(optimizer, bowl)
            best.append(optimizer.best_fitness)
        return statistics.mean(best)

    assert error("evolution", **options) < 0.5 * error("random")

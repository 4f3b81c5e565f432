"""Where an evolution starts, the rules of its space, and who descends from whom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from evolving import B0, EVOPOSE, Array, changes, digests, evolution, ruled, told
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.space import Mutation, SearchSpace
from evonas.testing.optimizer_problems import (
    by_digest,
    cost,
    distinct,
    drive,
    mixed,
    ordinal,
)

# ------------------------------------------------- ancestors, limits, initial_genomes


def test_evopose2d_begins_with_its_ancestor_and_all_descend_from_it() -> None:
    optimizer = evolution(EVOPOSE, budget=65, parents=4, population_size=64)
    first = optimizer.ask()
    assert digests(EVOPOSE, first) == [B0.digest]
    assert np.array_equal(first[0], EVOPOSE.encode(B0))
    optimizer.tell([0.5])
    children = digests(EVOPOSE, optimizer.ask())
    assert len(children) == 64
    assert {optimizer.parent_of(child) for child in children} == {B0.digest}


@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**32),
    ageing=st.booleans(),
    crossover=st.sampled_from([0.0, 0.5]),
    parents=st.integers(1, 6),
)
def test_the_published_rules_hold(seed: int, ageing: bool, crossover: float, parents: int) -> None:
    optimizer = evolution(
        EVOPOSE, budget=60, seed=seed, ageing=ageing, crossover=crossover, parents=parents,
        population_size=12,
    )  # fmt: skip
    genomes: dict[str, Array] = {}
    for n, asked in enumerate(drive(optimizer)):
        for genome in asked:
            own = EVOPOSE.decode(genome).settings
            assert 16 * own["stride5"] * own["stride6"] * own["stride7"] <= 32
            if n and not crossover:
                (name,) = changes(optimizer, genome, genomes)
                parent = EVOPOSE.decode(genomes[optimizer.parent_of(digests(EVOPOSE, [genome])[0])])
                if name.startswith("repeats"):
                    assert abs(own[name] - parent.settings[name]) == 1
        genomes |= zip(digests(EVOPOSE, asked), asked, strict=True)
    assert len(genomes) == 60


def test_several_ancestors_are_the_first_generation_alone() -> None:
    plain = ordinal(3, 4)
    ancestors = [{"g0": n, "g1": 0, "g2": 3} for n in (2, 0, 1)]
    space = ruled(plain, ancestors=ancestors)
    optimizer = evolution(space, budget=30, generation0=8, population_size=5)
    first = optimizer.ask()
    assert [dict(space.decode(genome).settings) for genome in first] == ancestors
    optimizer.tell([3.0, 1.0, 2.0])
    assert optimizer.living() == set(digests(space, first))


def test_an_ancestor_over_the_limit_on_cost_is_left_out() -> None:
    ancestors = [{"g0": 3, "g1": 3, "g2": 3}, {"g0": 0, "g1": 0, "g2": 1}]
    space = ruled(ordinal(3, 4), ancestors=ancestors)
    optimizer = evolution(space, budget=20, macs=cost, max_macs=4)
    assert [dict(space.decode(genome).settings) for genome in optimizer.ask()] == ancestors[1:]
    dear = ruled(ordinal(3, 4), ancestors=ancestors[:1])
    optimizer = evolution(dear, budget=20, macs=cost, max_macs=4, generation0=3)
    assert len(optimizer.ask()) == 3


@pytest.mark.parametrize("n", [None, 1, 9])
def test_without_ancestors_the_first_generation_is_random(n: int | None) -> None:
    optimizer = evolution(ordinal(), budget=100, population_size=6, generation0=n)
    first = optimizer.ask()
    assert len(distinct(optimizer, [first])) == len(first) == (n or 6)


def test_what_is_asked_keeps_limits_to_the_end_of_the_space() -> None:
    # 15 of 64 keep the limit: random starts and the last resort, random draws, keep it too
    plain = ordinal(3, 4)
    space = ruled(plain, limits=[{"genes": ["g0", "g1"], "at_most": 1}])
    inside = [space.encode(a) for a in map(plain.decode, _all(plain)) if _sum(a) <= 1]
    for seed in range(5):
        optimizer = evolution(space, budget=60, seed=seed, population_size=5)
        asked = np.concatenate(drive(optimizer))
        assert set(digests(space, asked)) == set(digests(space, np.array(inside)))
        assert "exhausted" in optimizer.stop_reason


def _all(space: SearchSpace) -> list[Array]:
    grids = np.meshgrid(*[(np.arange(4) + 0.5) / 4] * space.dim)
    return list(np.stack([grid.ravel() for grid in grids], axis=1))


def _sum(architecture: Any) -> int:
    return int(architecture.settings["g0"] + architecture.settings["g1"])


def test_a_limit_that_nothing_keeps_asks_nothing() -> None:
    space = ruled(ordinal(3, 4), limits=[{"genes": ["g0"], "at_most": -1}])
    optimizer = evolution(space, budget=20)
    assert len(optimizer.ask()) == 0
    assert "exhausted" in optimizer.stop_reason


def test_what_was_known_before_comes_in_the_place_of_the_ancestors() -> None:
    rng = np.random.default_rng(3)
    genomes = rng.random((30, EVOPOSE.dim))
    mutation = Mutation(EVOPOSE)
    fit = [genome for genome in genomes if mutation.fits(genome)]
    assert 5 < len(fit) < 25
    values = by_digest(EVOPOSE, genomes)
    optimizer = evolution(EVOPOSE, budget=20, population_size=30, parents=3)
    optimizer.add_observations(genomes, values)
    assert optimizer.living() == set(digests(EVOPOSE, genomes)), "any may be a parent yet"
    first = optimizer.ask()
    order = np.argsort(by_digest(EVOPOSE, np.array(fit)))
    assert np.array_equal(first, np.array(fit)[order])
    assert optimizer.trained == 0
    optimizer.tell(by_digest(EVOPOSE, first))
    assert optimizer.living() == set(digests(EVOPOSE, first[:3]))
    born = {optimizer.parent_of(d) for d in digests(EVOPOSE, optimizer.ask())}
    assert born == set(digests(EVOPOSE, first[:3]))


def test_what_was_known_before_is_filled_up_where_there_are_no_ancestors() -> None:
    space = ordinal()
    genomes = np.random.default_rng(4).random((3, space.dim))
    optimizer = evolution(space, budget=20, population_size=4, generation0=8)
    optimizer.add_observations(genomes, [3.0, 1.0, np.nan])
    first = optimizer.ask()
    assert np.array_equal(first[:2], genomes[[1, 0]])
    assert len(first) == 8


# ---------------------------------------------------------------- parents and lineage


def test_parents_are_known_when_children_are_asked_and_ever_after() -> None:
    optimizer = evolution(ordinal(), budget=60)
    assert optimizer.parent_of("0" * 16) == ""
    lineage: dict[str, str] = {}
    living: frozenset[str] = frozenset()
    while len(genomes := optimizer.ask()):
        names = digests(optimizer.space, genomes)
        born = {name: optimizer.parent_of(name) for name in names}
        assert set(born.values()) <= (living or {""})
        lineage |= born
        assert optimizer.living() == living | set(names), "unjudged, they may become parents"
        optimizer.tell(by_digest(optimizer.space, genomes))
        living = optimizer.living()
        assert living <= set(lineage)
    assert {name: optimizer.parent_of(name) for name in lineage} == lineage
    assert sum(parent == "" for parent in lineage.values()) == 16


def test_a_generation_that_the_budget_cuts_has_parents_and_may_be_gone_on_from() -> None:
    short, long = (evolution(ordinal(), budget=budget) for budget in (21, 60))
    told(short, 1)
    told(long, 1)
    cut, whole = short.ask(), long.ask()
    assert np.array_equal(cut, whole[:5])
    names = digests(short.space, cut)
    values = by_digest(short.space, whole)
    values[2] = np.nan
    assert [short.parent_of(n) for n in names] == [long.parent_of(n) for n in names]
    assert all(short.parent_of(n) for n in names)
    short.tell(values[:5])
    long.tell(values)
    assert len(short.ask()) == 0
    # a larger budget goes on from some of these
    assert long.living() & set(names) <= short.living()
    assert names[2] not in short.living()
    assert set(names) - short.living() == {names[2]}


def test_what_is_suggested_may_have_children() -> None:
    space = ordinal()
    genomes = np.random.default_rng(5).random((3, space.dim))
    optimizer = evolution(space, budget=30, population_size=4, parents=2)
    optimizer.enqueue(genomes)
    names = digests(space, optimizer.ask())
    optimizer.tell([-1.0, np.nan, -2.0])
    assert optimizer.living() == {names[0], names[2]}
    first = optimizer.ask()
    assert digests(space, first)[:2] == [names[2], names[0]]
    optimizer.tell(by_digest(space, first) - np.array([3.0, 2.0, 0.0, 0.0]))
    assert optimizer.living() == {names[0], names[2]}
    children = digests(space, optimizer.ask())
    assert {optimizer.parent_of(child) for child in children} == {names[0], names[2]}


def test_a_restart_has_no_living() -> None:
    optimizer = evolution(ordinal(), budget=100)
    optimizer.tell(np.full(len(optimizer.ask()), np.nan))
    assert optimizer.restarts == 1
    assert optimizer.living() == frozenset()


@pytest.mark.parametrize("options", [{}, {"ageing": True}, {"crossover": 0.5}])
def test_the_same_seed_has_the_same_lineage(options: dict[str, Any]) -> None:
    first, again = (evolution(mixed(), budget=100, **options) for _ in range(2))
    for one, other in zip(drive(first), drive(again), strict=True):
        assert np.array_equal(one, other)
        for digest in digests(mixed(), one):
            assert first.parent_of(digest) == again.parent_of(digest)
    assert first.living() == again.living()

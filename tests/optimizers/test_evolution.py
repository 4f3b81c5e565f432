"""Who may have children, who their parents are, and the rules of the space."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from optimizer_problems import (
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

from evonas.errors import InputError
from evonas.optimizers.evolution import Evolution
from evonas.space import Mutation, SearchSpace

EVOPOSE = SearchSpace.from_file(Path(__file__).parents[2] / "search_spaces" / "evopose2d.yaml")
B0 = EVOPOSE.ancestors[0]
Array = NDArray[np.float64]


def evolution(space: SearchSpace, **arguments: Any) -> Evolution:
    optimizer = build("evolution", space, **arguments)
    assert isinstance(optimizer, Evolution)
    return optimizer


def digests(space: SearchSpace, genomes: Array) -> list[str]:
    return [space.decode(genome).digest for genome in genomes]


def told(optimizer: Evolution, asks: int, fitness: Any = by_digest) -> list[tuple[str, float]]:
    """Run some asks; return (digest, fitness) of all that was asked, in order."""
    rows: list[tuple[str, float]] = []
    for genomes in drive(optimizer, fitness, asks):
        values = fitness(optimizer.space, genomes)
        rows.extend(zip(digests(optimizer.space, genomes), values.tolist(), strict=True))
    return rows


def ruled(space: SearchSpace, **rules: Any) -> SearchSpace:
    return SearchSpace.from_dict(space.to_dict() | rules)


def changes(optimizer: Evolution, child: Array, genomes: dict[str, Array]) -> list[str]:
    """Return the names of the settings in which a child differs from its parent."""
    space = optimizer.space
    own = space.decode(child)
    parent = space.decode(genomes[optimizer.parent_of(own.digest)])
    return [name for name in own.settings if own.settings[name] != parent.settings[name]]


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
    assert optimizer.recall(rows[0]) is not None
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
    living = sorted(optimizer.living(), key=lambda digest: optimizer.recall(digest) or 0.0)
    settings_of = {d: space.decode(optimizer.books.genomes[d]).settings for d in living}
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
        parents = [space.decode(optimizer.books.genomes[d]).settings for d in optimizer.living()]
        children = [space.decode(genome).settings for genome in optimizer.ask()]
        away = [min(sum(c[k] != p[k] for k in c) for p in parents) for c in children]
        shares.append(np.mean(np.array(away) > 1))
    assert shares[0] == 0.0
    assert shares[1] == pytest.approx(0.3, abs=0.07)


# ------------------------------------------------- ancestors, limits, favourites


def test_evopose2d_begins_with_its_ancestor_and_all_descend_from_it() -> None:
    optimizer = evolution(EVOPOSE, budget=65, parents=4, population_size=64)
    first = optimizer.ask()
    assert digests(EVOPOSE, first) == [B0.digest]
    assert np.array_equal(first[0], EVOPOSE.encode(B0))
    optimizer.tell([0.5])
    children = digests(EVOPOSE, optimizer.ask())
    assert len(children) == 64
    assert {optimizer.parent_of(child) for child in children} == {B0.digest}


@settings(max_examples=12, deadline=None)
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
    optimizer.learn(genomes, values)
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
    optimizer.learn(genomes, [3.0, 1.0, np.nan])
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
    optimizer.suggest(genomes)
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


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("parents", 0),
        ("parents", True),
        ("sample", 0),
        ("crossover", 1.1),
        ("crossover", -0.1),
        ("generation0", 0),
        ("ageing", 1),
        ("ageing", "yes"),
    ],
)
def test_options_out_of_range(option: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{option}: expected"):
        build("evolution", ordinal(), **{option: value})

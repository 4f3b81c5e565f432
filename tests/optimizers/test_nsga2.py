"""Fronts: found, spread, never forgotten, and the same on every run."""

from __future__ import annotations

import itertools

import moocore
import numpy as np
import pytest
from numpy.typing import NDArray

from evonas.optimizers import nsga2
from evonas.optimizers.base import Optimizer
from evonas.space import Architecture, SearchSpace
from evonas.testing.optimizer_problems import (
    build,
    by_digest,
    cost,
    distinct,
    drive,
    mixed,
    ordinal,
)

SPACE = ordinal(6, 4)  # 4096 architectures
#: Shares of the hypervolume after 60 trainings from seeds 0, 1, 2.
GOLDEN = [0.9499, 0.9795, 0.9494]


def two(architecture: Architecture) -> tuple[float, float]:
    """Squares of distances to two corners: the front lies between them."""
    values = np.array(list(architecture.settings.values()), dtype=float)
    weights = np.arange(1, len(values) + 1)
    return float(weights @ values**2), float(weights @ (values - 3) ** 2)


def three(architecture: Architecture) -> tuple[float, float, float]:
    values = np.array(list(architecture.settings.values()), dtype=float)
    return (*two(architecture), float(((values - 1.5) ** 2).sum()))


def every(space: SearchSpace, axes: object = two) -> NDArray[np.float64]:
    centres = (np.arange(4) + 0.5) / 4
    points = itertools.product(centres, repeat=space.dim)
    return np.array([axes(space.decode(np.array(point))) for point in points])


def search(
    optimizer: Optimizer, axes: object = two, asks: int = 5000, fail: int = 0
) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Tell axes, and only their sum as fitness; every ``fail``-th genome of an ask fails."""
    asked, met = [], []
    for _ in range(asks):
        genomes = optimizer.ask()
        if len(genomes) == 0:
            break
        asked.append(genomes)
        rows = np.array([axes(optimizer.space.decode(genome)) for genome in genomes])
        fitness = rows.sum(axis=1)
        if fail:
            fitness[::fail] = np.nan
            rows[::fail] = np.nan
        met.extend(rows.tolist())
        optimizer.tell(fitness, rows)
    return asked, np.array(met)


def share(met: NDArray[np.float64], axes: object = two) -> float:
    whole = every(SPACE, axes)
    reference = whole.max(axis=0)
    met = met[np.isfinite(met).all(axis=1)]
    return moocore.hypervolume(met, ref=reference) / moocore.hypervolume(whole, ref=reference)


@pytest.mark.parametrize("seed", range(3))
def test_finds_a_known_front(seed: int) -> None:
    optimizer = build("nsga2", SPACE, budget=150, seed=seed)
    asked, met = search(optimizer)
    assert len(distinct(optimizer, asked)) == len(met) == 150
    assert share(met) > 0.98
    _, chance = search(build("random", SPACE, budget=150, seed=seed))
    assert share(chance) < 0.95
    # both ends, each of which is one architecture of 4096
    assert np.array_equal(met.min(axis=0), [0.0, 0.0])


def test_hypervolume_of_a_small_search_stays_what_it_was() -> None:
    found = [share(search(build("nsga2", SPACE, budget=60, seed=s))[1]) for s in range(3)]
    assert found == pytest.approx(GOLDEN, abs=1e-4)


def test_three_axes() -> None:
    _, met = search(build("nsga2", SPACE, budget=150), three)
    _, chance = search(build("random", SPACE, budget=150), three)
    assert share(met, three) > 0.98 > share(chance, three)


@pytest.mark.parametrize("preselection", [1, 6])
def test_a_front_is_spread_and_not_one_best(preselection: int) -> None:
    optimizer = build("nsga2", SPACE, budget=150, preselection=preselection)
    _, met = search(optimizer)
    front = met[moocore.is_nondominated(met)]
    assert len(front) > 15
    gaps = np.diff(np.sort(front[:, 0]))
    assert gaps.max() < 0.25 * np.ptp(front[:, 0])


def test_preselection_brings_more_in_few_trainings() -> None:
    def mean(preselection: int) -> float:
        runs = (
            build("nsga2", SPACE, budget=50, seed=s, preselection=preselection) for s in range(5)
        )
        return float(np.mean([share(search(run)[1]) for run in runs]))

    assert mean(6) > mean(1) + 0.02


def test_parents_are_the_best_of_all_ever_told() -> None:
    optimizer = build("nsga2", SPACE, budget=150)
    asked, met = search(optimizer, asks=25)
    parents = optimizer._algorithm.pop
    front = met[moocore.is_nondominated(met, keep_weakly=True)]
    assert len(front) > len(parents) == 8
    own = parents.get("F")
    assert {tuple(row) for row in own} <= {tuple(row) for row in front}
    # the ends have infinite crowding distance, so no generation loses them
    assert np.array_equal(own.min(axis=0), front.min(axis=0))
    oldest = np.concatenate(asked[:15])
    assert any((genome == oldest).all(axis=1).any() for genome in parents.get("X"))


def test_rank_comes_before_crowding_and_ties_keep_their_order() -> None:
    axes = np.array([[3.0, 3.0], [0.0, 4.0], [1.0, 2.0], [4.0, 0.0], [1.1, 1.9], [5.0, 5.0]])
    rank, crowding = nsga2._rank_and_crowding(axes)
    assert rank.tolist() == [1, 0, 0, 0, 0, 2]
    # ends first, in the order of informative_taps; then who has more room: 2.9/4 + 2/4 + ... each
    assert nsga2._order(rank, crowding).tolist() == [1, 3, 4, 2, 0, 5]
    assert crowding[2] == pytest.approx((1.1 / 4 + 2.1 / 4) / 2)
    assert crowding[4] == pytest.approx((3.0 / 4 + 2.0 / 4) / 2)


def test_without_axes_the_fitness_is_the_only_one() -> None:
    plain, told = build("nsga2", mixed()), build("nsga2", mixed())
    for _ in range(6):
        genomes = plain.ask()
        assert np.array_equal(told.ask(), genomes)
        values = by_digest(plain.space, genomes)
        plain.tell(values)
        told.tell(values, values[:, None])


def test_the_fitness_does_not_matter_where_there_are_axes() -> None:
    first, second = (build("nsga2", SPACE, budget=60) for _ in range(2))
    for _ in range(12):
        genomes = first.ask()
        assert np.array_equal(second.ask(), genomes)
        rows = [two(SPACE.decode(genome)) for genome in genomes]
        first.tell(np.arange(len(rows)), rows)
        second.tell(-np.arange(len(rows)), rows)


def test_failures_are_no_parents_and_stop_nothing() -> None:
    optimizer = build("nsga2", SPACE, budget=100)
    asked, met = search(optimizer, fail=3)
    assert optimizer.trained == 100
    assert share(met) > 0.85
    failed = {tuple(genome) for genomes in asked[:-1] for genome in genomes[::3]}
    assert not failed & {tuple(genome) for genome in optimizer._algorithm.pop.get("X")}


def test_a_success_without_usable_axes_is_no_error() -> None:
    optimizer = build("nsga2", SPACE, budget=60)
    for _ in range(2):  # the fitness alone ranks until an axis is a number
        genomes = optimizer.ask()
        optimizer.tell(by_digest(SPACE, genomes), np.full((len(genomes), 2), np.nan))
    search(optimizer)
    assert optimizer.trained == 60


def test_starts_from_the_front_of_what_was_learned() -> None:
    genomes = np.concatenate(search(build("nsga2", SPACE, budget=60))[0])
    rows = np.array([two(SPACE.decode(genome)) for genome in genomes])
    rows[0] = np.nan
    optimizer = build("nsga2", SPACE, budget=40, seed=1)
    optimizer.add_observations(genomes, np.where(np.isnan(rows[:, 0]), np.nan, 0.0), rows)
    front = {tuple(genome) for genome in genomes[1:][moocore.is_nondominated(rows[1:])]}
    first = optimizer.ask()
    assert {tuple(genome) for genome in first} <= front
    assert optimizer.trained == 0
    optimizer.tell(np.zeros(len(first)), [two(SPACE.decode(genome)) for genome in first])
    known = {SPACE.decode(genome).digest for genome in genomes}
    asked, met = search(optimizer)
    assert not known & distinct(optimizer, asked)
    assert optimizer.trained == 40
    assert share(np.concatenate([rows, met])) > share(rows[1:])


def test_a_replayed_search_goes_on_as_the_first() -> None:
    whole, _ = search(build("nsga2", SPACE, budget=70, seed=5), fail=4)
    resumed = build("nsga2", SPACE, budget=70, seed=5)
    again, _ = search(resumed, asks=6, fail=4)
    rest, _ = search(resumed, fail=4)
    assert len(whole) == len(again) + len(rest)
    assert all(np.array_equal(a, b) for a, b in zip([*again, *rest], whole, strict=True))


def test_offspring_are_new_and_feasible() -> None:
    optimizer = build("nsga2", ordinal(), budget=80, macs=cost, max_macs=15)
    genomes = np.concatenate(drive(optimizer))
    assert all(cost(optimizer.space.decode(genome)) <= 15 for genome in genomes)
    assert len(distinct(optimizer, [genomes])) == len(genomes) == 80


def test_asks_as_many_as_it_should_however_many_are_preselected() -> None:
    for preselection in (1, 6):
        optimizer = build("nsga2", SPACE, budget=60, population_size=6, preselection=preselection)
        assert [len(genomes) for genomes in search(optimizer)[0]] == [6] * 10

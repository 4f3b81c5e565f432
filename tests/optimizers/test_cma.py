"""Traps of pycma."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, spearmanr

from evonas.optimizers.common.preselection import Preselection
from evonas.testing.optimizer_problems import bowl, build, cost, drive, ordinal, space_of


def test_it_draws_from_its_own_generator() -> None:
    np.random.seed(3)
    before = np.random.get_state()
    optimizer = build("cma", ordinal())
    drive(optimizer, bowl, asks=2)
    assert np.array_equal(np.random.get_state()[1], before[1])
    state = optimizer.rng.bit_generator.state
    optimizer.ask()
    assert optimizer.rng.bit_generator.state != state


def test_flat_fitness_is_no_reason_to_stop() -> None:
    optimizer = build("cma", ordinal(10, 10), budget=500)
    drive(optimizer, lambda s, g: np.ones(len(g)), asks=20)
    assert optimizer.restarts == 0


def leaving(optimizer: Any, generations: int) -> np.ndarray:
    """Share of genomes, a coordinate, outside the bin of the mean, late in a search.

    The base is left out: it would restart a strategy that only repeats itself.
    """
    space, outside = optimizer.space, []
    optimizer.success = lambda digest: 0.0  # what the base would know
    for generation in range(generations):
        genomes = np.clip(optimizer._ask(), 0.0, 1.0)
        if generation >= generations - 50:
            mean = optimizer._es.result.xfavorite
            bins = np.array([len(gene.values) for gene in space.genes])
            outside.append(np.ceil(genomes * bins) != np.ceil(mean * bins))
        optimizer._tell(genomes, bowl(space, genomes))
    return np.concatenate(outside).mean(axis=0)


def test_it_does_not_freeze_inside_a_bin() -> None:
    # without the choice among draws, which leaves the bin by itself
    free = leaving(build("cma", ordinal(), budget=10_000, preselection=1), 150)
    frozen = leaving(build("cma", ordinal(), budget=10_000, preselection=1, margin=0.0), 150)
    assert np.all(free > 0.5 / 6)
    assert frozen.min() < 0.5 / 6


def test_restarts_grow_the_population_to_a_bound() -> None:
    optimizer = build("cma", ordinal(8, 8), budget=10_000, population_size=4)
    sizes = []
    for _ in range(5):
        for _ in range(2):  # the design, and what is drawn from the distribution
            genomes = optimizer.ask()
            optimizer.tell(bowl(optimizer.space, genomes))
        sizes.append(len(genomes))
        optimizer._restart()
    assert sizes == [4, 8, 16, 32, 32]


def test_nothing_that_never_began_grows() -> None:
    optimizer = build("cma", ordinal(), budget=100)
    for _ in range(4):  # failures alone restart each time
        genomes = optimizer.ask()
        optimizer.tell(np.full(len(genomes), np.nan))
    assert (optimizer.restarts, len(optimizer.ask())) == (4, 6)


def test_it_reads_no_signals_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cma_signals.in").write_text("{'tolx': 1e9}")
    optimizer = build("cma", ordinal(), budget=60)
    drive(optimizer, bowl, asks=5)
    assert optimizer.restarts == 0


def test_it_stays_in_the_feasible_region() -> None:
    optimizer = build("cma", ordinal(), budget=100, macs=cost, max_macs=18)
    genomes = np.concatenate(drive(optimizer, bowl))
    feasible = [cost(optimizer.space.decode(g)) <= 18 for g in genomes]
    assert np.mean(feasible) > 0.95


def test_start_at_the_centre() -> None:
    optimizer = build("cma", ordinal(4, 9), start="centre", sigma=0.001, margin=0.0)
    assert np.allclose(optimizer.ask(), 0.5, atol=0.01)


def test_population_size_is_small_by_default_and_honoured() -> None:
    assert build("cma", ordinal(13)).population_size == 6
    optimizer = build("cma", ordinal(), budget=90, population_size=15)
    assert [len(genomes) for genomes in drive(optimizer, bowl)] == [15] * 6


def trainings_to_the_optimum(seed: int, **options: Any) -> int:
    """Of the bowl on 6 genes of 4 values: one architecture among 4096."""
    optimizer = build("cma", ordinal(6, 4), budget=200, seed=seed, **options)
    while len(genomes := optimizer.ask()):
        optimizer.tell(bowl(optimizer.space, genomes))
        if optimizer.best_fitness == 0.0:
            break
    return optimizer.trained


def test_the_model_halves_the_trainings() -> None:
    preselected = [trainings_to_the_optimum(seed) for seed in range(7)]
    unselected = [trainings_to_the_optimum(seed, preselection=1) for seed in range(7)]
    assert max(preselected) <= 60
    assert np.median(preselected) <= 0.6 * np.median(unselected)


@pytest.mark.parametrize("preselection", [1, 6, 24])
def test_nearly_every_genome_asked_is_new_even_after_convergence(preselection: int) -> None:
    optimizer = build("cma", ordinal(6, 4), budget=300, preselection=preselection)
    asked = drive(optimizer, bowl)
    assert optimizer.best_fitness == 0.0
    assert optimizer.trained / sum(map(len, asked)) > 0.95
    assert optimizer._staleness.fruitless == 0


def test_the_distribution_starts_at_the_best_of_a_random_design() -> None:
    optimizer = build("cma", ordinal(), population_size=8)
    design = optimizer.ask()
    values = bowl(optimizer.space, design)
    optimizer.tell(values)
    mean = optimizer._es.result.xfavorite
    assert np.allclose(mean, np.clip(design[np.argmin(values)], 0.02, 0.98))


def test_it_learns_only_from_solutions_that_it_drew() -> None:
    optimizer = build("cma", ordinal(), budget=60)
    drive(optimizer, bowl, asks=1)
    told = []
    tell = optimizer._es.tell
    optimizer._es.tell = lambda solutions, values: (told.extend(solutions), tell(solutions, values))
    genomes = np.concatenate(drive(optimizer, bowl, asks=5))
    assert np.array_equal(np.clip(told, 0.0, 1.0), genomes)
    assert optimizer._es.countiter == 5


def test_the_floor_keeps_the_margin() -> None:
    optimizer = build("cma", ordinal(), margin=0.2, sigma=0.001, start="centre")
    drive(optimizer, bowl, asks=2)
    mean, deviation = optimizer._es.result.xfavorite, optimizer._floor()
    edges = np.arange(1, 8) / 8
    nearest = np.abs(mean[:, None] - edges).min(axis=1)
    assert np.allclose(2.0 * norm.sf(nearest / deviation), 0.2)


def test_the_model_finds_main_effects_and_survives_flat_and_huge_fitness() -> None:
    space = space_of(
        {"kind": "choice", "choices": ["a", "b", "c"]},
        {"kind": "integer", "low": 1, "high": 5},
        {"kind": "log_float", "low": 0.01, "high": 1.0},
    )
    preselection = Preselection(space)
    genomes = list(np.random.default_rng(0).random((60, 3)))
    assert preselection.order(genomes).tolist() == list(range(60)), "nothing is known yet"
    values = np.array([(g[0] < 1 / 3) + 4 * (g[1] - 0.5) ** 2 + g[2] for g in genomes])
    values[7] = 1e100
    preselection.fit(genomes, values)
    new = list(np.random.default_rng(1).random((60, 3)))
    truth = np.array([(g[0] < 1 / 3) + 4 * (g[1] - 0.5) ** 2 + g[2] for g in new])
    assert spearmanr(truth[preselection.order(new)], np.arange(60)).statistic > 0.85
    preselection.fit(genomes, np.ones(60))
    assert preselection.order(new).tolist() == list(range(60))


def test_a_failure_in_the_place_of_a_parent_moves_no_mean() -> None:
    optimizer = build("cma", ordinal(), budget=200)
    drive(optimizer, bowl, asks=3)
    before = optimizer._es.mean.copy()
    optimizer.tell(np.full(len(optimizer.ask()), np.nan))
    assert np.allclose(optimizer._es.mean, before, rtol=0.0, atol=1e-12), (
        "a generation of failures moves nothing"
    )
    genomes = optimizer.ask()
    step = optimizer._es.sent_solutions[optimizer._solutions[2]]["geno"] - before
    weight = optimizer._es.sp.weights[0]
    optimizer.tell([np.nan, np.nan, 1e6] + [np.nan] * (len(genomes) - 3))
    assert np.allclose(optimizer._es.mean, before + weight * step)
    assert optimizer.parents() == [optimizer.identify(genomes[2])[0]]


def test_a_restart_begins_at_no_failure() -> None:
    optimizer = build("cma", ordinal(), budget=200)
    drive(optimizer, bowl, asks=2)
    optimizer._restart()
    for _ in range(2):
        optimizer.tell(np.full(len(optimizer.ask()), np.nan))
        assert optimizer._es is None, "a design of failures has no best"
        assert optimizer.parents() == []
    genomes = optimizer.ask()
    optimizer.tell([np.nan, 1e6] + [np.nan] * (len(genomes) - 2))
    assert optimizer.parents() == [optimizer.identify(genomes[1])[0]]

"""Traps of pycma."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optimizer_problems import bowl, build, cost, drive, ordinal

from evonas.errors import InputError


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
    for generation in range(generations):
        genomes = np.clip(optimizer._ask(), 0.0, 1.0)
        if generation >= generations - 50:
            mean = optimizer._es.result.xfavorite
            bins = np.array([len(gene.values) for gene in space.genes])
            outside.append(np.ceil(genomes * bins) != np.ceil(mean * bins))
        optimizer._tell(genomes, bowl(space, genomes))
    return np.concatenate(outside).mean(axis=0)


def test_it_does_not_freeze_inside_a_bin() -> None:
    free = leaving(build("cma", ordinal(), budget=10_000), 150)
    frozen = leaving(build("cma", ordinal(), budget=10_000, margin=0.0), 150)
    assert np.all(free > 0.5 / 6)
    assert frozen.min() < 0.5 / 6


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


@pytest.mark.parametrize(
    ("option", "value"),
    [("sigma", 0), ("sigma", 1.5), ("margin", 0.7), ("start", "middle"), ("population_size", 3)],
)
def test_options_out_of_range(option: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{option}: expected .* got {value!r}"):
        build("cma", ordinal(), **{option: value})


def test_default_population_follows_the_dimension() -> None:
    assert build("cma", ordinal(1)).population_size == 6
    assert build("cma", ordinal(13)).population_size == 11

"""Strategies that are asked while the fitness of earlier asks is missing."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evonas.core import registry
from evonas.errors import InputError
from evonas.optimizers.base import Optimizer
from evonas.testing.optimizer_problems import bowl, build, by_digest, cost, mixed, ordinal

NAMES = registry.names("optimizer")
AHEAD = [name for name in NAMES if registry.load("optimizer", name).asks_ahead]


def drive(optimizer: Optimizer, fitness: Any = by_digest) -> list[NDArray[np.float64]]:
    """Tell each ask as late as the window allows; return what was asked."""
    waiting: deque[NDArray[np.float64]] = deque()
    asked = []
    while len(genomes := optimizer.ask()):
        asked.append(genomes)
        waiting.append(fitness(optimizer.space, genomes))
        if len(waiting) == max(optimizer.window, 1):
            optimizer.tell(waiting.popleft())
    while waiting:
        optimizer.tell(waiting.popleft())
    return asked


def test_the_default_and_random_search_can_be_asked_ahead() -> None:
    assert {"surrogate", "random"} <= set(AHEAD)


@pytest.mark.parametrize("name", AHEAD)
@pytest.mark.parametrize("window", [1, 3, 8])
def test_the_budget_is_spent_by_asks_of_one_new_genome(name: str, window: int) -> None:
    optimizer = build(name, mixed(), budget=30, window=window)
    asked = drive(optimizer)
    assert [len(genomes) for genomes in asked] == [1] * 30
    assert len({optimizer.space.decode(genomes[0]).digest for genomes in asked}) == 30
    assert optimizer.stop_reason == "The budget of 30 distinct architectures is spent."
    again = drive(build(name, mixed(), budget=30, window=window))
    assert np.array_equal(asked, again)


@pytest.mark.parametrize("name", AHEAD)
def test_a_window_of_one_asks_as_batches_of_one(name: str) -> None:
    least = registry.load("optimizer", name).least_population_size
    if least > 1:
        pytest.skip("it asks for no single genome otherwise")
    one = drive(build(name, ordinal(), budget=25, window=1), bowl)
    assert np.array_equal(one, drive(build(name, ordinal(), budget=25, population_size=1), bowl))


@pytest.mark.parametrize("name", AHEAD)
@pytest.mark.parametrize(
    "fitness",
    [
        lambda space, genomes: np.full(len(genomes), np.nan),
        lambda space, genomes: np.where(by_digest(space, genomes) > 0.5, np.nan, 1.0),
        lambda space, genomes: np.full(len(genomes), 3.0),
    ],
    ids=["all fail", "half fail", "all equal"],
)
def test_failures_and_equal_fitness_stop_no_search(name: str, fitness: Any) -> None:
    optimizer = build(name, mixed(), budget=25, window=6)
    assert len(drive(optimizer, fitness)) == 25


@pytest.mark.parametrize("name", AHEAD)
def test_a_small_space_is_met_in_full(name: str) -> None:
    optimizer = build(name, ordinal(3, 3), budget=100, window=8)
    assert len(drive(optimizer)) == 27
    assert "exhausted" in optimizer.stop_reason


@pytest.mark.parametrize("name", AHEAD)
def test_limits_and_suggestions_hold(name: str) -> None:
    optimizer = build(name, ordinal(), budget=20, window=5, macs=cost, max_macs=20)
    optimizer.enqueue(np.full((3, 6), 0.01) + np.arange(3)[:, None] / 8)
    asked = drive(optimizer, bowl)
    assert [genomes[0, 0] for genomes in asked[:3]] == pytest.approx([0.01, 0.135, 0.26])
    assert all(cost(optimizer.space.decode(genomes[0])) <= 20 for genomes in asked[3:])


@pytest.mark.parametrize("seed", range(4))
def test_asks_without_results_are_the_members_of_a_batch(seed: int) -> None:
    """The model takes its mean for what is pending, as it does within a batch."""
    space = ordinal(3, 6)
    genomes = np.random.default_rng(seed).random((25, 3))
    batch = build("surrogate", space, population_size=6, macs=cost)
    ahead = build("surrogate", space, window=6, macs=cost)
    for optimizer in (batch, ahead):
        optimizer.add_observations(genomes, bowl(space, genomes))
    asked = np.concatenate([ahead.ask() for _ in range(6)])
    assert np.array_equal(asked, batch.ask())


def test_the_surrogate_finds_the_best_of_a_bowl_with_a_window() -> None:
    optimizer = build("surrogate", ordinal(4, 6), budget=60, window=6, macs=cost)
    drive(optimizer, bowl)
    random = build("random", ordinal(4, 6), budget=420)
    drive(random, bowl)
    assert optimizer.best_fitness <= random.best_fitness


@pytest.mark.parametrize("name", AHEAD)
def test_misuse_is_answered_with_a_remedy(name: str) -> None:
    optimizer = build(name, mixed(), window=3)
    for _ in range(3):
        optimizer.ask()
    with pytest.raises(
        InputError, match=r"ask\(\) came with 3 asks waiting: .* tell its 1 genomes first"
    ):
        optimizer.ask()
    with pytest.raises(InputError, match=r"expected fitness of shape \(1,\)"):
        optimizer.tell([1.0, 2.0])
    optimizer.tell([1.0])
    optimizer.ask()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_window_is_refused(name: str) -> None:
    for wrong in (-1, 1.5, True, "wide"):
        with pytest.raises(InputError, match=f"window: expected .* got {wrong!r}"):
            build(name, mixed(), window=wrong)
    if name not in AHEAD:
        with pytest.raises(InputError, match=r"window: expected 0 for .* whole generations"):
            build(name, mixed(), window=4)
        return
    with pytest.raises(InputError, match=r"population_size: expected 1 beside window=4, got 5"):
        build(name, mixed(), window=4, population_size=5)

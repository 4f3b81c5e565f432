"""Traps of pyswarms."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evonas.testing.optimizer_problems import (
    bowl,
    build,
    by_digest,
    cost,
    distinct,
    drive,
    ordinal,
    space_of,
    trainings,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("environment", [{}, {"LOG_CFG": "logging.yaml"}])
def test_import_sets_up_no_logging_and_writes_no_file(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    program = (
        "import logging, logging.config; before = logging.config.dictConfig; "
        "import evonas.optimizers.pso; "
        "assert logging.config.dictConfig is before; "
        "print(logging.root.handlers, logging.root.level)"
    )
    if environment:
        (tmp_path / "logging.yaml").write_text("version: 1\nroot: {level: DEBUG}\n")
    files = set(os.listdir(tmp_path))
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.split() == ["[]", "30"]
    assert set(os.listdir(tmp_path)) == files


def test_steps_draw_from_the_fenced_generator_only() -> None:
    runs = []
    for noise in (1, 2):
        optimizer = build("pso", ordinal(), budget=60)
        genomes = []
        while len(asked := optimizer.ask()):
            genomes.append(asked)
            np.random.seed(noise)
            optimizer.tell(by_digest(optimizer.space, asked))
        runs.append(np.concatenate(genomes))
    assert np.array_equal(*runs)


def test_particles_keep_their_best_and_follow_the_leader() -> None:
    optimizer = build("pso", ordinal(), budget=500)
    told = []
    for _ in range(6):
        genomes = optimizer.ask()
        assert len(genomes) == optimizer.population_size
        told.append(bowl(optimizer.space, genomes))
        optimizer.tell(told[-1])
    swarm = optimizer._swarm
    # or better, where a particle came by a place that another had found
    assert np.all(swarm.pbest_cost <= np.min(told, axis=0))
    assert np.array_equal(swarm.pbest_cost, bowl(optimizer.space, swarm.pbest_pos))
    assert swarm.best_cost == np.min(told)


def test_nothing_is_asked_twice_and_every_ask_is_full_while_there_is_room() -> None:
    optimizer = build("pso", ordinal(8, 4), budget=200, population_size=8)
    asked = drive(optimizer, bowl)
    assert [len(genomes) for genomes in asked] == [8] * 25
    assert len(distinct(optimizer, asked)) == 200


def test_particles_fly_on_from_infeasible_places() -> None:
    optimizer = build("pso", ordinal(), budget=80, macs=cost, max_macs=15)
    genomes = np.concatenate(drive(optimizer, bowl))
    assert all(cost(optimizer.space.decode(g)) <= 15 for g in genomes)


def test_a_particle_learns_from_a_known_place_it_passes() -> None:
    optimizer = build("pso", ordinal(), budget=500)
    first = optimizer.ask()
    optimizer.tell(np.arange(5.0) + 1.0)
    optimizer._swarm.position[4] = first[0]
    optimizer._update_bests(np.array([4]), np.array([1.0]))
    assert optimizer._swarm.pbest_cost.tolist() == [1.0, 2.0, 3.0, 4.0, 1.0]
    assert np.array_equal(optimizer._swarm.pbest_pos[4], first[0])


def test_a_failed_first_place_is_left_for_any_success() -> None:
    optimizer = build("pso", ordinal(), budget=500)
    first = optimizer.ask()
    optimizer.tell([np.nan] + [5.0] * (len(first) - 1))
    optimizer.ask()
    optimizer.tell([4.9] * len(first))
    assert np.all(optimizer._swarm.pbest_cost == 4.9)


def test_velocity_is_limited_and_ends_at_walls() -> None:
    optimizer = build("pso", ordinal(), budget=300, social=4.0, cognitive=4.0)
    for _ in range(8):
        drive(optimizer, bowl, asks=1)
        swarm = optimizer._swarm
        assert np.all(np.abs(swarm.velocity) <= 0.5)
        assert np.all((swarm.position >= 0.0) & (swarm.position <= 1.0))


@pytest.mark.parametrize("place", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_a_swarm_at_rest_is_pushed_by_a_bin_and_walls_reflect(place: float) -> None:
    optimizer = build("pso", ordinal(6, 8), budget=300)
    drive(optimizer, bowl, asks=1)
    swarm = optimizer._swarm
    swarm.position[:] = swarm.pbest_pos[:] = place
    swarm.best_pos = np.full(6, place)
    swarm.velocity[:] = 0.0
    everyone = np.arange(len(swarm.position))
    optimizer._step(everyone, floor=False)
    assert np.all(swarm.velocity == 0.0)
    optimizer._step(everyone, floor=True)
    assert np.array_equal(np.count_nonzero(swarm.velocity, axis=1), np.ones(5))
    assert np.allclose(np.abs(swarm.velocity).max(axis=1), 1 / 8)
    assert np.allclose(np.abs(swarm.position - place).max(axis=1), 1 / 8)


def test_each_particle_takes_the_most_promising_of_its_flights() -> None:
    assert trainings("pso", preselection=12) <= 0.8 * trainings("pso", preselection=1)


def test_what_a_particle_did_not_take_leaves_no_trace() -> None:
    optimizer = build("pso", ordinal(6, 6), budget=200, preselection=8)
    for _ in range(6):
        genomes = optimizer.ask()
        particles = optimizer._asked_particles
        assert np.array_equal(optimizer._swarm.position[particles], genomes)
        assert len(distinct(optimizer, [genomes])) == len(genomes) == 5
        optimizer.tell(bowl(optimizer.space, genomes))


def test_choices_are_copied_not_averaged() -> None:
    space = space_of(*[{"kind": "choice", "choices": list(range(7))}] * 5)
    optimizer = build("pso", space, budget=300)
    drive(optimizer, by_digest, asks=1)
    swarm = optimizer._swarm
    swarm.position[:], swarm.pbest_pos[:], swarm.best_pos = 0.1, 0.4, np.full(5, 0.9)
    for _ in range(200):
        optimizer._step(np.arange(5), floor=False)
        assert set(swarm.position.ravel()) <= {0.1, 0.4, 0.9}
        assert np.all(swarm.velocity == 0.0)
    assert not np.any(swarm.position == 0.1)


def test_a_push_gives_a_choice_another_value() -> None:
    space = space_of({"kind": "choice", "choices": list("abcd")})
    optimizer = build("pso", space, budget=300, population_size=4)
    drive(optimizer, by_digest, asks=1)
    swarm = optimizer._swarm
    met = set()
    for _ in range(20):
        swarm.position[:] = swarm.pbest_pos[:] = 0.375
        swarm.best_pos = np.full(1, 0.375)
        optimizer._step(np.arange(4), floor=True)
        met |= set(swarm.position.ravel())
    assert met == {0.125, 0.625, 0.875}


@pytest.mark.parametrize("seed", range(5))
def test_a_bowl_of_65536_is_solved_in_150_trainings(seed: int) -> None:
    optimizer = build("pso", ordinal(8, 4), budget=150, seed=seed)
    drive(optimizer, bowl)
    assert optimizer.best_fitness == 0.0


def test_a_swarm_without_anything_new_around_is_scattered() -> None:
    optimizer = build("pso", ordinal(3, 6), budget=150)
    asked = drive(optimizer, bowl)
    assert optimizer.restarts > 0
    assert len(distinct(optimizer, asked)) == sum(map(len, asked)) == 150


def test_a_particle_without_success_follows_the_best_and_takes_any_success() -> None:
    optimizer = build("pso", ordinal(), budget=500)
    first = optimizer.ask()
    optimizer.tell([5.0, 7.0] + [np.nan] * (len(first) - 2))
    swarm = optimizer._swarm
    assert swarm.pbest_cost[:2].tolist() == [5.0, 7.0]
    assert np.all(np.isinf(swarm.pbest_cost[2:]))
    assert np.array_equal(swarm.pbest_pos, first[[0, 1, 0, 0, 0]])
    optimizer._update_bests(np.array([2, 3]), np.array([1e6, 4.0]))
    assert swarm.pbest_cost.tolist() == [5.0, 7.0, 1e6, 4.0, np.inf]
    assert np.array_equal(swarm.pbest_pos[4], swarm.pbest_pos[3]), "the best, as it is by now"

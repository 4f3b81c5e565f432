"""Traps of pyswarms."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from optimizer_problems import bowl, build, by_digest, drive, ordinal

from evonas.errors import InputError

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
        told.append(bowl(optimizer.space, genomes))
        optimizer.tell(told[-1])
    swarm = optimizer._swarm
    assert np.array_equal(swarm.pbest_cost, np.min(told, axis=0))
    assert swarm.best_cost == np.min(told)


def test_a_failed_first_place_is_left_for_any_success() -> None:
    optimizer = build("pso", ordinal(), budget=500)
    first = optimizer.ask()
    optimizer.tell([np.nan] + [5.0] * (len(first) - 1))
    optimizer.ask()
    optimizer.tell([4.9] * len(first))
    assert np.all(optimizer._swarm.pbest_cost == 4.9)


def test_velocity_is_limited_and_ends_at_walls() -> None:
    optimizer = build("pso", ordinal(), budget=300, social=4.0, cognitive=4.0)
    drive(optimizer, bowl, asks=8)
    swarm = optimizer._swarm
    assert np.all(np.abs(swarm.velocity) <= 0.5)
    outward = (swarm.position == 0.0) & (swarm.velocity < -0.5)
    assert not outward.any()


@pytest.mark.parametrize(("option", "value"), [("inertia", 1.0), ("cognitive", -1), ("social", 5)])
def test_options_out_of_range(option: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{option}: expected a number"):
        build("pso", ordinal(), **{option: value})


def test_a_converged_swarm_is_scattered() -> None:
    optimizer = build("pso", ordinal(3, 6), budget=150, inertia=0.3)
    drive(optimizer, bowl)
    assert optimizer.restarts > 0
    assert optimizer.trained == 150

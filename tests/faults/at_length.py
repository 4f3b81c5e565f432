"""Faults that take minutes, or a machine for themselves: `make faults` alone has them.

Of each there is a quicker relative elsewhere: servers in ray_cluster/test_local_cluster.py, nodes
that go in test_cluster.py, time limits, memory and files left open in the conformance of executors.
"""

from __future__ import annotations

import random
import secrets
from pathlib import Path

import pytest
from faults import traces
from faults.driver import TRIES, Toys, Whole, trainings
from faults.searches import (
    SETS,
    RaySearches,
    after_a_server_is_killed,
    marks,
    resembles,
    searched,
)

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.faults]

LOG = 10**6  # bytes of a worker's log, at which it is turned over


@pytest.mark.parametrize("server", ["raylet", "gcs_server"])
@pytest.mark.parametrize("number", range(max(1, TRIES // 8)))
def test_a_server_that_is_killed(
    toys: Toys, searches: RaySearches, tmp_path: Path, server: str, number: int
) -> None:
    after_a_server_is_killed(server, toys, searches, tmp_path, number)


@pytest.mark.parametrize("number", range(max(1, TRIES // 8)))
def test_a_node_that_is_killed(
    toys: Toys, searches: RaySearches, tmp_path: Path, number: int
) -> None:
    """With its raylet goes its worker; the other node does its jobs, and nothing is resumed."""
    words = SETS[number % len(SETS)]
    whole = Whole(toys, tmp_path / "whole", *words)
    folder = tmp_path / "ray" / "run"
    env = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    fate = {"strikes": {"node": random.Random(number).randint(1, 6)}}
    status, output = searches(folder, *words, env=env, nodes=2, fate=fate)
    assert status == 0, output
    assert marks(folder)["node"] == 1
    resembles(folder, whole)
    assert not searches.left()


def test_what_is_printed_and_what_is_left_open(
    failing: Whole, searches: RaySearches, tmp_path: Path
) -> None:
    """What is a candidate's own does so at every try and fails; the others are undisturbed."""
    folder = tmp_path / "ray" / "run"
    env = {"RAY_ROTATION_MAX_BYTES": str(LOG), "RAY_ROTATION_BACKUP_COUNT": "1"}
    found = searched(failing, searches, folder, "print", "handles", env=env, amount=10**8)
    for kind, row in found:
        often = sum(training[0] == row["digest"] for training in trainings(folder))
        assert row["status"] == "failed"
        assert often == (1 if kind == "print" else 2)
    (place,) = traces.sessions(searches.place)
    assert traces.folder_bytes(place / "logs") < 3e7, "100 MB of words are in the logs"


def test_memory_that_runs_out(failing: Whole, searches: RaySearches, tmp_path: Path) -> None:
    """Ray ends a worker before the system would; another may go first, and is tried again."""
    folder = tmp_path / "ray" / "run"
    told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (1024 * int(told[n].split()[0]) for n in ("MemTotal", "MemAvailable"))
    env = {"RAY_memory_usage_threshold": f"{(total - free + 3e9) / total:.3f}"}
    env["RAY_memory_monitor_refresh_ms"] = "50"
    ((_, row),) = searched(failing, searches, folder, "memory", env=env, amount=45 * 10**8)
    assert row["error"].startswith("oom-host: the machine ran out of memory")


def test_a_training_that_never_ends(
    failing: Whole, toys: Toys, searches: RaySearches, tmp_path: Path
) -> None:
    folder = tmp_path / "ray" / "run"
    words = ("execution.time_limit.least=8", "execution.time_limit.most=8")
    whole = Whole(toys, tmp_path / "whole", *failing.words, *words)  # its files name them too
    ((_, row),) = searched(whole, searches, folder, "hang")
    assert row["error"] == "timeout: it took more than 8 s"
    assert sum(training[0] == row["digest"] for training in trainings(folder)) == 1

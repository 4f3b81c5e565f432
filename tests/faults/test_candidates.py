"""Candidates that take what is not theirs: memory, files, the log's disk, time.

Each does so at every try and fails; all others, and the strategy, are as in an undisturbed run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults import traces
from faults.driver import Toys, Whole, rows, trainings
from faults.searches import RaySearches, resembles

WORDS = ("optimizer=random", "budget=30", "finals.networks=0")
LOG = 10**6  # bytes of a worker's log, at which it is turned over


@pytest.fixture(scope="module")
def whole(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(toys, tmp_path_factory.mktemp("whole"), *WORDS)


@pytest.fixture
def searches() -> Iterator[RaySearches]:
    """Does searches with Ray, and leaves nothing behind."""
    made = RaySearches()
    yield made
    made.close()


def searched(
    whole: Whole,
    searches: RaySearches,
    folder: Path,
    *kinds: str,
    words: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    **fate: Any,
) -> list[tuple[str, dict[str, Any]]]:
    """Search with a bad candidate of each kind; return what became of them."""
    failing = sorted({r["digest"] for r in whole.rows if int(r["digest"], 16) % 9 == 0})
    bad = dict(zip(failing, kinds, strict=False))
    assert len(bad) == len(kinds), "the search has too few candidates that fail"
    status, output = searches(folder, *WORDS, *words, env=env, fate={"bad": bad, **fate})
    assert status == 0, output
    assert "Traceback" not in output
    resembles(folder, whole)
    assert not searches.left()
    return [(bad[row["digest"]], row) for row in rows(folder) if row["digest"] in bad]


def test_what_is_printed_and_what_is_left_open(
    whole: Whole, searches: RaySearches, tmp_path: Path
) -> None:
    folder = tmp_path / "ray" / "run"
    env = {"RAY_ROTATION_MAX_BYTES": str(LOG), "RAY_ROTATION_BACKUP_COUNT": "1"}
    found = searched(whole, searches, folder, "print", "handles", env=env, amount=10**8)
    for kind, row in found:
        often = sum(training[0] == row["digest"] for training in trainings(folder))
        assert row["status"] == "failed"
        assert often == (1 if kind == "print" else 2)
    (place,) = traces.sessions(searches.place)
    assert traces.folder_bytes(place / "logs") < 3e7, "100 MB of words are in the logs"


def test_memory_that_runs_out(whole: Whole, searches: RaySearches, tmp_path: Path) -> None:
    """Ray ends a worker before the system would; another may go first, and is tried again."""
    folder = tmp_path / "ray" / "run"
    told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (1024 * int(told[n].split()[0]) for n in ("MemTotal", "MemAvailable"))
    env = {"RAY_memory_usage_threshold": f"{(total - free + 3e9) / total:.3f}"}
    env["RAY_memory_monitor_refresh_ms"] = "50"
    ((_, row),) = searched(whole, searches, folder, "memory", env=env, amount=45 * 10**8)
    assert row["error"].startswith("oom-host: the machine ran out of memory")


def test_a_training_that_never_ends(whole: Whole, searches: RaySearches, tmp_path: Path) -> None:
    folder = tmp_path / "ray" / "run"
    words = ("execution.time_limit.least=8", "execution.time_limit.most=8")
    ((_, row),) = searched(whole, searches, folder, "hang", words=words)
    assert row["error"] == "timeout: it took more than 8 s"
    assert sum(training[0] == row["digest"] for training in trainings(folder)) == 1

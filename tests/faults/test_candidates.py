"""Candidates that take what is not theirs: memory, files, the log's disk, time.

Each does so at every try and fails; all others, and the strategy, are as in an undisturbed run.
"""

from __future__ import annotations

from pathlib import Path

from faults import traces
from faults.driver import Whole, trainings
from faults.searches import RaySearches, searched

LOG = 10**6  # bytes of a worker's log, at which it is turned over


def test_what_is_printed_and_what_is_left_open(
    failing: Whole, searches: RaySearches, tmp_path: Path
) -> None:
    folder = tmp_path / "ray" / "run"
    env = {"RAY_ROTATION_MAX_BYTES": str(LOG), "RAY_ROTATION_BACKUP_COUNT": "1"}
    found = searched(failing, searches, folder, "print", "handles", env=env, amount=10**8)
    for kind, row in found:
        often = sum(training[0] == row["digest"] for training in trainings(folder))
        assert row["status"] == "failed"
        assert often == (1 if kind == "print" else 2)
    (place,) = traces.sessions(searches.place)
    assert traces.folder_bytes(place / "logs") < 3e7, "100 MB of words are in the logs"

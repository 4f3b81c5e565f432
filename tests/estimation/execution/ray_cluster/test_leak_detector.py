"""Processes that leak are told from those that only get warm."""

from __future__ import annotations

import mmap
from pathlib import Path

from evonas.estimation.execution.ray_cluster.leak_detector import LeakDetector, held

GIB = 2**30


def test_only_growth_after_the_first_trainings_counts() -> None:
    values = iter([1, 2, 9, 3, 3, 3, 3, 3, *(9.5, 10.0, 10.01, 10.01)])
    wear = LeakDetector(lambda: int(next(values) * GIB))
    assert [wear.after_a_training() for _ in range(11)] == [False] * 10 + [True]


def test_features_that_come_late_are_no_leak() -> None:
    features = [0] * 8 + [3] * 4
    leak = iter([1] * 10 + [3] * 2)
    kept = iter([*features, 3])
    late = iter([*features, 3])
    wear = LeakDetector(lambda: (next(leak, 3) + next(late)) * GIB, lambda: next(kept) * GIB)
    assert [wear.after_a_training() for _ in range(11)] == [False] * 10 + [True]


def test_what_the_collector_gets_back_is_no_leak() -> None:
    values = iter([1] * 8 + [5, 1])
    wear = LeakDetector(lambda: next(values) * GIB)
    assert not any(wear.after_a_training() for _ in range(9))


def test_own_pages_count_and_those_of_files_do_not(tmp_path: Path) -> None:
    size = 64 * 2**20
    before = held()
    assert before > 0
    # straight from the kernel: an allocator may have pages left that others gave back
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        for page in range(0, size, mmap.PAGESIZE):
            block[page] = 1
        assert 0.9 * size < held() - before < 1.5 * size
    path = tmp_path / "file"
    path.write_bytes(b"y" * size)
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ) as pages:
        before = held()
        assert pages.find(b"z") == -1  # touches every page
        assert held() - before < 0.3 * size

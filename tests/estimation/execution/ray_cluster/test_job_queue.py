"""Which job goes next: the longest, where it has room; alone, if it ran out of memory before."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evonas.core.settings import TrainingSettings
from evonas.estimation.cost.workload import Work
from evonas.estimation.estimator import Job
from evonas.estimation.execution.ray_cluster.job_queue import Place, Queue, Trial
from evonas.estimation.execution.ray_cluster.time_forecast import Forecast
from evonas.estimation.measurement import Measurement
from evonas.space import Architecture

HERE, THERE = Place("node", "0", room=100.0), Place("node", "1", room=100.0)
FULL = Measurement.failure("oom-gpu", "no room")


def job(index: int, size: int = 1) -> Job:
    return Job(index, Architecture("n", {"index": index, "size": size}), 0, TrainingSettings())


class Known(Forecast):
    """Of trainings whose seconds and bytes are their size."""

    def __init__(self) -> None:
        super().__init__(lambda job: Work(0, 0, 0, 0, 0))

    def pays(self) -> bool:
        return True

    def seconds(self, job: Job) -> float | None:
        return float(job.architecture.settings["size"]) if self.knows(job) else None  # type: ignore[arg-type]

    def memory(self, job: Job) -> float:
        return float(job.architecture.settings["size"])  # type: ignore[arg-type]


def taken(queue: Queue, *places: Place) -> list[int | None]:
    trials = [queue.take(place) for place in places]
    return [trial.job.index if trial else None for trial in trials]


def test_without_a_forecast_the_order_stays() -> None:
    queue = Queue([job(3), job(1), job(2)], None)
    assert not queue.refine()
    cpu = Place("node")
    assert taken(queue, cpu, cpu, cpu, cpu) == [3, 1, 2, None]
    assert not queue


def test_the_longest_goes_first_once_it_is_known() -> None:
    queue = Queue([job(n, size) for n, size in enumerate((5, 1, 7, 9))], Known())
    cpu = Place("node")
    assert taken(queue, cpu) == [0]  # as asked: nobody waits for a forecast
    assert queue.refine()
    assert taken(queue, cpu) == [1]  # as asked: of the others nothing is known so far
    while queue.refine():
        pass
    assert taken(queue, cpu, cpu) == [3, 2]


@pytest.mark.parametrize(("in_order", "expected"), [(True, [0, 1, 2, 3]), (False, [3, 2, 0, 1])])
def test_with_a_window_the_oldest_goes_first(in_order: bool, expected: list[int]) -> None:
    queue = Queue([job(0, 5), job(1, 1)], Known(), in_order)
    queue.add([job(2, 7), job(3, 9)])
    while queue.refine():
        pass
    cpu = Place("node")
    assert taken(queue, cpu, cpu, cpu, cpu) == expected


def test_a_gpu_takes_what_has_room_beside_the_others() -> None:
    queue = Queue([job(n, size) for n, size in enumerate((70, 60, 20, 5))], Known())
    while queue.refine():
        pass
    assert taken(queue, HERE, HERE, HERE, THERE) == [0, 2, 3, 1]
    queue = Queue([job(0, 500), job(1, 60), job(2, 60)], Known())
    first = queue.take(HERE)  # too large, but beside nobody it is let try
    assert first is not None
    assert taken(queue, HERE, THERE) == [None, 1]
    queue.ended(first, HERE)
    assert taken(queue, HERE) == [2]


def test_out_of_memory_is_tried_alone_after_all_others_then_marked() -> None:
    queue = Queue([job(n) for n in range(3)], None)
    cpu = Place("node")
    first, second = queue.take(cpu), queue.take(cpu)
    assert first is not None
    assert second is not None
    queue.ended(first, cpu)
    assert queue.done(first, FULL) is None
    assert first.alone
    third = queue.take(cpu)
    assert third is not None
    assert third.job.index == 2
    queue.ended(second, cpu)
    assert queue.take(cpu) is None  # the third is still there
    queue.ended(third, cpu)
    assert queue.take(cpu) is first
    queue.again(Trial(job(9)))
    assert queue.take(cpu) is None, "nobody beside it"
    assert taken(queue, Place("other node")) == [9]
    queue.ended(first, cpu)
    final = queue.done(first, FULL)
    assert final is not None
    assert (final.status, final.error) == ("failed", "no room (alone as well)")


def test_done_is_learnt_from() -> None:
    forecast = Known()
    queue = Queue([job(0)], forecast)
    trial = queue.take(Place("node"))
    assert trial is not None
    measured = Measurement("ok", {}, seconds=3.0, epochs=2)
    assert queue.done(trial, measured) is measured
    assert queue.done(trial, replace(measured, status="failed")) is not None
    assert len(forecast._late) == 1


@given(st.lists(st.tuples(st.integers(1, 150), st.integers(0, 3)), max_size=30), st.integers(1, 5))
def test_every_job_ends_and_no_place_is_overfull(jobs: list[tuple[int, int]], workers: int) -> None:
    """Sizes, and for each whether it runs out of memory: never, beside others, or always."""
    queue = Queue([job(n, size) for n, (size, _) in enumerate(jobs)], Known())
    places = [HERE if n % 2 else THERE for n in range(workers)]
    running: list[tuple[Trial, Place]] = []
    ended: list[int] = []
    while queue or running:
        queue.refine()
        for place in places:
            if len(running) < workers and (trial := queue.take(place)):
                running.append((trial, place))
        for place in (HERE, THERE):
            there = [trial for trial, where in running if where == place]
            sizes = [jobs[trial.job.index][0] for trial in there]
            assert len(there) <= 1 or sum(sizes) <= 100
            assert len(there) <= 1 or not any(trial.alone for trial in there)
        trial, place = running.pop(0)
        queue.ended(trial, place)
        fails = jobs[trial.job.index][1]
        full = fails == 3 or (fails == 2 and not trial.alone)
        if queue.done(trial, FULL if full else Measurement("ok")):
            ended.append(trial.job.index)
    assert sorted(ended) == list(range(len(jobs)))

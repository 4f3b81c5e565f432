"""Worker seconds add up, and each idle one has its cause."""

from __future__ import annotations

import pytest

from evonas.estimation.execution.common.utilisation import Usage


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_two_workers_a_generation_of_three_and_one_of_one() -> None:
    clock = Clock()
    usage = Usage(2, clock)
    assert usage.statement() == ""
    usage.begin(3)
    for at, seconds in ((4.0, 4.0), (5.0, 4.9), (9.0, 5.0)):  # the second waited 0.1 for its job
        clock.now = 100.0 + at
        usage.done(seconds)
    usage.end()
    clock.now += 1.0  # the strategy
    usage.begin(1)
    clock.now += 3.0
    usage.done(3.0)
    usage.end()
    assert usage.wall == pytest.approx(13.0)
    assert usage.busy == pytest.approx(16.9)
    assert usage.tail == pytest.approx(4.0)  # from 5 to 9 one was left
    assert usage.between == pytest.approx(2.0)
    assert usage.few == pytest.approx(3.0)
    assert usage.scheduling_delay == pytest.approx(0.1)
    assert usage.share == pytest.approx(16.9 / 26)
    assert usage.to_dict()["candidates"] == 4
    assert usage.statement() == (
        "Utilisation 65.0 % of 2 worker(s) over 13.0 s; idle: end of generations 15.4 %, "
        "fewer candidates than workers 11.5 %, strategy and files 7.7 %, scheduling delay 0.4 %."
    )


def test_what_comes_before_the_first_job_does_not_count() -> None:
    clock = Clock()
    usage = Usage(1, clock)
    clock.now += 50.0
    usage.begin(1)
    clock.now += 2.0
    usage.done(2.0)
    assert (usage.wall, usage.between, usage.share) == (2.0, 0.0, 1.0)


def test_jobs_that_come_while_others_run_are_no_new_generation() -> None:
    clock = Clock()
    usage = Usage(2, clock)
    usage.add(3)
    for at, seconds, coming in ((4.0, 4.0, 1), (5.0, 5.0, 0), (9.0, 5.0, 1), (10.0, 5.0, 0)):
        clock.now = 100.0 + at
        usage.done(seconds)
        usage.add(coming)
    clock.now = 114.0
    usage.done(4.0)
    usage.end()
    assert usage.busy == 23.0
    assert usage.tail == 4.0  # from 10 to 14 one was left
    assert usage.few == usage.between == 0.0
    assert usage.scheduling_delay == pytest.approx(1.0)  # from 9 to 10 the third of two
    assert "idle: oldest of the window 14.3 %" in usage.statement()

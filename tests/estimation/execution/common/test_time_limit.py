"""What never ends is broken off; what is only slow is not."""

from __future__ import annotations

import math
import os
import signal
import threading
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evonas.core.settings import TimeLimitSettings, TrainingSettings
from evonas.estimation.estimator import Job
from evonas.estimation.execution.common.time_limit import OverTime, TimeLimit, at_most, over_time
from evonas.estimation.measurement import Measurement
from evonas.space import Architecture

HEAD = Architecture("residual_head", {"width": 8})


def job(epochs: int = 10, **part: Any) -> Job:
    return Job(0, HEAD, 0, TrainingSettings(epochs=epochs), **part)


def took(seconds: float, epochs: int = 10, status: str = "ok") -> Measurement:
    return Measurement(status, {"mae": 1.0}, seconds=seconds, epochs=epochs)


def limit(**settings: float) -> TimeLimit:
    return TimeLimit(TimeLimitSettings(**{"least": 1.0, **settings}))


def test_before_there_is_a_median_the_most_holds() -> None:
    found = limit(most=500.0)
    for _ in range(4):
        found.learn(job(), took(20.0))
    assert found.of(job()) == 500.0
    found.learn(job(), took(20.0))
    assert found.of(job()) == 500.0, "30 times 20 seconds are more than the most"


def test_the_median_is_of_seconds_an_epoch() -> None:
    found = limit(times=10.0)
    for seconds in (20.0, 20.0, 20.0, 0.1, 5000.0):
        found.learn(job(), took(seconds))
    assert found.of(job()) == pytest.approx(200.0)
    assert found.of(job(epochs=30)) == pytest.approx(600.0)
    assert found.of(job(epochs=30, until=3)) == pytest.approx(60.0)
    assert limit(times=10.0, least=90.0).of(job()) == TimeLimitSettings().most


def test_the_median_runs_along() -> None:
    found = limit(times=10.0)
    for _ in range(300):
        found.learn(job(), took(20.0))
    for _ in range(150):
        found.learn(job(), took(40.0))  # the machine got slower
    assert found.of(job()) == pytest.approx(400.0)


def test_failures_and_second_halves_say_nothing() -> None:
    found = limit(times=10.0)
    for _ in range(9):
        found.learn(job(), took(0.001, epochs=1, status="failed"))
        found.learn(job(paused="file", done=2), took(0.001))  # went on from its rung
        found.learn(job(paused="file", safe=True), took(0.001))  # may have gone on
    assert found.of(job()) == TimeLimitSettings().most
    for _ in range(5):
        found.learn(job(until=2, paused="file"), took(4.0, epochs=2))  # up to its rung
    assert found.of(job()) == pytest.approx(200.0)


@given(
    seconds=st.lists(st.floats(1e-6, 1e6), min_size=5, max_size=20),
    times=st.floats(0, 1e3),
    bounds=st.tuples(st.floats(1e-3, 1e6), st.floats(1e-3, 1e6)).map(sorted),
)
def test_it_keeps_its_bounds(seconds: list[float], times: float, bounds: list[float]) -> None:
    found = limit(times=times, least=bounds[0], most=bounds[1])
    for one in seconds:
        found.learn(job(), took(one))
    assert bounds[0] <= found.of(job()) <= bounds[1] or (times == 0 and found.of(job()) == math.inf)


def test_a_least_above_the_most_is_refused() -> None:
    with pytest.raises(ValueError, match="expected least to be at most as large as most"):
        TimeLimitSettings(least=10, most=5)


def test_what_never_ends_is_broken_off_even_if_it_catches_all_errors() -> None:
    handler = signal.getsignal(signal.SIGALRM)
    turns = 0

    def endless() -> None:
        nonlocal turns
        while True:
            with suppress(Exception):
                turns += 1

    with pytest.raises(OverTime), at_most(0.05):
        endless()
    assert turns > 0
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert over_time(0.05).error == "it took more than 0.05 s"


def test_what_ends_in_time_is_left_alone() -> None:
    with at_most(60.0):
        assert signal.getitimer(signal.ITIMER_REAL)[1] == 1.0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    with at_most(math.inf):
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_seconds_in_which_the_process_was_stopped_do_not_count() -> None:
    """All rings that fell into them come as one."""

    def ring(times: int) -> None:
        for _ in range(times):
            os.kill(os.getpid(), signal.SIGALRM)

    with at_most(3.0):
        ring(2)
    with pytest.raises(OverTime), at_most(3.0):
        ring(3)


def test_beside_the_main_thread_there_is_no_limit() -> None:
    found: list[str] = []

    def train() -> None:
        with at_most(1e-6):
            found.append("done")

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == ["done"]

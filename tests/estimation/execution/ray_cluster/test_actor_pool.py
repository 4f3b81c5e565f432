"""Actors that start late, die early or go with their nodes, on a Ray that does as it is told."""

from __future__ import annotations

import itertools
import logging
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError

from evonas.errors import InputError, RunError
from evonas.estimation.execution.ray_cluster import actor_pool as _pool
from evonas.estimation.execution.ray_cluster.actor_pool import Pool
from evonas.estimation.execution.ray_cluster.job_queue import Place
from evonas.estimation.execution.ray_cluster.worker import versions


class Actor:
    """An actor of which the test decides when it is ready, and what it then says."""

    def __init__(self, number: int) -> None:
        self.number, self.ready = number, self

    def remote(self) -> str:
        return f"ready {self.number}"


class FakeRay:
    """Knows which references are resolved, and to what."""

    def __init__(self) -> None:
        self.results: dict[str, Any] = {}
        self.killed: list[Actor] = []
        self.timeouts: list[float | None] = []
        self.living = ["node"]
        self.later: dict[str, Any] = {}  # what is known once a timeout has passed

    def wait(self, references: list[str], timeout: float | None = None) -> tuple[list[str], None]:
        self.timeouts.append(timeout)
        done = [reference for reference in references if reference in self.results][:1]
        if timeout is None:
            assert done, "would wait for ever"
        elif not done:
            self.results |= self.later
        return done, None

    def get(self, reference: str) -> Any:
        if isinstance(self.results[reference], Exception):
            raise self.results[reference]
        return self.results[reference]

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor)

    def nodes(self) -> list[dict[str, Any]]:
        known = [{"NodeID": "gone", "Alive": False}]
        return known + [{"NodeID": name, "Alive": True} for name in self.living]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    made = FakeRay()
    monkeypatch.setattr(_pool, "ray", made)
    return made


def pool(workers: int) -> Pool:
    numbers = itertools.count(1)
    return Pool(lambda: Actor(next(numbers)), workers)


HERE = (Place("node"), "host", versions())


def test_actors_get_work_once_they_are_ready(fake: FakeRay) -> None:
    actors = pool(2)
    assert actors.alive == {}
    fake.results["ready 2"] = HERE
    finished, (late,) = actors.wait([])
    assert (finished, late.number, list(actors.alive.values())) == ([], 2, [Place("node")])
    fake.results = {"job": "an answer"}  # the first has still nowhere to run
    assert actors.wait(["job"]) == (["job"], [])
    fake.results["ready 1"] = HERE
    assert actors.wait([])[1][0].number == 1
    assert len(actors.alive) == 2


def test_waiting_for_nodes_is_said_once_and_is_no_busy_loop(
    fake: FakeRay, caplog: pytest.LogCaptureFixture
) -> None:
    actors = pool(1)
    fake.later = {"ready 1": HERE}
    with caplog.at_level(logging.WARNING, "evonas"):
        assert len(actors.wait([])[1]) == 1
    assert fake.timeouts == [30.0, None]
    assert [record.getMessage() for record in caplog.records] == [
        "no worker is alive: 0 job(s) at work and all others wait for nodes of the Ray cluster "
        "that have room"
    ]


def test_a_dead_actor_is_replaced_before_and_after_it_is_ready(fake: FakeRay) -> None:
    actors = pool(1)
    fake.results["ready 1"] = ActorDiedError()
    assert actors.wait([]) == ([], [])
    fake.results["ready 2"] = HERE
    (second,) = actors.wait([])[1]
    actors.replace(second)
    assert [actor.number for actor in fake.killed] == [1, 2]
    assert actors.alive == {}
    fake.results["ready 3"] = HERE
    assert actors.wait([])[1][0].number == 3


def test_actors_that_never_start_are_not_tried_for_ever(fake: FakeRay) -> None:
    actors = pool(1)
    fake.results = {f"ready {number}": ActorDiedError() for number in range(1, 99)}
    for _ in range(9):
        assert actors.wait([]) == ([], [])
    with pytest.raises(RunError, match="workers do not start: The actor died"):
        actors.wait([])
    assert len(fake.killed) == 9


def test_a_node_with_another_version_is_refused(fake: FakeRay) -> None:
    actors = pool(1)
    fake.results["ready 1"] = (Place("node"), "old", {"evonas": "0.0.1", "torch": "2.6"})
    with pytest.raises(InputError, match=r"^node old has .*0\.0\.1.* install the same on every"):
        actors.wait([])
    actors.close()
    assert [actor.number for actor in fake.killed] == [1]


def test_a_node_that_goes_is_told_from_a_candidate_that_kills(fake: FakeRay) -> None:
    actors = pool(1)
    fake.results["ready 1"] = HERE
    (one,) = actors.wait([])[1]
    assert not actors.lost_its_node(one, ActorDiedError())
    assert actors.lost_its_node(one, ActorUnavailableError("no answer", None))
    assert actors.lost_its_node(one, NodeDiedError("gone"))
    fake.living = ["another"]
    assert actors.lost_its_node(one, ActorDiedError())


def test_closing_gives_back_what_runs_and_what_waits(fake: FakeRay) -> None:
    actors = pool(3)
    fake.results["ready 2"] = HERE
    actors.wait([])
    actors.close()
    assert sorted(actor.number for actor in fake.killed) == [1, 2, 3]
    actors.close()
    assert len(fake.killed) == 3

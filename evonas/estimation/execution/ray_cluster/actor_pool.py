"""Pool of Ray actors: which are ready and where, which are starting."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, NodeDiedError, RayError

from evonas.errors import InputError, RunError
from evonas.estimation.execution.ray_cluster.job_queue import Place
from evonas.estimation.execution.ray_cluster.worker import versions

_STARTS = 10  # of actors in a row that die before they are ready: something is broken
_PATIENCE = 30.0  # seconds without any worker before a warning
_log = logging.getLogger("evonas")


class Pool:
    """Keeps one actor per worker and replaces those that die.

    A new actor may wait for a node: Ray starts it when a node has room, and it gets jobs once it
    is ready.

    Args:
        make: requests an actor from Ray.
        workers: number of actors.
    """

    def __init__(self, make: Callable[[], Any], workers: int) -> None:
        self._make = make
        self.alive: dict[Any, Place] = {}
        self._starting: dict[Any, Any] = {}  # reference of ``ready`` -> actor
        self._false_starts = 0
        for _ in range(workers):
            self._spawn()

    def wait(self, running: list[Any], seconds: float = math.inf) -> tuple[list[Any], list[Any]]:
        """Wait until a job finishes or an actor becomes ready.

        Args:
            running: references of jobs.
            seconds: longest time to wait while workers are alive.

        Returns:
            Jobs that are finished, and actors that have become ready.

        Raises:
            InputError: a node has other versions.
            RunError: actors do not start.
        """
        references = [*running, *self._starting]
        timeout = None if math.isinf(seconds) else seconds
        done = ray.wait(references, timeout=timeout if self.alive else _PATIENCE)[0]
        if not done and not self.alive:
            _log.warning(
                "no worker is alive: %d job(s) at work and all others wait for nodes of the Ray "
                "cluster that have room",
                len(running),
            )
            done = ray.wait(references)[0]
        ready = [reference for reference in done if reference in self._starting]
        finished = [reference for reference in done if reference not in self._starting]
        return finished, [actor for r in ready if (actor := self._begun(r)) is not None]

    def _begun(self, reference: Any) -> Any | None:
        """Return an actor that has become ready; replace it and return None if it died."""
        actor = self._starting.pop(reference)
        try:
            place, host, there = ray.get(reference)
        except RayError as error:
            self._false_starts += 1
            reason = str(error).strip().splitlines()[-1].strip()
            if getattr(error, "actor_init_failed", False) or self._false_starts >= _STARTS:
                raise RunError(f"workers do not start: {reason}") from error
            self.replace(actor)
            return None
        self._false_starts = 0
        self.alive[actor] = place
        if there != versions():
            raise InputError(
                f"node {host} has {there}, here is {versions()}: install the same on every node"
            )
        return actor

    def news(self, running: list[Any]) -> bool:
        """Whether ``wait`` would return at once."""
        return bool(ray.wait([*running, *self._starting], timeout=0)[0])

    def lost_its_node(self, actor: Any, error: RayError) -> bool:
        """Whether a worker was lost with its node, which is no failure of its candidate.

        A live node reports the death of its worker at once, as ``ActorDiedError``. For a lost
        node Ray raises ``ActorUnavailableError`` after a second, or ``ActorDiedError`` once the
        cluster has given the node up. A lost network connection looks like a lost node.

        Args:
            actor: the worker.
            error: of its job.
        """
        if isinstance(error, ActorUnavailableError | NodeDiedError):
            return True
        living = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        place = self.alive.get(actor)
        return place is None or place.node not in living

    def replace(self, actor: Any) -> None:
        """Kill an actor and request a new one."""
        ray.kill(actor)  # it may be alive but unreachable
        self.alive.pop(actor, None)
        self._spawn()

    def close(self) -> None:
        """Kill all actors."""
        for actor in [*self.alive, *self._starting.values()]:
            ray.kill(actor)
        self.alive, self._starting = {}, {}

    def _spawn(self) -> None:
        actor = self._make()
        self._starting[actor.ready.remote()] = actor

"""A Ray cluster that is not there: nodes, what they have, and what they answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import GetTimeoutError

from evonas.estimation.execution.ray_cluster import join_cluster as _cluster
from evonas.estimation.execution.ray_cluster import machines as _machines
from evonas.estimation.execution.ray_cluster.gpus import Card


class FakeRay:
    """Stands in for ``ray`` where a cluster is asked; a task is answered by its node.

    Attributes:
        nodes_: what Ray knows of each.
        silent: no task comes to an end.
    """

    def __init__(self) -> None:
        self.nodes_: list[dict[str, Any]] = []
        self._cards: dict[str, tuple[Card, ...]] = {}
        self.silent = False

    def add(
        self,
        host: str,
        cpus: int,
        gpus: int,
        cards: tuple[Card, ...] = (),
        accelerator: str = "",
    ) -> None:
        has: dict[str, float] = {"CPU": float(cpus)}
        has |= {"GPU": float(gpus)} if gpus else {}
        has |= {f"accelerator_type:{accelerator}": 1.0} if accelerator else {}
        node = {"NodeID": host, "NodeManagerHostname": host, "Alive": True, "Resources": has}
        self.nodes_.append(node)
        self._cards[host] = cards

    def join(self, patch: pytest.MonkeyPatch) -> None:
        """Have whatever address is joined be this cluster."""
        patch.setattr(_cluster, "ray", self)
        patch.setattr(_machines, "ray", self)
        patch.setattr(_cluster, "_resolved", lambda address: address)
        patch.setattr(
            _machines,
            "NodeAffinitySchedulingStrategy",
            lambda node, soft: SimpleNamespace(node=node),
        )

    def is_initialized(self) -> bool:
        return True

    def get_runtime_context(self) -> SimpleNamespace:
        return SimpleNamespace(gcs_address="10.0.0.1:6379")

    def nodes(self) -> list[dict[str, Any]]:
        gone = {"NodeID": "gone", "Alive": False, "Resources": {}}
        return [gone, *self.nodes_]

    def cluster_resources(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for node in self.nodes_:
            for key, value in node["Resources"].items():
                total[key] = total.get(key, 0.0) + value
        return total

    def remote(self, function: Any) -> Any:
        def options(num_cpus: int, scheduling_strategy: Any) -> SimpleNamespace:
            assert num_cpus == 0, "it would wait for a node that is busy"
            return SimpleNamespace(remote=lambda: scheduling_strategy.node)

        return SimpleNamespace(options=options)

    def get(self, asked: list[str], timeout: float) -> list[Any]:
        if self.silent:
            raise GetTimeoutError("no answer")
        return [("CPU of any", self._cards[node]) for node in asked]

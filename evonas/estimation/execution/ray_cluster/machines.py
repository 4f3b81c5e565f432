"""The machines of a Ray cluster, which say themselves what processors and GPUs they have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from evonas.errors import RunError, one_line
from evonas.estimation.cost.latency import processor
from evonas.estimation.execution.ray_cluster.gpus import Card, cards

#: Seconds in which all nodes have to answer; each starts a process for it.
_PATIENCE = 120.0
_ACCELERATOR = "accelerator_type:"


@dataclass(frozen=True)
class Machine:
    """One node of a cluster.

    Attributes:
        host: its name.
        cpus, gpus: how many Ray gives away.
        processor: model of its CPU.
        cards: its GPUs; empty where their driver cannot be asked.
        accelerator: Ray's name for their kind; empty if it has none.
    """

    host: str
    cpus: int
    gpus: int
    processor: str = ""
    cards: tuple[Card, ...] = ()
    accelerator: str = ""

    def kind(self, device: str) -> str:
        """Return the model of the processor or, but for device ``cpu``, of the GPUs."""
        if device == "cpu":
            return self.processor
        names = sorted({card.name for card in self.cards})
        return " and ".join(names) or self.accelerator or "GPUs of an unknown kind"


def machines() -> list[Machine]:
    """Return the nodes of the cluster that this process has joined; waits for none to be idle.

    Raises:
        RunError: one does not answer.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    describe = ray.remote(_described)
    asked = []
    for node in alive:
        here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked.append(describe.options(num_cpus=0, scheduling_strategy=here).remote())
    try:
        answers = ray.get(asked, timeout=_PATIENCE)
    except RayError as error:
        raise RunError(
            f"the nodes of the Ray cluster cannot be asked for their GPUs ({one_line(error)}): "
            f"install the same evonas on every node, or take out those that do not answer"
        ) from error
    return [_machine(node, *answer) for node, answer in zip(alive, answers, strict=True)]


def _described() -> tuple[str, tuple[Card, ...]]:
    """Return the processor and the GPUs of the node where this runs.

    Ray hides all GPUs from a task that takes none, and one that takes some might have to wait.
    """
    return processor(), cards(everyone=True)


def _machine(node: dict[str, Any], model: str, found: tuple[Card, ...]) -> Machine:
    has = node["Resources"]
    kinds = [key.removeprefix(_ACCELERATOR) for key in has if key.startswith(_ACCELERATOR)]
    return Machine(
        host=node["NodeManagerHostname"],
        cpus=int(has.get("CPU", 0)),
        gpus=int(has.get("GPU", 0)),
        processor=model,
        cards=found,
        accelerator=" and ".join(sorted(kinds)),
    )

"""Machines of a Ray cluster: processor and GPUs, as reported by a task on each node."""

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
    """A node of a Ray cluster.

    Attributes:
        host: name of the machine.
        cpus, gpus: numbers that Ray schedules.
        processor: model of the CPU.
        cards: GPUs; empty if their driver does not answer.
        accelerator: Ray's name of their kind; empty if it has none.
    """

    host: str
    cpus: int
    gpus: int
    processor: str = ""
    cards: tuple[Card, ...] = ()
    accelerator: str = ""

    def kind(self, device: str) -> str:
        """Return the model of the processor for device ``cpu``, else that of the GPUs."""
        if device == "cpu":
            return self.processor
        names = sorted({card.name for card in self.cards})
        return " and ".join(names) or self.accelerator or "GPUs of an unknown kind"


def machines() -> list[Machine]:
    """Return the nodes of the joined cluster, without waiting for idle ones.

    Raises:
        RunError: a node does not answer.
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
    """Return the processor and the GPUs of the node that runs this task.

    Ray hides the GPUs from a task that reserves none, and a task that reserves one might wait.
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

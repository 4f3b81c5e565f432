"""Hardware: workers and devices for an experiment, on this machine or on a Ray cluster."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from evonas.core import registry
from evonas.core.settings import ExecutionSettings
from evonas.errors import InputError, nearest
from evonas.estimation.cost.latency_cache import machine
from evonas.estimation.estimator import TrainingContext
from evonas.estimation.execution.base import Executor
from evonas.estimation.execution.ray_cluster.gpus import Card, cards
from evonas.estimation.execution.ray_cluster.leak_detector import CONTEXT
from evonas.estimation.training.batches import SHARE

if TYPE_CHECKING:  # Ray takes a second, and not every run needs it
    from evonas.estimation.execution.ray_cluster.join_cluster import Cluster
    from evonas.estimation.execution.ray_cluster.machines import Machine


class Hardware:
    """Device, number of workers and threads of the trainings.

    Args:
        settings: ``execution`` of the experiment.
    """

    def __init__(self, settings: ExecutionSettings) -> None:
        self._asked = settings

    def device_description(self) -> tuple[str, str]:
        """Return the executor and the kind of device.

        Raises:
            InputError: the executor or the device is not available; raised before features are
                computed, which may take hours.
        """
        return self.executor_name, "cpu" if self.device == "cpu" else "gpu"

    @cached_property
    def device(self) -> str:
        """Device of the workers: ``cpu``, ``cuda``, or ``cuda:N`` of a GPU asked for by number.

        With an address the cluster is asked, for the machine that searches may have no GPU, or
        be the only one that has.

        Raises:
            InputError: there is no GPU, or none of that number.
        """
        asked = self._asked.device
        if asked == "cpu":
            return "cpu"
        if self._asked.address:
            return self._cluster_device
        there = _count()
        if asked == "auto":
            return "cuda" if there else "cpu"
        if not there:
            raise InputError(
                f"execution.device={asked}: there is no GPU here that torch can use: "
                f"use execution.device=cpu or auto"
            )
        if asked == "gpu":
            return "cuda"
        number = int(asked.removeprefix("gpu:"))
        if number >= there:
            last = f", the last is gpu:{there - 1}" if there > 1 else ": gpu:0"
            raise InputError(
                f"execution.device={asked}: there is no such GPU; this machine has {there}{last}"
            )
        return f"cuda:{number}"

    @property
    def own_device(self) -> str:
        """Device of this process, for what it computes itself: a cluster's GPUs are elsewhere."""
        if not self._asked.address:
            return self.device
        return "cuda" if self._asked.device != "cpu" and _count() else "cpu"

    @property
    def _cluster_device(self) -> str:
        asked = self._asked.device
        if asked.startswith("gpu:"):
            raise InputError(
                f"execution.device={asked}: names a GPU of this machine, and the nodes of a "
                f"cluster have their own: use execution.device=gpu"
            )
        assert self._cluster is not None
        if asked == "gpu" and not self._cluster.gpus:
            raise InputError(
                f"execution.device=gpu: the Ray cluster at {self._cluster.address} has no GPU on "
                f"its {self._cluster.nodes} node(s): use execution.device=cpu or auto, or start "
                f"again when nodes with a GPU have come"
            )
        return "cuda" if self._cluster.gpus else "cpu"

    @cached_property
    def _cluster(self) -> Cluster | None:
        """The Ray cluster at ``execution.address``, joined; None where none is to be.

        Raises:
            InputError: nothing answers there.
        """
        if not self._asked.address:
            return None
        from evonas.estimation.execution.ray_cluster import join_cluster as _cluster

        return _cluster.join(self._asked.address)

    @property
    def cluster_cpus(self) -> int:
        """CPUs of the Ray cluster at ``execution.address``; 0 where none is to be joined.

        Raises:
            InputError: nothing answers there.
        """
        return self._cluster.cpus if self._cluster else 0

    @cached_property
    def _nodes(self) -> list[Machine]:
        """The nodes of the cluster that workers may run on."""
        from evonas.estimation.execution.ray_cluster import machines as _machines

        found = _machines.machines()
        return [one for one in found if (one.gpus if self.device != "cpu" else one.cpus)]

    @cached_property
    def workers(self) -> int:
        """How many candidates train at once."""
        if self._asked.workers != "auto":
            return self._asked.workers
        if self._asked.executor == "local":
            return 1
        cores = self.cluster_cpus or len(os.sched_getaffinity(0))
        if self._asked.threads != "auto":
            cores = max(1, cores // self._asked.threads)
        return cores if self.device == "cpu" else min(cores, self._gpu_workers())

    @cached_property
    def threads(self) -> int:
        """How many each worker has on a CPU."""
        if self._asked.threads != "auto":
            return self._asked.threads
        cores = self.cluster_cpus or len(os.sched_getaffinity(0))
        return max(1, cores // self.workers) if self.device == "cpu" else 1

    def _gpu_workers(self) -> int:
        """Return how many have room on the GPUs: their contexts take an eighth of each at most.

        All GPUs get as many, so the smallest decides.
        """
        if self._cluster:
            gpus = self._cluster.gpus
            sizes = [card.memory for node in self._nodes for card in node.cards]
        else:
            own = self._cards
            gpus, sizes = len(own), [card.memory for card in own]
        room = min((int((1 - SHARE) / 4 * size / CONTEXT) for size in sizes), default=1)
        return max(1, gpus) * max(1, room)

    @cached_property
    def _cards(self) -> tuple[Card, ...]:
        """The GPUs of this machine that workers use."""
        number = self.device.partition(":")[2]
        return cards()[int(number) :][:1] if number else cards()

    def machine(self, threads: int) -> str:
        """Return what latencies are measured on, such as ``Some CPU @ 2 GHz, 1 thread(s)``.

        Args:
            threads: of a measurement, which matter on a CPU.

        Raises:
            InputError: the nodes of the cluster, or the GPUs here, differ: their latencies cannot
                be compared.
        """
        if not self._cluster and self.device == "cpu":
            return machine("cpu", threads)
        if self._cluster:
            hosts = {node.kind(self.device): node.host for node in self._nodes}
            if len(hosts) > 1:
                listing = ", ".join(f"{kind} ({host})" for kind, host in sorted(hosts.items()))
                raise InputError(
                    f"execution.address={self._asked.address}: latencies of different machines "
                    f"cannot be compared, and its nodes are: {listing}: use nodes of one kind, or "
                    f"no latency in objective.cost and objective.axes"
                )
            kind = next(iter(hosts), "a node that has yet to come")
        else:
            names = sorted({card.name for card in self._cards})
            if len(names) > 1:
                raise InputError(
                    f"execution.device={self._asked.device}: latencies of different GPUs cannot be "
                    f"compared, and here are: {', '.join(names)}: use execution.device=gpu:0, say"
                )
            kind = "".join(names)
        return f"{kind}, {threads} thread(s)" if self.device == "cpu" else kind

    @cached_property
    def executor_name(self) -> str:
        """Ray for more than one worker or a GPU, unless the experiment says otherwise.

        Raises:
            InputError: there is no such executor.
        """
        name = self._asked.executor
        if name in ("auto", "ray") and self.cluster_cpus:
            return "ray"
        if name == "auto":
            return "ray" if self.workers > 1 or self.device != "cpu" else "local"
        if name not in registry.names("executor"):
            known = [*registry.names("executor"), "auto"]
            raise InputError(f"execution.executor={name}: no such executor: {nearest(name, known)}")
        return name

    def disturbances(self) -> list[str]:
        """Return what makes latencies larger or uneven that are measured while others train."""
        if self.cluster_cpus:
            return ["Latencies are those of the node that trains: let only nodes of its kind join"]
        if self.workers == 1:
            return []
        if self.device != "cpu":
            return [
                "Others train on the GPU while one worker measures a latency; execution.workers=1 "
                "gives steady ones"
            ]
        cores = len(os.sched_getaffinity(0))
        if self.workers * self.threads < cores:
            return []
        fewer = max(1, (cores - 1) // self.threads)
        return [
            f"{self.workers} worker(s) leave none of {cores} core(s) free while one of them "
            f"measures a latency; execution.workers={fewer} gives steadier ones"
        ]

    def start(self, context: TrainingContext, name: str) -> Executor:
        """Return the executor, started.

        Args:
            context: what all jobs share.
            name: of the experiment, for dashboards.
        """
        joining = {"address": self._asked.address} if self._asked.address else {}
        made: Executor = registry.load("executor", self.executor_name)(
            context, self.workers, name, **joining
        )
        return made


def _count() -> int:
    """Return how many GPUs torch can use here; asking opens no CUDA context."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0

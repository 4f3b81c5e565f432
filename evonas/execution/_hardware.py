"""What an experiment's ``execution`` comes to: on this machine, or on a cluster."""

from __future__ import annotations

import os
from functools import cached_property

import torch

from evonas import registry
from evonas.errors import InputError, nearest
from evonas.estimation.batches import SHARE
from evonas.estimation.estimator import Setting
from evonas.estimation.settings import ExecutionSettings
from evonas.execution._wear import CONTEXT
from evonas.execution.base import Executor


class Hardware:
    """Where candidates train, and how many at once.

    Args:
        settings: what was asked for.
    """

    def __init__(self, settings: ExecutionSettings) -> None:
        self._asked = settings

    def place(self) -> tuple[str, str]:
        """Return the executor and the kind of device.

        Raises:
            InputError: what was asked for is not there; said before hours of work on features.
        """
        return self.executor_name, "cpu" if self.device == "cpu" else "gpu"

    @cached_property
    def device(self) -> str:
        """``cpu``, ``cuda``, or ``cuda:N`` where one GPU was asked for by its number.

        Raises:
            InputError: there is no GPU, or none of that number.
        """
        asked = self._asked.device
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if asked == "auto":
            return "cuda" if there else "cpu"
        if asked != "cpu" and not there:
            raise InputError(
                f"execution.device={asked}: there is no GPU here that torch can use: "
                f"use execution.device=cpu or auto"
            )
        if not asked.startswith("gpu:"):
            return "cuda" if asked == "gpu" else "cpu"
        number = int(asked.removeprefix("gpu:"))
        if self._asked.address:
            raise InputError(
                f"execution.device={asked}: names a GPU of this machine, and the nodes of a "
                f"cluster have their own: use execution.device=gpu"
            )
        if number >= there:
            last = f", the last is gpu:{there - 1}" if there > 1 else ": gpu:0"
            raise InputError(
                f"execution.device={asked}: there is no such GPU; this machine has {there}{last}"
            )
        return f"cuda:{number}"

    @cached_property
    def cluster_cpus(self) -> int:
        """CPUs of the Ray cluster at ``execution.address``; 0 where none is to be joined.

        Raises:
            InputError: nothing answers there.
        """
        if not self._asked.address:
            return 0
        from evonas.execution import _cluster

        return _cluster.join(self._asked.address).cpus

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
        """How many have room on the GPUs: of each, their contexts take an eighth at most."""
        if self.cluster_cpus:
            from evonas.execution import _cluster

            gpus = _cluster.joined().gpus
        else:
            gpus = torch.cuda.device_count() if self.device == "cuda" else 1
        total = torch.cuda.get_device_properties(self.device).total_memory
        return max(1, gpus) * max(1, int((1 - SHARE) / 4 * total / CONTEXT))

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
            return ["Latencies are those of the node that trains: have nodes of one kind"]
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

    def start(self, setting: Setting, name: str) -> Executor:
        """Return the executor, started.

        Args:
            setting: what all jobs share.
            name: of the experiment, for dashboards.
        """
        joining = {"address": self._asked.address} if self._asked.address else {}
        made: Executor = registry.load("executor", self.executor_name)(
            setting, self.workers, name, **joining
        )
        return made

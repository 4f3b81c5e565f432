"""Workers of a Ray cluster: long-lived actors, one candidate at a time each.

P. Moritz et al. (2018), "Ray: A Distributed Framework for Emerging AI
Applications", arXiv 1712.05889. Features reach the workers by memory map, not
through Ray's object store. The cluster that evonas starts stays on 127.0.0.1 and
keeps Ray's token authentication.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.metrics import Counter, Gauge, Histogram

from evonas.errors import InputError
from evonas.estimation.estimator import Estimator, Job, Setting
from evonas.estimation.measurement import Measurement
from evonas.execution.base import Executor, MakeEstimator

_TRIES = 2  # of a job whose worker dies: bad luck happens once
_SECONDS = [0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600]


class _Worker:
    """The process behind an actor."""

    def __init__(self, setting: Setting, estimator: MakeEstimator, name: str) -> None:
        self._name = name
        self._estimate = estimator(setting)

    def __repr__(self) -> str:
        return self._name

    def estimate(self, job: Job) -> Measurement:
        return self._estimate(job)


class RayExecutor(Executor):
    """Trains in actors of a local Ray cluster, started here unless there is one.

    Raises:
        InputError: a GPU is asked for and Ray sees none, or the cluster is too small.
    """

    def __init__(
        self,
        setting: Setting,
        workers: int = 1,
        name: str = "evonas",
        estimator: MakeEstimator = Estimator,
    ) -> None:
        super().__init__(setting, workers, name, estimator)
        self._estimator = estimator
        self._owner = not ray.is_initialized()
        if self._owner:
            ray.init(
                num_cpus=max(workers, os.cpu_count() or 1),
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        self._actors: list[Any] = []
        cpus, gpus = (ray.cluster_resources().get(kind, 0) for kind in ("CPU", "GPU"))
        if cpus < workers:
            raise InputError(
                f"execution.workers={workers}: the running Ray cluster has {cpus:g} CPUs: use fewer"
            )
        if setting.device == "cuda" and not gpus:
            self.close()
            raise InputError(
                "execution.device=gpu: Ray sees no GPU here: use execution.device=cpu or auto"
            )
        self._gpu_share = min(1.0, gpus / workers) if setting.device == "cuda" else 0
        self._shared = ray.put(setting)
        self._worker = ray.remote(_Worker)
        self._made = 0
        self._actors = [self._spawn() for _ in range(workers)]
        self._trials = Counter("evonas_trials_total", "Finished trials", ("status",))
        self._best = Gauge("evonas_best_fitness", "Lowest fitness so far")
        self._seconds = Histogram(
            "evonas_trial_seconds", "Wall time of a trial", boundaries=_SECONDS
        )

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        """Yield measurements as they finish; see ``Executor.evaluate``."""
        waiting = deque((job, 1) for job in jobs)
        idle = list(self._actors)
        running: dict[Any, tuple[Any, Job, int]] = {}
        while waiting or running:
            while waiting and idle:
                job, attempt = waiting.popleft()
                actor = idle.pop()
                name = f"train {job.architecture.digest} {job.label}".strip()
                running[actor.estimate.options(name=name).remote(job)] = (actor, job, attempt)
            for reference in ray.wait(list(running), num_returns=1)[0]:
                actor, job, attempt = running.pop(reference)
                try:
                    yield job.index, ray.get(reference)
                except RayError as error:
                    actor = self._replace(actor)
                    if attempt < _TRIES:
                        waiting.append((job, attempt + 1))
                    else:
                        reason = f"its worker died {_TRIES} times: {type(error).__name__}"
                        yield job.index, Measurement.failure("worker-death", reason)
                idle.append(actor)

    def _spawn(self) -> Any:
        self._made += 1
        title = f"evonas {self.name} worker {self._made}"
        options = {
            "name": f"evonas:{self.name}:{os.getpid()}:worker-{self._made}",
            "num_cpus": 1,
            "num_gpus": self._gpu_share,
            "max_restarts": 0,  # a new actor takes a dead one's place, see _replace
            "max_task_retries": 0,
        }
        return self._worker.options(**options).remote(self._shared, self._estimator, title)

    def _replace(self, actor: Any) -> Any:
        ray.kill(actor)  # it may only be out of reach
        self._actors.remove(actor)
        self._actors.append(self._spawn())
        return self._actors[-1]

    def observe(self, status: str, seconds: float, best: float) -> None:
        """Export the trial to Ray's metrics; see ``Executor.observe``."""
        self._trials.inc(1, tags={"status": status})
        self._seconds.observe(seconds)
        if best < float("inf"):
            self._best.set(best)

    def notes(self) -> list[str]:
        """Return the dashboard's address and the way to its token."""
        address = ray._private.worker.get_dashboard_url() or "not running"
        return [f"Ray dashboard: http://{address} (its token: `ray get-auth-token`)"]

    def close(self) -> None:
        """Give the actors back; shut the cluster down if it was started here."""
        if self._owner and ray.is_initialized():
            ray.shutdown()
        while self._actors and ray.is_initialized():
            ray.kill(self._actors.pop())

"""Executor on a Ray cluster: long-lived actors that train one candidate at a time each.

P. Moritz et al. (2018), "Ray: A Distributed Framework for Emerging AI
Applications", arXiv 1712.05889. Features reach the workers by memory map, not
through Ray's object store; a node that lacks them fetches the files. The cluster
that evonas starts stays on 127.0.0.1 and keeps Ray's token authentication.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from evonas.core.files import write_file
from evonas.errors import EvonasError, InputError
from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.execution.base import Executor, MakeEstimator, MoreJobs
from evonas.estimation.execution.common.time_limit import TimeLimit, over_time
from evonas.estimation.execution.ray_cluster import join_cluster as _cluster
from evonas.estimation.execution.ray_cluster import local_cluster as _own_cluster
from evonas.estimation.execution.ray_cluster.actor_pool import Pool
from evonas.estimation.execution.ray_cluster.feature_transfer import Source
from evonas.estimation.execution.ray_cluster.job_queue import Queue, Trial
from evonas.estimation.execution.ray_cluster.prometheus_metrics import Metrics
from evonas.estimation.execution.ray_cluster.time_forecast import Forecast
from evonas.estimation.execution.ray_cluster.worker import Answer, Origin, Worker, file_content
from evonas.estimation.failure_kinds import KINDS, LOSSES
from evonas.estimation.measurement import Measurement

_FETCHING = 600.0  # seconds that a worker on another node may take to fetch its features
_PULSE = 2.0  # seconds between two checks of Ray's servers
_log = logging.getLogger("evonas")


@dataclass(frozen=True)
class _Running:
    """A running job: its actor, its time limit in seconds, and the monotonic time of its end."""

    actor: Any
    trial: Trial
    limit: float
    end: float


class RayExecutor(Executor):
    """Trains in actors of a Ray cluster, joined by address or started by this process.

    Args:
        address: of the cluster to join; empty: the cluster of this process, or a new one.

    Raises:
        InputError: no cluster answers at the address, a GPU is asked for and Ray sees
            none, or the cluster is too small.
        RunError: Ray does not start.
    """

    def __init__(
        self,
        setting: TrainingContext,
        workers: int = 1,
        name: str = "evonas",
        estimator: MakeEstimator = Estimator,
        address: str = "",
    ) -> None:
        super().__init__(setting, workers, name, estimator)
        self._estimator = estimator
        self._time_limit = TimeLimit(setting.time_limit)
        if address:
            _cluster.join(address)
            _cluster.use(self)
        self._owner = not ray.is_initialized()
        self._cores = os.cpu_count() or 1
        if self._owner:
            _own_cluster.start(max(workers * setting.threads, self._cores), setting.device)
        self._pool = Pool(self._make, 0)
        self._metrics = Metrics(f"{name}:{os.getpid()}")
        self._origin: Origin | None = None
        self._worth_reading = False  # whether to keep Ray's logs: a worker or the search failed
        there = _cluster.joined()
        needed = workers * setting.threads
        if there.cpus < needed:
            self.close()
            each = f" of {setting.threads} threads" if setting.threads > 1 else ""
            raise InputError(
                f"execution.workers={workers}{each}: the running Ray cluster has {there.cpus} CPUs "
                f"on {there.nodes} node(s): use fewer, or start again when further nodes have come"
            )
        gpu = setting.device != "cpu"
        if gpu and not there.gpus:
            self.close()
            raise InputError(
                "execution.device=gpu: Ray sees no GPU here: use execution.device=cpu or auto"
            )
        sharers = math.ceil(workers / there.gpus) if gpu else 1
        self._gpu_share = 1 / sharers if gpu else 0
        # Ray shows each worker only its own GPU, which then has no number.
        device = "cuda" if gpu else "cpu"
        self._shared = ray.put(replace(setting, device=device, sharers=sharers))
        # With a single worker the order of the jobs does not matter.
        work = getattr(estimator, "work", None) if workers > 1 else None
        self._forecast = Forecast(partial(work, setting)) if work else None
        self._worker = ray.remote(Worker)
        self._made = 0
        if not self._owner:
            self._origin = _origin(setting)
        self._pool = Pool(self._make, workers)
        self._metrics.start()

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        """Yield measurements as they finish; see ``Executor.evaluate``."""
        given = iter([jobs])
        return self._run(lambda: next(given, ()), in_order=False)

    def _stream(self, more: MoreJobs) -> Iterator[tuple[int, Measurement]]:
        """Yield measurements as they finish; see ``Executor.stream``."""
        return self._run(more, in_order=True)

    def _run(self, more: MoreJobs, in_order: bool) -> Iterator[tuple[int, Measurement]]:
        """Yield measurements as they finish; with ``in_order`` jobs start in the order they come.

        Raises:
            InputError: a node has other versions, or no room for the features.
            RunError: features do not arrive, or no worker starts.
        """
        queue = Queue(more(), self._forecast, in_order)
        idle = list(self._pool.alive)
        running: dict[Any, _Running] = {}
        while queue or running:
            idle = [actor for actor in idle if not self._busy(actor, queue, running)]
            while not self._pool.news(list(running)) and queue.refine():
                pass
            self._metrics.workers(len(self._pool.alive), len(running))
            finished, ready = self._pool.wait(list(running), _left(running))
            if self._owner:
                _own_cluster.check()
            idle += ready
            for reference in [*finished, *_late(running, finished)]:
                one = running.pop(reference)
                queue.ended(one.trial, self._pool.alive[one.actor])
                if reference in finished:
                    measurement, usable = self._answered(reference, one.actor, one.trial)
                    if usable:
                        idle.append(one.actor)
                else:
                    self._pool.replace(one.actor)
                    measurement = over_time(one.limit)
                if measurement is None:
                    queue.again(one.trial)
                elif (final := queue.done(one.trial, measurement)) is not None:
                    self._time_limit.learn(one.trial.job, final)
                    yield one.trial.job.index, final
            queue.add(more())
        self._metrics.workers(len(self._pool.alive), 0)

    def _busy(self, actor: Any, queue: Queue, running: dict[Any, _Running]) -> bool:
        """Start the next job that fits on an actor; return whether there was one."""
        trial = queue.take(self._pool.alive[actor])
        if trial is None:
            return False
        job, node = trial.job, self._pool.alive[actor].node
        name = f"train {job.architecture.digest} {job.label}".strip()
        far = self._origin is not None and self._origin.node != node
        parent = Path(job.parent).read_bytes() if far and job.parent else b""
        # Without the checkpoint the training starts anew, with the same result.
        paused = file_content(Path(job.paused)) if far and job.paused else b""
        reference = actor.estimate.options(name=name).remote(job, parent, paused)
        limit = self._time_limit.of(job)
        end = time.monotonic() + limit + (_FETCHING if far else 0)
        running[reference] = _Running(actor, trial, limit, end)
        return True

    def _answered(
        self, reference: Any, actor: Any, trial: Trial
    ) -> tuple[Measurement | None, bool]:
        """Return the measurement of a job (None: run it again) and whether its actor is usable."""
        try:
            answer: Answer = ray.get(reference)
        except RayError as error:
            if isinstance(error, RayTaskError) and isinstance(error.cause, EvonasError):
                raise error.cause from None
            return self._died(actor, trial, error), False
        _keep(trial.job, answer)
        if answer.unusable:
            self._pool.replace(actor)
        if answer.measurement.error_kind == "worker-death":  # it cannot go on
            return self._once_more(trial, answer.measurement.error), False
        return answer.measurement, not answer.unusable

    def _died(self, actor: Any, trial: Trial, error: RayError) -> Measurement | None:
        """Replace a dead actor; return the measurement of its job, None to run it again."""
        what = type(error).__name__
        self._worth_reading = True
        # A cluster that was started here has only this node.
        gone = not self._owner and self._pool.lost_its_node(actor, error)
        self._pool.replace(actor)
        if isinstance(error, OutOfMemoryError):  # of the machine, detected by Ray
            return Measurement.failure("oom-host", "the machine ran out of memory")
        if not gone:
            return self._once_more(trial, f"its worker died: {what}")
        trial.losses += 1
        if trial.losses < LOSSES:
            _log.warning("%s: its node went away; it is tried again", trial.job.label)
            return None
        return Measurement.failure("worker-death", f"its node went {LOSSES} times: {what}")

    def _once_more(self, trial: Trial, what: str) -> Measurement | None:
        """Return the measurement of a job that lost its worker, None to run it again."""
        self._worth_reading = True
        trial.tries += 1
        if trial.tries < KINDS["worker-death"].tries:
            _log.warning("%s: %s; it is tried again", trial.job.label, what)
            return None
        return Measurement.failure("worker-death", f"{what} ({trial.tries} times)")

    def _make(self) -> Any:
        """Request an actor from Ray and return its handle."""
        self._made += 1
        title = f"evonas {self.name} worker {self._made}"
        options = {
            "name": f"evonas:{self.name}:{os.getpid()}:worker-{self._made}",
            "num_cpus": self.setting.threads,
            "num_gpus": self._gpu_share,
            "max_restarts": 0,  # dead actors are replaced by Pool
            "max_task_retries": 0,
        }
        made = self._worker.options(**options)
        return made.remote(self._shared, self._estimator, title, self._origin)

    def observe(self, status: str, seconds: float, best: float) -> None:
        """Export the trial to Ray's metrics; see ``Executor.observe``."""
        self._metrics.trial(status, seconds, best)

    def expect(self, trained: int, budget: int) -> None:
        """Export the progress to Ray's metrics; see ``Executor.expect``."""
        self._metrics.expect(trained, budget)

    def notes(self) -> list[str]:
        """Return lines on the cluster, the dashboard's address and how to get its token."""
        lines = [] if self._owner else [f"Ray cluster {_cluster.joined()}"]
        if self._owner:
            lines += crowding(self.workers, self.setting.threads, self._cores)
        address = _own_cluster.context().dashboard_url or "not running"
        return [*lines, f"Ray dashboard: http://{address} (its token: `ray get-auth-token`)"]

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._worth_reading |= isinstance(error, Exception)  # not after Ctrl-C
        super().__exit__(kind, error, trace)

    def close(self) -> None:
        """Stop the actors, and the cluster if this process started it."""
        with _own_cluster.uninterrupted():
            self._metrics.close()
            if self._owner and ray.is_initialized():
                _own_cluster.stop(self._worth_reading)
            elif ray.is_initialized():
                self._pool.close()
                if self._origin is not None:
                    ray.kill(self._origin.source)
                _cluster.leave(self)
            self._origin = None


def _keep(job: Job, answer: Answer) -> None:
    """Write the weights and the checkpoint of a job that ran on another node.

    On a full disk they are left out: trainings that would start from them start anew.
    """
    for name, made in ((job.weights, answer.weights), (job.paused, answer.paused)):
        if made:
            with suppress(OSError):
                Path(name).parent.mkdir(parents=True, exist_ok=True)
                write_file(Path(name), made)


def _left(running: Mapping[Any, _Running]) -> float:
    """Return the seconds until the first time limit ends or Ray's servers are checked again."""
    end = min((one.end for one in running.values()), default=math.inf)
    return min(max(end - time.monotonic(), 0.0), _PULSE)


def _late(running: Mapping[Any, _Running], finished: Sequence[Any]) -> list[Any]:
    """Return the jobs that exceeded their time limit."""
    now = time.monotonic()
    late = [r for r, one in running.items() if one.end <= now and r not in finished]
    # They may have finished while this process waited, for its disk for example.
    done = ray.wait(late, num_returns=len(late), timeout=0)[0] if late else []
    return [reference for reference in late if reference not in done]


def crowding(workers: int, threads: int, cores: int) -> list[str]:
    """Return a warning if workers use more cores than there are, which is allowed."""
    if workers * threads <= cores:
        return []
    each = f" of {threads} threads" if threads > 1 else ""
    return [f"execution.workers={workers}{each} on {cores} core(s): they will share them"]


def _origin(setting: TrainingContext) -> Origin:
    """Start the actor on this node that reads the features for workers on other nodes."""
    here = ray.get_runtime_context().get_node_id()
    source = ray.remote(Source).options(
        num_cpus=0,
        max_concurrency=4,
        max_restarts=-1,
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False),
    )
    taps = [paths for files in setting.files.values() for paths in files.values()]
    return Origin(here, source.remote([path for paths in taps for path in paths]))

"""Ray actor that runs jobs, and fetches the features that its node lacks.

A worker that leaks memory or files, or cannot use its GPU any more, reports it and is replaced.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
import torch

from evonas.core.version import __version__
from evonas.estimation.estimator import Job, TrainingContext
from evonas.estimation.execution.base import MakeEstimator
from evonas.estimation.execution.ray_cluster.feature_transfer import fetch, own
from evonas.estimation.execution.ray_cluster.job_queue import Place
from evonas.estimation.execution.ray_cluster.leak_detector import (
    CONTEXT,
    LeakDetector,
    held,
    open_files,
)
from evonas.estimation.measurement import Measurement
from evonas.estimation.training.batches import SHARE


@dataclass(frozen=True)
class Origin:
    """Node of the search, for workers on other nodes.

    Attributes:
        node: Ray's id of the search's node.
        source: actor on that node that reads files.
    """

    node: str
    source: Any


@dataclass(frozen=True)
class Answer:
    """Result of a job.

    Attributes:
        measurement: of the training.
        weights: content of the file of trained weights, if they belong on another node.
        paused: content of the checkpoint of a paused training, likewise.
        unusable: whether the process leaks or cannot go on, and has to be replaced.
    """

    measurement: Measurement
    weights: bytes = b""
    paused: bytes = b""
    unusable: bool = False


def file_content(path: Path) -> bytes:
    """Return the content of a file; empty if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def versions() -> dict[str, str]:
    """Return the versions that have to be equal on all nodes for equal results."""
    return {"evonas": __version__, "torch": torch.__version__}


class Worker:
    """Runs jobs one at a time, in a process that outlives them.

    Args:
        setting: context that all jobs share.
        estimator: builds the estimator from the context.
        name: on dashboards.
        origin: node of the search; None: all workers run on this machine.
    """

    def __init__(
        self, setting: TrainingContext, estimator: MakeEstimator, name: str, origin: Origin | None
    ) -> None:
        self._name = name
        self._node = ray.get_runtime_context().get_node_id()
        # On the node of the search its files are used in place.
        self._origin = None if origin is None or origin.node == self._node else origin
        self._setting = setting if self._origin is None else _moved(setting)
        self._estimate = estimator(self._setting)
        self._there: set[Path] = set()
        features = getattr(self._estimate, "features_kept", lambda: 0)
        self._leaks = LeakDetector(held, features, open_files)

    def __repr__(self) -> str:
        # Ray calls it even if the constructor failed.
        return getattr(self, "_name", "evonas worker")

    def ready(self) -> tuple[Place, str, dict[str, str]]:
        """Return the place of this worker, the host name and its versions."""
        return self._place(), socket.gethostname(), versions()

    def estimate(self, job: Job, parent: bytes = b"", paused: bytes = b"") -> Answer:
        """Run a job and return its result.

        Args:
            job: the training.
            parent: content of the file of the parent's weights, if it is on another node.
            paused: content of the checkpoint to resume from, likewise; empty: none.
        """
        answer = self._estimated(job, parent, paused)
        dead = answer.measurement.error_kind == "worker-death"
        return replace(answer, unusable=self._leaks.after_a_training() or dead)

    def _estimated(self, job: Job, parent: bytes, paused: bytes) -> Answer:
        if self._origin is None:
            return Answer(self._estimate(job))
        for path in self._files(job):
            if path not in self._there:
                fetch(path, self._read)
                self._there.add(path)
        with tempfile.TemporaryDirectory() as folder:
            # The paths of the job are of the search's node, and may belong to others here.
            kept, given, rung = (Path(folder) / name for name in ("weights", "parent", "paused"))
            given.write_bytes(parent)
            if paused:
                rung.write_bytes(paused)
            here = replace(
                job,
                weights=str(kept) if job.weights else "",
                parent=str(given) if job.parent else "",
                paused=str(rung) if job.paused else "",
            )
            measurement = self._estimate(here)
            # The checkpoint goes back, since any node may resume the training.
            return Answer(measurement, file_content(kept), file_content(rung) if job.until else b"")

    def _place(self) -> Place:
        if self._setting.device == "cpu":
            return Place(self._node)
        total = torch.cuda.get_device_properties(self._setting.device).total_memory
        room = (1 - SHARE) * total - CONTEXT * self._setting.sharers
        return Place(self._node, ",".join(map(str, ray.get_gpu_ids())), max(room, 1.0))

    def _files(self, job: Job) -> tuple[Path, ...]:
        files: Mapping[str, tuple[Path, ...]] = self._setting.files.get(job.source, {})
        return files.get(self._setting.tap_of(job.architecture), ())

    def _read(self, name: str, offset: int, size: int) -> bytes:
        assert self._origin is not None
        block: bytes = ray.get(self._origin.source.read.remote(name, offset, size))
        return block


def _moved(setting: TrainingContext) -> TrainingContext:
    """Return the context with the paths of its files on this machine."""
    files = {
        source: {tap: tuple(own(path) for path in paths) for tap, paths in taps.items()}
        for source, taps in setting.files.items()
    }
    folder = setting.timing.folder
    # a folder of the cache, with a known name
    timing = setting.timing if folder is None else replace(setting.timing, folder=own(folder))
    return replace(setting, files=files, timing=timing)

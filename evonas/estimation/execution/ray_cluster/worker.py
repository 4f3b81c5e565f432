"""The process behind an actor: answers jobs, from features that it fetches when it lacks them.

It looks at its own memory and open files: one that leaks, or cannot go on, says so, and a new
process takes its place.
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
    """Where the search runs, for workers on other nodes.

    Attributes:
        node: Ray's id of the search's node.
        source: the actor there that reads out files.
    """

    node: str
    source: Any


@dataclass(frozen=True)
class Answer:
    """What comes of a job.

    Attributes:
        measurement: of the training.
        weights: the trained ones, where they are kept on another node.
        paused: content of the file of a training that stopped in between, likewise.
        worn: the process leaks, or cannot go on, and should be given up.
    """

    measurement: Measurement
    weights: bytes = b""
    paused: bytes = b""
    worn: bool = False


def file_content(path: Path) -> bytes:
    """Return the content of a file; nothing where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def versions() -> dict[str, str]:
    """Return the versions that have to be the same on every node, for the same results."""
    return {"evonas": __version__, "torch": torch.__version__}


class Worker:
    """Long-lived; one candidate at a time.

    Args:
        setting: what all jobs share.
        estimator: what to make of it.
        name: for dashboards.
        origin: where the search runs; None: nowhere but on this machine.
    """

    def __init__(
        self, setting: TrainingContext, estimator: MakeEstimator, name: str, origin: Origin | None
    ) -> None:
        self._name = name
        self._node = ray.get_runtime_context().get_node_id()
        # On the search's own node its files are used where they lie.
        self._origin = None if origin is None or origin.node == self._node else origin
        self._setting = setting if self._origin is None else _moved(setting)
        self._estimate = estimator(self._setting)
        self._there: set[Path] = set()
        features = getattr(self._estimate, "features_kept", lambda: 0)
        self._wear = LeakDetector(held, features, open_files)

    def __repr__(self) -> str:
        # Ray asks for it also where the constructor did not come to an end.
        return getattr(self, "_name", "evonas worker")

    def ready(self) -> tuple[Place, str, dict[str, str]]:
        """Return where this is, the node's name and the versions there."""
        return self._place(), socket.gethostname(), versions()

    def estimate(self, job: Job, parent: bytes = b"", paused: bytes = b"") -> Answer:
        """Return the answer to a job.

        Args:
            job: the training.
            parent: the weights that it starts with, where their file is on another node.
            paused: content of the file that the training goes on from, likewise; empty: none.
        """
        answer = self._estimated(job, parent, paused)
        dead = answer.measurement.error_kind == "worker-death"
        return replace(answer, worn=self._wear.after_a_training() or dead)

    def _estimated(self, job: Job, parent: bytes, paused: bytes) -> Answer:
        if self._origin is None:
            return Answer(self._estimate(job))
        for path in self._files(job):
            if path not in self._there:
                fetch(path, self._read)
                self._there.add(path)
        with tempfile.TemporaryDirectory() as folder:
            # The job's paths are those of the search's node: here they may be somebody else's.
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
            # Whoever trains on from the rung may be on any node, so the file goes back as well.
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
    """Return the setting with its files where they belong on this machine."""
    files = {
        source: {tap: tuple(own(path) for path in paths) for tap, paths in taps.items()}
        for source, taps in setting.files.items()
    }
    folder = setting.timing.folder
    # its name is one that the cache knows, of a folder and not of a file
    timing = setting.timing if folder is None else replace(setting.timing, folder=own(folder))
    return replace(setting, files=files, timing=timing)

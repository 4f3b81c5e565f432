"""Estimator: trains and validates the network of a job and returns a measurement."""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn

from evonas.core import registry
from evonas.core.array_types import Array
from evonas.core.files import draft_of
from evonas.core.settings import TimeLimitSettings, TrainingSettings
from evonas.errors import RunError, clear_frames, one_line
from evonas.estimation.cost.latency_cache import Timing
from evonas.estimation.cost.workload import Work, count
from evonas.estimation.failure_classifier import kind_of
from evonas.estimation.measurement import Measurement
from evonas.estimation.training.batches import FeatureStore, TrainingData
from evonas.estimation.training.checkpoint import pause_if_possible, resume, run_safely
from evonas.estimation.training.cuda_graphs import Graphs
from evonas.estimation.training.identity import weights_hash
from evonas.estimation.training.training import Diverged, Outcome, Training, validate
from evonas.models.backbones.base import Shape
from evonas.models.files.safetensors_files import save_file
from evonas.models.initial_weights import read_start, start_from
from evonas.models.weight_inheritance import inherit, of_the_outputs, read_parent
from evonas.space import Architecture
from evonas.space.recipe import (
    TaskChoices,
    task_choices,
    task_options,
    training_of,
    without_recipe,
)
from evonas.tasks.base import Error, Labels, Task

Indices = NDArray[np.intp]
#: An error beyond so many times that of the best constant prediction, after a training whose loss
#: rose, counts as divergence.
WORST = 2.0


@dataclass(frozen=True)
class Split:
    """Indices of the images for training, validation and test (often none)."""

    train: Indices
    validation: Indices
    test: Indices = field(default_factory=lambda: np.empty(0, np.intp))

    def only(self, usable: Indices) -> Split:
        """Return the split restricted to usable images."""
        sides = (self.train, self.validation, self.test)
        return Split(*(np.intersect1d(side, usable) for side in sides))


@dataclass(frozen=True)
class Job:
    """One training to run.

    Attributes:
        index: number given by the caller.
        architecture: network to build.
        seed: of initial weights, batch order and augmentation.
        training: settings of the training; those in the recipe of the architecture replace what
            is given.
        label: name on dashboards.
        split: name of the split to train and validate on.
        source: name of the feature source.
        weights: file to keep the trained weights in (safetensors); none if empty.
        history: whether to return the metrics of every epoch.
        latency: whether to measure the network's latency as well.
        max_ms: largest latency of a network that is trained, milliseconds; 0: no limit.
        until: pause after this many epochs; 0: train to the end.
        parent: file of the parent's weights, inherited as far as they overlap, in the place of
            ``training.start``; none if empty.
        fresh_outputs: whether the tensors that form the outputs are not inherited, since the
            parent's outputs are of a task with other options.
        paused: checkpoint of a paused training, written at a pause and read at the start if it
            exists; none if empty.
        done: epochs that ``paused`` has, if it exists.
        safe: whether ``paused`` is also written every few seconds and at the end, so that the same
            job goes on from there in another process.
    """

    index: int
    architecture: Architecture
    seed: int
    training: TrainingSettings
    label: str = ""
    split: str = "search"
    source: str = "backbone"
    weights: str = ""
    history: bool = False
    latency: bool = False
    max_ms: float = 0.0
    until: int = 0
    parent: str = ""
    fresh_outputs: bool = False
    paused: str = ""
    done: int = 0
    safe: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "training", training_of(self.training, self.architecture))

    @property
    def resumes(self) -> bool:
        """Whether the job may go on from a checkpoint, so that its seconds are those of a part."""
        return self.done > 0 or self.safe


@dataclass(frozen=True)
class TrainingContext:
    """Everything that all jobs share; plain data, sent to each worker once.

    Attributes:
        files: source name -> tap name -> the cached file of each view.
        shapes: tap name -> (channels, height, width).
        tap: default tap, of an architecture without one.
        targets: (n_views, n, k), in the labels' units.
        splits: split name -> split.
        task: name and options of the task, and the labels of the data set.
        settled: (split name, options of the task in a recipe) -> all options of the task, fitted
            to the training labels of that split; they replace those in ``task``.
        device: ``cpu`` or ``cuda``.
        sharers: number of workers per GPU.
        threads: CPU threads of a worker.
        timing: measures latencies, where jobs ask for them.
        time_limit: settings of the time limit of a training.
        error: what the task minimises: its ``metric`` or its ``loss``.
    """

    files: Mapping[str, Mapping[str, tuple[Path, ...]]]
    shapes: Mapping[str, tuple[int, int, int]]
    tap: str
    targets: Array
    splits: Mapping[str, Split]
    task: tuple[str, dict[str, Any], Labels]
    device: str = "cpu"
    sharers: int = 1
    threads: int = 1
    timing: Timing = field(default_factory=Timing)
    time_limit: TimeLimitSettings = field(default_factory=TimeLimitSettings)
    settled: Mapping[tuple[str, TaskChoices], Mapping[str, Any]] = field(default_factory=dict)
    error: Error = "metric"

    def make_task(self, split: str = "", architecture: Architecture | None = None) -> Task:
        """Return the task, with the options fitted to the training labels of a split.

        Args:
            split: name of the split.
            architecture: whose recipe may change options; None: none does.
        """
        name, options, labels = self.task
        own = self.settled.get((split, task_choices(architecture) if architecture else ()))
        if own is None:
            own = task_options(options, architecture) if architecture else options
        made: Task = registry.create("task", name, dict(own), labels)
        return made.minimising(self.error)

    def tap_of(self, architecture: Architecture) -> str:
        """Return the name of the tap that feeds an architecture."""
        return str(architecture.settings.get("tap", self.tap))


class _TooSlow(Exception):
    """The untrained network is slower than its job admits."""


@contextmanager
def _alone(own: int = 1) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(own)
    torch.set_flush_denormal(True)
    try:
        yield
    except BaseException as error:
        clear_frames(error)  # or the cache below could not give their tensors back
        raise
    finally:
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()  # others train on the same GPU
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


class Estimator:
    """Builds, trains and validates head networks on cached features.

    During a training torch uses ``threads`` of the context and flushes denormal numbers to
    zero, so that a result does not depend on the number of workers on the machine; both are
    restored afterwards.
    """

    def __init__(self, setting: TrainingContext) -> None:
        self._setting = setting
        self._tasks: dict[tuple[str, TaskChoices], Task] = {}
        self._maps: dict[tuple[str, str], list[NDArray[np.float16]]] = {}
        self._constants: dict[tuple[str, TaskChoices], float] = {}
        self._features = FeatureStore(setting.device, setting.sharers)
        self._graphs = Graphs(setting.device)

    def __call__(self, job: Job) -> Measurement:
        """Return the measurement of a job; a failed training is a measurement of status ``failed``.

        That of a network slower than ``max_ms``, which is not trained, is of kind ``infeasible``.

        Raises:
            RunError: the cached features are gone.
        """
        start = time.perf_counter()
        known: dict[str, Any] = {}
        try:
            with _alone(self._setting.threads):
                outcome = self._train(job, known)
        except RunError:
            raise
        except _TooSlow as error:
            return self._failure("infeasible", error, start, known)
        except Exception as error:
            return self._failure(kind_of(error), error, start, known)
        seconds = time.perf_counter() - start
        history = tuple(outcome.history) if job.history else ()
        return Measurement("ok", outcome.metrics, seconds=seconds, history=history, **known)

    def _train(self, job: Job, known: dict[str, Any]) -> Outcome:
        setting = self._setting
        tap = setting.tap_of(job.architecture)
        shape = setting.shapes[tap]
        family = registry.load("network", job.architecture.network)()
        task = self._task(job)
        known["macs"] = family.macs(job.architecture, shape, task.n_outputs)
        torch.manual_seed(job.seed)
        module = family.build(job.architecture, shape, task.n_outputs)
        known["params"] = sum(p.numel() for p in module.parameters())
        if job.max_ms:
            self._refuse_slow(job, module, shape, known)
        if job.parent:
            parent = read_parent(job.parent)
            if job.fresh_outputs:
                outputs = of_the_outputs(family.build, job.architecture, shape, task.n_outputs)
                parent = {name: value for name, value in parent.items() if name not in outputs}
            known["inherited"] = round(inherit(module, parent).share, 4)
        elif job.training.start:
            start_from(module, read_start(job.training.start), job.training.start)
        split = setting.splits[job.split]
        maps = self._open(job.source, tap)
        data = TrainingData(maps, setting.targets, split.train, split.validation)
        source = self._features.source(data, (job.source, tap))
        before = self._reserved()
        training = Training(module, data, task, job.training, job.seed, setting.device, source)
        if job.paused:
            training.facts = {
                "architecture": job.architecture.digest,
                "tap": tap,
                "source": job.source,
                "task": setting.task,
                "initial weights": weights_hash(module),  # with those of a parent or a start file
            }
            resume(training, Path(job.paused), job.until or None)
        if job.safe:
            run_safely(training, Path(job.paused), graphs=self._graphs)
        else:
            training.run(job.until or None, graphs=self._graphs)
        outcome = training.outcome
        known["epochs"] = training.epoch
        known["memory"] = self._reserved(most=True) - before
        self._refuse_divergence(outcome, job)
        if job.latency and "latency" not in known:  # at a rung as well, where fitness may need it
            self._time(job, module, shape, known)
        if job.until:
            pause_if_possible(training, Path(job.paused))
            return outcome
        if len(split.test):
            module.load_state_dict(outcome.state)
            test = validate(module, data, task, split.test, setting.device, source)
            outcome.metrics |= {f"test_{name}": value for name, value in test.items()}
        if job.weights:
            note = json.dumps(job.architecture.to_dict())
            # On a full disk children will start afresh.
            with suppress(OSError, SafetensorError), draft_of(Path(job.weights)) as draft:
                save_file(outcome.state, draft, {"architecture": note, "tap": tap})
        return outcome

    def _time(self, job: Job, module: nn.Module, shape: Shape, known: dict[str, Any]) -> None:
        """Measure the latency of a network."""
        setting, outputs = self._setting, self._task(job).n_outputs
        network = without_recipe(job.architecture)
        timed = setting.timing(network, module, shape, outputs, setting.device)
        known |= {"latency": timed.ms, "latency_noise": timed.noise}

    def _refuse_slow(
        self, job: Job, module: nn.Module, shape: Shape, known: dict[str, Any]
    ) -> None:
        """Measure the latency of an untrained network, which stays as it is.

        Raises:
            _TooSlow: it is more than the job admits.
        """
        self._time(job, copy.deepcopy(module), shape, known)
        if known["latency"] > job.max_ms:
            raise _TooSlow(f"{known['latency']:.4g} ms are over objective.max_ms={job.max_ms:g}")

    def _refuse_divergence(self, outcome: Outcome, job: Job) -> None:
        """Raise where a training made the network much worse than a constant prediction.

        A network that has merely not learned enough yet passes: its training loss fell.

        Raises:
            Diverged: the training loss rose, and the error is that large.
        """
        task, key = self._task(job), _task_key(job)
        if key not in self._constants:
            sides, targets = self._setting.splits[job.split], self._setting.targets[0]
            metrics = task.constant_metrics(targets[sides.train], targets[sides.validation])
            self._constants[key] = metrics.get(task.metric, math.inf)  # of a loss: not known
        error, constant = outcome.metrics[task.metric], self._constants[key]
        if error > WORST * constant and outcome.loss_rose:
            raise Diverged(
                f"the training loss rose, and the error {error:.4g} is more than {WORST:g} times "
                f"the {constant:.4g} of a constant prediction"
            )

    @staticmethod
    def work(setting: TrainingContext, job: Job) -> Work:
        """Return the workload of a job, which takes milliseconds.

        torch's random state is unchanged afterwards.

        Raises:
            InputError: the architecture cannot be built.
        """
        shape = setting.shapes[setting.tap_of(job.architecture)]
        outputs = setting.make_task(job.split, job.architecture).n_outputs
        family = registry.load("network", job.architecture.network)()
        macs = family.macs(job.architecture, shape, outputs)
        with _alone(), torch.random.fork_rng(devices=[]):
            return count(family.build(job.architecture, shape, outputs), shape, macs)

    def features_kept(self) -> int:
        """Return the bytes of features that stay on the GPU between jobs."""
        return self._features.kept

    def _task(self, job: Job) -> Task:
        key = _task_key(job)
        if key not in self._tasks:
            self._tasks[key] = self._setting.make_task(job.split, job.architecture)
        return self._tasks[key]

    def _reserved(self, most: bool = False) -> int:
        """Return the GPU memory in bytes that torch reserves, or its peak since the last call.

        It includes the free blocks of torch's allocator, which no other process can use.
        """
        if self._setting.device == "cpu":
            return 0
        if most:
            return torch.cuda.max_memory_reserved(self._setting.device)
        torch.cuda.reset_peak_memory_stats(self._setting.device)
        return torch.cuda.memory_reserved(self._setting.device)

    def _open(self, source: str, tap: str) -> list[NDArray[np.float16]]:
        if (source, tap) not in self._maps:
            files = self._setting.files[source][tap]
            try:
                self._maps[source, tap] = [np.load(path, mmap_mode="r") for path in files]
            except (FileNotFoundError, PermissionError, EOFError, ValueError) as error:
                raise RunError(
                    f"feature cache: {one_line(error)}: leave the cache alone while a search "
                    f"runs; what is missing is made again when it goes on"
                ) from error
        return self._maps[source, tap]

    @staticmethod
    def _failure(kind: str, error: Exception, start: float, known: dict[str, Any]) -> Measurement:
        seconds = time.perf_counter() - start
        text = str(error) or type(error).__name__
        return Measurement.failure(kind, text, seconds=seconds, **known)


def _task_key(job: Job) -> tuple[str, TaskChoices]:
    return job.split, task_choices(job.architecture)

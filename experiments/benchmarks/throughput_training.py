"""Parts a, b and f: trainings by evonas, the published way, and by a plain loop.

Every part has a module of its own; what they share is here.
"""

from __future__ import annotations

import importlib
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from throughput_plain import Pairs
from throughput_problem import Clocked, Problem
from throughput_report import Options, Section, Verdict, spread
from torch.utils.data import TensorDataset

from evonas.core.experiment import Experiment, changed
from evonas.estimation.estimator import Estimator, Job, Split, TrainingContext
from evonas.workflows.components import Components

MODULES = {"a": "throughput_in_the_loop", "b": "throughput_cached", "f": "throughput_gpu"}


def measure(options: Options) -> Section:
    """Return the section of part a, b or f."""
    section: Section = importlib.import_module(MODULES[options.part]).measure(options)
    return section


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def sized(
    experiment: Experiment, trials: int, epochs: int, quick: bool, words: Sequence[str] = ()
) -> Experiment:
    """Return the experiment with random search and nothing beside it, on a CPU.

    Args:
        experiment: whose data, backbone, space and settings are used.
        trials: networks to train.
        epochs: of each.
        quick: render few images, if they are rendered.
        words: further ``key=value``.
    """
    plain = [f"budget={trials}", "optimizer=random", f"training.epochs={epochs}", "fidelity=full"]
    plain += ["training.patience=0", "finals.networks=0", "baselines=[]"]
    plain += ["execution.device=cpu", "execution.executor=auto", "execution.workers=auto"]
    if quick and experiment.data.name == "synthetic_faces":
        plain += ["data.identities=12", "data.images_per_identity=8"]
    return changed(experiment, [*plain, *words])


@dataclass(frozen=True)
class Trainings:
    """Trainings on cached features, each of which every contender does.

    Attributes:
        components: of the experiment.
        setting: what the trainings share.
        jobs: what to train.
    """

    components: Components
    setting: TrainingContext
    jobs: list[Job]

    @classmethod
    def of(cls, experiment: Experiment, folder: Path) -> Trainings:
        """Return the trainings of a random search, with their features computed.

        Args:
            experiment: see ``sized``.
            folder: for the journal of the search that only asks.
        """
        components = Components(experiment)
        setting = setting_of(components)
        jobs, _ = Problem(components, setting, Clocked(Estimator)).jobs(folder)
        # A search numbers the jobs of each generation from 0; here all are handed out together.
        numbered = [replace(job, index=n, history=True) for n, job in enumerate(jobs)]
        return cls(components, setting, numbered)

    def images(self) -> int:
        """Return how many images one epoch of one training reads, validation included."""
        split = self.setting.splits["search"]
        return len(split.train) + len(split.validation)


@dataclass(frozen=True)
class Pass:
    """All trainings by one contender.

    Attributes:
        seconds: in all.
        each: seconds of each training, in the order of the jobs.
        histories: errors after each epoch, of each training.
    """

    seconds: float
    each: list[float]
    histories: list[list[float]]


def setting_of(components: Components, split: Split | None = None) -> TrainingContext:
    """Return what trainings share, with the features computed that are not there."""
    features = components.features(components.backbone, components.taps(), _quiet)
    sides = components.dataset.sides()
    chosen = split or Split(sides["train"], sides["validation"])
    return components.context({"backbone": features}, {"search": chosen})


def some(split: Split, train: int, validation: int) -> Split:
    """Return about so many images of a split, spread evenly over it."""
    return Split(
        split.train[:: max(1, len(split.train) // train)],
        split.validation[:: max(1, len(split.validation) // validation)],
    )


def in_memory(setting: TrainingContext, tap: str) -> Pairs:
    """Return (maps, targets) of a tap in 32-bit floats, all images view after view."""
    maps = [np.load(path, mmap_mode="r") for path in setting.files["backbone"][tap]]
    images = len(maps[0])
    held = torch.empty((len(maps) * images, *maps[0].shape[1:]))
    for view, values in enumerate(maps):  # one view at a time: all at once need twice the memory
        held[view * images : (view + 1) * images] = torch.from_numpy(np.array(values))
    targets = torch.from_numpy(setting.targets.reshape(len(held), -1))
    return TensorDataset(held, targets)


def apart(one: Pass, two: Pass) -> float:
    """Return the root mean square difference of the last errors, over the networks."""
    pairs = zip(one.histories, two.histories, strict=True)
    return statistics.fmean((own[-1] - other[-1]) ** 2 for own, other in pairs) ** 0.5


def same_in_the_end(ours: Pass, theirs: Pass, reseeded: Pass, unit: str) -> Verdict:
    """Return the verdict on the last errors: no further apart than two seeds are."""
    found, luck = apart(ours, theirs), apart(ours, reseeded)
    said = f"{found:.4f} {unit}; evonas from two seeds: {luck:.4f} {unit}"
    target = "Last errors no further apart (root mean square over the networks) than from two seeds"
    return Verdict(target, said, found <= luck)


def ratios(slow: Sequence[Pass], fast: Sequence[Pass]) -> list[float]:
    """Return how many times as long, turn by turn."""
    return [one.seconds / two.seconds for one, two in zip(slow, fast, strict=True)]


def faster(target: str, values: Sequence[float], least: float | None = None) -> Verdict:
    """Return the verdict on how many times as long another takes; None: only told."""
    met = None if least is None else statistics.median(values) >= least
    return Verdict(target, f"{spread(values, 2)} x", met)


def _quiet(name: str, done: int, total: int) -> None:
    """Say nothing while features are computed."""

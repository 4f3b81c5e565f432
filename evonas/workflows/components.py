"""Components of an experiment with trainings: data set, backbone, task, space and so on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from evonas.core import registry
from evonas.core.array_types import Array
from evonas.core.experiment import Experiment
from evonas.core.recipe import overruled
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.estimation.cost.latency_cache import Timing
from evonas.estimation.estimator import Split, TrainingContext
from evonas.estimation.execution.base import Executor
from evonas.estimation.features.feature_cache import FeatureCache, Features, Progress
from evonas.estimation.features.tap_prior import tap_errors
from evonas.estimation.features.views import View, standard_views
from evonas.models.backbones.base import Backbone
from evonas.runs.run_store import Trial
from evonas.runs.training_record import TrainingRecord
from evonas.space import Architecture
from evonas.space.gene import Value
from evonas.space.recipe import (
    all_task_choices,
    task_choices,
)
from evonas.tasks.common.prediction_format import HELD_OUT_LOSS
from evonas.workflows.base_components import BaseComponents, Ready, surroundings
from evonas.workflows.baselines import checked_baselines
from evonas.workflows.fold_splits import final_fold, finals_folds
from evonas.workflows.initial_designs import initial_designs
from evonas.workflows.network_components import NetworkComponents
from evonas.workflows.recipe_tasks import Settled
from evonas.workflows.resources import Hardware
from evonas.workflows.tabular_benchmark import TabularBenchmark
from evonas.workflows.tap_choices import must_be_named, named_taps


@dataclass(frozen=True)
class Components(NetworkComponents):
    """Components of an experiment whose networks are trained; each is built on first access."""

    def initial_designs(self) -> tuple[Trial, ...]:
        """Return the initial designs of the space; see ``workflows.initial_designs``."""
        if not self.experiment.initial_designs:
            return ()

        def feasible(architecture: Architecture) -> bool:
            return self.objective.admits(architecture, self.cost(architecture))

        return initial_designs(self.space, self.cost, feasible)

    def warnings(self) -> list[str]:
        """Return lines that stand below every table of this experiment: its split is leaky."""
        leaky = self.dataset.leaky
        return [f"LEAKY split, errors on it flatter: {leaky}"] if leaky else []

    @cached_property
    def baselines(self) -> tuple[tuple[str, Architecture], ...]:
        """The hand-made networks: (name, architecture), checked against their taps.

        Settings of the recipe that they do not name are the first choices of its genes.
        """
        return self.baselines_with({key: v[0] for key, v in self.experiment.recipe.items()})

    def baselines_with(self, recipe: Mapping[str, Value]) -> tuple[tuple[str, Architecture], ...]:
        """Return the hand-made networks with a recipe; see ``checked_baselines``."""
        return checked_baselines(self.experiment, recipe, self.backbone.taps, self.cost)

    def taps(self) -> tuple[str, ...]:
        """Return the taps that a search may need, in the backbone's order."""
        needed = {v for gene in self.space.genes if gene.name == "tap" for v in gene.values}
        needed |= {self.tap_of(architecture) for _, architecture in self.baselines}
        needed.add(self.experiment.tap)
        return tuple(tap for tap in self.backbone.taps if tap in needed)

    def features(
        self,
        backbone: Backbone,
        taps: Sequence[str],
        progress: Progress,
        test_set: Dataset | None = None,
        flip: bool = False,
    ) -> Features:
        """Return the cached features of a backbone on this experiment's data, in all views.

        Of a ``test_set``, if one is given, instead: in the plain view alone, or with
        ``flip`` in the mirrored one as well.
        """
        settings = self.experiment.features
        cache = FeatureCache(Path(settings.cache).expanduser(), settings.strict)
        dataset = self.dataset if test_set is None else test_set
        if test_set is None:
            views = standard_views(settings.jitters)
        else:
            views = standard_views(0) if flip else (View(),)
        return cache.ensure(backbone, dataset, taps, views, progress)

    def feature_passes(self) -> int:
        """Return how many images have to pass through the backbone before the search."""
        settings = self.experiment.features
        cache = FeatureCache(Path(settings.cache).expanduser(), settings.strict)
        views = standard_views(settings.jitters)
        return cache.passes(self.backbone, self.dataset, self.taps(), views)

    def context(
        self,
        sources: dict[str, Features],
        splits: dict[str, Split],
        settled: Settled | None = None,
    ) -> TrainingContext:
        """Return what all jobs share; images that cannot be decoded are left out of the splits.

        Args:
            sources: source name -> cached features; the first decides the views.
            splits: split name -> split.
            settled: options of the task by split and recipe; see ``TrainingContext``.
        """
        features = next(iter(sources.values()))
        cache = Path(self.experiment.features.cache).expanduser()
        plain = self.task.targets(self.dataset)
        return TrainingContext(
            files={name: source.files for name, source in sources.items()},
            shapes=dict(self.backbone.taps),
            tap=self.experiment.tap,
            targets=np.stack([self._seen(plain, view) for view in features.views]),
            splits={name: split.only(features.usable) for name, split in splits.items()},
            task=self.task_parts,
            device=self.hardware.device,
            threads=self.hardware.threads,
            timing=Timing(cache / "latency", self.experiment.objective.latency_threads),
            time_limit=self.experiment.execution.time_limit,
            error=self.experiment.objective.error,
            settled=settled or {},
        )

    def _seen(self, plain: Array, view: View) -> Array:
        """Return the targets as a view shows them."""
        corner, side = view.crops(len(plain))
        moved = self.task.crop_targets(plain, corner, side) if view.jitter else plain
        return self.task.flip_targets(moved) if view.flip else moved

    @cached_property
    def hardware(self) -> Hardware:
        """Workers and devices on which candidates train."""
        return Hardware(self.experiment.execution)

    @property
    def workers(self) -> int:
        """Number of candidates that train at once."""
        return self.hardware.workers

    def executor(self, context: TrainingContext) -> Executor:
        """Return the executor, started."""
        return self.hardware.start(context, self.experiment.name)

    @cached_property
    def constant(self) -> float | None:
        """Validation error of the best constant prediction; None where the error is a loss."""
        sides, targets = self.dataset.sides(), self.task.targets(self.dataset)
        metrics = self.task.constant_metrics(targets[sides["train"]], targets[sides["validation"]])
        return metrics.get(self.task.metric)

    @property
    def error(self) -> tuple[str, str]:
        """Name and unit of the metric that counts as the error; a loss has no unit."""
        metric = self.task.metric
        return metric, "" if metric == HELD_OUT_LOSS else self.task.unit

    def device_description(self) -> tuple[str, ...]:
        """Return executor and device on which candidates train.

        Raises:
            InputError: the device is not available.
        """
        return self.hardware.device_description()

    def fingerprints(self) -> dict[str, str]:
        """Return hashes of data and backbone; where latencies are measured, also the machine."""
        found = {"data": self.dataset.fingerprint, "backbone": self.backbone.fingerprint}
        if self.objective.timed:
            count = self.experiment.objective.latency_threads
            found["machine"] = self.hardware.machine(count)
        return found

    def cautions(self) -> list[str]:
        """Return lines that a user should read before the search begins."""
        own = self.experiment
        lines = self.backbone.remarks()
        lines += overruled(own.recipe, own.training, own.task.options)
        if not self.objective.timed:
            return lines
        return [
            *lines,
            f"Latencies are measured on {self.fingerprints()['machine']}: the search does not "
            f"repeat bit for bit, and on another machine it may end elsewhere",
            *self.hardware.disturbances(),
        ]

    def training_record(self) -> TrainingRecord:
        """Return the images of training and validation, also those of weights that are given.

        Raises:
            InputError: the data set has no training or validation split, or a file cannot be read.
        """
        experiment = self.experiment
        starts = [experiment.training.start, experiment.retraining.start]
        starts += [baseline.start for baseline in experiment.baselines]
        options = experiment.backbone.options.values()
        files = [Path(text) for text in (*starts, *options) if text and isinstance(text, str)]
        return TrainingRecord.of(self.dataset) | TrainingRecord.beside(files)

    def tap_prior(self, features: Features | None) -> dict[str, float]:
        """Return tap -> validation error of a ridge regression, for the strategy.

        Empty if ``tap_prior`` is off, the strategy has no option ``prior`` or it is given, the
        space has no choice of taps, or the task's output is a map.
        """
        optimizer = self.experiment.optimizer
        taps = next((gene.values for gene in self.space.genes if gene.name == "tap"), ())
        if (
            features is None
            or not self.experiment.tap_prior
            or len(taps) < 2
            or self.task.dense
            or "prior" in optimizer.options
            or "prior" not in registry.options("optimizer", optimizer.name)
        ):
            return {}
        sides, targets = self.dataset.sides(), self.task.targets(self.dataset)
        return tap_errors(features, [str(tap) for tap in taps], sides, self.task, targets)

    @cached_property
    def final_folds(self) -> list[Split]:
        """Splits of the finals, used in turn; empty: that of the search.

        It is also empty where a fold lacks labels, so that its errors would not be finite.
        """
        finals = self.finals
        if finals is None or finals.validation == "search":
            return []
        found = finals_folds(self.dataset, finals.seeds, self.experiment.seed)
        return found if all(self._carries_the_task(split) for split in found) else []

    def _carries_the_task(self, split: Split) -> bool:
        """Whether the labels of a split suffice to train and to judge."""
        targets = self.task.targets(self.dataset)
        try:
            self.tasks.fit_options(split.train)
        except InputError:
            return False
        metrics = self.task.constant_metrics(targets[split.train], targets[split.validation])
        return all(math.isfinite(value) for value in metrics.values())

    def ready(self, progress: Progress) -> Ready:
        """Compute the features that a search may need."""
        features = self.features(self.backbone, self.taps(), progress)
        sides = self.dataset.sides()
        split = Split(sides["train"], sides["validation"])
        chosen = {*all_task_choices(self.experiment.recipe)}
        chosen |= {task_choices(baseline) for _, baseline in self.baselines}
        folds = {final_fold(n): one for n, one in enumerate(self.final_folds, start=1)}
        splits = {"search": split, **folds}
        settled = self.tasks.settled({name: one.train for name, one in splits.items()}, chosen)
        context = self.context({"backbone": features}, splits, settled)
        environment = {
            **surroundings(),
            **self.fingerprints(),
            "space": self.space.to_dict(),
            "images": len(self.dataset),
            "views": [view.name for view in features.views],
            "backbone_passes": features.passes,
            "constant": self.constant,
        }
        if self.experiment.objective.counts == "total":
            environment["up_to_taps"] = {tap: self.upto(tap).to_dict() for tap in self.taps()}
        return Ready(lambda: self.executor(context), environment, features)


def components_of(experiment: Experiment) -> BaseComponents:
    """Return the components of an experiment: those of its table, or of its trainings.

    Raises:
        InputError: taps are to be named by the backbone, which cannot be made.
    """
    return TabularBenchmark(experiment) if experiment.table else training_components(experiment)


def training_components(experiment: Experiment) -> Components:
    """Return the components of an experiment with trainings, with the backbone's names of taps.

    Raises:
        InputError: taps are to be named by the backbone, which cannot be made.
    """
    components = Components(experiment)
    if not must_be_named(experiment):
        return components
    named = Components(named_taps(experiment, components.backbone))
    vars(named)["backbone"] = components.backbone  # it is made once
    return named

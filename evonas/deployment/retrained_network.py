"""A retrained network with its backbone: both are trained further and evaluated.

A search trains heads on cached features. Pruning, quantization and export work on backbone and
head together, and train and evaluate them on the images; fine-tuning does so from a lower tap on.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evonas.core.settings import TrainingSettings
from evonas.errors import RunError
from evonas.estimation.estimator import Split
from evonas.estimation.features.feature_cache import FeatureCache, Progress
from evonas.estimation.features.views import View, standard_views
from evonas.estimation.training.batches import TrainingData
from evonas.estimation.training.checkpoint import resume, run_safely
from evonas.estimation.training.cuda_graphs import Graphs
from evonas.estimation.training.identity import weights_hash
from evonas.estimation.training.training import Diverged, Training, predict, restore
from evonas.estimation.training.training_step import EQUAL
from evonas.models.backbone_cut import IMAGE
from evonas.models.backbones.none import PIXELS, NoBackbone
from evonas.models.files.quantized_network import Quantized
from evonas.models.full_network import FullNetwork, TruncatedBackbone
from evonas.runs.comparison_schemas import REFITTED
from evonas.runs.training_record import TrainingRecord
from evonas.space import Architecture
from evonas.tasks.base import Task
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained
from evonas.workflows.loop import candidate_seed

_CORES = len(os.sched_getaffinity(0))
_INPUTS = {True: "images", False: "cached features"}


@dataclass
class RetrainedNetwork:
    """One trained network of a retraining, with its backbone and the images of its experiment.

    Args:
        retrained: the retraining.
        network: name of the network in comparison.json; empty: the first with trained weights.
        repeat: number of the training, from 0.
        progress: called with (label, steps done, steps in all).
        reads: what networks are trained and judged on: ``image``, or a tap of the backbone, whose
            maps are cached.
    """

    retrained: Retrained
    network: str = ""
    repeat: int = 0
    progress: Progress = lambda label, done, total: None
    reads: str = IMAGE

    @property
    def components(self) -> Components:
        """Backbone, data set and task of the experiment in which the head was trained."""
        return self.retrained.components

    @cached_property
    def contender(self) -> Mapping[str, Any]:
        """The network's entry in comparison.json."""
        return self.retrained.contender(self.network)

    @cached_property
    def architecture(self) -> Architecture:
        """The head's architecture."""
        return Architecture.from_dict(self.contender["architecture"])

    @cached_property
    def task(self) -> Task:
        """The task, with the options of the head's recipe and what the training labels settled."""
        return self.retrained.task_of(self.contender)

    @property
    def tap(self) -> str:
        """The backbone's tap whose feature map is the head's input."""
        return str(self.contender["tap"])

    @cached_property
    def head(self) -> nn.Module:
        """The trained head, (n, channels, h, w) -> (n, n_outputs[, h, w])."""
        return self.retrained.head(self.contender, self.repeat)

    @cached_property
    def full_network(self) -> nn.Module:
        """Backbone and head, (n, 3, side, side) in 0..255 -> (n, n_outputs[, h, w])."""
        return FullNetwork(TruncatedBackbone(self.retrained.backbone, self.tap), self.head).eval()

    @property
    def example(self) -> Tensor:
        """Two empty images, (2, 3, side, side)."""
        side = self.components.backbone.input_size
        return torch.zeros(2, 3, side, side)

    def train(
        self,
        network: nn.Module,
        settings: TrainingSettings,
        done: Callable[[int, int], None],
        *,
        purpose: str = "deploy",
        rates: Mapping[str, float] = EQUAL,
        checkpoint: Path | None = None,
    ) -> list[dict[str, float]]:
        """Train a network on ``learners``, in all views.

        Args:
            network: takes what ``reads`` says, and has the outputs of ``full_network``; afterwards
                it has the trained weights and is in evaluation mode.
            settings: settings of the training; see ``effective``.
            done: called with (epochs done, epochs in all).
            purpose: of the training, which its seed depends on.
            rates: name of a parameter -> its learning rate relative to that of the settings.
            checkpoint: file from which the same training goes on, if it exists, and to which it
                is written every few seconds; None: none.

        Returns:
            Loss and metrics of every epoch.

        Raises:
            RunError: the training diverged.
        """
        run, digest = self.components.experiment.seed, self.architecture.digest
        seed = candidate_seed(run, digest, settings.epochs, self.repeat, purpose)
        task, device = self.task, self.components.hardware.own_device
        views = standard_views(self.components.experiment.features.jitters)
        data = self._data(views)[0]
        settings = self.effective(settings)
        done(0, settings.epochs)
        with _all_cores():
            training = Training(network, data, task, settings, seed, device, rates=rates)
            if checkpoint is not None:
                start = weights_hash(network)
                training.facts = {"architecture": digest, "initial weights": start, "rates": rates}
                if resume(training, checkpoint):
                    done(training.epoch, settings.epochs)
            graphs = Graphs(device)

            def after(epoch: int, metrics: dict[str, float]) -> None:
                done(epoch + 1, settings.epochs)

            try:
                if checkpoint is None:
                    training.run(on_epoch=after, graphs=graphs)
                else:
                    run_safely(training, checkpoint, after, graphs)
            except Diverged as error:
                raise RunError(
                    f"{self.contender['name']!r}: training on {_INPUTS[self.reads == IMAGE]} "
                    f"diverged ({error}): lower the learning rate"
                ) from error
        restore(network, training.outcome.state)
        network.to("cpu").eval()
        return training.outcome.history

    def judge(self, network: nn.Module) -> dict[str, float]:
        """Return all metrics of a network that takes what ``reads`` says, on ``judges``."""
        # Quantised networks have operators of the CPU only.
        device = "cpu" if isinstance(network, Quantized) else self.components.hardware.own_device
        with _all_cores():
            outputs = predict(network, self._plain, self.judges, device)
        network.to("cpu")
        task = self.task
        return dict(task.details(task.predictions(outputs), self._plain.targets[0, self.judges]))

    @property
    def side(self) -> str:
        """The split for evaluation: test, if the data set has one, else validation."""
        return "test" if "test" in self.components.dataset.sides() else "validation"

    @cached_property
    def judges(self) -> NDArray[np.intp]:
        """Indices of the images of this split that can be decoded."""
        return np.intersect1d(self.components.dataset.sides()[self.side], self._seen[1])

    @cached_property
    def record(self) -> TrainingRecord | None:
        """The images that training and validation used, including further training here.

        None if they are not known for the retrained network.

        Raises:
            InputError: a record is damaged, or an image file cannot be read.
        """
        before = self.retrained.record
        return before and before | self.components.training_record()

    def cautions(self) -> list[str]:
        """Return reasons why the errors on the evaluation images may be too low, if any."""
        if self.retrained.record is None:
            return ["which images this network was trained on is not recorded: errors may flatter"]
        used = self.retrained.record.overlap(self.components.dataset, self.judges).flattery()
        return [f"errors on these images flatter: {used}"] if used else []

    def images(self, indices: NDArray[np.intp]) -> Tensor:
        """Return what networks read of some images, such as (n, 3, side, side) RGB in 0..255."""
        return torch.from_numpy(self._plain.maps[0][indices].astype(np.float32))

    @property
    def learners(self) -> NDArray[np.intp]:
        """Indices of the decoded images that train: those of the training split.

        Of a refitted network, which was trained on them before, those of the validation split too.
        """
        return self._plain.train

    def effective(self, settings: TrainingSettings) -> TrainingSettings:
        """Return the settings with which ``train`` trains.

        Where validation images train as well, none could choose an epoch: the last one is kept.
        """
        return settings.model_copy(update={"keep": "last", "patience": 0} if self.refitted else {})

    def ineffective(self, settings: TrainingSettings, section: str) -> list[str]:
        """Return a note where ``train`` does not follow the settings of a section."""
        if settings == self.effective(settings):
            return []
        return [
            f"{section}.keep=best and patience have no effect on a refitted network, which trains "
            "on the validation images as well: its last epoch is kept"
        ]

    @property
    def refitted(self) -> bool:
        """Whether the network was trained on training and validation images together."""
        return str(self.contender["name"]).startswith(REFITTED)

    @property
    def _plain(self) -> TrainingData:
        return self._seen[0]

    @cached_property
    def _seen(self) -> tuple[TrainingData, NDArray[np.intp]]:
        return self._data((View(),))

    def _data(self, views: tuple[View, ...]) -> tuple[TrainingData, NDArray[np.intp]]:
        """Return what networks read, in these views, and the indices of the decoded images."""
        dataset, backbone = self.components.dataset, self.components.backbone
        if self.reads == IMAGE:
            backbone = NoBackbone(input_size=backbone.input_size, **PIXELS)
        features = self.cache.ensure(backbone, dataset, [self.reads], views, self.progress)
        splits = {"whole": Split(**dataset.sides())}
        setting = self.components.context({"whole": features}, splits)
        split, maps = setting.splits["whole"], features.open(self.reads)
        train = np.union1d(split.train, split.validation) if self.refitted else split.train
        data = TrainingData(maps, setting.targets, train, split.validation)
        return data, features.usable

    @property
    def cache(self) -> FeatureCache:
        """The feature cache of the experiment."""
        settings = self.components.experiment.features
        return FeatureCache(Path(settings.cache).expanduser(), settings.strict)


@contextmanager
def _all_cores() -> Iterator[None]:
    """Let torch use all cores, since no other training runs at the same time."""
    before = torch.get_num_threads()
    torch.set_num_threads(_CORES)
    torch.set_flush_denormal(True)  # arithmetic with denormal values is a hundred times slower
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(before)

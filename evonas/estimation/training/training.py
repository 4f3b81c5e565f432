"""Training of one head network on cached features, in a search or a retraining.

On a CPU the result depends on (module, data, settings, seed) alone: the training runs on one
thread, with random generators of its own for batch order and augmentation. It can be paused
between two epochs and resumed elsewhere, with the same result; see ``checkpoint``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evonas.core.array_types import Array
from evonas.core.settings import TrainingSettings
from evonas.estimation.training.batches import FeatureStore, Indices, Source, TrainingData
from evonas.estimation.training.cuda_graphs import Graphs
from evonas.estimation.training.precision import exact
from evonas.estimation.training.training_step import (
    EQUAL,
    Step,
    check_views,
    flattened,
    layout,
    placed,
)
from evonas.tasks.base import Task

#: Batch size of validation and prediction.
LARGE = 256


@dataclass
class Outcome:
    """Result of a training: metrics and weights of the kept epoch, and the history.

    Attributes:
        metrics: of the kept epoch, with its number (``epoch``, from 1).
        state: weights of the kept epoch.
        history: mean training loss and metrics of each epoch.
        first_loss: training loss of the first batch, before the first step.
    """

    metrics: dict[str, float] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    first_loss: float = math.nan

    @property
    def loss_rose(self) -> bool:
        """Whether the mean training loss of the kept epoch is above ``first_loss``."""
        return self.history[int(self.metrics["epoch"]) - 1]["loss"] > self.first_loss


class Diverged(Exception):
    """The training loss or an output became nan or infinite."""


class NotANumber(Diverged):
    """The first loss or a metric of the task is not finite, which training did not cause."""


def train(
    module: nn.Module,
    data: TrainingData,
    task: Task,
    settings: TrainingSettings,
    seed: int,
    device: str = "cpu",
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, metrics: None,
) -> Outcome:
    """Train a head network and validate it after every epoch; see ``Training``.

    Raises:
        Diverged: loss or outputs became nan or infinite.
    """
    training = Training(module, data, task, settings, seed, device)
    training.run(on_epoch=on_epoch)
    return training.outcome


class Training:
    """Trains a network epoch by epoch.

    Training stops early if the settings have patience and keep the best epoch. With
    ``keep="last"`` patience has no effect, since the validation images may be those of the
    final evaluation, which must not choose an epoch.

    Args:
        module: the head network with its initial weights.
        data: training and validation data.
        task: loss and metrics.
        settings: of the training.
        seed: of batch order, views and dropout.
        device: ``cpu`` or ``cuda``.
        source: of batches; by default the one that suits the device.
        rates: name of a parameter -> its learning rate relative to that of the settings.

    Attributes:
        step: one training step, with the optimizer.
        epoch: number of finished epochs.
        outcome: result so far.
        facts: name -> plain value of whatever else the result depends on, such as the digest of
            the architecture; part of the identity in a checkpoint.
    """

    def __init__(
        self,
        module: nn.Module,
        data: TrainingData,
        task: Task,
        settings: TrainingSettings,
        seed: int,
        device: str = "cpu",
        source: Source | None = None,
        rates: Mapping[str, float] = EQUAL,
    ) -> None:
        self.module, self.device = placed(module, device), device
        self.data, self.task, self.settings, self.seed = data, task, settings, seed
        self.facts: dict[str, Any] = {}
        self.step = Step(self.module, task, settings, device, rates)
        self.average = _Average(self.step, settings.ema)
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)  # dropout
        self.epoch, self.best, self.best_epoch = 0, math.inf, 0
        self.outcome = Outcome()
        self._first = torch.zeros(())
        self._source = source or FeatureStore(device).source(data, "")

    @property
    def over(self) -> bool:
        """Whether no epoch is left, or patience ran out."""
        patience = self.settings.patience
        # never with keep="last", where every epoch counts as the best
        return self.epoch >= self.settings.epochs or bool(
            patience and self.epoch - 1 - self.best_epoch >= patience
        )

    def run(
        self,
        until: int | None = None,
        on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, metrics: None,
        graphs: Graphs | None = None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Train to the end, or until a number of epochs is finished.

        Args:
            until: epochs, counted from the start of the training.
            on_epoch: called with the number of the epoch, from 0, and its metrics.
            graphs: CUDA graphs of the worker; by default those of this training.
            after: called whenever an epoch is finished, and the training may be saved.

        Raises:
            Diverged: loss or outputs became nan or infinite.
            Untrained: the steps did not reach every parameter.
        """
        epochs = self.settings.epochs
        ahead = (min(until or epochs, epochs) - self.epoch) * self._steps
        take = (graphs or Graphs(self.device)).replayed(self.step, ahead)
        while not self.over and (until is None or self.epoch < until):
            loss = self._epoch(take)
            if not self.epoch:
                self.outcome.first_loss = float(self._first)
            if not math.isfinite(loss):
                if not math.isfinite(first := self.outcome.first_loss):
                    raise NotANumber(f"the loss is {first} before anything was learned")
                raise Diverged(f"the loss became {loss} in epoch {self.epoch + 1}")
            module, device = self.average.module, self.device
            metrics = validate(
                module, self.data, self.task, self.data.validation, device, self._source
            )
            self.outcome.history.append({"loss": loss, **metrics})
            on_epoch(self.epoch, metrics)
            if metrics[self.task.metric] < self.best or self.settings.keep == "last":
                self.best, self.best_epoch = metrics[self.task.metric], self.epoch
                self.outcome.metrics = dict(metrics, epoch=self.epoch + 1)
                self.outcome.state = kept(module)
            self.epoch += 1
            after()
        self.step.verify()
        self.average.verify()

    @property
    def _steps(self) -> int:
        """Steps of one epoch."""
        return max(len(self.data.train) // self.settings.batch_size, 1)

    def _epoch(self, take: Callable[[Tensor, Tensor], Tensor]) -> float:
        """Train one epoch; return its mean loss, read once at the end to spare the GPU a wait."""
        settings, data, steps = self.settings, self.data, self._steps
        self.module.train()
        order = self.rng.permutation(data.train)
        views = self.rng.integers(0, len(data.maps), len(order))
        losses = torch.zeros((), device=self.device)
        used = min(steps * settings.batch_size, len(order))
        batches = self._source.batches(order[:used], views[:used], settings.batch_size)
        for number, (maps, targets) in enumerate(batches, start=self.epoch * steps):
            self.step.set_rate(_rate(settings, self.epoch, number, steps * settings.epochs))
            loss = take(maps, targets)
            if not number:
                self._first = loss.detach().clone()  # a replayed step writes to the same place
            losses += loss
            self.average.update()
        return float(losses) / steps


def validate(
    module: nn.Module,
    data: TrainingData,
    task: Task,
    indices: Indices,
    device: str = "cpu",
    source: Source | None = None,
) -> dict[str, float]:
    """Return the task's metrics on the plain view of ``indices``.

    Raises:
        Diverged: an output is not finite.
        NotANumber: a metric of finite outputs is not.
    """
    outputs = predict(module, data, indices, device, source)
    if not np.isfinite(outputs).all():
        raise Diverged("an output is not finite")
    metrics = task.validate(outputs, data.targets[0, indices])
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise NotANumber(f"the task's metric {name} is {value}, expected a finite number")
    return metrics


def predict(
    module: nn.Module,
    data: TrainingData,
    indices: Indices,
    device: str = "cpu",
    source: Source | None = None,
    view: int = 0,
) -> Array:
    """Return the outputs on one view, by default the plain one: (len(indices), n_outputs)."""
    module, form = placed(module, device).eval(), layout(module)
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    source = source or FeatureStore(device).source(data, "")
    views = np.full(len(indices), view, np.intp)
    with torch.inference_mode(), exact(device):
        parts = [
            module(maps.to(dtype, memory_format=form)).float()
            for maps, _ in source.batches(indices, views, LARGE)
        ]
        return torch.cat(parts).cpu().numpy()


def _floating(module: nn.Module) -> list[Tensor]:
    return [value for value in module.buffers() if value.is_floating_point()]


def kept(module: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a module's weights, name -> tensor, on the CPU and contiguous.

    During training and prediction a module has its fastest memory layout.
    """
    plain = torch.contiguous_format
    return {k: v.detach().cpu().clone(memory_format=plain) for k, v in module.state_dict().items()}


def restore(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load what ``kept`` returned into the module, or into another of the same layers.

    Without the version of each layer torch takes the state for one of an old version, and changes
    it: the smallest scale of observers of quantization-aware training would be another.
    """
    whole = module.state_dict()  # has the versions
    whole.update(state)
    module.load_state_dict(whole)


class _Average:
    """Exponential moving average of a module's weights; with decay 0 the module itself."""

    def __init__(self, step: Step, decay: float) -> None:
        self._decay = decay
        self.steps = 0
        self.module = step.module
        if decay:
            self.module = deepcopy(step.module)
            self._row = flattened(self.module, step.rates)[0]
            # the tensors themselves, which every step changes in place
            self._own = [self._row, *_floating(self.module)]
            self._new = [step.parameters, *_floating(step.module)]

    def update(self) -> None:
        if not self._decay:
            return
        self.steps += 1
        # The first steps would otherwise weigh the random start for long.
        keep = min(self._decay, self.steps / (self.steps + 10.0))
        torch._foreach_lerp_(self._own, self._new, 1.0 - keep)

    def verify(self) -> None:
        """Check that the validated module holds the averages; see ``check_views``."""
        if self._decay:
            check_views(self.module, self._row)


def _rate(settings: TrainingSettings, epoch: int, step: int, total: int) -> float:
    highest, rising = settings.highest_rate, settings.warmup * total
    if step < rising:
        if not settings.reference_batch:
            return highest * (step + 1) / (rising + 1)
        first = min(settings.learning_rate, highest)
        return first + (highest - first) * step / rising
    if settings.schedule == "exponential":
        return highest * settings.decay**epoch
    if settings.schedule == "step":
        passed = sum(milestone <= epoch for milestone in settings.milestones)
        return highest * settings.decay**passed
    if settings.schedule == "cosine":
        done = (step - rising) / max(total - rising, 1)
        return highest * 0.5 * (1.0 + math.cos(math.pi * done))
    return highest

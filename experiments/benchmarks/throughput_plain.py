"""The rival of the throughput benchmark: a training loop as a careful practitioner writes it.

A DataLoader (in the process itself where data lie in memory: a batch is then dearer to hand over
than to make), AdamW as PyTorch chooses it, the average of the weights name by name, the loss
read after every step, validation through a loader with the training's batch size, tensors in
the usual order. It uses evonas's schedule and draws the same batches from the same seed, but
shares nothing of evonas's loop, so that equal errors say something.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from evonas.core import registry
from evonas.core.settings import TrainingSettings
from evonas.estimation.estimator import Job, TrainingContext
from evonas.estimation.training.training import _rate
from evonas.estimation.training.training_step import lower
from evonas.tasks.base import Task

Indices = NDArray[np.intp]
Pairs = Dataset[tuple[Tensor, Tensor]]


@dataclass
class Plain:
    """What a plain training gave, and what it took.

    Attributes:
        history: metrics on the validation images after every epoch.
        training, validation: seconds of every epoch.
    """

    history: list[dict[str, float]] = field(default_factory=list)
    training: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)

    def error(self, settings: TrainingSettings, metric: str) -> float:
        """Return the error of the epoch that the settings keep."""
        errors = [metrics[metric] for metrics in self.history]
        return errors[-1] if settings.keep == "last" else min(errors)


class Rows(Sampler[int]):
    """Rows of data that hold all images once a view, in the order in which evonas draws them.

    Args:
        train: (m,) numbers of the images.
        images: in a view.
        views: how many.
        seed: of the order and of the view of each image.
    """

    def __init__(self, train: Indices, images: int, views: int, seed: int) -> None:
        self._train, self._images, self._views = train, images, views
        self._rng = np.random.default_rng(seed)

    def __iter__(self) -> Iterator[int]:
        order = self._rng.permutation(self._train)
        views = self._rng.integers(0, self._views, len(order))
        return iter((views * self._images + order).tolist())

    def __len__(self) -> int:
        return len(self._train)


def built(job: Job, setting: TrainingContext, task: Task) -> nn.Module:
    """Return the head network of a job as it starts."""
    family = registry.load("network", job.architecture.network)()
    torch.manual_seed(job.seed)
    module: nn.Module = family.build(
        job.architecture, setting.shapes[setting.tap_of(job.architecture)], task.n_outputs
    )
    return module


def train(
    module: nn.Module,
    data: Pairs,
    job: Job,
    setting: TrainingContext,
    task: Task,
    maps: Callable[[Tensor], Tensor] = lambda inputs: inputs,
    precision: str = "float32",
    epochs: int = 0,
    loaders: int = 0,
) -> Plain:
    """Train a head network, validating it after every epoch.

    Args:
        module: as it starts.
        data: (input, target) of every image in the first view, then in the second, and so on.
        job: seed and settings.
        setting: the split, the number of views, the device.
        task: loss and metrics.
        maps: turns a batch of inputs, on the device, into feature maps.
        precision: ``float32`` or ``bfloat16``.
        epochs: stop after so many; 0: as the settings say.
        loaders: processes that make batches; 0: this one.
    """
    settings, split, device = job.training, setting.splits[job.split], setting.device
    views, images = setting.targets.shape[:2]
    fit = Rows(split.train, images, views, job.seed)
    options: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "num_workers": loaders,
        "persistent_workers": loaders > 0,
        "pin_memory": device != "cpu",
        "generator": torch.Generator(),  # loaders would else draw from dropout's
    }
    whole = len(split.train) >= settings.batch_size  # else the one batch that there is
    loader = DataLoader(data, sampler=fit, drop_last=whole, **options)
    judge = DataLoader(data, sampler=split.validation.tolist(), **options)
    module = module.to(device)
    average = deepcopy(module) if settings.ema else module
    optimizer = torch.optim.AdamW(_groups(module, settings), lr=settings.learning_rate)
    torch.manual_seed(job.seed)  # dropout
    done, total = 0, len(loader) * settings.epochs
    found, best, kept = Plain(), math.inf, {}
    for epoch in range(epochs or settings.epochs):
        start = time.perf_counter()
        module.train()
        losses = 0.0
        for inputs, targets in loader:
            inputs = inputs.to(device, non_blocking=True)
            targets = targets.to(device, non_blocking=True)
            for group in optimizer.param_groups:
                group["lr"] = _rate(settings, epoch, done, total)
            with lower(device, precision):
                outputs = module(maps(inputs))
            loss = task.loss(outputs.float(), targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), 5.0)
            optimizer.step()
            done += 1
            if settings.ema:
                _follow(average, module, min(settings.ema, done / (done + 10.0)))
            losses += loss.item()
        middle = time.perf_counter()
        average.eval()
        parts = []
        with torch.no_grad():
            for inputs, _ in judge:
                parts.append(average(maps(inputs.to(device, non_blocking=True))).float().cpu())
        outputs = torch.cat(parts).numpy()
        metrics = dict(
            task.metrics(task.predictions(outputs), setting.targets[0, split.validation])
        )
        if metrics[task.metric] < best or settings.keep == "last":
            best, kept = metrics[task.metric], deepcopy(average.state_dict())
        found.history.append({"loss": losses / len(loader), **metrics})
        found.training.append(middle - start)
        found.validation.append(time.perf_counter() - middle)
    module.load_state_dict(kept)
    return found


def _groups(module: nn.Module, settings: TrainingSettings) -> list[dict[str, Any]]:
    """Weights decay; biases, norms and activation slopes do not."""
    every = list(module.parameters())
    return [
        {"params": [p for p in every if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0},
    ]


@torch.no_grad()
def _follow(average: nn.Module, module: nn.Module, keep: float) -> None:
    """Move an average of weights towards a module's, as is usual: name by name."""
    state = module.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.mul_(keep).add_(state[name], alpha=1.0 - keep)
        else:
            value.copy_(state[name])

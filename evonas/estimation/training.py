"""Training of one head network on cached features.

The same routine serves a search's short budget and the long retraining. On a CPU
its result follows from (module, data, settings, seed) alone: it runs on one thread,
and batch order and augmentation come from generators of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evonas.estimation.settings import TrainingSettings
from evonas.tasks.base import Array, Task

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class TrainingData:
    """The cached maps of one tap, with targets.

    Attributes:
        maps: one (n, c, h, w) array a view; the first view is the plain one.
        targets: (n_views, n, k): the targets of each view, in the labels' units.
        train, validation: indices into n.
    """

    maps: list[NDArray[np.float16]]
    targets: Array
    train: Indices
    validation: Indices

    def batch(self, indices: Indices, views: Indices) -> tuple[Tensor, Tensor]:
        """Return maps (b, c, h, w) and targets (b, k) of each index in its view."""
        out = np.empty((len(indices), *self.maps[0].shape[1:]), np.float16)
        for view in np.unique(views):
            rows = np.flatnonzero(views == view)
            out[rows] = self.maps[view][indices[rows]]
        return torch.from_numpy(out), torch.from_numpy(self.targets[views, indices])


@dataclass
class Outcome:
    """What training gave: the kept epoch's metrics and weights, and the history."""

    metrics: dict[str, float] = field(default_factory=dict)
    state: dict[str, Tensor] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


class Diverged(Exception):
    """The training loss or an output is not finite."""


def train(
    module: nn.Module,
    data: TrainingData,
    task: Task,
    settings: TrainingSettings,
    seed: int,
    device: str = "cpu",
    on_epoch: Callable[[int, dict[str, float]], None] = lambda epoch, metrics: None,
) -> Outcome:
    """Train a head network and validate it after every epoch.

    It ends early where the settings have patience and keep the best epoch; the history
    shows the epochs that ran. (With ``keep="last"`` patience has no effect: there,
    validation images may be those that judge, and must choose nothing.)

    Raises:
        Diverged: loss or outputs became nan or infinite.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)  # dropout
    module.to(device)
    optimizer = torch.optim.AdamW(_groups(module, settings), lr=settings.learning_rate)
    steps_an_epoch = max(len(data.train) // settings.batch_size, 1)
    total = steps_an_epoch * settings.epochs
    average = _Average(module, settings.ema)
    outcome, best, best_epoch = Outcome(), math.inf, 0
    for epoch in range(settings.epochs):
        module.train()
        order = rng.permutation(data.train)
        views = rng.integers(0, len(data.maps), len(order))
        losses = torch.zeros((), device=device)
        for step in range(steps_an_epoch):
            rate = _rate(settings, epoch, epoch * steps_an_epoch + step, total)
            for group in optimizer.param_groups:
                group["lr"] = rate
            chosen = slice(step * settings.batch_size, (step + 1) * settings.batch_size)
            maps, targets = data.batch(order[chosen], views[chosen])
            loss = task.loss(module(maps.to(device).float()), targets.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), 5.0)
            optimizer.step()
            average.update()
            losses += loss.detach()
        if not math.isfinite(float(losses)):
            raise Diverged(f"the loss became {float(losses)} in epoch {epoch + 1}")
        metrics = validate(average.module, data, task, data.validation, device)
        outcome.history.append({"loss": float(losses) / steps_an_epoch, **metrics})
        on_epoch(epoch, metrics)
        if metrics[task.metric] < best or settings.keep == "last":
            best, best_epoch = metrics[task.metric], epoch
            outcome.metrics = dict(metrics, epoch=epoch + 1)
            state = average.module.state_dict()
            outcome.state = {k: v.detach().cpu().clone() for k, v in state.items()}
        if settings.patience and epoch - best_epoch >= settings.patience:
            break  # never with keep="last", where every epoch counts as the best
    return outcome


def validate(
    module: nn.Module, data: TrainingData, task: Task, indices: Indices, device: str = "cpu"
) -> dict[str, float]:
    """Return the task's metrics on the plain view of ``indices``.

    Raises:
        Diverged: an output is not finite.
    """
    outputs = predict(module, data, indices, device)
    if not np.isfinite(outputs).all():
        raise Diverged("an output is not finite")
    return dict(task.metrics(task.predictions(outputs), data.targets[0, indices]))


def predict(module: nn.Module, data: TrainingData, indices: Indices, device: str = "cpu") -> Array:
    """Return the outputs on the plain view, (len(indices), n_outputs)."""
    module.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(indices), 256):
            chosen = indices[start : start + 256]
            maps, _ = data.batch(chosen, np.zeros(len(chosen), np.intp))
            parts.append(module(maps.to(device).float()).float().cpu().numpy())
    return np.concatenate(parts)


class _Average:
    """Exponential moving average of a module's weights; with decay 0 the module itself."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self._source, self._decay = module, decay
        self._steps = 0
        self.module = deepcopy(module) if decay else module

    def update(self) -> None:
        if not self._decay:
            return
        self._steps += 1
        # The first steps would otherwise weigh the random start for long.
        keep = min(self._decay, self._steps / (self._steps + 10.0))
        own, new = self.module.state_dict(), self._source.state_dict()
        floats = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[n] for n in floats], [new[n] for n in floats], 1.0 - keep)


def _groups(module: nn.Module, settings: TrainingSettings) -> list[dict[str, object]]:
    """Weights decay; biases, norms and activation slopes do not."""
    weights = [p for p in module.parameters() if p.ndim > 1]
    rest = [p for p in module.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": settings.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _rate(settings: TrainingSettings, epoch: int, step: int, total: int) -> float:
    rising = settings.warmup * total
    if step < rising:
        return settings.learning_rate * (step + 1) / (rising + 1)
    if settings.schedule == "exponential":
        return settings.learning_rate * settings.decay**epoch
    if settings.schedule == "step":
        passed = sum(milestone <= epoch for milestone in settings.milestones)
        return settings.learning_rate * settings.decay**passed
    if settings.schedule == "cosine":
        done = (step - rising) / max(total - rising, 1)
        return settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))
    return settings.learning_rate

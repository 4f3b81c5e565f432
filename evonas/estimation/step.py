"""One training step, in which a device waits for nothing and the host for no device.

All that changes from step to step lies in tensors that keep their place, on a GPU the learning
rate as well, so that a step may be captured once and replayed; see ``graphs``.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from evonas.estimation.settings import TrainingSettings
from evonas.tasks.base import Task


class Step:
    """Forward, loss, backward, clipping and AdamW, on one batch.

    Args:
        module: the head network, on its device; changed in place.
        task: gives the loss.
        settings: how to train.
        device: ``cpu`` or ``cuda``.

    Attributes:
        module: the head network.
        optimizer: with the rate as a number on a CPU, as one tensor for all groups elsewhere.
        device: where it all lies.
    """

    def __init__(
        self, module: nn.Module, task: Task, settings: TrainingSettings, device: str
    ) -> None:
        self.module, self.device = module, device
        self._task, self._precision, self._layout = task, settings.precision, layout(module)
        self._parameters = list(module.parameters())
        rate = settings.learning_rate
        self.optimizer = torch.optim.AdamW(
            _groups(module, settings), lr=rate, fused=True, capturable=device != "cpu"
        )
        if device != "cpu":
            # A number would be frozen in a capture. On a CPU the tensor would be rounded to 32
            # bits, and read back in every step.
            held = torch.full((), rate, dtype=torch.float32, device=device)
            for group in self.optimizer.param_groups:
                group["lr"] = held

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the steps that follow."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def __call__(self, maps: Tensor, targets: Tensor) -> Tensor:
        """Train on maps (b, c, h, w) and targets (b, k); return the loss before, 0-dim."""
        with lower(self.device, self._precision):
            outputs = self.module(maps.to(torch.float32, memory_format=self._layout))
        loss = self._task.loss(outputs.float(), targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._parameters, 5.0)
        self.optimizer.step()
        return loss.detach()

    def tensors(self) -> list[Tensor]:
        """Return what a step changes in place: weights, buffers, the optimizer's moments.

        Before the first step there are no moments yet; that step makes them, of zeros.
        """
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        return [*self._parameters, *self.module.buffers(), *moments]


def placed(module: nn.Module, device: str) -> nn.Module:
    """Move a module to a device, laid out in memory as trains fastest; return it."""
    return module.to(device).to(memory_format=layout(module))  # type: ignore[call-overload,no-any-return]


def layout(module: nn.Module) -> torch.memory_format:
    """Return the order in memory in which a network trains fastest.

    Depthwise convolutions are up to 1.6 times as fast with channels last, dilated ones slower,
    others alike: so the former decide.
    """
    depthwise = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in module.modules())
    return torch.channels_last if depthwise else torch.contiguous_format


def lower(device: str, precision: str) -> AbstractContextManager[Any]:
    """Return a context in which networks compute as the settings' ``precision`` says."""
    half = precision == "bfloat16" or (
        precision == "auto" and device != "cpu" and torch.cuda.is_bf16_supported()
    )
    if not half:
        return nullcontext()
    # A cast weight that outlived a capture would go stale: a GPU keeps none.
    kept = device == "cpu"
    return torch.autocast(device.split(":")[0], torch.bfloat16, cache_enabled=kept)


def _groups(module: nn.Module, settings: TrainingSettings) -> list[dict[str, object]]:
    """Weights decay; biases, norms and activation slopes do not."""
    weights = [p for p in module.parameters() if p.ndim > 1]
    rest = [p for p in module.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": settings.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]

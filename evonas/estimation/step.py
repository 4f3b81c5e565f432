"""One training step, in which a device waits for nothing and the host for no device.

All that changes from step to step lies in tensors that keep their place, on a GPU the learning
rate as well, so that a step may be captured once and replayed; see ``graphs``.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from evonas.estimation.precision import exact, lower
from evonas.estimation.settings import TrainingSettings
from evonas.tasks.base import Task
from evonas.transfer.folding import scales_and_shifts

_CLIP = 5.0  # largest norm of all gradients together


class Step:
    """Forward, loss, backward, clipping and AdamW, on one batch.

    Args:
        module: the head network, on its device; changed in place.
        task: gives the loss.
        settings: how to train.
        device: ``cpu`` or ``cuda``.

    All parameters lie in one row, their gradients in another: a small network has a hundred
    tensors of a few numbers, and clipping, AdamW and the average of the weights would spend
    their time on going from one to the next.

    Attributes:
        module: the head network.
        parameters: all of its own, (n,), in the order of ``flattened``.
        optimizer: with the rate as a number on a CPU, as one tensor for all groups elsewhere.
        device: where it all lies.
    """

    def __init__(
        self, module: nn.Module, task: Task, settings: TrainingSettings, device: str
    ) -> None:
        self.module, self.device = module, device
        self._task, self._precision, self._layout = task, settings.precision, layout(module)
        self.parameters, decaying = flattened(module)
        self._gradients = torch.zeros_like(self.parameters)
        for parameter in module.parameters():
            place = parameter.storage_offset() - self.parameters.storage_offset()
            parameter.grad = self._gradients.as_strided(parameter.shape, parameter.stride(), place)
        rate = settings.highest_rate
        self.optimizer = torch.optim.AdamW(
            self._groups(decaying, settings.weight_decay),
            lr=rate,
            fused=True,
            capturable=device != "cpu",
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
        with exact(self.device):  # the backward pass reads it as well
            with lower(self.device, self._precision):
                outputs = self.module(maps.to(torch.float32, memory_format=self._layout))
            loss = self._task.loss(outputs.float(), targets)
            self._gradients.zero_()
            loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.linalg.vector_norm(self._gradients)
        self._gradients.mul_((_CLIP / (norm + 1e-6)).clamp(max=1.0))
        self.optimizer.step()
        return loss.detach()

    def tensors(self) -> list[Tensor]:
        """Return what a step changes in place: weights, buffers, the optimizer's moments.

        Before the first step there are no moments yet; that step makes them, of zeros.
        """
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        return [self.parameters, *self.module.buffers(), *moments]

    def _groups(self, decaying: int, decay: float) -> list[dict[str, object]]:
        """Weights decay; biases, norms and activation slopes do not."""
        groups: list[dict[str, object]] = []
        for chosen, own in ((slice(decaying), decay), (slice(decaying, None), 0.0)):
            part = nn.Parameter(self.parameters[chosen])
            part.grad = self._gradients[chosen]
            if part.numel():
                groups.append({"params": [part], "weight_decay": own})
        return groups


def flattened(module: nn.Module) -> tuple[Tensor, int]:
    """Put the parameters of a module into one row; they become views of it.

    Returns:
        The row, (n,): first the weights of layers, which decay, then the rest (biases, norms,
        slopes); and how many numbers the weights have. Each parameter keeps its order in memory.
    """
    every, decay = list(module.parameters()), _decaying(module)
    weights = [p for p in every if id(p) in decay]
    ordered = weights + [p for p in every if id(p) not in decay]
    row = torch.empty(sum(p.numel() for p in ordered), device=ordered[0].device)
    place = 0
    for parameter in ordered:
        view = row.as_strided(parameter.shape, parameter.stride(), place)
        view.copy_(parameter.data)
        parameter.data = view
        place += parameter.numel()
    return row, sum(p.numel() for p in weights)


def _decaying(module: nn.Module) -> set[int]:
    """Return the ids of the weights of layers: parameters of two dimensions and more.

    Not among them are scales and shifts that a captured graph keeps of its norms: they have two
    dimensions more there than in the norm that they were.
    """
    graphs = [part for part in module.modules() if isinstance(part, fx.GraphModule)]
    spared = {id(parameter) for graph in graphs for parameter in scales_and_shifts(graph)}
    return {id(p) for p in module.parameters() if p.ndim > 1} - spared


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

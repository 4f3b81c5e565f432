"""Training step without synchronisation between host and GPU.

Everything that changes between steps is in tensors of fixed addresses, on a GPU also the learning
rate, so that a step can be captured as a CUDA graph; see ``cuda_graphs``.
"""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

from evonas.core.settings import TrainingSettings
from evonas.estimation.training.precision import exact, lower
from evonas.models.batchnorm_folding import scales_and_shifts
from evonas.tasks.base import Task

_CLIP = 5.0  # largest norm of the gradient vector
#: Largest gradient without a visible change of its parameter: rounding noise.
_NOISE = 1e-6


class Untrained(Exception):
    """Training steps did not update a parameter."""


class Step:
    """Forward, loss, backward, clipping and AdamW, on one batch.

    Args:
        module: the head network, on its device; changed in place.
        task: gives the loss.
        settings: how to train.
        device: ``cpu`` or ``cuda``.

    All parameters are views of one vector and all gradients of another, since a small network
    has a hundred tensors of a few elements, and clipping, AdamW and averaging would spend their
    time on the overhead of each.

    Attributes:
        module: the head network.
        parameters: (n,) vector of all parameters, in the order of ``flattened``.
        optimizer: AdamW; its rate is a number on a CPU and one tensor on a GPU.
        device: of module and optimizer.
    """

    def __init__(
        self, module: nn.Module, task: Task, settings: TrainingSettings, device: str
    ) -> None:
        self.module, self.device = module, device
        self._task, self._precision, self._layout = task, settings.precision, layout(module)
        self.parameters, decaying = flattened(module)
        self._dtype, self._gradients = self.parameters.dtype, torch.zeros_like(self.parameters)
        for parameter in module.parameters():
            place = parameter.storage_offset() - self.parameters.storage_offset()
            parameter.grad = self._gradients.as_strided(parameter.shape, parameter.stride(), place)
        self._first = self.parameters.clone()
        self._rate = rate = settings.highest_rate
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
        """Set the learning rate of the next steps."""
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def __call__(self, maps: Tensor, targets: Tensor) -> Tensor:
        """Train on maps (b, c, h, w) and targets (b, k); return the loss before the step, 0-dim."""
        with exact(self.device):  # the backward pass reads it as well
            with lower(self.device, self._precision):
                outputs = self.module(maps.to(self._dtype, memory_format=self._layout))
            loss = self._task.loss(outputs.to(self._dtype), targets)
            self._gradients.zero_()
            loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.linalg.vector_norm(self._gradients)
        self._gradients.mul_((_CLIP / (norm + 1e-6)).clamp(max=1.0))
        self.optimizer.step()
        return loss.detach()

    def tensors(self) -> list[Tensor]:
        """Return the tensors that a step changes: weights, buffers, moments of the optimizer.

        The first step creates the moments.
        """
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        return [self.parameters, *self.module.buffers(), *moments]

    def verify(self) -> None:
        """Check that the steps so far updated every parameter of the module.

        Raises:
            Untrained: a parameter or its gradient lies outside the vectors that steps work on,
                or a parameter with a gradient still has the value that it started with.
        """
        check_views(self.module, self.parameters)
        if not self.optimizer.state:
            return
        start = self.parameters.storage_offset()
        first, now, gradients = (
            tensor.detach().cpu() for tensor in (self._first, self.parameters, self._gradients)
        )
        for name, parameter in self.module.named_parameters():
            place = parameter.storage_offset() - start
            own = slice(place, place + parameter.numel())
            grad = parameter.grad
            if grad is None or grad.untyped_storage().data_ptr() != (
                self._gradients.untyped_storage().data_ptr()
            ):
                raise Untrained(f"the gradient of {name} is not the one that the optimizer reads")
            # Steps of Adam are about as long as the rate; a float32 may be too large to show one.
            visible = self._rate > 10 * torch.finfo(self._dtype).eps * float(first[own].abs().max())
            if (
                visible
                and float(gradients[own].abs().max()) > _NOISE
                and torch.equal(first[own], now[own])
            ):
                raise Untrained(f"{name} has a gradient but still has its initial value")

    def _groups(self, decaying: int, decay: float) -> list[dict[str, object]]:
        """Return parameter groups: weights with decay; biases, norms and slopes without."""
        groups: list[dict[str, object]] = []
        for chosen, own in ((slice(decaying), decay), (slice(decaying, None), 0.0)):
            part = nn.Parameter(self.parameters[chosen])
            part.grad = self._gradients[chosen]
            if part.numel():
                groups.append({"params": [part], "weight_decay": own})
        return groups


def flattened(module: nn.Module) -> tuple[Tensor, int]:
    """Copy the parameters of a module to one vector, of which they become views.

    Returns:
        The (n,) vector, first the weights of layers, which decay, then biases, norms and slopes;
        and the number of elements of the weights. Each parameter keeps its memory format.
    """
    every, decay = list(module.parameters()), _decaying(module)
    weights = [p for p in every if id(p) in decay]
    ordered = weights + [p for p in every if id(p) not in decay]
    like = ordered[0]
    row = torch.empty(sum(p.numel() for p in ordered), device=like.device, dtype=like.dtype)
    place = 0
    for parameter in ordered:
        view = row.as_strided(parameter.shape, parameter.stride(), place)
        view.copy_(parameter.data)
        parameter.data = view
        place += parameter.numel()
    return row, sum(p.numel() for p in weights)


def _decaying(module: nn.Module) -> set[int]:
    """Return the ids of the weights of layers: parameters of two dimensions and more.

    Scales and shifts of norms do not count, though a captured graph stores them with two more
    dimensions.
    """
    graphs = [part for part in module.modules() if isinstance(part, fx.GraphModule)]
    spared = {id(parameter) for graph in graphs for parameter in scales_and_shifts(graph)}
    return {id(p) for p in module.parameters() if p.ndim > 1} - spared


def check_views(module: nn.Module, row: Tensor) -> None:
    """Check that the parameters of a module are still views of their vector; see ``flattened``.

    Raises:
        Untrained: a parameter was moved or replaced, so updates of the vector do not reach it.
    """
    for name, parameter in module.named_parameters():
        if parameter.untyped_storage().data_ptr() != row.untyped_storage().data_ptr():
            raise Untrained(
                f"{name} was moved or replaced during training, so the optimizer no longer "
                f"reached it"
            )


def placed(module: nn.Module, device: str) -> nn.Module:
    """Move a module to a device in its fastest memory layout, in place; return the module.

    A tensor that is on the device in that layout keeps its memory, since after ``flattened``
    parameters are views of the optimizer's vector. ``Module.to(memory_format=...)`` would copy a
    weight of shape (O, 1, 1, 1), whose strides fit both layouts.
    """
    module.to(device)
    form = layout(module)
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4 and not tensor.is_contiguous(memory_format=form):
            tensor.data = tensor.data.contiguous(memory_format=form)
    return module


def layout(module: nn.Module) -> torch.memory_format:
    """Return the memory format in which a network trains fastest.

    Channels last if it has grouped convolutions: depthwise ones are up to 1.6 times as fast then,
    dilated ones slower, others equal.
    """
    depthwise = any(isinstance(m, nn.Conv2d) and m.groups > 1 for m in module.modules())
    return torch.channels_last if depthwise else torch.contiguous_format

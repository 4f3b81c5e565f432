"""Training step without synchronisation between host and GPU.

Everything that changes between steps is in tensors of fixed addresses, on a GPU also the learning
rate, so that a step can be captured as a CUDA graph; see ``cuda_graphs``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

from evonas.core.settings import TrainingSettings
from evonas.estimation.training.precision import exact, lower
from evonas.models.batchnorm_folding import scales_and_shifts
from evonas.tasks.base import Task

_CLIP = 5.0  # largest norm of the gradient vector
#: Largest gradient without a visible change of its parameter: rounding noise.
_NOISE = 1e-6


#: Rates of parameters that all learn at the rate of the settings.
EQUAL: Mapping[str, float] = MappingProxyType({})


class Untrained(Exception):
    """Training steps did not update a parameter."""


class Group(NamedTuple):
    """Neighbours in the vector of all parameters that the optimizer treats alike.

    Attributes:
        size: number of elements.
        decays: whether they decay.
        rate: their learning rate, relative to that of the settings.
    """

    size: int
    decays: bool
    rate: float


class Step:
    """Forward, loss, backward, clipping and AdamW, on one batch.

    Args:
        module: the head network, on its device; changed in place.
        task: gives the loss.
        settings: how to train.
        device: ``cpu`` or ``cuda``.
        rates: name of a parameter -> its learning rate relative to that of the settings; those
            that are missing learn at that of the settings.

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
        self,
        module: nn.Module,
        task: Task,
        settings: TrainingSettings,
        device: str,
        rates: Mapping[str, float] = EQUAL,
    ) -> None:
        self.module, self.device, self.rates = module, device, rates
        self._task, self._precision, self._layout = task, settings.precision, layout(module)
        self.parameters, groups = flattened(module, rates)
        self._dtype, self._gradients = self.parameters.dtype, torch.zeros_like(self.parameters)
        for parameter in module.parameters():
            place = parameter.storage_offset() - self.parameters.storage_offset()
            parameter.grad = self._gradients.as_strided(parameter.shape, parameter.stride(), place)
        self._first = self.parameters.clone()
        self._rate = rate = settings.highest_rate
        self.optimizer = torch.optim.AdamW(
            self._groups(groups, settings.weight_decay),
            lr=rate,
            fused=True,
            capturable=device != "cpu",
        )
        if device != "cpu":
            # A number would be frozen in a capture. On a CPU the tensor would be rounded to 32
            # bits, and read back in every step.
            for group in self.optimizer.param_groups:
                group["lr"] = torch.full((), rate, dtype=torch.float32, device=device)
        self.set_rate(rate)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next steps."""
        for group in self.optimizer.param_groups:
            own = rate * group["rate"]
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(own)
            else:
                group["lr"] = own

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
            rate = self._rate * self.rates.get(name, 1.0)
            visible = rate > 10 * torch.finfo(self._dtype).eps * float(first[own].abs().max())
            if (
                visible
                and float(gradients[own].abs().max()) > _NOISE
                and torch.equal(first[own], now[own])
            ):
                raise Untrained(f"{name} has a gradient but still has its initial value")

    def _groups(self, groups: list[Group], decay: float) -> list[dict[str, object]]:
        """Return parameter groups: weights with decay; biases, norms and slopes without."""
        found: list[dict[str, object]] = []
        place = 0
        for group in groups:
            chosen = slice(place, place := place + group.size)
            part = nn.Parameter(self.parameters[chosen])
            part.grad = self._gradients[chosen]
            own = {"weight_decay": decay if group.decays else 0.0, "rate": group.rate}
            found.append({"params": [part], **own})
        return found


def flattened(module: nn.Module, rates: Mapping[str, float] = EQUAL) -> tuple[Tensor, list[Group]]:
    """Copy the parameters of a module to one vector, of which they become views.

    Args:
        module: changed in place; each parameter keeps its memory format.
        rates: see ``Step``.

    Returns:
        The (n,) vector, first the weights of layers, which decay, then biases, norms and slopes;
        and the groups of its elements, in order.
    """
    decay = _decaying(module)
    members: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        key = (id(parameter) in decay, rates.get(name, 1.0))
        members.setdefault(key, []).append(parameter)
    ordered = sorted(members.items(), key=lambda item: item[0], reverse=True)
    groups = [Group(sum(p.numel() for p in own), *key) for key, own in ordered]
    like = next(module.parameters())
    row = torch.empty(sum(g.size for g in groups), device=like.device, dtype=like.dtype)
    place = 0
    for parameter in (parameter for _, own in ordered for parameter in own):
        view = row.as_strided(parameter.shape, parameter.stride(), place)
        view.copy_(parameter.data)
        parameter.data = view
        place += parameter.numel()
    return row, groups


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

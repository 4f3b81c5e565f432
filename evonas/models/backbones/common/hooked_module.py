"""Backbone of any torch module: forward hooks read the outputs of its submodules."""

from __future__ import annotations

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from evonas.errors import InputError, one_line
from evonas.models.backbones.base import NetworkCost, count_cost
from evonas.models.backbones.common.taps import AutoTapBackbone, Channels, Triple, first_tensor

_ROOT = "output"


class _Stop(BaseException):
    """Ends a forward pass after the last wanted tap.

    It is no ``Exception``, so that ``except Exception`` in a module does not catch it.
    """


@dataclass
class _ForwardPass:
    """Outputs recorded in one forward pass.

    Attributes:
        wanted: names of the taps to record; None: the shapes of all outputs are recorded.
        outputs: tap -> output.
        calls: path of a submodule -> number of its calls.
    """

    wanted: set[str] | None = None
    outputs: dict[str, Tensor] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)

    def record(self, path: str, values: Tensor | None) -> None:
        number = self.calls[path]
        self.calls[path] += 1
        name = f"{path}:{number}" if number else path
        if values is None:
            return
        if self.wanted is None:
            self.outputs[name] = torch.empty_like(values, device="meta")
        elif name in self.wanted:
            # torch.export tracks the modules that it has entered, so its pass must not be cut
            # short; it removes operators that no output needs by itself.
            last = len(self.outputs) + 1 == len(self.wanted) and not torch.compiler.is_exporting()
            # A later in-place operator, such as a ReLU, may overwrite the tensor.
            self.outputs[name] = values if last else values.clone()
            if last:
                raise _Stop


class Hooked(AutoTapBackbone):
    """A module as a frozen backbone, in evaluation mode and 32-bit floats.

    Taps are named by the path of a submodule (``layer2.1``), whose output is the feature map;
    the output of the module itself is ``output``. A submodule that is called several times has
    a tap for each call: ``relu`` is the first, ``relu:1`` the second. Maps with channels last
    are transposed; a grid of tokens (n, tokens, c) becomes (n, c, side, side) without the
    tokens before it; the first tensor of a tuple or dictionary is used. Submodules with other
    outputs are no taps. ``forward`` may be called from several threads at once.

    Args:
        net: the module, (n, 3, input_size, input_size) -> any output; the backbone changes and
            keeps it.
        where: name of the backbone in messages.
        taps: names of the taps to offer; None: all, in the order of execution.
        identity, input_size, mean, std, channels, prefix_tokens: see ``AutoTapBackbone``.

    Raises:
        InputError: the module fails on empty images, has no usable tap, or lacks a named tap.
    """

    def __init__(
        self,
        net: nn.Module,
        where: str,
        *,
        identity: Mapping[str, Any],
        input_size: int,
        mean: Triple,
        std: Triple,
        channels: Channels = "rgb",
        taps: Sequence[str] | None = None,
        prefix_tokens: int | None = None,
    ) -> None:
        super().__init__(
            where,
            identity={**identity, "code": _code(net)},
            input_size=input_size,
            mean=mean,
            std=std,
            channels=channels,
            prefix_tokens=prefix_tokens,
        )
        for path, module in net.named_modules():
            if isinstance(module, torch.jit.ScriptModule):  # has no forward hooks
                part = f"its submodule {path!r}" if path else "it"
                raise InputError(
                    f"{where}: {part} is TorchScript: save it and use backbone=exported"
                )
        self.net = net.float()
        self.freeze()
        self._passes: dict[int, _ForwardPass] = {}  # by the thread that runs forward
        parts = dict(net.named_modules())
        for path, module in parts.items():
            if path or _ROOT not in parts:  # a submodule named "output" has the tap "output"
                module.register_forward_hook(partial(self._after, path or _ROOT))
        try:
            outputs = self._pass(self._empty(2), _ForwardPass())
        except Exception as error:
            size = f"{input_size}x{input_size}"
            raise InputError(
                f"{where}: it fails on two empty images of {size} pixels ({one_line(error)}): "
                "check the model, its arguments and backbone.input_size"
            ) from error
        self._set_taps(outputs, 2, taps)

    def full_cost(self) -> NetworkCost:
        """Return the cost of the complete module; see ``Backbone.full_cost``."""
        with _unfused_attention(True):
            return count_cost(
                lambda images: self.net(self._normalised(images)),
                self.input_size,
                self.net.parameters(),
            )

    def _run(self, images: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        outputs = self._pass(images, _ForwardPass(wanted))
        missing = sorted(wanted - set(outputs))
        if missing:
            raise InputError(
                f"{self._where}: this forward pass did not compute the tap {missing[0]!r}"
            )
        return outputs

    def _pass(self, images: Tensor, forward_pass: _ForwardPass) -> dict[str, Tensor]:
        self._passes[get_ident()] = forward_pass
        tracing = torch._C._get_tracing_state()
        scope = tracing.current_scope() if tracing else ""
        try:
            with torch.no_grad(), _unfused_attention(tracing is not None):
                self.net(images)
        except _Stop:
            # torch.jit.trace opens a scope before each submodule and closes it afterwards; a
            # graph with scopes that _Stop left open crashes the interpreter.
            while tracing and tracing.current_scope() != scope:
                tracing.pop_scope()
        finally:
            del self._passes[get_ident()]
        return forward_pass.outputs

    def _after(self, path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        forward_pass = self._passes.get(get_ident())
        if forward_pass is not None:
            forward_pass.record(path, first_tensor(output))


def seeded(make: Callable[[], Any], seed: int) -> Any:
    """Return ``make()``, called with torch's global generator seeded and restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def shared_weights(first: nn.Module, second: nn.Module) -> float | None:
    """Return the fraction of weights that are equal in two modules of the same function.

    If the modules were created with different seeds, equal weights were loaded, not drawn.
    Only trainable matrices and kernels that are not constant are compared, because biases and
    scales have the same initial values for every seed.

    Returns:
        A fraction in 0..1, or None if there are no such weights.
    """
    same = total = 0
    for a, b in zip(first.parameters(), second.parameters(), strict=False):
        if a.dim() > 1 and a.requires_grad and bool((a != a.flatten()[0]).any()):
            total += a.numel()
            same += a.numel() if torch.equal(a, b) else 0
    return same / total if total else None


@contextmanager
def _unfused_attention(tracing: bool) -> Iterator[None]:
    """Disable the fused attention of ``nn.MultiheadAttention`` while ``tracing`` is True.

    Counters of operations do not know the fused operator. The setting is global to the
    process, so it is changed only for traces.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    if tracing:
        torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        if tracing:
            torch.backends.mha.set_fastpath_enabled(fused)


def _code(net: nn.Module) -> str:
    """Return a hash of a module's structure and of the source files of its submodules.

    The fingerprint includes it because an edited ``forward`` does not change the weights.
    """
    text = re.sub(r" at 0x[0-9a-f]+", "", repr(net))
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    owners = {type(module).__module__ for module in net.modules()}
    for owner in sorted(name for name in owners if name.partition(".")[0] != "torch"):
        source = getattr(sys.modules.get(owner), "__file__", None)
        digest.update(owner.encode())
        if source and Path(source).is_file():
            digest.update(Path(source).read_bytes())
    return digest.hexdigest()

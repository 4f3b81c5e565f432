"""Any module as a backbone: its parts are taps, read by hooks, and nothing runs behind the last."""

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
from evonas.models.backbones.base import NetworkCost
from evonas.models.backbones.common.operation_count import counted
from evonas.models.backbones.common.taps import Channels, Tapped, Triple, first_tensor

_ROOT = "output"


class _Stop(BaseException):
    """Ends a run behind its last tap; no Exception, so that a module cannot swallow it."""


@dataclass
class _Run:
    """One forward pass; ``wanted`` is None to learn what there is."""

    wanted: set[str] | None = None
    found: dict[str, Tensor] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)

    def take(self, path: str, values: Tensor | None) -> None:
        number = self.calls[path]
        self.calls[path] += 1
        name = f"{path}:{number}" if number else path
        if values is None:
            return
        if self.wanted is None:
            self.found[name] = torch.empty_like(values, device="meta")
        elif name in self.wanted:
            # An exporter keeps count of the parts that it is inside of: it sees the whole run,
            # and drops the steps that lead to no output.
            last = len(self.found) + 1 == len(self.wanted) and not torch.compiler.is_exporting()
            # What runs next may write into this very tensor (an in-place ReLU does).
            self.found[name] = values if last else values.clone()
            if last:
                raise _Stop


class Hooked(Tapped):
    """A module as a frozen backbone, in evaluation mode and 32-bit floats.

    A tap is a part's path (``layer2.1``) and its value what that part returned; the whole
    module's is ``output``. A part that runs several times has a tap for each: ``relu``
    is its first run, ``relu:1`` its second. A feature map is taken as it is, also with
    channels last; of a grid of tokens (n, tokens, c) the tokens in front are dropped and the
    rest becomes (n, c, side, side); of tuples and dictionaries the first tensor counts.
    Parts that return anything else are no taps. Several threads may run it at once.

    Args:
        net: the module, (n, 3, input_size, input_size) -> anything; belongs to this object
            from now on.
        where: names the backbone in messages.
        taps: names to offer; None: all that there are, in the order of execution.
        identity, input_size, mean, std, channels, prefix_tokens: see ``Tapped``.

    Raises:
        InputError: the module fails on empty images, has no usable tap, or not the named.
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
            if isinstance(module, torch.jit.ScriptModule):  # takes no hooks, is not counted
                part = f"its part {path!r}" if path else "it"
                raise InputError(
                    f"{where}: {part} is TorchScript: save it and use backbone=exported"
                )
        self.net = net.float()
        self.freeze()
        self._runs: dict[int, _Run] = {}  # of each thread that is inside forward
        parts = dict(net.named_modules())
        for path, module in parts.items():
            if path or _ROOT not in parts:  # a part of that name goes first
                module.register_forward_hook(partial(self._after, path or _ROOT))
        try:
            found = self._pass(self._empty(2), _Run())
        except Exception as error:
            size = f"{input_size}x{input_size}"
            raise InputError(
                f"{where}: it fails on two empty images of {size} pixels ({one_line(error)}): "
                "check the model, its arguments and backbone.input_size"
            ) from error
        self._settle(found, 2, taps)

    def whole(self) -> NetworkCost:
        """Return the cost of the module as it was made, run to its end; see ``Backbone.whole``."""
        with _countable(True):
            return counted(
                lambda images: self.net(self._normalised(images)),
                self.input_size,
                self.net.parameters(),
            )

    def _run(self, images: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        found = self._pass(images, _Run(wanted))
        missing = sorted(wanted - set(found))
        if missing:
            raise InputError(f"{self._where}: the tap {missing[0]!r} was not reached by this run")
        return found

    def _pass(self, images: Tensor, run: _Run) -> dict[str, Tensor]:
        self._runs[get_ident()] = run
        tracing = torch._C._get_tracing_state()
        scope = tracing.current_scope() if tracing else ""
        try:
            with torch.no_grad(), _countable(tracing is not None):
                self.net(images)
        except _Stop:
            # Whoever traces opens a scope in front of each part and closes it behind; a graph
            # with scopes that the stop left open brings the interpreter down.
            while tracing and tracing.current_scope() != scope:
                tracing.pop_scope()
        finally:
            del self._runs[get_ident()]
        return run.found

    def _after(self, path: str, module: nn.Module, inputs: Any, output: Any) -> None:
        run = self._runs.get(get_ident())
        if run is not None:
            run.take(path, first_tensor(output))


def seeded(make: Callable[[], Any], seed: int) -> Any:
    """Return what ``make`` makes from torch's generator at ``seed``, which is then put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def shared_weights(one: nn.Module, other: nn.Module) -> float | None:
    """Return the share of weights in which two builds agree; None if there are none to compare.

    Builds from different seeds that agree did not draw their weights: they were loaded.
    Only matrices and kernels that training would change are compared, and not those that
    are constant, since biases and scales start equal anyhow.
    """
    same = total = 0
    for first, second in zip(one.parameters(), other.parameters(), strict=False):
        if first.dim() > 1 and first.requires_grad and bool((first != first.flatten()[0]).any()):
            total += first.numel()
            same += first.numel() if torch.equal(first, second) else 0
    return same / total if total else None


@contextmanager
def _countable(tracing: bool) -> Iterator[None]:
    """While a trace is taken, keep attention from fusing its products into one operator.

    Nobody can count that one. Only a trace is treated so, for the switch is the process's.
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
    """Return a hash of a module's structure and of the files that define its parts.

    Weights alone do not tell an edited ``forward`` from the one before.
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

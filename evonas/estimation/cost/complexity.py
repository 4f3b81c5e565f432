"""Complexity of a module: multiply-adds, parameters, megabytes and operators without a count.

Operators are counted by fvcore on a trace. A multiply-add counts as one; only
convolutions, linear layers and matrix products have any. Whatever else the module
runs is listed, never silently left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import elementwise_flop_counter, get_shape
from torch import nn

from evonas.models.backbones.base import TapCost
from evonas.models.full_network import TruncatedBackbone

#: Operators of a trace, as fvcore names them, whose count is multiply-adds.
MAC_OPERATORS = frozenset(
    {"conv", "linear", "addmm", "matmul", "mm", "bmm", "einsum", "scaled_dot_product_attention"}
)

_IGNORED = ("aten::relu", "aten::relu_", "aten::clamp", "aten::clamp_")
_BYTES_PER_PARAMETER = 4


@dataclass(frozen=True)
class Complexity:
    """Complexity of one forward pass at batch size 1.

    Attributes:
        macs: multiply-adds of convolution, linear and matrix product operators.
        params: number of parameters of the modules that run.
        megabytes: size of the parameters as 32-bit floats, in 10^6 bytes.
        uncounted: (operator, elementary operations) of everything else, sorted by
            name; the number is None where fvcore has no formula.
        statistics: number of running means and variances of the batch norms that run.
    """

    macs: int
    params: int
    megabytes: float
    uncounted: tuple[tuple[str, int | None], ...]
    statistics: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations: two for a multiply-add."""
        return 2 * self.macs

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "macs": self.macs,
            "params": self.params,
            "megabytes": round(self.megabytes, 4),
            "not_counted": [name for name, _ in self.uncounted],
        }


def count(module: nn.Module, in_shape: tuple[int, ...]) -> Complexity:
    """Return the complexity of a module, whose mode, weights and statistics do not change.

    A backbone that does not compute in torch states its cost itself.

    Args:
        module: takes one tensor (n, *in_shape).
        in_shape: shape of one input, without the batch.

    Returns:
        Complexity at batch size 1 in evaluation mode.
    """
    stated = (
        module.backbone.cost_up_to(module.tap) if isinstance(module, TruncatedBackbone) else None
    )
    if stated is not None:
        return _of_tap(stated)
    with evaluating(module), torch.no_grad():
        analysis = analysed(module, example(module, in_shape))
        by_operator = {str(name): int(value) for name, value in analysis.by_operator().items()}
        unsupported = {str(name).removeprefix("aten::") for name in analysis.unsupported_ops()}
        idle = analysis.uncalled_modules()
    parts = [part for name, part in module.named_modules() if name not in idle]
    used = {parameter for part in parts for parameter in part.parameters(recurse=False)}
    norms = [part for part in parts if isinstance(part, nn.modules.batchnorm._BatchNorm)]
    statistics = {
        buffer for norm in norms for buffer in norm.buffers() if buffer.is_floating_point()
    }
    macs = sum(value for name, value in by_operator.items() if name in MAC_OPERATORS)
    others: dict[str, int | None] = dict.fromkeys(unsupported)
    others |= {name: value for name, value in by_operator.items() if name not in MAC_OPERATORS}
    params = sum(parameter.numel() for parameter in used)
    return Complexity(
        macs=macs,
        params=params,
        megabytes=params * _BYTES_PER_PARAMETER / 1e6,
        uncounted=tuple(sorted(others.items())),
        statistics=sum(buffer.numel() for buffer in statistics),
    )


def _of_tap(cost: TapCost) -> Complexity:
    """Return the cost that a backbone states."""
    return Complexity(
        macs=cost.macs,
        params=cost.params,
        megabytes=cost.params * _BYTES_PER_PARAMETER / 1e6,
        uncounted=tuple((name, None) for name in cost.not_counted),
        statistics=cost.statistics,
    )


def example(module: nn.Module, in_shape: tuple[int, ...]) -> torch.Tensor:
    """Return a zero input at batch size 1, with the type and device of the module's parameters."""
    parameters = list(module.parameters())
    like = parameters[0] if parameters else torch.zeros(())
    return torch.zeros(1, *in_shape, dtype=like.dtype, device=like.device)


def analysed(module: nn.Module, given: torch.Tensor) -> FlopCountAnalysis:
    """Return fvcore's lazy analysis of a module, which has to be in evaluation mode."""
    analysis = FlopCountAnalysis(module, given)
    # fvcore leaves these out without a word, though they compute.
    analysis.set_op_handle(**dict.fromkeys(_IGNORED, elementwise_flop_counter(0, 1)))
    analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_macs)
    analysis.unsupported_ops_warnings(False)
    analysis.uncalled_modules_warnings(False)
    analysis.tracer_warnings("none")
    return analysis


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Return the multiply-adds of softmax(Q K') V, which fvcore has no formula for."""
    query, key, value = (get_shape(one) for one in inputs[:3])
    batch, length, width = math.prod(query[:-2]), query[-2], query[-1]
    found: int = batch * length * key[-2] * (width + value[-1])
    return found


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode inside a ``with`` block, then restore all modes."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode

"""Classes of torch operators by their effect on channels, and access to nodes' arguments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx

_ATEN = torch.ops.aten


def _all(*names: str) -> frozenset[object]:
    """Return all overloads of the operators of these names in the installed torch."""
    packets = [getattr(_ATEN, name) for name in names if hasattr(_ATEN, name)]
    return frozenset(getattr(packet, name) for packet in packets for name in packet.overloads())


CONVOLUTIONS = frozenset({_ATEN.conv2d.default, _ATEN.conv2d.padding})
LINEAR = _all("linear")
NORMS = _all("batch_norm", "prelu")  # weights have one value for each channel
SPLITS = _all("split", "split_with_sizes", "chunk")
SLICES = _all("slice")
CATS = _all("cat", "concat")
PADS = _all("pad", "constant_pad_nd")
#: Operators that process each channel separately.
SPATIAL = _all(
    *("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "dropout"),
    *("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "clone", "contiguous"),
    *("detach", "alias", "to", "_to_copy", "feature_dropout"),
)
REDUCTIONS = _all("mean", "sum", "amax", "amin")
VIEWS = _all("view", "reshape", "_unsafe_view", "flatten", "squeeze", "unsqueeze")
#: Elementwise operators without torch's tag ``pointwise``.
_POINTWISE = _all("max", "min", "rsub", "where", "hardswish", "log_sigmoid")


def pointwise(node: fx.Node) -> bool:
    """Whether an operator works element by element, with broadcasting."""
    tagged = torch.Tag.pointwise in getattr(node.target, "tags", ())
    return isinstance(node.meta.get("val"), Tensor) and (tagged or node.target in _POINTWISE)


def mixes(node: fx.Node) -> bool:
    """Whether every output channel of an operator depends on all input channels."""
    if node.target in LINEAR:
        return True
    return node.target in CONVOLUTIONS and int(argument(node, 6, 1)) == 1


def name(node: fx.Node) -> str:
    """Return the short name of a node's operator, for messages."""
    return str(node.target).removeprefix("aten.").split(".")[0]


def source(node: fx.Node) -> fx.Node:
    """Return the first operand of a node."""
    first = node.args[0]
    assert isinstance(first, fx.Node)
    return first


def is_weight(node: object) -> bool:
    """Whether an operand is a weight or buffer of the network."""
    return isinstance(node, fx.Node) and node.op == "get_attr"


def argument(node: fx.Node, place: int, default: Any) -> Any:
    """Return a positional argument of a node, or ``default`` if the node has fewer."""
    return node.args[place] if len(node.args) > place else default


def shape(node: Any) -> tuple[int, ...]:
    """Return the shape of a node's output; a dynamic batch size is -1."""
    value = node.meta.get("val") if isinstance(node, fx.Node) else None
    sizes = value.shape if isinstance(value, Tensor) else ()
    return tuple(size if isinstance(size, int) else -1 for size in sizes)


def dimension(node: fx.Node, place: int) -> int:
    """Return the dimension along which an operator works, counted from the front."""
    given = int(node.kwargs.get("dim", argument(node, place, 0)))
    operand = node.args[0]
    first = operand[0] if isinstance(operand, list | tuple) else operand
    return given % len(shape(first))


def axes(node: fx.Node) -> set[int] | None:
    """Return the dimensions that a reduction removes; None for all."""
    given = node.kwargs.get("dim", argument(node, 1, None))
    if given is None or given == [] or isinstance(given, bool):
        return None
    listed = given if isinstance(given, list | tuple) else [given]
    return {int(axis) % len(shape(source(node))) for axis in listed}


def channel_pads(node: fx.Node) -> tuple[int, int]:
    """Return the numbers of channels that a padding adds before and after the others."""
    pads = list(node.args[1])  # type: ignore[arg-type]
    place = 2 * (len(shape(source(node))) - 2)
    return (pads[place], pads[place + 1]) if len(pads) > place else (0, 0)


def pads_constant(node: fx.Node) -> bool:
    """Whether a padding is constant."""
    return node.target is not _ATEN.pad.default or argument(node, 2, "constant") == "constant"

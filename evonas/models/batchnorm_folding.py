"""Fold the batch norms of a trained network into the convolutions before them."""

from __future__ import annotations

import torch
from torch import Tensor, fx, nn

_aten = torch.ops.aten
_CONVOLUTIONS = (_aten.conv1d.default, _aten.conv2d.default, _aten.linear.default)
#: Operators that apply a scale or a shift.
_POINTWISE = frozenset(
    (
        *(_aten.mul.Tensor, _aten.mul_.Tensor, _aten.div.Tensor, _aten.div_.Tensor),
        *(_aten.add.Tensor, _aten.add_.Tensor, _aten.sub.Tensor, _aten.sub_.Tensor),
    )
)


def fold_norms(graph: fx.GraphModule) -> int:
    """Fold every batch norm of a graph in evaluation mode, without changing its outputs.

    A batch norm, (x - mean) / sqrt(var + eps) * weight + bias, is x * scale + shift. If its input
    is a convolution or linear layer whose output nothing else uses, scale and shift are included
    in that layer's weights; otherwise a multiplication and an addition replace the batch norm.

    Args:
        graph: graph of torch's operators, whose weights are attributes; changed in place.

    Returns:
        The number of batch norms that were folded into a layer.
    """
    folded = 0
    for node in list(graph.graph.nodes):
        if node.target is not _aten.batch_norm.default:
            continue
        scale, shift = _scale_and_shift(graph, node)
        layer = node.args[0]
        if _is_foldable(layer):
            _fold(graph, layer, scale, shift)
            node.replace_all_uses_with(layer)
            folded += 1
        else:
            node.replace_all_uses_with(_insert_affine(graph, node, layer, scale, shift))
        graph.graph.erase_node(node)
    graph.graph.eliminate_dead_code()
    used = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    for name in [*dict(graph.named_parameters()), *dict(graph.named_buffers())]:
        if name not in used:
            delattr(graph, name)
    graph.recompile()
    return folded


def scales_and_shifts(graph: fx.GraphModule) -> list[Tensor]:
    """Return the parameters that only scale or shift channels, such as those of folded norms.

    They are recognised by the operators that use them, because the scale (c, 1, 1) of a norm and
    the weight (c, 1, 1, 1) of a depthwise convolution have similar shapes.
    """
    users: dict[str, set[object]] = {}
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            users.setdefault(str(node.target), set()).update(_operators(node))
    return [
        parameter
        for name, parameter in graph.named_parameters()
        if max(parameter.shape, default=1) == parameter.numel()
        and users.get(name, set()) <= _POINTWISE
    ]


def _operators(value: fx.Node) -> set[object]:
    """Return the operators that use a value, directly or after observers and fake quantisers."""
    operators: set[object] = set()
    for user in value.users:
        operators |= _operators(user) if user.op == "call_module" else {user.target}
    return operators


def _scale_and_shift(graph: fx.GraphModule, node: fx.Node) -> tuple[Tensor, Tensor]:
    """Return scale and shift of a batch norm, each (c,)."""
    weight, bias, mean, variance = (_value(graph, argument) for argument in node.args[1:5])
    assert mean is not None
    assert variance is not None
    epsilon = node.args[7]
    assert isinstance(epsilon, float)
    scale = torch.rsqrt(variance + epsilon)
    scale = scale if weight is None else scale * weight
    shift = -mean * scale
    return scale, shift if bias is None else shift + bias


def _value(graph: fx.GraphModule, node: object) -> Tensor | None:
    if not isinstance(node, fx.Node):
        return None
    tensor: Tensor = getattr(graph, str(node.target))
    return tensor.detach()


def _is_foldable(layer: object) -> bool:
    """Whether a node is a layer whose weights and output only the batch norm after it uses."""
    return (
        isinstance(layer, fx.Node)
        and layer.target in _CONVOLUTIONS
        and len(layer.users) == 1
        and isinstance(layer.args[1], fx.Node)
        and layer.args[1].op == "get_attr"
        and len(layer.args[1].users) == 1
    )


def _fold(graph: fx.GraphModule, layer: fx.Node, scale: Tensor, shift: Tensor) -> None:
    """Multiply a layer's weights by the scale, and adapt its bias."""
    weight = _value(graph, layer.args[1])
    bias = _value(graph, layer.args[2]) if len(layer.args) > 2 else None
    assert weight is not None
    weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    bias = shift if bias is None else bias * scale + shift
    kernel = _attribute(graph, layer, f"{layer.name}_weight", weight)
    term = _attribute(graph, layer, f"{layer.name}_bias", bias)
    layer.args = (layer.args[0], kernel, term, *layer.args[3:])


def _insert_affine(
    graph: fx.GraphModule, node: fx.Node, value: fx.Node, scale: Tensor, shift: Tensor
) -> fx.Node:
    """Insert value * scale + shift before a batch norm of (n, c, ...) values."""
    ends = [1] * (node.meta["val"].ndim - 2)
    factor = _attribute(graph, node, f"{node.name}_scale", scale.reshape(-1, *ends))
    term = _attribute(graph, node, f"{node.name}_shift", shift.reshape(-1, *ends))
    with graph.graph.inserting_before(node):
        product = graph.graph.call_function(_aten.mul.Tensor, (value, factor))
        total = graph.graph.call_function(_aten.add.Tensor, (product, term))
    for inserted in (product, total):
        inserted.meta["val"] = node.meta["val"]
    return total


def _attribute(graph: fx.GraphModule, before: fx.Node, name: str, tensor: Tensor) -> fx.Node:
    """Register a parameter, and return a node that reads it, inserted before another node."""
    graph.register_parameter(name, nn.Parameter(tensor.clone()))
    with graph.graph.inserting_before(before):
        node = graph.graph.get_attr(name)
    node.meta["val"] = before.meta["val"].fake_mode.from_tensor(tensor)
    return node

"""Names of the tensors of an ONNX graph that are taps, and a short list of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from evonas.models.backbones.base import Shape
from evonas.models.backbones.onnx_graphs.graph import Graph

_OUTPUT = re.compile(r"_output_(\d+)$")
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")
#: Operators that belong to the layer before them.
_FOLLOWING = frozenset(
    {"Relu", "Clip", "PRelu", "LeakyRelu", "Elu", "Selu", "Sigmoid", "HardSigmoid", "HardSwish"}
    | {"Gelu", "Tanh", "Softplus", "BatchNormalization", "InstanceNormalization", "Mish", "Erf"}
    | {"QuantizeLinear", "DequantizeLinear", "Cast", "Identity", "Dropout"}
)
#: Operators whose output has the values of the input in other places.
_MOVES = frozenset({"Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"})
_AFFINE = frozenset({"Add", "Sub", "Mul", "Div"})
#: Numbers of taps in a row of one resolution from which two, and three, of them are listed.
_TWO, _THREE = 4, 10


def tap_names(graph: Graph) -> dict[str, str]:
    """Return tap -> tensor for all tensors that depend on the images, in their order.

    A tap has the name of the tensor, with dots instead of other signs. Of names as torch's
    exporter writes them, repeated parts and the ending are left out:
    ``/layer1/layer1.0/conv1/Conv_output_0`` is ``layer1.0.conv1.Conv``. A tensor whose name is a
    number has the operator in its name as well: ``conv_683``.
    """
    tensors = [
        (tensor, _readable(tensor, node.op_type))
        for node in graph.nodes
        for tensor in node.output
        if tensor in graph.dependent
    ]
    kept = {tensor for tensor, name in tensors if tensor == name}
    found: dict[str, str] = {}
    for tensor, name in tensors:
        unique, number = name, 2
        while unique in found or (unique in kept and unique != tensor):
            unique, number = f"{name}_{number}", number + 1
        found[unique] = tensor
    return found


def _readable(tensor: str, operator: str) -> str:
    match = _OUTPUT.search(tensor)
    text = tensor[: match.start()] if match and "/" in tensor else tensor
    if match and match[1] != "0" and "/" in tensor:
        text = f"{text}_{match[1]}"
    parts = [part for part in re.split(r"[/:]+", text) if part]
    kept = [
        part
        for part, following in zip(parts, [*parts[1:], ""], strict=True)
        if not following.startswith(f"{part}.")
    ]
    name = ".".join(_OTHER.sub(".", part).strip(".") for part in kept).strip(".")
    return name if re.search(r"[A-Za-z]", name) else f"{operator.lower()}_{name}"


def short_list(graph: Graph, taps: Mapping[str, str], shapes: Mapping[str, Shape]) -> list[str]:
    """Return the taps at the ends of stages, in the order of computation.

    They are ends of layers. Of each resolution these are sums, which end residual blocks, or where
    there are none the tensors with the fewest channels: of them the last, and of long rows one or
    two before it.

    Args:
        graph: the graph.
        taps: tap -> tensor, in the order of computation.
        shapes: tap -> shape of its map.
    """
    ends = layer_ends(graph)
    rows: dict[tuple[int, int], list[str]] = {}
    for tap, tensor in taps.items():
        if tensor in ends and graph.nodes[graph.producers[tensor]].op_type not in _MOVES:
            rows.setdefault(shapes[tap][1:], []).append(tap)
    chosen = set[str]()
    for row in rows.values():
        fewest = min(shapes[tap][0] for tap in row)
        sums = [tap for tap in row if _is_sum(graph, taps[tap])]
        chosen |= {*_spread(sums or [tap for tap in row if shapes[tap][0] == fewest])}
    return [tap for tap in taps if tap in chosen] or list(taps)[-1:]


def layer_ends(graph: Graph) -> set[str]:
    """Return the tensors at the ends of layers and blocks.

    The rest of the graph depends on each of them alone, and no activation or normalisation
    follows, with which a runtime would fuse the layer.
    """
    return {name for name in _narrow(graph) if not _continues(graph, name)}


def _spread(row: Sequence[str]) -> list[str]:
    """Return the last of a row of taps, and of a long row further ones at equal distances."""
    count = 1 + (len(row) >= _TWO) + (len(row) >= _THREE)
    return [row[(place + 1) * len(row) // count - 1] for place in range(count)]


def _narrow(graph: Graph) -> set[str]:
    """Return the tensors at which the graph is a single line: nothing leads around them."""
    last_use = {
        name: max(graph.consumers.get(name, [len(graph.nodes)])) for name in graph.dependent
    }
    alive, found = {graph.input}, set[str]()
    for index, node in enumerate(graph.nodes):
        outputs = {name for name in node.output if name in graph.dependent}
        alive = {name for name in alive if last_use[name] > index} | {
            name for name in outputs if name in graph.consumers or _is_end(graph, name)
        }
        if len(alive) == 1:
            found |= alive & outputs
    return found


def _is_end(graph: Graph, name: str) -> bool:
    return any(value.name == name for value in graph.model.graph.output)


def _continues(graph: Graph, tensor: str) -> bool:
    """Whether the only operator behind a tensor belongs to the same layer."""
    readers = graph.consumers.get(tensor, [])
    if len(readers) != 1:
        return False
    node = graph.nodes[readers[0]]
    single = len([name for name in node.input if name in graph.dependent]) == 1
    return node.op_type in _FOLLOWING or (single and node.op_type in _AFFINE)


def _is_sum(graph: Graph, tensor: str) -> bool:
    """Whether a tensor is a sum of two others, or the activation of one."""
    node = graph.nodes[graph.producers[tensor]]
    inner = [name for name in node.input if name in graph.dependent]
    if node.op_type in _FOLLOWING and inner[0] in graph.producers:
        return _is_sum(graph, inner[0])
    return node.op_type in ("Add", "Sum", "QLinearAdd") and len(inner) > 1

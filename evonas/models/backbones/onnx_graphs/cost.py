"""Multiply-adds and parameters of the operators of an ONNX graph.

A multiply-add counts as one. Convolutions and matrix products have any, in floats and in
integers; all other operators are listed by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from evonas.models.backbones.base import TapCost
from evonas.models.backbones.onnx_graphs.graph import Graph
from evonas.models.backbones.onnx_graphs.reading import onnx_module
from evonas.models.backbones.onnx_graphs.rewriting import OWN, STORED

Sizes = tuple[int, ...]
#: Convolution -> place of its weight among the inputs.
_CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
#: Product -> whether its first matrix may be transposed.
_PRODUCTS = frozenset(
    {"MatMul", "FusedMatMul", "MatMulInteger", "QLinearMatMul", "DynamicQuantizeMatMul"}
    | {"MatMulIntegerToFloat", "Gemm", "FusedGemm", "QGemm"}
)
#: Operators that only move values, convert them or compute sizes.
_SILENT = frozenset(
    {"Identity", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Concat", "Split"}
    | {"Slice", "Gather", "Shape", "Size", "Expand", "Cast", "CastLike", "Constant", "Dropout"}
    | {"ConstantOfShape", "QuantizeLinear", "DequantizeLinear", "Range", "Pad", "DepthToSpace"}
    | {"SpaceToDepth", "QLinearConcat"}
)
#: Place of the weights among the inputs of operators on quantised values; other inputs are
#: scales and zero points.
_QUANTISED = {"QLinearConv": (3, 8), "QLinearMatMul": (0, 3), "QGemm": (0, 3, 6)}


def cost(graph: Graph, nodes: Iterable[int], shapes: Mapping[str, Sizes], batch: int) -> TapCost:
    """Return the cost of nodes of a graph for one image.

    Args:
        graph: the graph.
        nodes: indices of its nodes.
        shapes: name of a tensor -> its sizes in a pass over ``batch`` images.
        batch: number of images of that pass.
    """
    macs, others = 0, set[str]()
    values: dict[str, int] = {}
    statistics: dict[str, int] = {}
    sizes = {**{n: tuple(t.dims) for n, t in graph.initializers.items()}, **shapes}
    for index in nodes:
        node = graph.nodes[index]
        count = _macs(node, sizes)
        if count is not None:
            macs += count
        elif node.op_type not in _SILENT:
            others.add(node.op_type.lower())
        for place, name in enumerate(node.input):
            if _is_weight(node, place, graph.initializers.get(name)):
                target = (
                    statistics if node.op_type == "BatchNormalization" and place > 2 else values
                )
                target[name] = math.prod(sizes[name])
    return TapCost(
        macs // batch, sum(values.values()), sum(statistics.values()), tuple(sorted(others))
    )


def is_counted(node: Any) -> bool:
    """Whether the operator of a node has multiply-adds."""
    return node.op_type in _CONVOLUTIONS or node.op_type in (*_PRODUCTS, "ConvTranspose", "Einsum")


def _macs(node: Any, sizes: Mapping[str, Sizes]) -> int | None:
    """Return the multiply-adds of a node; None: its operator has none, or they are unknown."""
    kind = node.op_type

    def known(place: int) -> Sizes:
        return sizes[node.input[place]]

    try:
        if kind in _CONVOLUTIONS:
            return math.prod(sizes[node.output[0]]) * math.prod(known(_CONVOLUTIONS[kind])[1:])
        if kind == "ConvTranspose":
            return math.prod(known(0)) * math.prod(known(1)[1:])
        if kind in _PRODUCTS:
            turned = any(a.name == "transA" and a.i for a in node.attribute)
            shared = known(0)[-2 if turned and len(known(0)) > 1 else -1]
            return math.prod(sizes[node.output[0]]) * shared
        if kind == "Einsum":
            return _einsum(node, [known(place) for place in range(len(node.input))])
    except KeyError:  # inside control flow no sizes are known
        return None
    return None


def _einsum(node: Any, sizes: list[Sizes]) -> int | None:
    """Return the multiply-adds of a sum over products of two tensors."""
    equation = next(a.s.decode() for a in node.attribute if a.name == "equation")
    terms = equation.replace(" ", "").split("->")[0].split(",")
    if len(terms) != 2 or "." in equation:
        return None
    letters = {
        letter: size
        for term, own in zip(terms, sizes, strict=True)
        for letter, size in zip(term, own, strict=True)
    }
    return math.prod(letters.values())


def _is_weight(node: Any, place: int, tensor: Any) -> bool:
    """Whether an input of a node is a weight: no number, size, scale or zero point."""
    if tensor is None or (math.prod(tensor.dims) < 2 and node.op_type != "PRelu"):
        return False
    if tensor.name.startswith(OWN) and not tensor.name.startswith(STORED):
        return False
    kinds = onnx_module().TensorProto
    floats = (kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE)
    integers = (kinds.INT8, kinds.UINT8, kinds.INT32, kinds.INT16, kinds.INT4, kinds.UINT4)
    if node.op_type.startswith("QLinear") or node.op_type in _QUANTISED:
        return place in _QUANTISED.get(node.op_type, ())
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return place == 0 and tensor.data_type in (*floats, *integers)
    if node.op_type in ("ConvInteger", "MatMulInteger"):
        return place < 2
    return tensor.data_type in floats

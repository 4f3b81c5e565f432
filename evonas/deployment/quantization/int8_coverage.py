"""Count the operators of a quantised network that compute with 8-bit integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

_INTEGER = {"quantize_per_tensor", "quantize_per_channel", "quantizelinear"}
_FLOAT = {"dequantize_per_tensor", "dequantize_per_channel", "dequantizelinear"}
_CONVOLUTIONS = {"conv1d", "conv2d", "conv3d", "conv", "convolution"} | {
    "convtranspose",
    "conv_transpose1d",
    "conv_transpose2d",
}
_LINEARS = {"linear", "addmm", "mm", "bmm", "matmul", "gemm"}
#: Operators that runtimes fuse into the convolution or linear layer before them.
_FUSED = {"relu", "hardtanh", "hardswish", "silu", "clip", "add"}
#: Operators that only move values or return sizes.
_MOVES = (
    {"sym_size", "getitem", "view", "reshape", "flatten", "squeeze", "unsqueeze", "alias", "detach"}
    | {"clone", "contiguous", "to", "permute", "transpose", "slice", "expand", "shape", "gather"}
    | {"constant", "identity", "concat", "cat", "stack", "cast", "chunk"}
    | {"split", "dropout"}
)


@dataclass(frozen=True)
class Operation:
    """One node of a quantised graph.

    Attributes:
        name: unique name of its output.
        operator: name of the operator in lower case, such as ``conv2d``.
        inputs: names of its input tensors: outputs of other nodes, float weights or images.
    """

    name: str
    operator: str
    inputs: Sequence[str]


@dataclass(frozen=True)
class Coverage:
    """Numbers of operators of a network that compute with integers.

    Attributes:
        convolutions, linears: (number with integers, number in all).
        left: other operators that compute with floats -> their number, in falling order.
    """

    convolutions: tuple[int, int]
    linears: tuple[int, int]
    left: Mapping[str, int]


def coverage(steps: Iterable[Operation], capable: Collection[str]) -> Coverage:
    """Return which operators compute with integers.

    A convolution or linear layer computes with integers if its input and its weight are
    dequantised integers; another operator if all its inputs are and the runtime has an integer
    implementation; and an activation or addition if the runtime fuses it into such a layer.

    Args:
        steps: operations in the order of execution.
        capable: other operators for which the runtime has integer implementations.
    """
    kinds: dict[str, str] = {}  # name of an operation -> kind of its output
    done: dict[str, list[int]] = {"convolutions": [0, 0], "linears": [0, 0]}
    left: Counter[str] = Counter()
    for step in steps:
        operator = step.operator.rstrip("_")
        sources = {kinds.get(name, "float") for name in step.inputs}
        if operator in _INTEGER | _FLOAT:
            kinds[step.name] = "integer"
            continue
        if operator in _MOVES or not step.inputs:
            kinds[step.name] = "integer" if sources == {"integer"} else "float"
            continue
        covered = operator in capable and sources == {"integer"}
        within = operator in _FUSED and "layer" in sources and sources <= {"integer", "layer"}
        kind = _kind(operator)
        if kind:
            # The bias stays a float even in integer layers.
            covered = [kinds.get(name) for name in step.inputs[:2]] == ["integer", "integer"]
            done[kind][0] += covered
            done[kind][1] += 1
        elif not covered and not within:
            left[operator] += 1
        kinds[step.name] = "layer" if (kind and covered) or within else "float"
    return Coverage(_pair(done["convolutions"]), _pair(done["linears"]), dict(left.most_common()))


def _kind(operator: str) -> str:
    if operator in _CONVOLUTIONS:
        return "convolutions"
    return "linears" if operator in _LINEARS else ""


def _pair(counts: Sequence[int]) -> tuple[int, int]:
    return counts[0], counts[1]

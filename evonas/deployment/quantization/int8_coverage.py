"""Which operators of a quantised network compute with 8-bit integers, and which with floats."""

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
#: What runs within the convolution or linear layer before it.
_FUSED = {"relu", "hardtanh", "hardswish", "silu", "clip", "add"}
#: What moves numbers, or only says how many there are.
_MOVES = (
    {"sym_size", "getitem", "view", "reshape", "flatten", "squeeze", "unsqueeze", "alias", "detach"}
    | {"clone", "contiguous", "to", "permute", "transpose", "slice", "expand", "shape", "gather"}
    | {"constant", "identity", "concat", "cat", "stack", "cast", "chunk"}
    | {"split", "dropout"}
)


@dataclass(frozen=True)
class Step:
    """One step of a graph.

    Attributes:
        name: of its output, unique.
        operator: such as ``conv2d``, in small letters.
        inputs: names of the steps that it takes tensors from; those that are no steps (weights
            in floats, images) may stand among them.
    """

    name: str
    operator: str
    inputs: Sequence[str]


@dataclass(frozen=True)
class Coverage:
    """How much of a network computes with integers.

    Attributes:
        convolutions, linears: (with integers, all).
        left: operators that compute with floats -> how many, by falling number.
    """

    convolutions: tuple[int, int]
    linears: tuple[int, int]
    left: Mapping[str, int]


def coverage(steps: Iterable[Step], capable: Collection[str]) -> Coverage:
    """Return what computes with integers.

    A convolution or linear layer does where image and weight come out of integers, another
    operator where all that it takes does and the runtime has a form of it for integers; so does
    an activation or an addition behind such a layer, into which runtimes fuse it.

    Args:
        steps: in the order of execution.
        capable: further operators that the runtime has for integers.
    """
    kinds: dict[str, str] = {}  # name of a step -> where its output comes from
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
            # the bias, which stays a float, is no reason not to
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

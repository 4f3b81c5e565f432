"""The image input of an ONNX graph: layout, size, and the normalisation that is known of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError
from evonas.models.backbones.common.taps import Channels, Triple
from evonas.models.backbones.onnx_graphs.graph import Graph
from evonas.models.backbones.onnx_graphs.reading import onnx_module

Axes = Literal["nchw", "nhwc"]
#: Range of values, as ``Image.NominalPixelRange`` of ONNX states it -> mean and deviation.
_RANGES = {
    "NominalRange_0_255": (0.0, 1 / 255),
    "Normalized_0_1": (0.0, 1.0),
    "Normalized_1_1": (0.5, 0.5),
}
_CHANNELS = {"Rgb8": "rgb", "Bgr8": "bgr"}
_PIXELS: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255))
_UNIT: tuple[Triple, Triple] = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
#: First operators that may belong to a normalisation, and those that may stand among them.
_AFFINE, _MOVES = frozenset({"Sub", "Add", "Mul", "Div"}), frozenset({"Cast", "Transpose"})
#: Factor of pixels below which, and offset above which, they are values of 0..255.
_FACTOR, _OFFSET = 0.1, 10.0


@dataclass(frozen=True)
class ImageInput:
    """The input of a graph.

    Attributes:
        name: of the tensor.
        axes: order of its axes.
        batch: number of images, if it is fixed.
        side: height and width, if they are fixed.
        kind: type of its values, as in ``onnx.TensorProto``.
    """

    name: str
    axes: Axes
    batch: int | None
    side: int | None
    kind: int


def image_input(model: Any, axes: Axes | None, where: str) -> ImageInput:
    """Return the image input of a model.

    Args:
        model: ``onnx.ModelProto``.
        axes: order of its axes; None: as its sizes say.
        where: name of the backbone in messages.

    Raises:
        InputError: it has other inputs, or its input is not a batch of square colour images.
    """
    onnx = onnx_module()
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs) or "none"
        raise InputError(f"{where}: expected one input, the images, got {names}")
    (value,) = inputs
    tensor = value.type.tensor_type
    sizes = [dim.dim_value if dim.dim_value > 0 else None for dim in tensor.shape.dim]
    kinds = onnx.TensorProto
    known = (kinds.FLOAT, kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE, kinds.UINT8)
    shown = "(" + ", ".join("any" if size is None else str(size) for size in sizes) + ")"
    if len(sizes) != 4 or tensor.elem_type not in known:
        kind = kinds.DataType.Name(tensor.elem_type).lower()
        raise InputError(
            f"{where}: its input {value.name!r} is no image: expected numbers of shape "
            f"(n, 3, side, side) or (n, side, side, 3), got {kind} {shown}"
        )
    if axes is None:
        if 3 not in (sizes[1], sizes[3]) and None not in (sizes[1], sizes[3]):
            raise InputError(
                f"{where}: its input {value.name!r} is no colour image: expected 3 channels, got "
                f"{shown}"
            )
        if 3 not in (sizes[1], sizes[3]):
            raise InputError(
                f"{where}: its input {value.name!r} {shown} does not say where its channels are: "
                "give backbone.axes=nchw or backbone.axes=nhwc"
            )
        axes = "nchw" if sizes[1] == 3 else "nhwc"
    channels, *sides = (sizes[1], *sizes[2:]) if axes == "nchw" else (sizes[3], *sizes[1:3])
    fixed = {side for side in sides if side is not None}
    if channels not in (3, None) or len(fixed) > 1:
        raise InputError(
            f"{where}: expected square colour images with the axes {axes}, got {shown}"
        )
    return ImageInput(value.name, axes, sizes[0], next(iter(fixed), None), tensor.elem_type)


@dataclass(frozen=True)
class Preprocessing:
    """What a file says of its normalisation.

    Attributes:
        normalisation: mean and standard deviation of each channel for images in 0..1; None: the
            file says nothing.
        channels: order of the channels; None: the file says nothing.
        side: side of the input; None: the file says nothing.
        source: where the normalisation was read.
    """

    normalisation: tuple[Triple, Triple] | None = None
    channels: Channels | None = None
    side: int | None = None
    source: str = ""


def stated_preprocessing(model: Any, given: ImageInput) -> Preprocessing:
    """Return what a file says of its normalisation, in its metadata or its first operators.

    Metadata are those of the ONNX standard (``Image.BitmapPixelFormat`` and
    ``Image.NominalPixelRange``), and ``mean``, ``std``, ``channels`` and ``input_size``, each as
    JSON. A graph that begins with a subtraction or multiplication by constants normalises by
    itself: the size of the constants says whether it takes values of 0..255 or of 0..1.
    """
    notes = {entry.key: entry.value for entry in model.metadata_props}
    stated = _CHANNELS.get(notes.get("Image.BitmapPixelFormat", ""))
    channels: Any = notes.get("channels", stated)
    if channels not in get_args(Channels):
        channels = None
    size = _json(notes.get("input_size", ""))
    side = size if isinstance(size, int) and size > 0 else None
    own = _normalises(model, given)
    if given.kind == onnx_module().TensorProto.UINT8:
        return Preprocessing(_PIXELS, channels, side, "its input of bytes")
    if own is not None:
        return Preprocessing(own, channels, side, "its first operators")
    mean, std = (_triple(_json(notes.get(key, ""))) for key in ("mean", "std"))
    if mean and std:
        return Preprocessing((mean, std), channels, side, "its metadata")
    if notes.get("Image.NominalPixelRange") in _RANGES:
        low, wide = _RANGES[notes["Image.NominalPixelRange"]]
        return Preprocessing(((low,) * 3, (wide,) * 3), channels, side, "its metadata")
    return Preprocessing(None, channels, side)


def _normalises(model: Any, given: ImageInput) -> tuple[Triple, Triple] | None:
    """Return the normalisation before a graph that begins with one of its own; None: it has none.

    Leading operators x * a + b with constants are followed until another operator comes.
    """
    numpy_helper, graph = onnx_module("onnx.numpy_helper"), Graph(model)
    name, factor, offset, found = given.name, np.ones(1), np.zeros(1), False
    while len(readers := graph.consumers.get(name, [])) == 1:
        node = graph.nodes[readers[0]]
        if node.op_type not in _AFFINE | _MOVES:
            break
        if node.op_type in _AFFINE:
            others = [other for other in node.input if other != name]
            if len(others) != 1 or others[0] not in graph.initializers:
                break
            value = numpy_helper.to_array(graph.initializers[others[0]]).astype(np.float64)
            if value.size not in (1, 3) or (
                node.op_type in ("Sub", "Div") and node.input[1] == name
            ):
                break
            factor, offset = _applied(node.op_type, factor, offset, value.reshape(-1))
            found = True
        name = node.output[0]
    if not found:
        return None
    pixels = np.abs(factor).max() < _FACTOR or np.abs(offset).max() > _OFFSET
    return _PIXELS if pixels else _UNIT


def _applied(
    operator: str, factor: NDArray[Any], offset: NDArray[Any], value: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the factor and offset after one more operator."""
    if operator in ("Add", "Sub"):
        return factor, offset + (value if operator == "Add" else -value)
    scale = value if operator == "Mul" else 1.0 / np.where(value == 0, np.inf, value)
    return factor * scale, offset * scale


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _triple(value: Any) -> Triple | None:
    if (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(v, int | float) for v in value)
    ):
        return (float(value[0]), float(value[1]), float(value[2]))
    return None

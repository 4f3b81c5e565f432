"""Rewrite an ONNX graph: RGB images in 0..255 go in, in any number, and floats are float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from evonas.models.backbones.common.taps import Channels, Triple
from evonas.models.backbones.onnx_graphs.image_input import ImageInput
from evonas.models.backbones.onnx_graphs.reading import onnx_module

#: Name of the input of every rewritten graph; prefix of the names of what is added.
INPUT, OWN = "images", "evonas_"
#: Prefix of the names of weights that are not stored as float32.
STORED = f"{OWN}stored_"


def with_constants_inside(model: Any) -> None:
    """Replace operators ``Constant`` by initializers, which other functions look up."""
    onnx = onnx_module()
    kept = []
    for node in model.graph.node:
        value = _constant(onnx, node)
        if value is None:
            kept.append(node)
            continue
        value.name = node.output[0]
        model.graph.initializer.append(value)
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _constant(onnx: Any, node: Any) -> Any:
    """Return the tensor of an operator ``Constant``; None: it is another operator."""
    if node.op_type != "Constant" or node.domain:
        return None
    (attribute,) = node.attribute
    if attribute.name == "value":
        return onnx.TensorProto.FromString(attribute.t.SerializeToString())
    kinds: dict[str, Any] = {"value_float": np.float32, "value_floats": np.float32}
    kinds |= {"value_int": np.int64, "value_ints": np.int64}
    if attribute.name not in kinds:
        return None  # text, or a sparse tensor
    value = onnx.helper.get_attribute_value(attribute)
    return onnx.numpy_helper.from_array(np.asarray(value, kinds[attribute.name]))


def with_single_precision(model: Any, given: ImageInput) -> ImageInput:
    """Let a graph of other floats compute in float32; its weights keep their type in the file.

    Runtimes for CPUs have few operators of 16-bit floats, and where they convert depends on the
    rest of the graph: a network that was cut would compute other values.

    Returns:
        The input, with its new type.
    """
    onnx = onnx_module()
    kinds = onnx.TensorProto
    others = (kinds.FLOAT16, kinds.BFLOAT16, kinds.DOUBLE)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type in others:
            stored, name = f"{STORED}{tensor.name}", tensor.name
            tensor.name = stored
            cast = onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT)
            casts.append(cast)
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type in others:
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i in others:
                attribute.i = onnx.TensorProto.FLOAT
            if attribute.t.data_type in others:
                values = onnx.numpy_helper.to_array(attribute.t).astype(np.float32)
                attribute.t.CopyFrom(onnx.numpy_helper.from_array(values))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.ClearField("value_info")
    return replace(given, kind=onnx.TensorProto.FLOAT) if given.kind in others else given


def with_any_batch(model: Any, given: ImageInput) -> None:
    """Replace a fixed batch size, in the input and in the shapes that ``Reshape`` writes.

    Whether the network then computes the same is for the caller to check.
    """
    onnx = onnx_module()
    for value in (*model.graph.input, *model.graph.output):
        shape = value.type.tensor_type.shape
        if value.name == given.name or (shape.dim and shape.dim[0].dim_value == given.batch):
            shape.dim[0].dim_param = "batch"
    model.graph.ClearField("value_info")
    if given.batch is None:
        return
    shapes = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        tensor = shapes.get(node.input[1]) if node.op_type == "Reshape" else None
        if tensor is None:
            continue
        sizes = onnx.numpy_helper.to_array(tensor).reshape(-1).copy()
        if len(sizes) and sizes[0] == given.batch and 0 not in sizes:
            # 0 keeps the size of the input, -1 is what remains of its values.
            sizes[0] = 0 if -1 in sizes[1:] else -1
            tensor.CopyFrom(onnx.numpy_helper.from_array(sizes, tensor.name))
            node.ClearField("attribute")  # allowzero, with which 0 would be no values


def with_preprocessing(
    model: Any, given: ImageInput, mean: Triple, std: Triple, channels: Channels
) -> None:
    """Put the normalisation before a graph, whose input becomes ``images``.

    The input is (n, 3, side, side) float32 RGB in 0..255.

    Args:
        model: changed in place.
        given: its input.
        mean, std: mean and standard deviation of each channel, in the order of ``channels``, for
            images in 0..1.
        channels: order of the channels that the graph takes.
    """
    onnx = onnx_module()
    names = {name for node in model.graph.node for name in (*node.input, *node.output)}
    inner = given.name
    if INPUT in names:
        inner = f"{OWN}input" if given.name == INPUT else inner
        _renamed(model, INPUT, f"{OWN}input")
    steps: list[tuple[str, Sequence[Any], dict[str, Any]]] = []
    if channels == "bgr":
        steps.append(("Gather", [np.array([2, 1, 0], np.int64)], {"axis": 1}))
    bytes_ = given.kind == onnx.TensorProto.UINT8
    if not bytes_:
        factor, offset = _affine(mean, std)
        if (factor != 1).any():
            steps.append(("Mul", [factor], {}))
        if offset.any():
            steps.append(("Add", [offset], {}))
    if given.axes == "nhwc":
        steps.append(("Transpose", [], {"perm": [0, 2, 3, 1]}))
    if given.kind != onnx.TensorProto.FLOAT:
        steps.append(("Cast", [], {"to": given.kind}))
    steps = steps or [("Identity", [], {})]
    nodes, name = [], INPUT
    for number, (operator, constants, attributes) in enumerate(steps):
        inputs = [name]
        for constant in constants:
            stored = f"{OWN}{operator.lower()}"
            model.graph.initializer.append(onnx.numpy_helper.from_array(constant, stored))
            inputs.append(stored)
        name = inner if number + 1 == len(steps) else f"{OWN}step{number}"
        nodes.append(onnx.helper.make_node(operator, inputs, [name], **attributes))
    nodes += model.graph.node
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    shape = ["batch", 3, "height", "width"]
    value = onnx.helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, shape)
    model.graph.input.append(value)


def _affine(mean: Triple, std: Triple) -> tuple[Any, Any]:
    """Return (1, 3, 1, 1) factor and offset of (x / 255 - mean) / std."""
    deviation = 255.0 * np.array(std, np.float64)
    factor = (1.0 / deviation).astype(np.float32).reshape(1, 3, 1, 1)
    offset = (-np.array(mean, np.float64) / std).astype(np.float32).reshape(1, 3, 1, 1)
    if np.allclose(factor, 1.0, rtol=1e-6):
        factor = np.ones_like(factor)  # values of 0..255 stay as they are
    return factor, offset


def _renamed(model: Any, old: str, new: str) -> None:
    """Give a tensor another name everywhere."""

    def walk(graph: Any) -> None:
        for node in graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
            for attribute in node.attribute:
                for inner in (attribute.g, *attribute.graphs):
                    walk(inner)
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.name = new if value.name == old else value.name

    walk(model.graph)

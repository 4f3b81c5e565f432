"""One ONNX graph of a backbone from an .onnx file, up to a tap, and a head in PyTorch."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from evonas.core.optional_imports import library
from evonas.deployment import onnx_file
from evonas.errors import InputError
from evonas.models.backbones.onnx import Onnx

#: Name of the output with the backbone's own embedding; prefix of the names of its tensors.
EMBEDDING, _PREFIX = "embedding", "backbone_"
_WHAT = "exporting to ONNX"
_FLOAT = 1  # ``onnx.TensorProto.FLOAT``


class _OnTensor(nn.Module):
    """A head on the values of a tap's tensor, as the graph has them."""

    def __init__(self, backbone: Onnx, tap: str, head: nn.Module) -> None:
        super().__init__()
        self.head, self._layout = head, backbone.layout_of(tap)

    def forward(self, values: Tensor) -> Tensor:
        """Return what the head gives for the feature map of these values."""
        outputs: Tensor = self.head(self._layout.apply(values))
        return outputs


def merged(
    backbone: Onnx, tap: str, head: nn.Module, output: str, keep_embedding: bool = False
) -> Any:
    """Return backbone and head as one ONNX model.

    Its input is ``images``, (n, 3, side, side) float32 RGB in 0..255.

    Args:
        backbone: the backbone, whose graph is cut at the tap.
        tap: name of the tap.
        head: module of one input, the feature map, and one output.
        output: name of the output of ``head``.
        keep_embedding: whether the backbone's own embedding is an output as well.

    Raises:
        InputError: ONNX lacks an operator of the head, the backbone takes several images at a
            time alone, or it has no embedding.
    """
    helper = library("onnx.helper", _WHAT, "export")
    compose = library("onnx.compose", _WHAT, "export")
    batch = backbone.sessions.batch
    if batch not in (1, None):
        raise InputError(
            f"backbone 'onnx' takes exactly {batch} images at a time: export the file again with "
            "a dynamic batch"
        )
    names = [backbone.tensor_name(tap)]
    if keep_embedding and embedding_of(backbone) not in names:
        names.append(embedding_of(backbone))
    first = backbone.graph.cut(names)
    first = compose.add_prefix(first, _PREFIX, rename_inputs=False)
    count = batch or "batch"
    sizes = [backbone.sizes_of(name)[1:] for name in names]
    for value, own in zip(first.graph.output, sizes, strict=True):
        value.CopyFrom(helper.make_tensor_value_info(value.name, _FLOAT, [count, *own]))
    side = backbone.input_size
    images = helper.make_tensor_value_info(onnx_file.INPUT, _FLOAT, [count, 3, side, side])
    first.graph.input[0].CopyFrom(images)
    if keep_embedding:
        last, own = first.graph.output[-1].name, sizes[-1]
        first.graph.node.append(helper.make_node("Identity", [last], [EMBEDDING]))
        del first.graph.output[1:]
        end = helper.make_tensor_value_info(EMBEDDING, _FLOAT, [count, *own])
        first.graph.output.append(end)
    examples = torch.zeros(2, *sizes[0])
    return onnx_file.joined(first, _OnTensor(backbone, tap, head), examples, output)


def embedding_of(backbone: Onnx) -> str:
    """Return the name of the tensor with the backbone's own embedding.

    It is the first output of the file that has one vector of floats for each image.

    Raises:
        InputError: the file has no such output.
    """
    for value in backbone.graph.model.graph.output:
        sizes = backbone.sizes_of(value.name)
        if len(sizes) > 1 and prod(sizes[2:]) == 1 and value.name in backbone.graph.dependent:
            return str(value.name)
    raise InputError(
        "--keep-embedding: no output of the backbone's file is a vector for each image: leave it "
        "out"
    )

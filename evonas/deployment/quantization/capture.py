"""Capture any network as a graph of torch's own operators, with batch-norm folding.

``torch.export`` creates the graph. The quantisers work on it, whether the network was a module,
a model of a library, or a program from a file.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional

from evonas.core.optional_imports import quiet
from evonas.errors import InputError, one_line
from evonas.models.batchnorm_folding import fold_norms
from evonas.models.files.exported_programs import unlifted

_aten = torch.ops.aten

#: Operator -> the Python function by which torchao recognises it.
_SOURCES: dict[Any, Any] = {
    _aten.conv1d.default: functional.conv1d,
    _aten.conv2d.default: functional.conv2d,
    _aten.linear.default: functional.linear,
    _aten.relu.default: functional.relu,
    _aten.relu_.default: functional.relu,
    _aten.hardtanh.default: functional.hardtanh,
    _aten.hardtanh_.default: functional.hardtanh_,
    _aten.hardswish.default: functional.hardswish,
    _aten.hardswish_.default: functional.hardswish,
    _aten.silu.default: functional.silu,
    _aten.silu_.default: functional.silu,
    _aten.add.Tensor: operator.add,
    _aten.add_.Tensor: operator.add,
    _aten.max_pool2d.default: functional.max_pool2d,
    _aten.avg_pool2d.default: functional.avg_pool2d,
}


@dataclass(frozen=True)
class Captured:
    """A network as a graph with copied weights and folded batch norms.

    Attributes:
        graph: (n, 3, side, side) float32 -> outputs; weights are its parameters and buffers,
            and it is an ``fx.GraphModule`` unless there is ``onnx``.
        side: side of the input, in pixels.
        any_batch: True for a dynamic batch size; False for single images.
        size: bytes of the weights before batch-norm folding.
        onnx: the network as an ONNX model, if its backbone is none of torch; ``graph`` then
            cannot be trained or exported by torch.
    """

    graph: nn.Module
    side: int
    any_batch: bool
    size: int
    onnx: Any = None

    def example(self) -> Tensor:
        """Return two empty images; one if the network takes single images."""
        return torch.zeros(2 if self.any_batch else 1, 3, self.side, self.side)


def capture(module: nn.Module, side: int) -> Captured:
    """Return a network as a graph of operators.

    Args:
        module: (n, 3, side, side) -> one tensor (n, ...); set to evaluation mode.
        side: side of the images, in pixels.

    Raises:
        InputError: ``torch.export`` cannot export the network.
    """
    module.eval()
    try:
        program = trace(module, side, any_batch=True)
        any_batch = True
    except InputError:
        # The backbone may be a program that was exported for single images.
        program = trace(module, side, any_batch=False)
        any_batch = False
    graph = unlifted(program)
    size = sum(tensor.nbytes for tensor in graph.state_dict().values())
    copies = {}
    for name, tensor in _tensors(graph):
        copied = tensor.detach().clone()
        floating = tensor.is_floating_point() and isinstance(tensor, nn.Parameter)
        copies[name] = nn.Parameter(copied) if floating else copied
    graph = fx.GraphModule(copies, graph.graph)
    fold_norms(graph)
    for node in graph.graph.nodes:
        if node.op == "call_function":
            # The quantiser recognises operators by this entry, which programs from files lack
            # and which otherwise refers to modules of the user.
            source = _SOURCES.get(node.target, node.target)
            node.meta["source_fn_stack"] = [(node.name, source)]
    return Captured(graph, side, any_batch, size)


def trace(module: nn.Module, side: int, any_batch: bool) -> ExportedProgram:
    """Return a module of one input as an exported program.

    Args:
        module: (n, 3, side, side) -> one tensor (n, ...).
        side: side of the images, in pixels.
        any_batch: True for a dynamic batch size; False for single images.

    Raises:
        InputError: ``torch.export`` cannot export the module.
    """
    example = torch.zeros(2 if any_batch else 1, 3, side, side)
    shapes = ({0: Dim("batch")},) if any_batch else None
    try:
        with torch.no_grad(), quiet():
            program = torch.export.export(module, (example,), dynamic_shapes=shapes)
    except Exception as error:  # the network's code and the exporter can raise any exception
        raise InputError(
            f"the network cannot be exported ({one_line(error)}): its forward must consist of "
            "torch's operators, the same for every image"
        ) from error
    _check_outputs(program)
    return program


def _tensors(graph: fx.GraphModule) -> Iterator[tuple[str, Tensor]]:
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            yield node.target, getattr(graph, node.target)


def _check_outputs(program: ExportedProgram) -> None:
    results = program.graph.output_node().args[0]
    changed = program.graph_signature.buffers_to_mutate
    odd = [n.name for n in program.graph.nodes if n.op == "get_attr"]
    if changed or odd or len(results) != 1:
        what = odd[:1] or list(changed.values())[:1] or [f"{len(results)} outputs"]
        raise InputError(
            f"the network cannot be exported: expected operators without side effects and one "
            f"output, got {what[0]}: export it without control flow, in evaluation mode"
        )

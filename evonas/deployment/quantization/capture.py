"""A network as a graph of torch's own operators, whatever code it was: what is quantised.

``torch.export`` runs the network once without data and writes down its operators. From then
on it does not matter whether it was a module, a library's model or a program from a file.
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

#: Under which function of Python torchao looks for an operator.
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
    """A network as a graph, its batch norms folded; no weight is shared with the network.

    Attributes:
        graph: (n, 3, side, side) float32 -> outputs; weights are parameters or buffers of it.
        side: of its input, pixels.
        any_batch: it takes any number of images at once; else exactly one.
        size: bytes of the weights that the network ran, before folding.
    """

    graph: fx.GraphModule
    side: int
    any_batch: bool
    size: int

    def example(self) -> Tensor:
        """Return empty images of the right shape: two, or the one that it takes."""
        return torch.zeros(2 if self.any_batch else 1, 3, self.side, self.side)


def capture(module: nn.Module, side: int) -> Captured:
    """Return a network as a graph.

    Args:
        module: (n, 3, side, side) -> one tensor (n, ...); put in evaluation mode.
        side: of the images, pixels.

    Raises:
        InputError: ``torch.export`` cannot write it down.
    """
    module.eval()
    try:
        program = trace(module, side, any_batch=True)
        any_batch = True
    except InputError:
        # A program that was itself exported for single images, say.
        program = trace(module, side, any_batch=False)
        any_batch = False
    graph = unlifted(program)
    size = sum(tensor.nbytes for tensor in graph.state_dict().values())
    own = {}
    for name, tensor in _tensors(graph):
        copied = tensor.detach().clone()
        floating = tensor.is_floating_point() and isinstance(tensor, nn.Parameter)
        own[name] = nn.Parameter(copied) if floating else copied
    graph = fx.GraphModule(own, graph.graph)
    fold_norms(graph)
    for node in graph.graph.nodes:
        if node.op == "call_function":
            # What the quantiser knows operators by. It would be missing where a program from
            # a file ran, and name whole modules of the user's elsewhere.
            source = _SOURCES.get(node.target, node.target)
            node.meta["source_fn_stack"] = [(node.name, source)]
    return Captured(graph, side, any_batch, size)


def trace(module: nn.Module, side: int, any_batch: bool) -> ExportedProgram:
    """Return a module of one input as a program, for any number of images or for one.

    Raises:
        InputError: ``torch.export`` cannot write it down.
    """
    example = torch.zeros(2 if any_batch else 1, 3, side, side)
    shapes = ({0: Dim("batch")},) if any_batch else None
    try:
        with torch.no_grad(), quiet():
            program = torch.export.export(module, (example,), dynamic_shapes=shapes)
    except Exception as error:  # tracing a stranger's code fails in any way
        raise InputError(
            f"the network cannot be exported ({one_line(error)}): its forward has to be operators "
            "of torch alone, the same ones for every image"
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
            f"the network cannot be exported: expected operators from images to one output that "
            f"change nothing, got {what[0]}: export it without control flow, in evaluation mode"
        )

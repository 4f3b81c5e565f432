"""Trace a network into a flat graph of tensor operators, which pruning analyses and rewrites.

``torch.export`` creates the graph by running the network, so the graph includes functions and
hooks as well as modules, and contains only torch's own operators. In-place operators are
replaced by others, so that the output of every node keeps its value.
"""

from __future__ import annotations

import io
import operator
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from evonas.core.files import write_file
from evonas.core.optional_imports import quiet
from evonas.errors import InputError
from evonas.models.files.graph_devices import follow_input

_ATEN = torch.ops.aten
_LONG = 300  # characters of an error message from torch that are shown


def trace(network: nn.Module, example: Tensor) -> fx.GraphModule:
    """Return a network as a graph of operators with copied weights, in evaluation mode.

    Args:
        network: (n, ...) -> one tensor, for every batch size n >= 1.
        example: two inputs.

    Returns:
        A module of the same function; ``get_attr`` nodes are its weights and ``call_function``
        nodes its operators. Unused weights are left out.

    Raises:
        InputError: the network cannot be exported, for example because it branches on values.
    """
    try:
        with torch.no_grad(), quiet():
            batch = torch.export.Dim("batch")
            program = torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},))
            graph = program.run_decompositions({}).module(check_guards=False)
    except Exception as error:  # the network's code and the exporter can raise any exception
        reason = " ".join(str(error).split())[:_LONG] or type(error).__name__
        raise InputError(
            f"{name_of(network)}: cannot be traced ({reason}): expected one tensor in and out, and "
            "no branches on values of tensors"
        ) from error
    assert isinstance(graph, fx.GraphModule)
    traced = fx.GraphModule(_copied(graph), graph.graph)
    _replace_norms(traced.graph)
    _drop_unused(traced.graph)
    follow_input(traced.graph)
    traced.delete_all_unused_submodules()
    traced.recompile()
    for parameter in traced.parameters():
        parameter.requires_grad_(True)
    return traced


def save(network: nn.Module, example: Tensor, path: Path) -> None:
    """Write a network to a .pt2 file, as an exported program with a dynamic batch size.

    Args:
        network: as for ``trace``.
        example: two inputs.
        path: .pt2 file; an existing file is replaced once the new file is complete.

    Raises:
        InputError: the file cannot be written.
    """
    content = io.BytesIO()  # torch's own writer of files aborts the process on a full disk
    try:
        with torch.no_grad(), quiet():
            batch = torch.export.Dim("batch")
            program = torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},))
            torch.export.save(program, content)
        write_file(path, content.getvalue())
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:_LONG]
        raise InputError(f"{path}: cannot be written ({reason}): choose another folder") from error


def result(graph: fx.Graph) -> fx.Node:
    """Return the node whose value a graph returns."""
    returned = next(node for node in graph.nodes if node.op == "output").args[0]
    while isinstance(returned, tuple | list):
        (returned,) = returned
    assert isinstance(returned, fx.Node)
    return returned


def attribute(module: nn.Module, path: str) -> Tensor:
    """Return a weight or buffer by its dotted path."""
    holder, _, name = path.rpartition(".")
    tensor: Tensor = getattr(module.get_submodule(holder), name)
    return tensor


def replace(module: nn.Module, path: str, value: Tensor) -> None:
    """Replace a weight or buffer, given by its dotted path."""
    holder, _, name = path.rpartition(".")
    owner = module.get_submodule(holder)
    if name in owner._parameters:
        owner.register_parameter(name, nn.Parameter(value))
    else:
        owner.register_buffer(name, value)


def _copied(module: nn.Module) -> nn.Module:
    """Return nested modules with copies of a module's tensors; shared tensors stay shared."""
    root, copies = nn.Module(), dict[Tensor, Tensor]()
    tensors: list[tuple[str, Tensor]] = [*module.named_parameters(remove_duplicate=False)]
    tensors += [*module.named_buffers(remove_duplicate=False)]
    constants = [(k, v) for k, v in vars(module).items() if isinstance(v, Tensor)]
    for path, tensor in tensors + constants:
        if tensor not in copies:
            copy = tensor.detach().clone()
            copies[tensor] = nn.Parameter(copy) if isinstance(tensor, nn.Parameter) else copy
        holder, _, name = path.rpartition(".")
        owner = root
        for part in holder.split(".") if holder else ():
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        if isinstance(copies[tensor], nn.Parameter):
            owner.register_parameter(name, copies[tensor])  # type: ignore[arg-type]
        else:
            owner.register_buffer(name, copies[tensor])
    return root


def _replace_norms(graph: fx.Graph) -> None:
    """Replace the exporter's batch norms, of three outputs, by ``aten.batch_norm``, of one."""
    for node in list(graph.nodes):
        if node.target is _ATEN._native_batch_norm_legit_no_training.default:
            x, weight, bias, mean, var, momentum, eps = node.args
            args = (x, weight, bias, mean, var, False, momentum, eps, False)
            with graph.inserting_before(node):
                norm = graph.call_function(_ATEN.batch_norm.default, args)
            first = [user for user in node.users if user.target is operator.getitem]
            norm.meta = {**node.meta, "val": first[0].meta["val"]}
            for user in first:
                user.replace_all_uses_with(norm)


def _drop_unused(graph: fx.Graph) -> None:
    """Erase nodes that no output depends on, including assertions."""
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)


def name_of(network: nn.Module) -> str:
    """Return a network's name for messages: that of its class, or of its backbone's."""
    inner = getattr(network, "backbone", network)
    return f"network {type(inner).__name__}"

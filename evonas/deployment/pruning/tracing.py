"""A network as a flat graph of tensor operators: what pruning reads and rewrites.

The graph is that of ``torch.export``: it is found by running the network, so it knows modules,
functions and hooks alike, and it holds torch's own operators only. Operators that write into
their input are replaced by those that do not, so that each step's output stays what it was.
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
_LONG = 300  # characters of somebody else's message


def trace(network: nn.Module, example: Tensor) -> fx.GraphModule:
    """Return a network as a graph of operators, with weights of its own, in evaluation mode.

    Args:
        network: (n, ...) -> one tensor; n may be any number from 1 on.
        example: two inputs.

    Returns:
        A module of the same function; ``get_attr`` nodes are its weights, ``call_function``
        nodes its steps. Weights that no step uses are left out.

    Raises:
        InputError: the network cannot be exported, for it branches on values, say.
    """
    try:
        with torch.no_grad(), quiet():
            batch = torch.export.Dim("batch")
            program = torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},))
            graph = program.run_decompositions({}).module(check_guards=False)
    except Exception as error:  # whatever a user's network, or the exporter, ends with
        reason = " ".join(str(error).split())[:_LONG] or type(error).__name__
        raise InputError(
            f"{name_of(network)}: cannot be traced ({reason}): expected one tensor in and out, and "
            "no branches on values of tensors"
        ) from error
    assert isinstance(graph, fx.GraphModule)
    own = fx.GraphModule(_copied(graph), graph.graph)
    _plain_norms(own.graph)
    _drop_unused(own.graph)
    follow_input(own.graph)
    own.delete_all_unused_submodules()
    own.recompile()
    for parameter in own.parameters():
        parameter.requires_grad_(True)
    return own


def save(network: nn.Module, example: Tensor, path: Path) -> None:
    """Write a network as a program that takes any number of images.

    Args:
        network: as for ``trace``.
        example: two inputs.
        path: of the .pt2 file; what was there is replaced when the new one is whole.

    Raises:
        InputError: the file cannot be written.
    """
    content = io.BytesIO()  # on a full disk torch's own writer ends the whole process
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
    """Return the step whose value a graph returns."""
    returned = next(node for node in graph.nodes if node.op == "output").args[0]
    while isinstance(returned, tuple | list):
        (returned,) = returned
    assert isinstance(returned, fx.Node)
    return returned


def attribute(module: nn.Module, path: str) -> Tensor:
    """Return a weight or buffer by its dotted path."""
    holder, _, name = path.rpartition(".")
    found: Tensor = getattr(module.get_submodule(holder), name)
    return found


def replace(module: nn.Module, path: str, value: Tensor) -> None:
    """Put another tensor in the place of a weight or buffer."""
    holder, _, name = path.rpartition(".")
    owner = module.get_submodule(holder)
    if name in owner._parameters:
        owner.register_parameter(name, nn.Parameter(value))
    else:
        owner.register_buffer(name, value)


def _copied(module: nn.Module) -> nn.Module:
    """Return a tree of holders with copies of a module's tensors; shared ones stay shared."""
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


def _plain_norms(graph: fx.Graph) -> None:
    """Write batch norms as one operator with one output, which trains, fuses and is known."""
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
    """Erase steps that lead to no output, assertions among them."""
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output"):
            graph.erase_node(node)


def name_of(network: nn.Module) -> str:
    """Return what a network is called in messages."""
    inner = getattr(network, "backbone", network)
    return f"network {type(inner).__name__}"

"""A network as an .onnx file: written, told about, joined; an operator it lacks is named."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from evonas.core.optional_imports import library, quiet
from evonas.deployment.quantization.onnx_runtime import INPUT, bare
from evonas.errors import InputError, one_line
from evonas.models.files.onnx_session import sealed

_WHAT = "exporting to ONNX"
#: A file of the protocol cannot be larger.
_LARGEST = 2**31 - 2**20
_FAILED = re.compile(r"translating node %(\w+) .*?target=(?:torch\.ops\.)?([\w.]+)\]", re.DOTALL)


def check_extra() -> None:
    """Refuse to export where the libraries are missing.

    Raises:
        InputError: one is not installed.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        library(name, _WHAT, "export")


def model(program: ExportedProgram, output: str) -> Any:
    """Return a program of images as an ONNX model, ``images`` in and one named output.

    Raises:
        InputError: ONNX has no form of an operator, which is named with its module.
    """
    try:
        with torch.no_grad(), quiet():
            made: Any = torch.onnx.export(
                program, dynamo=True, input_names=[INPUT], output_names=[output], verbose=False
            )
            found = made.model_proto
    except Exception as error:  # the exporter fails on strange operators in many ways
        raise InputError(_told(error)) from error
    bare(found)
    for end in (*found.graph.input, *found.graph.output):
        end.ClearField("metadata_props")
        for size in end.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = "batch"
    return found


def joined(first: Any, second: nn.Module, outputs: Tensor, output: str) -> Any:
    """Return an ONNX model with a small module of torch behind it.

    Args:
        first: the model, of one output; it is changed.
        second: what is done with its output.
        outputs: two images' outputs of the model.
        output: name of the module's output.

    Raises:
        InputError: ONNX has no form of the module.
    """
    onnx = library("onnx", _WHAT, "export")
    compose = library("onnx.compose", _WHAT, "export")
    shapes = ({0: Dim("batch")},)
    with torch.no_grad(), quiet():
        program = torch.export.export(second.eval(), (outputs,), dynamic_shapes=shapes)
    tail = model(program, output)
    end = first.graph.output[0].name
    versions = {one.domain: one.version for one in first.opset_import}
    for one in tail.opset_import:
        if versions.get(one.domain, one.version) != one.version:
            with quiet():
                changed = library("onnx.version_converter", _WHAT, "export").convert_version
                first = changed(first, one.version)
    tail = compose.add_prefix(tail, "answer_")
    first.ir_version = tail.ir_version = max(first.ir_version, tail.ir_version)
    with quiet():
        made = compose.merge_models(first, tail, io_map=[(end, f"answer_{INPUT}")])
    last = made.graph.output[0].name
    for node in made.graph.node:
        node.output[:] = [output if name == last else name for name in node.output]
    made.graph.output[0].name = output
    onnx.checker.check_model(made)
    return made


def save(made: Any, path: Path, notes: Mapping[str, str]) -> None:
    """Write a model with notes inside, texts by name.

    Raises:
        InputError: it is too large for one file, or cannot be written.
    """
    helper = library("onnx.helper", _WHAT, "export")
    helper.set_model_props(made, dict(notes))
    if made.ByteSize() > _LARGEST:
        raise InputError(
            f"{path.name}: expected a network of at most 2 GB, which is what an .onnx file holds, "
            f"got {made.ByteSize() / 1e9:.1f} GB: use --format torch_export"
        )
    path.write_bytes(sealed(made.SerializeToString()))


def place(node: fx.Node) -> str:
    """Return the module that a step of a program came from, by its name in the network."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _told(error: Exception) -> str:
    for one in _causes(error):
        found = _FAILED.search(str(one))
        if found:
            name, operator = found.groups()
            node = next((node for node in _nodes(error) if node.name == name), None)
            where = place(node) if node is not None else ""
            return (
                f"ONNX has no operator for {operator}, which "
                f"{f'module {where!r} of the network' if where else 'the network'} calls: replace "
                "it there, or use --format torch_export"
            )
    return (
        f"the network cannot be exported as ONNX ({one_line(error.__cause__ or error)}): use "
        "--format torch_export"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _nodes(error: BaseException) -> Iterator[fx.Node]:
    """Yield the steps that the exporter had in hand: it names one, but hands none out."""
    for one in _causes(error):
        trace = one.__traceback__
        while trace is not None:
            values = trace.tb_frame.f_locals.values()
            yield from (value for value in values if isinstance(value, fx.Node))
            trace = trace.tb_next

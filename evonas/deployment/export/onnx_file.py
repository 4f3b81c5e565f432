"""Convert programs to ONNX, join ONNX models, and write them with metadata."""

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
#: Largest size of a protocol buffer, in bytes.
_LARGEST = 2**31 - 2**20
_FAILED = re.compile(r"translating node %(\w+) .*?target=(?:torch\.ops\.)?([\w.]+)\]", re.DOTALL)


def check_extra() -> None:
    """Refuse to export if a library is missing.

    Raises:
        InputError: a library is not installed.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        library(name, _WHAT, "export")


def model(program: ExportedProgram, output: str) -> Any:
    """Return a program as an ONNX model with the input ``images``.

    Args:
        program: images -> one output.
        output: name of the output.

    Raises:
        InputError: ONNX lacks an operator; the message names the operator and its module.
    """
    try:
        with torch.no_grad(), quiet():
            exported: Any = torch.onnx.export(
                program, dynamo=True, input_names=[INPUT], output_names=[output], verbose=False
            )
            proto = exported.model_proto
    except Exception as error:  # the exporter raises many kinds of errors
        raise InputError(_explain(error)) from error
    bare(proto)
    for end in (*proto.graph.input, *proto.graph.output):
        end.ClearField("metadata_props")
        for size in end.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = "batch"
    return proto


def joined(first: Any, second: nn.Module, outputs: Tensor, output: str) -> Any:
    """Return an ONNX model followed by a small torch module.

    Args:
        first: model with one output; changed in place.
        second: module whose input is the output of ``first``.
        outputs: outputs of ``first`` for two images.
        output: name of the module's output.

    Raises:
        InputError: ONNX lacks an operator of the module.
    """
    onnx = library("onnx", _WHAT, "export")
    compose = library("onnx.compose", _WHAT, "export")
    shapes = ({0: Dim("batch")},)
    with torch.no_grad(), quiet():
        program = torch.export.export(second.eval(), (outputs,), dynamic_shapes=shapes)
    tail = model(program, output)
    end = first.graph.output[0].name
    versions = {opset.domain: opset.version for opset in first.opset_import}
    for opset in tail.opset_import:
        if versions.get(opset.domain, opset.version) != opset.version:
            with quiet():
                convert = library("onnx.version_converter", _WHAT, "export").convert_version
                first = convert(first, opset.version)
    tail = compose.add_prefix(tail, "answer_")
    first.ir_version = tail.ir_version = max(first.ir_version, tail.ir_version)
    with quiet():
        merged = compose.merge_models(first, tail, io_map=[(end, f"answer_{INPUT}")])
    last = merged.graph.output[0].name
    for node in merged.graph.node:
        node.output[:] = [output if name == last else name for name in node.output]
    merged.graph.output[0].name = output
    onnx.checker.check_model(merged)
    return merged


def save(proto: Any, path: Path, notes: Mapping[str, str]) -> None:
    """Write an ONNX model with metadata, name -> text.

    Raises:
        InputError: the model is too large for one file.
    """
    helper = library("onnx.helper", _WHAT, "export")
    helper.set_model_props(proto, dict(notes))
    if proto.ByteSize() > _LARGEST:
        raise InputError(
            f"{path.name}: expected a network of at most 2 GB, the limit of an .onnx file, got "
            f"{proto.ByteSize() / 1e9:.1f} GB: use --format torch_export"
        )
    path.write_bytes(sealed(proto.SerializeToString()))


def module_of(node: fx.Node) -> str:
    """Return the path of the module that a node of a program comes from."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    return str(stack[-1][0]) if stack else ""


def _explain(error: Exception) -> str:
    """Return a message for an exception of the exporter, with operator and module if known."""
    for cause in _causes(error):
        match = _FAILED.search(str(cause))
        if match:
            name, operator = match.groups()
            node = next((node for node in _nodes(error) if node.name == name), None)
            where = module_of(node) if node is not None else ""
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
    """Yield the nodes in the exporter's stack frames, as its message only names a node."""
    for cause in _causes(error):
        trace = cause.__traceback__
        while trace is not None:
            values = trace.tb_frame.f_locals.values()
            yield from (value for value in values if isinstance(value, fx.Node))
            trace = trace.tb_next

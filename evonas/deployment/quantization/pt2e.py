"""Quantization to 8 bits with torchao's PT2E, for the CPU; the .pt2 file is a torch program.

A convolution becomes ``dequantize -> convolution -> quantize``, with int8 weights and
activation ranges from images. torch.compile replaces such a group by one integer operator.
Without torch.compile the program computes the same values, more slowly than the float network.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from evonas.core.files import write_file, writing
from evonas.core.optional_imports import library, quiet
from evonas.deployment.quantization.capture import Captured, trace
from evonas.deployment.quantization.int8_coverage import Coverage, Operation, coverage
from evonas.errors import InputError, one_line

_WHAT, _EXTRA = "quantising with the backend pt2e", "quantize"
#: Operators other than convolutions and linear layers that torch.compile has for integers.
_CAPABLE = frozenset({"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"})
_PT2E = "torchao.quantization.pt2e"


def prepare(captured: Captured, qat: bool = False) -> fx.GraphModule:
    """Return a copy of a network with observers, which record the ranges of activations.

    Args:
        captured: the float network; not changed.
        qat: also simulate the rounding to integers, for quantization-aware training.

    Raises:
        InputError: torchao is missing, or cannot process this graph.
    """
    x86 = library(f"{_PT2E}.quantizer.x86_inductor_quantizer", _WHAT, _EXTRA)
    pt2e = library(f"{_PT2E}.quantize_pt2e", _WHAT, _EXTRA)
    quantizer = x86.X86InductorQuantizer()
    config = x86.get_default_x86_inductor_quantization_config(is_qat=qat)
    quantizer.set_global(_consistent(config) if qat else config)
    # prepare_qat_pt2e would train batch norms, which are folded here.
    return _torchao(lambda: pt2e.prepare_pt2e(deepcopy(captured.graph), quantizer))


def calibrate(prepared: fx.GraphModule, batches: Iterable[Tensor], any_batch: bool = True) -> None:
    """Run a prepared network on images to record the ranges of its activations.

    Args:
        prepared: network with observers, see ``prepare``.
        batches: (b, 3, side, side) float RGB in 0..255 each.
        any_batch: False if the network takes single images.
    """
    with torch.no_grad():
        for batch in batches:
            for part in (batch,) if any_batch else torch.split(batch, 1):
                prepared(part)


def convert(prepared: fx.GraphModule, captured: Captured) -> ExportedProgram:
    """Return a calibrated network as a program with integer weights, without unused tensors.

    Raises:
        InputError: torchao cannot convert the network.
    """
    pt2e = library(f"{_PT2E}.quantize_pt2e", _WHAT, _EXTRA)
    converted = _torchao(lambda: pt2e.convert_pt2e(prepared))
    return trace(_without_unused(converted), captured.side, captured.any_batch)


def save(program: ExportedProgram, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Write a program to a .pt2 file, whose JSON graph is compressed.

    Uncompressed, the graph would be a fifth of the file of a small network.

    Args:
        program: the program; its references to source code are removed.
        path: .pt2 file to write.
        notes: additional JSON files in the archive, name -> content.

    Raises:
        InputError: the file cannot be written.
    """
    # Sample inputs would be pickled, and nodes contain paths of source code.
    program.example_inputs = None
    for node in program.graph.nodes:
        node.meta = {key: value for key, value in node.meta.items() if key == "val"}
    stored = io.BytesIO()
    with quiet():
        torch.export.save(program, stored, extra_files=dict(notes or {}))
    packed = io.BytesIO()
    with zipfile.ZipFile(stored) as old, zipfile.ZipFile(packed, "w") as new:
        for entry in old.infolist():
            text = entry.filename.endswith(".json")
            data = old.read(entry)
            if text:
                data = json.dumps(json.loads(data), separators=(",", ":")).encode()
            kind = zipfile.ZIP_DEFLATED if text else zipfile.ZIP_STORED
            name = f"quantized/{entry.filename.partition('/')[2]}"
            new.writestr(zipfile.ZipInfo(name), data, kind)
    with writing(path):
        write_file(path, packed.getvalue())


def covered(program: ExportedProgram) -> Coverage:
    """Return which operators of a converted program compute with integers."""
    return coverage(
        (
            Operation(node.name, _operator(node), [s.name for s in node.all_input_nodes])
            for node in program.graph.nodes
            if node.op == "call_function"
        ),
        _CAPABLE,
    )


def _consistent(config: Any) -> Any:
    """Return a configuration in which training rounds weights exactly as ``convert`` does.

    The default configuration uses moving averages of the weights' ranges, which lag behind the
    weights, and divides ranges by 127, while ``convert`` divides them by 127.5.
    """
    observers = library(f"{_PT2E}.observer", _WHAT, _EXTRA)
    from evonas.deployment.quantization.weight_rounding import WeightRounding  # imports torchao

    rounding = WeightRounding.with_args(
        observer=observers.MovingAveragePerChannelMinMaxObserver, averaging_constant=1.0, eps=2**-12
    )
    weight = replace(config.weight, observer_or_fake_quant_ctr=rounding)
    return replace(config, weight=weight)


def _operator(node: fx.Node) -> str:
    schema = getattr(node.target, "_schema", None)
    name = schema.name.rpartition("::")[2] if schema else getattr(node.target, "__name__", "?")
    return str(name)


def _without_unused(graph: fx.GraphModule) -> fx.GraphModule:
    """Return a copy of a graph with only the tensors that it uses, with train and eval modes."""
    state = {**dict(graph.named_parameters()), **dict(graph.named_buffers())}
    used = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    # Trained parameters are views of one tensor, which would be saved with each of them.
    copies = {name: state[name].detach().clone() for name in used}
    return fx.GraphModule(copies, graph.graph)


def _torchao(work: Callable[[], fx.GraphModule]) -> fx.GraphModule:
    """Call torchao, and convert its exceptions to ``InputError``."""
    try:
        with quiet():
            return work()
    except Exception as error:  # unusual graphs raise many kinds of errors
        raise InputError(
            f"torchao cannot quantise this network ({one_line(error)}): try --backend onnx"
        ) from error

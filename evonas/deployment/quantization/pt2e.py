"""Integers of 8 bits by torchao's PT2E, for the CPU: a program of torch in a .pt2 file.

A convolution becomes ``dequantize -> convolution -> quantize``, with weights stored as int8 and
ranges of activations taken from images; torch.compile turns such a group into one operator of
integers. Without it the program gives the same numbers, slower than floats.
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

from evonas.core.files import write_file
from evonas.core.optional_imports import library, quiet
from evonas.deployment.quantization.capture import Captured, trace
from evonas.deployment.quantization.int8_coverage import Coverage, Step, coverage
from evonas.errors import InputError, one_line

_WHAT = "quantising on the road pt2e"
#: What torch.compile has for integers beside convolutions and linear layers.
_CAPABLE = frozenset({"max_pool2d", "avg_pool2d", "adaptive_avg_pool2d"})
_PT2E = "torchao.quantization.pt2e"


def prepare(captured: Captured, aware: bool = False) -> fx.GraphModule:
    """Return a network that observes the ranges of its activations as it runs.

    Args:
        captured: the network; left as it is.
        aware: it also rounds as integers would, so that it can be trained with that.

    Raises:
        InputError: torchao is missing, or cannot work with this graph.
    """
    quantizer = library(f"{_PT2E}.quantizer.x86_inductor_quantizer", _WHAT)
    roads = library(f"{_PT2E}.quantize_pt2e", _WHAT)
    chosen = quantizer.X86InductorQuantizer()
    config = quantizer.get_default_x86_inductor_quantization_config(is_qat=aware)
    chosen.set_global(_consistent(config) if aware else config)
    # Not prepare_qat_pt2e, which would train batch norms: here they are folded.
    made: fx.GraphModule = _tried(lambda: roads.prepare_pt2e(deepcopy(captured.graph), chosen))
    return made


def calibrate(prepared: fx.GraphModule, batches: Iterable[Tensor], any_batch: bool = True) -> None:
    """Run a prepared network on images, so that it knows the ranges of its activations.

    Args:
        prepared: see ``prepare``.
        batches: (b, 3, side, side) float RGB in 0..255 each.
        any_batch: it takes more than one image at once.
    """
    with torch.no_grad():
        for batch in batches:
            for part in (batch,) if any_batch else torch.split(batch, 1):
                prepared(part)


def convert(prepared: fx.GraphModule, captured: Captured) -> ExportedProgram:
    """Return a calibrated network as a program of integers, with nothing in it that it never uses.

    Raises:
        InputError: torchao cannot convert it.
    """
    roads = library(f"{_PT2E}.quantize_pt2e", _WHAT)
    converted: fx.GraphModule = _tried(lambda: roads.convert_pt2e(prepared))
    return trace(_plain(converted), captured.side, captured.any_batch)


def save(program: ExportedProgram, path: Path, notes: Mapping[str, str] | None = None) -> None:
    """Write a program, its graph compressed: as text it would be a fifth of a small network.

    Args:
        program: it loses what it knows of source code.
        path: of the file.
        notes: texts to put in, JSON, by file name.

    Raises:
        InputError: the file cannot be written.
    """
    # Sample inputs are pickled, and steps would tell where the source code lies.
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
    try:
        write_file(path, packed.getvalue())
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def covered(program: ExportedProgram) -> Coverage:
    """Return which operators of a converted program compute with integers."""
    return coverage(
        (
            Step(node.name, _operator(node), [source.name for source in node.all_input_nodes])
            for node in program.graph.nodes
            if node.op == "call_function"
        ),
        _CAPABLE,
    )


def _consistent(config: Any) -> Any:
    """Return a configuration in which training rounds weights as ``convert`` will.

    The default observes them as a moving average, which lags behind, and in an operator that
    divides the range by 127 where ``convert`` divides it by 127.5.
    """
    observers = library(f"{_PT2E}.observer", _WHAT)
    from evonas.deployment.quantization.weight_rounding import (
        WeightRounding,  # needs torchao, which is here
    )

    rounding = WeightRounding.with_args(
        observer=observers.MovingAveragePerChannelMinMaxObserver, averaging_constant=1.0, eps=2**-12
    )
    weight = replace(config.weight, observer_or_fake_quant_ctr=rounding)
    return replace(config, weight=weight)


def _operator(node: fx.Node) -> str:
    schema = getattr(node.target, "_schema", None)
    name = schema.name.rpartition("::")[2] if schema else getattr(node.target, "__name__", "?")
    return str(name)


def _plain(graph: fx.GraphModule) -> fx.GraphModule:
    """Return a graph with the tensors that it uses alone, which has a mode like other modules."""
    state = {**dict(graph.named_parameters()), **dict(graph.named_buffers())}
    used = {node.target for node in graph.graph.nodes if node.op == "get_attr"}
    # Trained parameters are parts of one row, which would be saved whole with each of them.
    own = {name: state[name].detach().clone() for name in used}
    return fx.GraphModule(own, graph.graph)


def _tried(work: Callable[[], fx.GraphModule]) -> fx.GraphModule:
    try:
        with quiet():
            return work()
    except Exception as error:  # what a graph unheard of does to torchao
        raise InputError(
            f"torchao cannot quantise this network ({one_line(error)}): try --backend onnx"
        ) from error

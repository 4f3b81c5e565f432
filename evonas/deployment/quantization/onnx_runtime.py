"""Quantization to 8 bits with ONNX Runtime; the .onnx file runs without torch.

The float network is exported to ONNX and compared with torch on images. Then a pair of
``QuantizeLinear`` and ``DequantizeLinear`` (QDQ) is inserted around every operator for which
the runtime has an integer implementation. Weights are int8 with one scale for each channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim

from evonas.core.optional_imports import library, quiet
from evonas.deployment.merged_onnx import merged
from evonas.deployment.onnx_file import INPUT, bare
from evonas.deployment.quantization.capture import Captured
from evonas.deployment.quantization.int8_coverage import Coverage, Operation, coverage
from evonas.errors import InputError, RunError, one_line
from evonas.models.backbones.onnx import Onnx
from evonas.models.files.onnx_session import LARGEST, session

_WHAT = "quantising with the backend onnx"
#: Operators of graphs that are quantised already.
_INTEGERS = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger"}
    | {"MatMulInteger", "DynamicQuantizeLinear", "QGemm"}
)
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
#: Other operators for which ONNX Runtime has integer implementations.
_CAPABLE = frozenset(
    {"add", "mul", "averagepool", "globalaveragepool", "maxpool", "leakyrelu", "sigmoid"}
    | {"softmax", "relu", "clip", "resize", "pad", "where"}
)
OUTPUT = "outputs"
#: Largest difference from torch, relative to the largest output.
_PARITY = 1e-4


def captured_onnx(backbone: Onnx, tap: str, head: nn.Module, network: nn.Module) -> Captured:
    """Return a network whose backbone is an .onnx file, as one ONNX model.

    Args:
        backbone: the backbone.
        tap: name of the tap.
        head: the head.
        network: backbone and head, one after the other.

    Raises:
        InputError: the backbone computes with integers already, or the parts cannot be merged.
    """
    nodes = (backbone.graph.nodes[i] for i in backbone.graph.needed([backbone.tensor_name(tap)]))
    done = next((node.op_type for node in nodes if node.op_type in _INTEGERS), "")
    if done:
        raise InputError(
            f"evonas quantize: the backbone's file computes with integers already (operator "
            f"{done}): export the network as it is"
        )
    model = merged(backbone, tap, head, OUTPUT)
    size = sum(tensor.ByteSize() for tensor in model.graph.initializer)
    return Captured(network, backbone.input_size, backbone.sessions.batch is None, size, model)


def export(captured: Captured, path: Path, images: Tensor) -> None:
    """Write a float network as ONNX and compare it with torch on images.

    Args:
        captured: the network.
        path: .onnx file to write.
        images: (b, 3, side, side) float RGB in 0..255.

    Raises:
        InputError: onnx or onnxscript is missing, or an operator has no ONNX form.
        RunError: the outputs of the file differ from torch's.
    """
    onnx = library("onnx", _WHAT)
    library("onnxscript", _WHAT)
    model = captured.onnx or _exported(captured)
    bare(model)
    outside = sum(t.ByteSize() for t in model.graph.initializer) > LARGEST
    with quiet():
        onnx.save(model, str(path), save_as_external_data=outside)
    with torch.no_grad():
        expected = torch.cat([captured.graph(part) for part in _parts(captured, images)]).numpy()
    run = session(path)
    outputs = np.concatenate([run(part.numpy()) for part in _parts(captured, images)])
    difference = float(np.abs(outputs - expected).max() / max(np.abs(expected).max(), 1e-12))
    if not difference < _PARITY:
        raise RunError(
            f"{path.name}: ONNX Runtime gives other outputs than torch (largest difference "
            f"{difference:.1e} of the largest output, expected below {_PARITY:g}): use "
            "--backend pt2e"
        )


def _exported(captured: Captured) -> Any:
    """Return a network of torch as an ONNX model.

    Raises:
        InputError: an operator has no ONNX form.
    """
    try:
        with torch.no_grad(), quiet():
            program: Any = torch.onnx.export(
                nn.Sequential(captured.graph),
                (captured.example(),),
                dynamo=True,
                dynamic_shapes=({0: Dim("batch")},) if captured.any_batch else None,
                input_names=[INPUT],
                output_names=[OUTPUT],
                verbose=False,
            )
            return program.model_proto
    except Exception as error:  # the exporter raises many kinds of errors
        cause = error.__cause__ or error
        raise InputError(
            f"the network cannot be exported as ONNX ({one_line(cause)}): try --backend pt2e"
        ) from error


def quantize(captured: Captured, source: Path, path: Path, batches: Sequence[Tensor]) -> None:
    """Quantise a float ONNX network, with activation ranges (min to max) from images.

    On Pointing'04, with one draw of images each, percentiles of 99.99 and 99.999 and entropy
    were no better, and a percentile of 99.9 was worse; signed activations took twice as long as
    unsigned.

    Args:
        captured: the network that was exported to ``source``.
        source: float .onnx file.
        path: .onnx file to write, in the folder of ``source``.
        batches: (b, 3, side, side) float RGB in 0..255 each.

    Raises:
        InputError: onnxruntime is missing, or cannot quantise the network.
    """
    ort = library("onnxruntime.quantization", _WHAT)
    shapes = library("onnxruntime.quantization.shape_inference", _WHAT)

    class Images(ort.CalibrationDataReader):  # type: ignore[misc,name-defined]
        """Iterator over the calibration batches, as ONNX Runtime needs it."""

        def __init__(self) -> None:
            self._batches = iter([part for batch in batches for part in _parts(captured, batch)])

        def get_next(self) -> dict[str, Any] | None:
            """Return input name -> next batch, or None at the end."""
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch.numpy()}

    preprocessed = source.with_name(f"{source.stem}-ready.onnx")
    try:
        with quiet():
            shapes.quant_pre_process(str(source), str(preprocessed), skip_symbolic_shape=True)
            ort.quantize_static(
                str(preprocessed),
                str(path),
                Images(),
                quant_format=ort.QuantFormat.QDQ,
                per_channel=True,
                activation_type=ort.QuantType.QUInt8,
                weight_type=ort.QuantType.QInt8,
                calibrate_method=ort.CalibrationMethod.MinMax,
                # Quantised outputs would limit the network's answers to 256 values.
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
            )
            onnx = library("onnx", _WHAT)
            model = onnx.load(str(path))
            _shorten(model)
            onnx.save(model, str(path))
    except Exception as error:  # unusual graphs raise many kinds of errors
        raise InputError(
            f"ONNX Runtime cannot quantise this network ({one_line(error)}): try --backend pt2e"
        ) from error
    finally:
        preprocessed.unlink(missing_ok=True)


def covered(path: Path) -> Coverage:
    """Return which operators of a quantised file compute with integers."""
    model = library("onnx", _WHAT).load(str(path))
    weights = {tensor.name for tensor in model.graph.initializer}
    operations = (
        Operation(
            node.output[0],
            node.op_type.lower(),
            [name for name in node.input if name and name not in weights]
            if node.op_type not in _LAYERS
            else list(node.input),
        )
        for node in model.graph.node
    )
    return coverage(operations, _CAPABLE)


def _parts(captured: Captured, images: Tensor) -> Sequence[Tensor]:
    """Split a batch into parts of the size that the network takes."""
    return (images,) if captured.any_batch else torch.split(images, 1)


def _shorten(model: Any) -> None:
    """Replace long names by short ones, as names are a tenth of the file of a small network."""
    model.graph.ClearField("value_info")
    ends = [value.name for value in (*model.graph.input, *model.graph.output)]
    names: dict[str, str] = {name: name for name in ("", *ends)}

    def short(name: str) -> str:
        return names.setdefault(name, f"t{len(names)}")

    for tensor in model.graph.initializer:
        tensor.name = short(tensor.name)
    for node in model.graph.node:
        node.ClearField("name")
        node.input[:] = [short(name) for name in node.input]
        node.output[:] = [short(name) for name in node.output]

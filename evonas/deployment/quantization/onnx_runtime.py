"""Integers of 8 bits by ONNX Runtime: an .onnx file that runs without torch.

The float network is exported, compared with itself on images, and given a pair of
``QuantizeLinear`` and ``DequantizeLinear`` around every operator that the runtime knows in
integers (QDQ), with weights as int8, one scale a channel.
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
from evonas.deployment.quantization.capture import Captured
from evonas.deployment.quantization.int8_coverage import Coverage, Step, coverage
from evonas.errors import InputError, RunError, one_line
from evonas.models.files.onnx_session import session

_WHAT = "quantising on the road onnx"
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
#: What ONNX Runtime has for integers beside them.
_CAPABLE = frozenset(
    {"add", "mul", "averagepool", "globalaveragepool", "maxpool", "leakyrelu", "sigmoid"}
    | {"softmax", "relu", "clip", "resize", "pad", "where"}
)
INPUT, OUTPUT = "images", "outputs"
#: Largest difference from torch, as a share of the largest output.
_PARITY = 1e-4
#: A file of the protocol cannot be larger; beyond it, weights lie beside.
_LARGEST = 2**31 - 2**20


def export(captured: Captured, path: Path, images: Tensor) -> None:
    """Write a float network as ONNX and compare it with torch on images.

    Args:
        captured: the network.
        path: of the file.
        images: (b, 3, side, side) float RGB in 0..255.

    Raises:
        InputError: onnx or onnxscript is missing, or an operator has no ONNX form.
        RunError: the file gives other outputs than torch.
    """
    onnx = library("onnx", _WHAT)
    library("onnxscript", _WHAT)
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
            model = program.model_proto
    except Exception as error:  # the exporter fails on strange operators in many ways
        cause = error.__cause__ or error
        raise InputError(
            f"the network cannot be exported as ONNX ({one_line(cause)}): try --backend pt2e"
        ) from error
    bare(model)
    outside = sum(t.ByteSize() for t in model.graph.initializer) > _LARGEST
    with quiet():
        onnx.save(model, str(path), save_as_external_data=outside)
    with torch.no_grad():
        expected = torch.cat([captured.graph(part) for part in _parts(captured, images)]).numpy()
    run = session(path)
    found = np.concatenate([run(part.numpy()) for part in _parts(captured, images)])
    difference = float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))
    if not difference < _PARITY:
        raise RunError(
            f"{path.name}: ONNX Runtime gives other outputs than torch (largest difference "
            f"{difference:.1e} of the largest output, expected below {_PARITY:g}): use "
            "--backend pt2e"
        )


def quantize(captured: Captured, source: Path, path: Path, batches: Sequence[Tensor]) -> None:
    """Write a float ONNX network as one of integers, with ranges (min to max) from images.

    On Pointing'04, one draw of images each, percentiles of 99.99 and 99.999 and entropy were no
    better, and a percentile of 99.9 worse; signed activations took twice as long as unsigned.

    Args:
        captured: the network, which knows how many images it takes.
        source: of the float file; ``path`` is written beside it.
        path: of the file to write.
        batches: (b, 3, side, side) float RGB in 0..255 each.

    Raises:
        InputError: onnxruntime is missing, or cannot quantise the network.
    """
    roads = library("onnxruntime.quantization", _WHAT)
    shapes = library("onnxruntime.quantization.shape_inference", _WHAT)

    class Images(roads.CalibrationDataReader):  # type: ignore[misc,name-defined]
        """Batches, one after the other."""

        def __init__(self) -> None:
            self._left = iter([part for batch in batches for part in _parts(captured, batch)])

        def get_next(self) -> dict[str, Any] | None:
            """Return the next batch by the name of the input; None at the end."""
            batch = next(self._left, None)
            return None if batch is None else {INPUT: batch.numpy()}

    ready = source.with_name(f"{source.stem}-ready.onnx")
    try:
        with quiet():
            shapes.quant_pre_process(str(source), str(ready), skip_symbolic_shape=True)
            roads.quantize_static(
                str(ready),
                str(path),
                Images(),
                quant_format=roads.QuantFormat.QDQ,
                per_channel=True,
                activation_type=roads.QuantType.QUInt8,
                weight_type=roads.QuantType.QInt8,
                calibrate_method=roads.CalibrationMethod.MinMax,
                # The outputs of a network in 255 steps would be all that is seen of it.
                extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
            )
            onnx = library("onnx", _WHAT)
            model = onnx.load(str(path))
            _shorten(model)
            onnx.save(model, str(path))
    except Exception as error:  # what a graph unheard of does to the quantiser
        raise InputError(
            f"ONNX Runtime cannot quantise this network ({one_line(error)}): try --backend pt2e"
        ) from error
    finally:
        ready.unlink(missing_ok=True)


def covered(path: Path) -> Coverage:
    """Return which operators of a quantised file compute with integers."""
    model = library("onnx", _WHAT).load(str(path))
    weights = {tensor.name for tensor in model.graph.initializer}
    steps = (
        Step(
            node.output[0],
            node.op_type.lower(),
            [name for name in node.input if name and name not in weights]
            if node.op_type not in _LAYERS
            else list(node.input),
        )
        for node in model.graph.node
    )
    return coverage(steps, _CAPABLE)


def _parts(captured: Captured, images: Tensor) -> Sequence[Tensor]:
    return (images,) if captured.any_batch else torch.split(images, 1)


def _shorten(model: Any) -> None:
    """Number what is called by long names: of a small network they are a tenth of the file."""
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


def bare(model: Any) -> None:
    """Take off what the exporter notes about source code: it is not needed to run."""
    for thing in (model, model.graph, *model.graph.node, *model.graph.value_info):
        for field in ("doc_string", "metadata_props"):
            thing.ClearField(field)

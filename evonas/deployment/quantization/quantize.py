"""From a network of floats to a file of 8-bit integers, on one of two roads.

x_q = clamp(round(x / s) + z), and back x = s (x_q - z): weights with one s a channel, activations
with one s and z a map, from the ranges that images show (Jacob et al. 2018, arXiv 1712.05877).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from evonas.core.files import keep
from evonas.core.optional_imports import library
from evonas.deployment.quantization import onnx_runtime as quantize_onnx
from evonas.deployment.quantization import pt2e as quantize_pt2e
from evonas.deployment.quantization.aware_training import Aware
from evonas.deployment.quantization.capture import Captured
from evonas.deployment.quantization.int8_coverage import Coverage
from evonas.models.files.onnx_session import sealed

#: Road -> name of the file, and the modules that it needs.
FILES = {"pt2e": "quantized.pt2", "onnx": "quantized.onnx"}
_NEEDS = {"pt2e": ("torchao",), "onnx": ("onnx", "onnxscript", "onnxruntime")}


def check_extra(road: str, aware: bool) -> None:
    """Refuse a road whose libraries are missing, before anything is computed.

    Raises:
        InputError: one is not installed.
    """
    for name in (*_NEEDS[road], *(_NEEDS["pt2e"] if aware else ())):
        library(name, f"quantising on the road {road}{', aware,' if aware else ''}")


def quantize(
    captured: Captured,
    road: str,
    batches: Sequence[Tensor],
    path: Path,
    aware: Aware | None = None,
    floats: Path | None = None,
) -> Coverage:
    """Write a network as 8-bit integers; return which operators compute with them.

    Args:
        captured: the network.
        road: ``pt2e`` or ``onnx``.
        batches: images that ranges are taken from, (b, 3, side, side) float RGB in 0..255 each.
        path: of the file to write.
        aware: the same network, trained with simulated rounding; used in its place. On the
            road pt2e its own ranges count; on the road onnx they are taken from ``batches``.
        floats: where the road onnx leaves the file of floats that it starts from; None: nowhere.

    Raises:
        InputError: a library is missing, or cannot do it; the message says which operator.
        RunError: the float file of the road onnx gives other outputs than torch.
    """
    if road == "pt2e":
        if aware is None:
            prepared = quantize_pt2e.prepare(captured)
            quantize_pt2e.calibrate(prepared, batches, captured.any_batch)
        else:
            prepared = aware.eval().graph
        program = quantize_pt2e.convert(prepared, captured)
        quantize_pt2e.save(program, path)
        return quantize_pt2e.covered(program)
    trained = captured if aware is None else aware.plain()
    with tempfile.TemporaryDirectory() as folder:
        source = floats or Path(folder) / "float.onnx"
        quantize_onnx.export(trained, source, batches[0])
        made = Path(folder) / "made.onnx"
        quantize_onnx.quantize(trained, source, made, batches)
        keep(path, sealed(made.read_bytes()))
    return quantize_onnx.covered(path)

"""Quantise a float network to a file of 8-bit integers with one of two backends.

x_q = clamp(round(x / s) + z) and x = s (x_q - z) (Jacob et al. 2018, arXiv 1712.05877): weights
have one s for each channel, activations one s and z for each map, computed from their ranges on
images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from evonas.core.files import keep
from evonas.core.optional_imports import library
from evonas.deployment.quantization import onnx_runtime, pt2e
from evonas.deployment.quantization.capture import Captured
from evonas.deployment.quantization.int8_coverage import Coverage
from evonas.deployment.quantization.qat import QATNetwork
from evonas.models.files.onnx_session import sealed

#: Backend -> name of the quantised file.
FILES = {"pt2e": "quantized.pt2", "onnx": "quantized.onnx"}


def check_extra(backend: str, qat: bool) -> None:
    """Refuse a backend whose libraries are missing, before anything is computed.

    Raises:
        InputError: a library is not installed.
    """
    if backend == "pt2e" or qat:
        what = f"quantising with the backend {backend}{' and --qat' if qat else ''}"
        library("torchao", what, "quantize")


def quantize(
    captured: Captured,
    backend: str,
    batches: Sequence[Tensor],
    path: Path,
    trained: QATNetwork | None = None,
    floats: Path | None = None,
) -> Coverage:
    """Write a network as 8-bit integers; return which operators compute with integers.

    Args:
        captured: the float network.
        backend: ``pt2e`` or ``onnx``.
        batches: images for the activation ranges, (b, 3, side, side) float RGB in 0..255 each.
        path: file to write.
        trained: the same network after quantization-aware training, to use instead. The backend
            pt2e uses the ranges of the training; onnx computes ranges from ``batches``.
        floats: path for the intermediate float file of the backend onnx; None: the file is
            deleted.

    Raises:
        InputError: a library is missing, or cannot quantise the network; the message names the
            operator.
        RunError: the outputs of the float file of the backend onnx differ from torch's.
    """
    if backend == "pt2e":
        if trained is None:
            prepared = pt2e.prepare(captured)
            pt2e.calibrate(prepared, batches, captured.any_batch)
        else:
            prepared = trained.eval().graph
        program = pt2e.convert(prepared, captured)
        pt2e.save(program, path)
        return pt2e.covered(program)
    network = captured if trained is None else trained.plain()
    with tempfile.TemporaryDirectory() as folder:
        source = floats or Path(folder) / "float.onnx"
        onnx_runtime.export(network, source, batches[0])
        quantised = Path(folder) / "quantised.onnx"
        onnx_runtime.quantize(network, source, quantised, batches)
        keep(path, sealed(quantised.read_bytes()))
    return onnx_runtime.covered(path)

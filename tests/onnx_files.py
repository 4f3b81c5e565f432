"""Small networks as .onnx files of all the forms that users bring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from evonas.core.optional_imports import quiet
from evonas.models.backbones.onnx import Onnx
from evonas.models.backbones.onnx_graphs import sessions


def exported(
    net: nn.Module,
    path: Path,
    *,
    side: int = 32,
    batch: int | None = None,
    opset: int = 18,
    old: bool = True,
    folding: bool = True,
) -> Path:
    """Write a network of torch as an .onnx file.

    Args:
        net: (n, 3, side, side) -> outputs.
        path: the file.
        side: of the images.
        batch: fixed number of images; None: any.
        opset: version of the operators.
        old: use the exporter of TorchScript: it reaches old opsets, and takes a tenth of the time.
        folding: fold batch norms into convolutions.
    """
    example = torch.zeros(batch or 2, 3, side, side)
    free: dict[str, Any] = {} if folding else {"training": torch.onnx.TrainingMode.PRESERVE}
    if old and batch is None:
        free |= {"dynamic_axes": {"input": {0: "batch"}}}
    elif batch is None:
        free |= {"dynamic_shapes": ({0: torch.export.Dim("batch")},)}
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the exporter does not know this operator
    with quiet(), torch.no_grad():
        torch.onnx.export(
            net.eval(),
            (example,),
            str(path),
            dynamo=not old,
            opset_version=opset,
            input_names=["input"],
            external_data=False,
            verbose=False,
            **free,
        )
    torch.backends.mha.set_fastpath_enabled(fused)
    return path


def save(
    path: Path,
    nodes: Sequence[Any],
    shape: Sequence[int | str | None],
    weights: dict[str, Any],
    *,
    outputs: Sequence[str] = ("out",),
    kind: int = onnx.TensorProto.FLOAT,
    opset: int = 17,
    metadata: dict[str, str] | None = None,
    domains: Sequence[str] = (),
) -> Path:
    """Write a graph that is made by hand, whose input is ``input``."""
    ends = [onnx.ValueInfoProto(name=name) for name in outputs]
    graph = onnx.helper.make_graph(
        list(nodes),
        "made by hand",
        [onnx.helper.make_tensor_value_info("input", kind, shape)],
        [],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    graph.output.extend(ends)
    opsets = [
        onnx.helper.make_opsetid("", opset),
        *(onnx.helper.make_opsetid(d, 1) for d in domains),
    ]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8)
    onnx.helper.set_model_props(model, metadata or {})
    path.write_bytes(model.SerializeToString())
    return path


def halved(path: Path, target: Path) -> Path:
    """Write a network with all floats of 16 bits."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        model = convert_float_to_float16(onnx.load(path), keep_io_types=False)
    onnx.save(model, target)
    return target


class _Images:
    """Images for the calibration of a quantiser."""

    def __init__(self, images: torch.Tensor) -> None:
        self._batches = iter([{"input": images.numpy()}])

    def get_next(self) -> Any:
        return next(self._batches, None)


def quantised(path: Path, target: Path, form: str, images: torch.Tensor) -> Path:
    """Write a network of integers.

    Args:
        path: the network of floats.
        target: the file.
        form: ``QDQ``, ``QOperator`` or ``dynamic``.
        images: (n, 3, side, side) normalised images.
    """
    from onnxruntime import quantization as tool

    with quiet():
        if form == "dynamic":
            tool.quantize_dynamic(path, target, weight_type=tool.QuantType.QUInt8)
        else:
            wide = form == "QDQ"
            style = tool.QuantFormat[form]
            tool.quantize_static(
                path, target, _Images(images), quant_format=style, per_channel=wide
            )
    return target


def layers_run(backbone: Onnx, images: torch.Tensor, taps: list[str]) -> int:
    """Run a backbone; return the number of convolutions and products that ONNX Runtime ran."""
    ran: Counter[str] = Counter()
    opened = sessions.open_session

    def watched(model: Any, threads: int = 1) -> Any:
        session = opened(model, threads)
        kinds = [node.op_type for node in model.graph.node]

        class Watched:
            def run(self, *words: Any) -> Any:
                ran.update(kinds)
                return session.run(*words)

        return Watched()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sessions, "open_session", watched)
        fresh = sessions.Sessions(backbone.graph, backbone.sessions.batch)
        patch.setattr(backbone, "sessions", fresh)
        backbone(images, taps)
    return sum(ran[kind] for kind in ("Conv", "Gemm", "MatMul"))

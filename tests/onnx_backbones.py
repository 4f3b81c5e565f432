"""Backbones from small .onnx files, and what they are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import helper
from onnx_files import save
from refusals import refusal_of
from torch import Tensor, nn

from evonas.core import registry
from evonas.models.backbones.common.hooked_module import Hooked
from evonas.models.backbones.onnx import Onnx

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
#: Tap of the convnet -> submodule of torch with the same output.
SAME = {
    "stem.Conv": "stem",
    "layers.0.relu_1.Relu": "layers.0",
    "layers.1.relu_1.Relu": "layers.1",
}


def make(path: Path, **options: Any) -> Onnx:
    made: Onnx = registry.create("backbone", "onnx", {"file": str(path), **options})
    return made


def refused(path: Path, **options: Any) -> str:
    message = refusal_of(lambda: make(path, **options))
    assert message.startswith(f"backbone 'onnx', {path}")
    return message


def varied(net: nn.Module) -> nn.Module:
    """The network without equal vectors, of which the exporter keeps one alone."""
    with torch.no_grad():
        for tensor in net.state_dict().values():
            if tensor.dim() == 1:
                tensor.add_(torch.rand(tensor.shape) * 0.1)
    return net.eval()


def torch_maps(net: nn.Module, images: Tensor, **options: Any) -> dict[str, Tensor]:
    """The convnet's maps through torch, by the names of the taps of the .onnx file."""
    options = {**PLAIN, **options}
    hooked = Hooked(net, "torch", identity={}, input_size=32, **options)
    found = hooked(images, list(SAME.values()))
    return {tap: found[module] for tap, module in SAME.items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor], rtol: float = 1e-4) -> None:
    assert set(found) == set(expected)
    for tap, values in expected.items():
        atol = rtol * float(values.abs().max())
        torch.testing.assert_close(found[tap], values, rtol=0, atol=atol, msg=tap)


def small_graph(
    path: Path, shape: list[Any], first: list[Any] = (), start: str = "input", **words: Any
) -> tuple[Path, Tensor]:
    """A convolution behind ``first`` operators: the file, and its kernel."""
    kernel = np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32)
    weights = {"w": kernel, **words.pop("weights", {})}
    nodes = [*first, helper.make_node("Conv", [start, "w"], ["out"])]
    return save(path, nodes, shape, weights, **words), torch.from_numpy(kernel)


def convolved(pixels: Tensor, kernel: Tensor) -> dict[str, Tensor]:
    return {"out": nn.functional.conv2d(pixels, kernel)}

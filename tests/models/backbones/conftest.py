"""Small networks, and what they are given."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from onnx_backbones import varied
from onnx_files import exported
from small_modules import ConvNet, Transformer
from torch import Tensor, nn


@pytest.fixture(scope="module")
def nets() -> dict[str, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return {"conv": varied(ConvNet()), "tokens": varied(Transformer())}


@pytest.fixture(scope="module")
def conv(nets: dict[str, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The convolutional network in an .onnx file."""
    return exported(nets["conv"], tmp_path_factory.mktemp("onnx") / "conv.onnx")


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255

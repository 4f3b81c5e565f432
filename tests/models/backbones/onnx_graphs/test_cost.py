"""Multiply-adds and parameters of graphs, against those that are counted in torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx_backbones import PLAIN, SAME, make, varied
from onnx_files import exported
from torch import nn

from evonas.estimation.cost.complexity import count
from evonas.models.backbones.common.hooked_module import Hooked
from evonas.models.full_network import TruncatedBackbone


def test_costs_are_those_that_fvcore_counts_in_torch(
    nets: dict[str, nn.Module], conv: Path, tmp_path: Path
) -> None:
    made = make(conv)
    hooked = Hooked(nets["conv"], "torch", identity={}, input_size=32, **PLAIN)
    for tap, module in SAME.items():
        own, direct = (
            count(TruncatedBackbone(backbone, name), (3, 32, 32))
            for backbone, name in ((made, tap), (hooked, module))
        )
        assert own.macs == direct.macs > 0
    whole = count(nets["conv"], (3, 32, 32))
    assert made.full_cost().macs == whole.macs
    # The exporter folds norms: of each channel a scale and a shift are left out.
    assert made.full_cost().params == whole.params - 2 * (8 + 16)
    tokens = make(exported(nets["tokens"], tmp_path / "tokens.onnx"))
    whole = Hooked(nets["tokens"], "torch", identity={}, input_size=32, **PLAIN).full_cost()
    assert tokens.full_cost() == whole


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Conv2d(3, 6, 5, 2, 2, groups=3, bias=False), (3, 32, 32)),
        (nn.Conv2d(3, 6, 3, 1, 2, dilation=2), (3, 32, 32)),
        (nn.ConvTranspose2d(3, 5, 4, 2, 1), (3, 32, 32)),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.PReLU(4), nn.BatchNorm2d(4)), (3, 32, 32)),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Flatten(), nn.Linear(4096, 7)), (3, 32, 32)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_cost_what_fvcore_counts(layer: nn.Module, shape: Any, tmp_path: Path) -> None:
    """Without the exporter's folding of norms."""
    made = make(exported(varied(layer), tmp_path / "layer.onnx", folding=False))
    found, expected = made.full_cost(), count(layer, shape)
    assert found == (expected.macs, expected.params)
    statistics = made.cost_up_to(list(made.taps)[-1]).statistics
    assert statistics == (8 if "BatchNorm" in repr(layer) else 0) == expected.statistics

"""The heat map head: sizes of its maps, its cost by hand, its start, its settings."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.networks import blocks
from evonas.models.networks.base import Shape
from evonas.models.networks.heatmap_head import HeatmapHead
from evonas.space import Architecture, SearchSpace


def head(**settings: Any) -> Architecture:
    return Architecture("heatmap_head", settings)


def built(in_shape: Shape, n_outputs: int = 17, **settings: Any) -> nn.Module:
    return HeatmapHead().build(head(**settings), in_shape, n_outputs)


@pytest.mark.parametrize("up_kernel", [2, 3, 4])
@pytest.mark.parametrize("in_shape", [(8, 8, 8), (3, 1, 1), (5, 7, 2), (1, 1, 9)])
def test_each_upsampling_doubles_the_map(in_shape: Shape, up_kernel: int) -> None:
    c, h, w = in_shape
    for ups in range(4):
        module = built(in_shape, width=4, channels=4, upsamples=ups, up_kernel=up_kernel)
        assert module(torch.zeros(2, c, h, w)).shape == (2, 17, h * 2**ups, w * 2**ups)


def test_the_cost_by_hand() -> None:
    """A transposed convolution has C D k^2 for each place of its input."""
    reduce, block = 128 * 64 * 64, 2 * 64 * 64 * 9 * 64
    ups = 64 * 32 * 16 * 64 + 32 * 32 * 16 * 256
    assert HeatmapHead().macs(head(), (128, 8, 8), 17) == reduce + block + ups + 32 * 17 * 1024
    plain = head(blocks=0, upsamples=0, width=10)
    assert HeatmapHead().macs(plain, (128, 8, 8), 17) == (128 * 10 + 10 * 17) * 64


def test_the_head_of_simple_baseline_behind_a_reduction() -> None:
    """Three of 256 channels and kernel 4: 64 x 48 maps from a ResNet's 8 x 6 (Xiao et al.)."""
    settings = {"width": 256, "blocks": 0, "upsamples": 3, "channels": 256}
    module = built((2048, 8, 6), **settings)
    ups = [m for m in module.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert sum(p.numel() for up in ups for p in up.parameters()) == 3 * 256 * 256 * 16
    assert module(torch.zeros(2, 2048, 8, 6)).shape == (2, 17, 64, 48)
    macs = HeatmapHead().macs(head(**settings), (2048, 8, 6), 17)
    places = 48 * (1 + 4 + 16)
    assert macs == 2048 * 256 * 48 + 256 * 256 * 16 * places + 256 * 17 * 64 * 48


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks.names())
def test_every_block_can_stand_in_it(block: str) -> None:
    for kernel, up_kernel in itertools.product((1, 3), (2, 3, 4)):
        settings = {"block": block, "blocks": 2, "kernel": kernel, "up_kernel": up_kernel}
        settings |= {"width": 8, "channels": 6, "upsamples": 2}
        for in_shape in ((5, 3, 4), (5, 1, 1)):
            module = built(in_shape, 3, **settings)
            expected = HeatmapHead().macs(head(**settings), in_shape, 3)
            assert count(module, in_shape).macs == expected
            with FlopCounterMode(display=False) as counter, torch.no_grad():
                module.eval()(torch.zeros(1, *in_shape))
            assert counter.get_total_flops() == 2 * expected


def test_it_starts_near_zero_whatever_the_features() -> None:
    for seed, scale in enumerate((0.01, 1.0, 100.0)):
        torch.manual_seed(seed)
        y = built((16, 8, 8))(scale * torch.randn(8, 16, 8, 8))
        assert 0 < float(y.detach().abs().max()) < 0.1


@pytest.mark.parametrize("up_kernel", [2, 3, 4])
def test_upsampling_keeps_the_variance(up_kernel: int) -> None:
    """Twice the input's, of which a ReLU leaves one half (He et al. 2015, arXiv 1502.01852)."""
    torch.manual_seed(0)
    settings = {"width": 64, "channels": 64, "upsamples": 1, "blocks": 0, "up_kernel": up_kernel}
    module = built((64, 32, 32), **settings)
    up = next(m for m in module.modules() if isinstance(m, nn.ConvTranspose2d))
    assert float(up(torch.randn(4, 64, 32, 32)).detach().var()) == pytest.approx(2.0, rel=0.15)


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": 0},
        {"width": 2.5},
        {"blocks": -1},
        {"block": "resdual"},
        {"kernel": 4},
        {"upsamples": 4},
        {"channels": True},
        {"up_kernel": 5},
        {"activation": "tanh"},
    ],
    ids=str,
)
def test_wrong_settings_are_told(wrong: dict[str, Any]) -> None:
    for method in (HeatmapHead().build, HeatmapHead().macs):
        with pytest.raises(InputError, match=next(iter(wrong))) as told:
            method(head(**wrong), (4, 8, 8), 2)
        assert "\n" not in str(told.value)


def test_the_space_reaches_from_below_one_to_hundreds_of_millions() -> None:
    folder = Path(__file__).parents[3] / "search_spaces"
    space = SearchSpace.from_file(folder / "heatmap_head.yaml")
    rng = np.random.default_rng(0)
    costs = [
        HeatmapHead().macs(space.decode(point), (128, 8, 8), 17) / 1e6
        for point in rng.random((2000, space.dim))
    ]
    low, middle, high = np.percentile(costs, [5, 50, 95])
    assert low < 1.0
    assert 2.0 < middle < 40.0
    assert 50.0 < high < 500.0

"""The master module: stages, compound scaling, ends, settings that are wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from evonas.errors import InputError
from evonas.models.networks.common.regression_head import ENDS, end_macs, features, make_end
from evonas.models.networks.master_module import MasterModule, compound, dimensions
from evonas.models.networks.residual_head import ResidualHead
from evonas.space import Architecture

SETTINGS: dict[str, Any] = {
    "tap": "x", "stem": 16, "stages": 3, "n": 0, "block1": "residual", "kernel1": 3,
    "attention1": "none", "block2": "conv", "kernel2": 3, "attention2": "se", "block3": "ghost",
    "kernel3": 5, "attention3": "cbam", "activation": "relu", "end": "flatten", "hidden": 32,
    "dropout": 0.0,
}  # fmt: skip


def architecture(**changes: Any) -> Architecture:
    kept = {k: v for k, v in (SETTINGS | changes).items() if v is not None}
    return Architecture("master_module", kept)


@pytest.mark.parametrize(
    ("in_shape", "maps"),
    [
        ((64, 17, 17), [(9, 9), (5, 5), (3, 3)]),
        ((128, 8, 8), [(8, 8), (4, 4), (2, 2)]),
        ((256, 4, 4), [(4, 4), (2, 2), (1, 1)]),
        ((8, 1, 1), [(1, 1), (1, 1), (1, 1)]),
        ((8, 1, 12), [(1, 6), (1, 3), (1, 2)]),
    ],
)
def test_channels_double_and_resolution_halves(
    in_shape: tuple[int, int, int], maps: list[tuple[int, int]]
) -> None:
    module = dimensions(architecture(), in_shape)
    blocks = [block for stage in module.stages for block in stage]
    sizes = [block.spec.out_size(block.h, block.w) for block in blocks]
    assert sizes == maps
    assert [block.spec.c_out for block in blocks] == [16, 32, 64]
    assert module.out_shape == (64, *maps[-1])


@pytest.mark.parametrize(
    ("stride1", "in_shape", "maps"),
    [
        (1, (64, 17, 17), [(17, 17), (9, 9), (5, 5)]),
        (2, (64, 17, 17), [(9, 9), (5, 5), (3, 3)]),
        (2, (128, 8, 8), [(4, 4), (2, 2), (1, 1)]),
    ],
)
def test_the_stride_of_the_first_stage_is_a_setting(
    stride1: int, in_shape: tuple[int, int, int], maps: list[tuple[int, int]]
) -> None:
    stages = dimensions(architecture(stride1=stride1), in_shape).stages
    assert [stage[-1].spec.out_size(stage[-1].h, stage[-1].w) for stage in stages] == maps
    with pytest.raises(InputError, match="stride1"):
        dimensions(architecture(stride1=3), in_shape)


def test_the_first_design_is_the_residual_head() -> None:
    """So a search trains what an expert would put on each tap."""
    in_shape = (64, 17, 17)
    design = architecture(
        **MasterModule.designs[0], stem=20, hidden=0, attention1="none", attention2="none"
    )
    master = MasterModule().build(design, in_shape, 3)
    head = ResidualHead().build(Architecture("residual_head", {"width": 20}), in_shape, 3)
    own, other = master.state_dict(), head.state_dict()
    assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in other.items()}
    x = torch.randn(2, *in_shape)
    master.load_state_dict(other)
    assert torch.equal(master.eval()(x), head.eval()(x))


@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("n", [0, 1, 2, 3])
@pytest.mark.parametrize("split", [0.0, 0.33, 0.67, 1.0])
def test_depth_times_squared_width_is_two_to_the_n(stages: int, n: int, split: float) -> None:
    repeats, width = compound(stages, n, split)
    assert sum(repeats) * width**2 == pytest.approx(stages * 2**n)
    assert max(repeats) - min(repeats) <= 1
    assert sum(repeats) == max(stages, round(stages * 2 ** (n * split)))
    if split == 0.0:
        assert sum(repeats) == stages
    if split == 1.0:
        assert width == pytest.approx(1.0)


@pytest.mark.parametrize("split", [0.0, 0.33, 0.67, 1.0])
def test_operations_about_double_with_n(split: float) -> None:
    """Not exactly: the stem is linear in width, and channels are rounded."""
    network, in_shape = MasterModule(), (16, 8, 8)
    common = {"stem": 32, "block2": "residual", "block3": "residual", "split": split, "hidden": 0}
    costs = [network.macs(architecture(n=n, **common), in_shape, 3) for n in range(4)]
    relative = np.array(costs) / costs[0] / 2 ** np.arange(4)
    assert (relative > 0.8).all(), relative
    assert (relative < 1.25).all(), relative


def test_cost_by_hand() -> None:
    """128x8x8: stem, residual at 8x8, convolution and SE at 4x4, ghost and CBAM at 2x2, end."""
    stem = 128 * 16 * 64
    residual = 2 * 9 * 16 * 16 * 64
    conv = 9 * 16 * 32 * 16 + 2 * 32 * 8
    ghost = (32 * 32 + 25 * 32) * 16 + 25 * 64 * 4 + (64 * 32 + 25 * 32) * 4
    cbam = 4 * 64 * 4 + 98 * 4
    end = 64 * 4 * 32 + 32 * 3
    expected = stem + residual + conv + ghost + cbam + end
    assert MasterModule().macs(architecture(), (128, 8, 8), 3) == expected == 556_904


def test_settings_without_effect_may_be_left_out() -> None:
    network = MasterModule()
    one = architecture(stages=1, block2=None, kernel2=None, attention2=None, block3=None)
    assert network.build(one, (8, 4, 4), 2)(torch.zeros(2, 8, 4, 4)).shape == (2, 2)
    default_kernel = network.macs(architecture(kernel1=None), (8, 4, 4), 2)
    assert default_kernel == network.macs(architecture(kernel1=3), (8, 4, 4), 2)


def test_dropout_stands_in_front_of_the_last_layer() -> None:
    end = make_end("pool", (4, 2, 2), 3, hidden=8, dropout=0.5, act="relu")
    kinds = [type(layer).__name__ for layer in end]
    assert kinds[1:] == ["Linear", "ReLU", "Dropout", "Linear"]
    with_it = MasterModule().macs(architecture(dropout=0.5), (4, 2, 2), 3)
    assert with_it == MasterModule().macs(architecture(), (4, 2, 2), 3)


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (4, 4), (9, 6), (17, 17)])
def test_ends(kind: str, size: tuple[int, int]) -> None:
    in_shape = (3, *size)
    end = make_end(kind, in_shape, 2, hidden=0, dropout=0.0, act="relu")
    x = torch.randn(2, *in_shape, requires_grad=True)
    y = end(x)
    assert y.shape == (2, 2)
    y.sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all(), "every place counts"
    assert features(kind, in_shape) <= 3 * 16
    assert end_macs(kind, in_shape, 2, hidden=0) < 1000


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"block2": "residul"}, "did you mean 'residual'"),
        ({"stem": None}, "needs the setting 'stem'"),
        ({"stem": 0}, "'stem': expected an integer in 1..65536, got 0"),
        ({"stem": True}, "got True"),
        ({"kernel1": 4}, "expected an odd integer in 1..31, got 4"),
        ({"attention1": "seq"}, "'attention1'"),
        ({"activation": "gelu"}, "'activation'"),
        ({"end": "mean"}, "'end'"),
        ({"hidden": 1.5}, "'hidden'"),
        ({"dropout": 1.0}, "'dropout': expected a number in"),
        ({"dropout": float("nan")}, "got nan"),
        ({"split": -0.1}, "'split'"),
        ({"stages": 4}, "'stages'"),
        ({"n": 9}, "'n'"),
    ],
)
def test_wrong_settings_are_told_in_one_line(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as info:
        MasterModule().build(architecture(**change), (8, 4, 4), 2)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("act", ["relu", "silu", "hardswish"])
def test_a_stage_of_many_blocks_keeps_the_scale(act: str) -> None:
    """An activation behind each addition would shrink the stream, block by block."""
    deep = {f"block{i}": "depthwise_separable" for i in (1, 2, 3)}
    changes = deep | {"n": 3, "split": 1.0, "activation": act}
    torch.manual_seed(0)
    module = MasterModule().build(architecture(**changes), (16, 8, 8), 2)
    x = torch.randn(32, 16, 8, 8)
    x, scales = module.stem(x), []
    for block in (
        block for name, stage in module.named_children() if "stage" in name for block in stage
    ):
        x = block(x)
        scales.append(x.std().item())
    for first, last in ((0, 7), (8, 15), (16, 23)):
        assert 0.7 < scales[last] / scales[first] < 1.5

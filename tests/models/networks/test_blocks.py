"""Every block, kernel, attention and stride on its own: shape, gradients, cost."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.networks import blocks
from evonas.models.networks.blocks import BlockSpec
from evonas.models.networks.common.attention import ATTENTIONS, make_attention
from evonas.models.networks.common.layers import ACTIVATIONS, activation

CASES = list(itertools.product((1, 3, 5, 7), (1, 2)))
SHAPES = [(8, 8, 8, 8), (7, 5, 5, 4), (5, 10, 1, 1), (1, 1, 3, 2), (3, 3, 7, 7)]  # C, D, h, w


def test_every_announced_block_is_there() -> None:
    expected = {"conv", "residual", "inverted_residual", "depthwise_separable", "bottleneck"}
    assert expected | {"shufflenet_v2", "ghost", "dilated"} <= set(blocks.names())


@pytest.mark.parametrize("name", blocks.names())
@pytest.mark.parametrize(("kernel", "stride"), CASES)
def test_cost_equals_fvcore(name: str, kernel: int, stride: int) -> None:
    """All attentions; a different odd shape for each, so that 8 x 4 x 2 x 3 stays quick."""
    for i, attention in enumerate(ATTENTIONS):
        c_in, c_out, h, w = SHAPES[(i + kernel + stride) % len(SHAPES)]
        spec = BlockSpec(c_in, c_out, kernel, stride, attention, "relu")
        block = blocks.load(name)
        assert block.macs(spec, h, w) == count(block(spec), (c_in, h, w)).macs, (spec, h, w)


@pytest.mark.parametrize("name", blocks.names())
@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_trains_at_batch_two(name: str, shape: tuple[int, int, int, int]) -> None:
    c_in, c_out, h, w = shape
    for kernel, stride, attention in itertools.product((1, 5), (1, 2), ATTENTIONS):
        torch.manual_seed(0)
        block = blocks.load(name)(BlockSpec(c_in, c_out, kernel, stride, attention, "prelu"))
        y = block(torch.randn(2, c_in, h, w))
        assert y.shape == (2, c_out, -(-h // stride), -(-w // stride))
        y.square().sum().backward()
        for key, parameter in block.named_parameters():
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize(
    "name", ["bottleneck", "depthwise_separable", "ghost", "inverted_residual", "residual"]
)
def test_a_block_with_a_shortcut_starts_near_it(name: str) -> None:
    block = blocks.load(name)(BlockSpec(9, 9))
    x = torch.randn(8, 9, 4, 4)
    change = (block(x) - x).std()
    assert 0.05 < change < 0.4
    for norm in block.closing_norms(block.body):
        torch.nn.init.zeros_(norm.weight)
    torch.testing.assert_close(block(x), x)


def test_shuffling_takes_channels_in_turns() -> None:
    block = blocks.load("shufflenet_v2")(BlockSpec(5, 5)).eval()
    block.body.right = nn.Identity()
    x = torch.arange(5.0).view(1, 5, 1, 1)
    assert block(x).flatten().tolist() == [0, 2, 1, 3, 4]


def test_a_dilated_convolution_sees_further() -> None:
    for name, reach in (("conv", 1), ("dilated", 2)):
        block = blocks.load(name)(BlockSpec(1, 1, 3, act="silu")).eval()
        x = torch.zeros(1, 1, 9, 9, requires_grad=True)
        block.body(x)[0, 0, 4, 4].backward()
        assert x.grad is not None
        seen = x.grad[0, 0].nonzero()
        assert (seen - 4).abs().max() == reach, name


@pytest.mark.parametrize("kind", ["se", "cbam"])
def test_attention_only_weakens(kind: str) -> None:
    x = torch.randn(2, 6, 3, 3)
    y = make_attention(kind, 6).eval()(x)
    assert (y.abs() < x.abs()).all()
    assert (y * x >= 0).all()


def test_unknown_names_are_told() -> None:
    for call, word in (
        (lambda: blocks.load("residul"), "did you mean 'residual'"),
        (lambda: blocks.load("base"), "unknown block 'base'"),
        (lambda: blocks.load("../conv"), "unknown block"),
        (lambda: make_attention("sse", 4), "did you mean 'se'"),
        (lambda: blocks.load("conv").macs(BlockSpec(1, 1, attention="x"), 1, 1), "unknown att"),
        (lambda: activation("rulu", 4), "did you mean 'relu'"),
    ):
        with pytest.raises(InputError, match=word) as info:
            call()
        assert "\n" not in str(info.value)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_keep_shape(name: str) -> None:
    x = torch.randn(2, 3, 2, 2)
    assert activation(name, 3)(x).shape == x.shape

"""The author's space and module, against the numbers of the published code."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.networks.common import matak_blocks as author
from evonas.models.networks.head_pose_nas_2020 import AUTHOR_DEFAULT, HeadPoseNas2020
from evonas.space import Architecture, SearchSpace

IN_SHAPE = (896, 8, 8)


@pytest.fixture(scope="module")
def published() -> SearchSpace:
    folder = Path(__file__).parents[3] / "search_spaces"
    return SearchSpace.from_file(folder / "head_pose_nas_2020.yaml")


def with_multiplier(f: int) -> Architecture:
    return Architecture(AUTHOR_DEFAULT.network, dict(AUTHOR_DEFAULT.settings) | {"flops": f})


def test_size_and_genes(published: SearchSpace) -> None:
    assert published.size == 11_943_936
    assert published.dim == 13
    assert published.encode(AUTHOR_DEFAULT).shape == (13,)


@pytest.mark.parametrize(("f", "mflops"), [(1, 2.46), (2, 3.80), (4, 6.96), (8, 12.29)])
def test_flops_of_the_convolution_module(f: int, mflops: float) -> None:
    macs = HeadPoseNas2020().macs(with_multiplier(f), IN_SHAPE, 3)
    assert round(2 * macs / 1e6, 2) == mflops


def test_parameters_of_the_authors_default() -> None:
    module = HeadPoseNas2020().build(AUTHOR_DEFAULT, IN_SHAPE, 3)
    assert sum(p.numel() for p in module.parameters()) == 176_005


@pytest.mark.parametrize("kind", author.KINDS)
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_each_block_against_fvcore(kind: str, kernel: int) -> None:
    for h, w in ((8, 8), (5, 7), (1, 1)):
        module = author.normal(kind, 4, kernel)
        assert module(torch.zeros(2, 4, h, w)).shape == (2, 4, h, w)
        assert count(module, (4, h, w)).macs == author.normal_macs(kind, 4, kernel, h * w)
        module = author.upscale(kind, 4, 3, kernel, (h, w))
        halved = -(-h // 2), -(-w // 2)
        size = halved if author.halves(kind) else (h, w)
        assert module(torch.zeros(2, 4, h, w)).shape == (2, 6, *size)
        expected = author.upscale_macs(kind, 4, 3, kernel, h * w, halved[0] * halved[1])
        assert count(module, (4, h, w)).macs == expected


@pytest.mark.parametrize(("kernel", "side"), list(itertools.product((1, 3, 5), (1, 4, 5, 8))))
def test_same_padding_puts_the_spare_zeros_last(kernel: int, side: int) -> None:
    """Against its definition: with stride 2, output i starts at 2 i - floor(spare / 2)."""
    layer = author.same_conv(1, 1, kernel, stride=2, size=(side, side), bias=False)
    torch.nn.init.ones_(next(layer.parameters()))
    x = torch.randn(1, 1, side, side)
    out = -(-side // 2)
    before = max((out - 1) * 2 + kernel - side, 0) // 2
    expected = np.zeros((out, out))
    for i, j in np.ndindex(out, out):
        rows = slice(max(2 * i - before, 0), 2 * i - before + kernel)
        columns = slice(max(2 * j - before, 0), 2 * j - before + kernel)
        expected[i, j] = x[0, 0, rows, columns].sum()
    np.testing.assert_allclose(layer(x).detach()[0, 0], expected, atol=1e-5)


def test_details_of_the_published_module() -> None:
    module = HeadPoseNas2020().build(AUTHOR_DEFAULT, IN_SHAPE, 3)
    reduce_1, reduce_2 = module[0], module[1]
    assert reduce_1.bias is None
    assert reduce_2.bias is None
    assert module[2].bias is not None
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            assert (part.momentum, part.eps) == (0.1, 1e-5)
        if isinstance(part, torch.nn.PReLU):
            assert (part.weight == 0.1).all()
    assert module[-2].in_features == 24 * 11
    assert module[-2].out_features == 128


@pytest.mark.parametrize(("f", "width"), [(1, 192), (2, 264), (4, 384), (8, 528)])
@pytest.mark.parametrize("kind", author.KINDS)
def test_the_flattened_width_is_24_ch(f: int, width: int, kind: str) -> None:
    settings = dict(with_multiplier(f).settings) | {"block1": kind, "block4": kind}
    module = HeadPoseNas2020().build(Architecture("head_pose_nas_2020", settings), (4, 8, 8), 3)
    assert module[-2].in_features == width


def test_the_space_is_cheap_and_dear_as_published(published: SearchSpace) -> None:
    """Domain statistics of 400 genomes: median 7.4 MFLOPs, p5 2.1, p95 36.6, 63 % below 10."""
    network, rng = HeadPoseNas2020(), np.random.default_rng(0)
    genomes = rng.random((1000, 13))
    costs = [2e-6 * network.macs(published.decode(g), IN_SHAPE, 3) for g in genomes]
    low, middle, high = np.percentile(costs, [5, 50, 95])
    assert 1.8 < low < 2.5
    assert 6.5 < middle < 9.0
    assert 30 < high < 43
    assert 0.55 < np.mean(np.array(costs) < 10) < 0.68


def test_wrong_settings_are_told() -> None:
    for change, words in (({"block3": "res"}, "'block3'"), ({"flops": 0}, "'flops'")):
        wrong = Architecture("head_pose_nas_2020", dict(AUTHOR_DEFAULT.settings) | change)
        with pytest.raises(InputError, match=words):
            HeadPoseNas2020().macs(wrong, IN_SHAPE, 3)

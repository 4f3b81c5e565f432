"""Parameters and batch norm statistics that are computed, against modules that are built."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save
from torch import nn

from evonas.core import registry
from evonas.models.built_weights import weights_of, weights_when_built
from evonas.models.networks.base import Network, Shape
from evonas.models.networks.blocks.base import Block, BlockSpec
from evonas.models.weight_count import WeightCount
from evonas.space import Architecture, SearchSpace

SPACES = Path(__file__).parents[2] / "search_spaces"
SEARCHED = ("evopose2d", "head_pose_nas_2020", "heatmap_head", "master_module")


def space_of(name: str) -> tuple[SearchSpace, Network]:
    space = SearchSpace.from_file(SPACES / f"{name}.yaml")
    family: Network = registry.load("network", space.network)()
    return space, family


@pytest.mark.parametrize("in_shape", [(128, 8, 8), (5, 9, 3)], ids=str)
@pytest.mark.parametrize("name", SEARCHED)
def test_random_genomes_hold_what_was_computed(name: str, in_shape: Shape) -> None:
    space, family = space_of(name)
    for point in np.random.default_rng(5).random((6, space.dim)):
        architecture = space.decode(point)
        built = weights_when_built(lambda one=architecture: family.build(one, in_shape, 7))
        assert family.weights(architecture, in_shape, 7) == built, architecture


def test_megabytes_are_those_of_the_file_of_weights() -> None:
    """But for 8 bytes a batch norm, its counter, and the header."""
    space, family = space_of("master_module")
    for point in np.random.default_rng(6).random((4, space.dim)):
        architecture = space.decode(point)
        module = family.build(architecture, (32, 8, 8), 3)
        state = module.state_dict()
        floats = {name: value for name, value in state.items() if value.is_floating_point()}
        header = int.from_bytes(save(floats)[:8], "little") + 8
        size = family.weights(architecture, (32, 8, 8), 3).megabytes
        assert size == pytest.approx((len(save(floats)) - header) / 1e6, abs=1e-9)


@pytest.mark.parametrize("name", SEARCHED)
def test_a_search_can_ask_for_thousands(name: str) -> None:
    """Optimizers do in every ask: as a ratio to building, which takes 10 to 100 ms."""
    space, family = space_of(name)
    chosen = [space.decode(point) for point in np.random.default_rng(7).random((400, space.dim))]
    start = time.process_time()
    for architecture in chosen:
        family.weights(architecture, (64, 8, 8), 3)
    computed = (time.process_time() - start) / len(chosen)
    start = time.process_time()
    for architecture in chosen[:4]:
        weights_when_built(lambda one=architecture: family.build(one, (64, 8, 8), 3))
    assert computed < (time.process_time() - start) / 4 / 3


class Foreign(Network):
    """A family of another package, which computes nothing itself."""

    settings = frozenset({"width"})
    built = 0

    def build(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> nn.Module:
        type(self).built += 1
        width = architecture.settings["width"]
        return nn.Sequential(nn.Conv2d(in_shape[0], width, 3), nn.BatchNorm2d(width))

    def macs(self, architecture: Architecture, in_shape: Shape, n_outputs: int) -> int:
        return 1


def test_a_family_that_computes_nothing_is_built_once_and_draws_nothing() -> None:
    before = torch.get_rng_state()
    architecture = Architecture("foreign", {"width": 5})
    for _ in range(3):
        found = Foreign().weights(architecture, (2, 4, 4), 1)
        assert found == WeightCount(2 * 5 * 9 + 5 + 10, 10)
    assert Foreign.built == 1
    assert torch.equal(torch.get_rng_state(), before)


class ForeignBlock(Block):
    """A block of another package."""

    shortcut = "projection"

    @staticmethod
    def make_body(spec: BlockSpec) -> nn.Module:
        return nn.Conv2d(spec.c_in, spec.c_out, 1, spec.stride)

    @staticmethod
    def body_macs(spec: BlockSpec, h: int, w: int) -> int:
        return 1


@pytest.mark.parametrize("stride", [1, 2])
def test_a_block_that_computes_nothing_is_built(stride: int) -> None:
    spec = BlockSpec(6, 6, stride=stride, attention="se", act="prelu")
    assert ForeignBlock.weights(spec) == weights_of(ForeignBlock(spec))

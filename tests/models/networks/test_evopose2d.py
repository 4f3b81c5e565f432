"""EvoPose2D against the sizes that its paper prints, and what its settings mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.networks.evopose2d import ANCESTOR, EvoPose2D, rounded, scaling
from evonas.space import Architecture, SearchSpace

FAMILY = EvoPose2D()
SPACES = Path(__file__).parents[3] / "search_spaces"
#: Genotype of M, L and S of the published code's configurations: kernel, repeats, filters / 8,
#: stride; XS has a stride of 2 in stage 6.
PUBLISHED = (
    *((3, 1, 2, 1), (3, 3, 3, 2), (5, 2, 5, 2), (3, 4, 10, 2)),
    *((5, 2, 14, 1), (5, 4, 16, 1), (3, 2, 10, 1)),
)


def architecture(**changes: int) -> Architecture:
    settings: dict[str, object] = {}
    for stage, (kernel, repeats, filters, stride) in enumerate(PUBLISHED, start=1):
        settings |= {f"kernel{stage}": kernel, f"repeats{stage}": repeats}
        settings |= {f"filters{stage}": filters}
        if stage >= 5:
            settings[f"stride{stage}"] = stride
    return Architecture("evopose2d", {**settings, **changes})


@pytest.mark.parametrize(
    ("name", "changes", "size", "millions", "giga"),
    [  # McNally et al. 2021, arXiv 2011.08446: 17 key points
        ("XS", {"stride6": 2}, (256, 192), 2.53, 0.47),
        ("S", {}, (256, 192), 2.53, 1.07),
        ("M", {}, (384, 288), 7.34, 5.59),
        ("L", {}, (512, 384), 14.7, 17.7),
    ],
)
def test_published_sizes(
    name: str, changes: dict[str, int], size: tuple[int, int], millions: float, giga: float
) -> None:
    network, shape = architecture(**changes), (3, *size)
    with torch.device("meta"):
        module = FAMILY.build(network, shape, 17)
    numbers = [v.numel() for v in module.state_dict().values() if v.is_floating_point()]
    assert sum(numbers) / 1e6 == pytest.approx(millions, rel=0.01)
    assert FAMILY.macs(network, shape, 17) / 1e9 == pytest.approx(giga, rel=0.03)


def test_the_formula_is_what_is_counted() -> None:
    for changes in ({}, {"stride6": 2, "kernel3": 3, "repeats2": 1, "filters7": 3}):
        network, shape = architecture(**changes), (3, 64, 48)
        counted = count(FAMILY.build(network, shape, 5), shape)
        assert counted.macs == FAMILY.macs(network, shape, 5)


@pytest.mark.parametrize(("stride", "side"), [(1, (64, 48)), (2, (32, 24))])
def test_heat_maps_are_eight_times_the_last_stage(stride: int, side: tuple[int, int]) -> None:
    module = FAMILY.build(architecture(stride6=stride), (3, 128, 96), 5).eval()
    assert module(torch.zeros(2, 3, 128, 96)).shape == (2, 5, *side)


def test_scaling_from_the_resolution() -> None:
    assert scaling(256, 192) == (1.0, 1.0)
    assert scaling(384, 288) == pytest.approx((1.697, 1.319), abs=1e-3)
    assert scaling(512, 384) == pytest.approx((2.470, 1.604), abs=1e-3)
    assert scaling(96, 96) == (1.0, 1.0), "never smaller than what was searched"
    assert [rounded(x) for x in (1, 16, 21.1, 26.4, 33.9)] == [8, 16, 24, 24, 32]
    assert all(rounded(x) >= 0.9 * x for x in range(1, 400))


def test_the_space_has_the_published_size() -> None:
    space = SearchSpace.from_file(SPACES / "evopose2d.yaml")
    assert space.size == 2**7 * 4**7 * (2 * 3 * 5 * 10 * 14 * 24 * 40) * 2**3
    assert len(space.genes) == 3 * 7 + 3
    empty = Architecture("evopose2d", {})
    full = {f"filters{n}": gene[2] for n, gene in enumerate(ANCESTOR, start=1)}
    shape = (3, 128, 96)
    same = FAMILY.macs(Architecture("evopose2d", full), shape, 4)
    assert FAMILY.macs(empty, shape, 4) == same, "left out: EfficientNet-B0's"


def test_branches_are_dropped_in_training_alone_and_shortcuts_survive() -> None:
    torch.manual_seed(0)
    module = FAMILY.build(architecture(), (3, 64, 64), 2)
    rates = [part.drop_rate for n in range(1, 8) for part in module.get_submodule(f"stage{n}")]
    assert rates == sorted(rates)
    assert rates[0] == 0.0
    assert 0.1 < rates[-1] < 0.2
    block = module.stage6[1]
    assert block.has_shortcut
    block.drop_rate = 1 - 1e-9  # all branches
    images = torch.randn(4, 128, 4, 4)
    assert torch.equal(block.train()(images), images)
    assert not torch.equal(block.eval()(images), images)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel3": 4}, r"'kernel3': expected an odd integer"),
        ({"repeats2": 0}, r"'repeats2': expected an integer in 1\.\.64, got 0"),
        ({"stride6": 3}, r"'stride6': expected an integer in 1\.\.2, got 3"),
        ({"stride2": 1}, r"'stride2': expected 2, got 1: only the strides"),
    ],
)
def test_settings_that_are_wrong_are_named(changes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FAMILY.macs(architecture(**changes), (3, 64, 64), 2)

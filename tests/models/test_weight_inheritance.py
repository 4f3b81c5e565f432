"""Inheriting weights: the oracles of McNally et al.'s rule (2021), and what their code left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from evonas.core import registry
from evonas.errors import InputError
from evonas.models.weight_inheritance import heritable, inherit, read_parent, shapes
from evonas.space import Architecture

KERNELS, CHANNELS = st.sampled_from([1, 3, 5, 7]), st.integers(1, 9)
SHAPE = (6, 9, 9)


def convolution(kernel: int, c_in: int, c_out: int, value: float | None = None) -> nn.Conv2d:
    layer = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, bias=False)
    if value is not None:
        nn.init.constant_(layer.weight, value)
    return layer


def built(network: str, seed: int, **settings: Any) -> nn.Module:
    torch.manual_seed(seed)
    family = registry.load("network", network)()
    module = family.build(Architecture(network, settings), SHAPE, 3)
    for number, values in enumerate(module.buffers()):  # statistics as after a training
        if values.is_floating_point():
            values.add_(torch.rand_like(values) + number)
    return module


@given(KERNELS, KERNELS, CHANNELS, CHANNELS, CHANNELS, CHANNELS)
def test_the_common_part_is_copied_and_nothing_else(
    k: int, k_parent: int, c_in: int, c_in_parent: int, c_out: int, c_out_parent: int
) -> None:
    child = convolution(k, c_in, c_out, 0.0)
    parent = convolution(k_parent, c_in_parent, c_out_parent)
    found = inherit(child, parent.state_dict())
    kernel, inputs, outputs = min(k, k_parent), min(c_in, c_in_parent), min(c_out, c_out_parent)
    assert found.copied == kernel**2 * inputs * outputs
    assert found.total == child.weight.numel()
    assert heritable(shapes(child.state_dict()), shapes(parent.state_dict())) == found
    into, source = (k - kernel) // 2, (k_parent - kernel) // 2
    expected = torch.zeros_like(child.weight)
    expected[:outputs, :inputs, into : into + kernel, into : into + kernel] = parent.weight[
        :outputs, :inputs, source : source + kernel, source : source + kernel
    ]
    assert torch.equal(child.weight, expected)


@given(KERNELS, KERNELS, CHANNELS, CHANNELS)
def test_there_and_back_changes_nothing_of_what_is_common(
    k: int, k_other: int, channels: int, more: int
) -> None:
    first, other = convolution(k, channels, channels), convolution(k_other, channels, more, 0.0)
    inherit(other, first.state_dict())
    again = convolution(k, channels, channels)
    again.load_state_dict(first.state_dict())
    inherit(again, other.state_dict())
    assert torch.equal(again.weight, first.weight)


@pytest.mark.parametrize("groups", [1, 4])
def test_a_larger_kernel_without_its_border_computes_the_same(groups: int) -> None:
    """The case that the published code leaves at random: only the kernel changes."""
    parent = nn.Conv2d(4, 4, 3, padding=1, groups=groups)
    child = nn.Conv2d(4, 4, 5, padding=2, groups=groups)
    assert inherit(child, parent.state_dict()).copied == parent.weight.numel() + 4
    with torch.no_grad():
        border = torch.ones(5, 5, dtype=torch.bool)
        border[1:4, 1:4] = False
        child.weight[:, :, border] = 0.0
    x = torch.randn(2, 4, 8, 8)
    assert torch.allclose(child(x), parent(x), atol=1e-6)


def test_statistics_of_norms_come_along() -> None:
    parent, child = nn.BatchNorm2d(5), nn.BatchNorm2d(7)
    for values in parent.state_dict().values():
        values += 3
    assert inherit(child, parent.state_dict()).copied == 4 * 5 + 1
    for name, values in child.state_dict().items():
        own = torch.atleast_1d(values).tolist()
        fresh = 1.0 if name in ("weight", "running_var") else 0.0
        given_on = fresh + 3
        assert own == ([given_on] * 5 + [fresh] * 2 if len(own) > 1 else [3]), name


def test_other_dimensions_have_nothing_in_common() -> None:
    parent = {"weight": torch.ones(4, 4, 1, 1), "bias": torch.ones(4)}
    child = nn.Linear(4, 4)
    before = child.weight.clone()
    assert inherit(child, parent).copied == 4
    assert torch.equal(child.weight, before)
    assert heritable(shapes(child.state_dict()), shapes(parent)).copied == 4


MASTER = {
    **{"stem": 8, "stages": 2, "n": 1, "split": 1.0, "block1": "residual", "kernel1": 3},
    **{"attention1": "se", "block2": "depthwise_separable", "kernel2": 3, "attention2": "none"},
    **{"activation": "relu", "end": "pool", "hidden": 16, "dropout": 0.0},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "master_module": MASTER,
    "evopose2d": {"filters7": 4, "filters6": 3, "filters5": 2},
    "heatmap_head": {"width": 8, "blocks": 2},
    "residual_head": {"width": 6},
    "linear_probe": {},
    "head_pose_nas_2020": {
        **{f"block{i}": "residual" for i in range(6)},
        **{f"kernel{i}": 3 for i in range(6)},
        "flops": 1,
    },
}


@pytest.mark.parametrize("network", FAMILIES)
def test_a_twin_is_the_same_network(network: str) -> None:
    parent, child = (built(network, seed, **FAMILIES[network]) for seed in (1, 2))
    assert inherit(child, parent.state_dict()).share == 1.0
    x = torch.randn(2, *SHAPE)
    assert torch.equal(child.eval()(x), parent.eval()(x))


def test_an_added_repeat_takes_after_the_last_of_its_own_stage() -> None:
    parent = built("evopose2d", 1, repeats3=2).state_dict()
    child = built("evopose2d", 2, repeats3=4)
    assert inherit(child, parent).share == 1.0
    own = child.state_dict()
    for name, values in parent.items():
        if name.startswith("stage3.1."):
            for added in (2, 3):
                copied = own[name.replace("stage3.1.", f"stage3.{added}.")]
                assert torch.equal(copied, values), name
        assert torch.equal(own[name], values), name


def test_a_removed_repeat_is_left_out() -> None:
    parent = built("evopose2d", 1, repeats4=4).state_dict()
    child = built("evopose2d", 2, repeats4=2)
    assert inherit(child, parent).share == 1.0
    assert all(torch.equal(values, parent[name]) for name, values in child.state_dict().items())


@pytest.mark.parametrize(
    ("change", "fresh"),
    [
        ({"kernel1": 5}, "nothing"),
        ({"n": 3}, "nothing"),  # more repeats of both stages, no more width
        ({"block1": "bottleneck", "attention1": "none"}, "stage1_bottleneck."),
        ({"stages": 1, "n": 1, "split": 0.0}, "nothing"),
        ({"end": "flatten"}, "end.hidden_of_places."),
        ({"hidden": 0}, "end.outputs_of_channels."),
    ],
)
def test_names_of_a_master_module_tell_what_weights_are_for(
    change: dict[str, Any], fresh: str
) -> None:
    parent = {
        name: torch.full_like(v, 7)
        for name, v in built("master_module", 1, **MASTER).state_dict().items()
    }
    child = built("master_module", 2, **MASTER | change)
    inherit(child, parent)
    untouched = {name for name, values in child.state_dict().items() if not (values == 7).any()}
    assert untouched == {name for name in child.state_dict() if name.startswith(fresh)}


def test_files_that_are_no_weights_are_told_in_one_line(tmp_path: Any) -> None:
    damaged = tmp_path / "a.safetensors"
    damaged.write_bytes(b"no weights")
    for path in (damaged, tmp_path / "missing.safetensors"):
        with pytest.raises(InputError, match="expected the weights of a parent") as told:
            read_parent(path)
        assert "\n" not in str(told.value)

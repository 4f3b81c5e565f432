"""Pruning is exact: what is left computes what the whole network does with zeros."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from deployment import networks
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from evonas.deployment.pruning.filter_pruning import Prunable
from evonas.deployment.pruning.surgery import fit
from evonas.errors import InputError

EXAMPLE = torch.zeros(2, 3, 8, 8)
CACHE: dict[type[nn.Module], Prunable] = {}


def prunable(kind: type[nn.Module]) -> Prunable:
    """Return a network's prunable form, traced once."""
    if kind not in CACHE:
        CACHE[kind] = Prunable(networks.made(kind), EXAMPLE)
    return CACHE[kind]


def chosen(network: Prunable, seed: int, share: float) -> dict[str, np.ndarray]:
    """Return a random choice of every map's filters."""
    rng = np.random.default_rng(seed)
    return {one.name: rng.random(one.shape[0]) < share for one in network.maps}


@pytest.mark.parametrize("kind", networks.KINDS)
@settings(max_examples=12)
@given(
    seed=st.integers(0, 999), share=st.floats(0.0, 1.0), shared=st.sampled_from(["union", "last"])
)
def test_what_is_left_computes_what_the_whole_does_with_zeros(kind, seed, share, shared):
    network = prunable(kind)
    plan = network.plan(chosen(network, seed, share), shared)
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        full, small = network.masked(plan)(images), network.pruned(plan)(images)
    kept = torch.from_numpy(plan.output)
    torch.testing.assert_close(small, full[:, kept], rtol=1e-4, atol=1e-5)
    assert not full[:, ~kept].any()
    assert kept.any()


@pytest.mark.parametrize("kind", networks.KINDS)
def test_nothing_changes_where_everything_stays(kind):
    network, images = prunable(kind), torch.randn(3, 3, 8, 8)
    with torch.no_grad():
        whole = networks.made(kind)(images)
        torch.testing.assert_close(network.pruned(network.plan({}))(images), whole)
        torch.testing.assert_close(network.masked(network.plan({}))(images), whole)


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (networks.Halves, ["first", "second"]),
        (networks.Residual, ["stem", "inner.0", "inner.1", "inner.2", "inner.3", "wide"]),
        (networks.Gated, ["stem", "squeeze", "excite", "point"]),
        (networks.Joined, ["right", "both", "linear"]),
    ],
)
def test_maps_are_what_layers_see_in_order(kind, names):
    assert [one.name for one in prunable(kind).maps] == names


def test_features_are_means_of_what_the_next_layer_sees():
    network, module = prunable(networks.Halves), networks.made(networks.Halves)
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        found = network.features(images)
        one, other = module.first(images).split(6, 1)
        seen = nn.functional.max_pool2d(torch.max(one, other), 2, ceil_mode=True)
    torch.testing.assert_close(found["first"], seen.mean((2, 3)))
    assert found["second"].shape == (4, 8)


def test_both_halves_of_a_max_feature_map_go_together():
    network = prunable(networks.Halves)
    keep = np.array([True, False, True, False, False, False])
    small = network.pruned(network.plan({"first": keep}))
    weights = dict(small.named_parameters())
    own = networks.made(networks.Halves).first.weight
    torch.testing.assert_close(weights["first.weight"], own[[0, 2, 6, 8]])
    assert weights["second.weight"].shape == (16, 2, 3, 3)


def test_a_residual_stage_has_one_set_of_channels():
    network = prunable(networks.Residual)
    none = {one.name: np.zeros(one.shape[0], bool) for one in network.maps}
    first, last = np.eye(8, dtype=bool)[1], np.eye(12, dtype=bool)[[2, 10]].any(0)
    union = network.plan(none | {"stem": first, "wide": last}, "union")
    assert np.flatnonzero(union.kept["stem"]).tolist() == [1, 2]
    assert np.flatnonzero(union.kept["wide"]).tolist() == [1, 2, 10]
    final = network.plan(none | {"stem": first, "wide": last}, "last")
    assert np.flatnonzero(final.kept["stem"]).tolist() == [2]
    assert np.flatnonzero(final.kept["inner.3"]).tolist() == [2]


def test_a_layer_never_loses_its_last_filter_and_it_is_said():
    network = prunable(networks.Gated)
    none = {one.name: np.zeros(one.shape[0], bool) for one in network.maps}
    plan = network.plan(none)
    # The depthwise convolution makes two channels of each that it takes.
    assert {k: int(mask.sum()) for k, mask in plan.kept.items()} == {
        "stem": 1,
        "squeeze": 1,
        "excite": 2,
        "point": 1,
    }
    assert set(plan.single) == set(plan.kept)
    assert prunable(networks.Gated).plan({}).single == ()


def test_steps_that_are_not_followed_keep_what_they_take():
    network = prunable(networks.Shuffled)
    assert [why for _, why in network.fixed] == ["view may mix channels"]
    none = {one.name: np.zeros(one.shape[0], bool) for one in network.maps}
    small = network.pruned(network.plan(none))
    assert dict(small.named_parameters())["first.weight"].shape[0] == 6
    assert dict(small.named_parameters())["second.weight"].shape[:2] == (1, 6)


def test_what_a_layer_could_do_without_stays_where_an_unknown_step_takes_it() -> None:
    network = prunable(networks.Forked)
    assert [why for _, why in network.fixed] == ["sort may mix channels"]
    none = {one.name: np.zeros(one.shape[0], bool) for one in network.maps}
    assert network.plan(none).kept["first"].all()


def test_groups_and_weights_that_are_used_twice_stay_whole():
    network = prunable(networks.Grouped)
    assert [why for _, why in network.fixed] == ["a convolution in 2 groups"]
    none = {one.name: np.zeros(one.shape[0], bool) for one in network.maps}
    shapes = {k: tuple(v.shape) for k, v in network.pruned(network.plan(none)).named_parameters()}
    assert shapes["grouped.weight"] == (6, 3, 3, 3)
    assert shapes["twice.weight"] == (6, 6, 1, 1)


def test_an_output_that_nobody_follows_stays_whole() -> None:
    network = prunable(networks.Ending)
    none = {one.name: np.zeros(one.shape[0], bool) for one in network.maps}
    plan = network.plan(none)
    assert plan.kept["first"].sum() == 1
    assert plan.output.shape == (8,)
    assert plan.output.all()


def test_a_network_without_filters_is_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="has no layer whose filters can be removed") as caught:
        Prunable(nn.Sequential(nn.AvgPool2d(2)), EXAMPLE)
    assert "\n" not in str(caught.value)


def test_a_network_that_cannot_be_traced_is_refused_in_one_line():
    with pytest.raises(InputError, match="network Branching: cannot be traced") as caught:
        Prunable(networks.made(networks.Branching), EXAMPLE)
    assert "\n" not in str(caught.value)


def test_pruned_weights_are_copies_and_can_be_trained():
    network = prunable(networks.Residual)
    small = network.pruned(network.plan(chosen(network, 0, 0.5)))
    before = network.pruned(network.plan({}))(EXAMPLE + 1)
    small(torch.randn(4, 3, 8, 8)).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in small.parameters())
    with torch.no_grad():
        for parameter in small.parameters():
            parameter.zero_()
    torch.testing.assert_close(network.pruned(network.plan({}))(EXAMPLE + 1), before)


def test_a_head_keeps_what_it_learnt_of_the_channels_that_are_left():
    kept = np.array([True, False, True, True])
    parent = nn.Sequential(nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 6, 5))
    child = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3 * 6, 5))
    nn.init.normal_(parent[0].weight)
    assert fit(child, parent, kept) == ()
    maps = torch.randn(7, 3, 2, 3)
    whole = torch.zeros(7, 4, 2, 3)
    whole[:, torch.from_numpy(kept)] = maps
    parent.eval(), child.eval()
    own = parent[2].weight.view(5, 4, 6)[:, torch.from_numpy(kept)].reshape(5, 18)
    torch.testing.assert_close(child[2].weight, own)
    torch.testing.assert_close(child[0](maps), parent[0](whole)[:, torch.from_numpy(kept)])


def test_a_head_of_another_inside_starts_afresh_there():
    missed = fit(nn.Linear(3, 6), nn.Linear(4, 8), np.array([True, True, True, False]))
    assert missed == ("weight", "bias")

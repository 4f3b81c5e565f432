"""Linear layers at the end of a network, and the same without some units."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evonas.deployment.distinctiveness.linear_layers import (
    LinearUnits,
    entering,
    final_linears,
    weights,
    without,
)
from evonas.deployment.distinctiveness.unit_similarity import Relations, merge, relations, vectors
from evonas.models.networks.common.regression_head import make_end
from evonas.models.networks.linear_probe import LinearProbe
from evonas.models.networks.master_module import MasterModule
from evonas.space import Architecture

SHAPE = (12, 4, 4)
MASTER: dict[str, Any] = {
    "stem": 8,
    "n": 0,
    "stages": 1,
    "block1": "conv",
    "attention1": "se",
    "end": "pool",
    "hidden": 10,
    "dropout": 0.2,
    "activation": "prelu",
}


@pytest.fixture
def master() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        net = MasterModule().build(Architecture("master_module", MASTER), SHAPE, 3)
        for part in net.modules():
            if isinstance(part, nn.PReLU):
                nn.init.uniform_(part.weight)
    return net.eval()


@pytest.fixture
def maps() -> Tensor:
    return torch.randn(50, *SHAPE, generator=torch.Generator().manual_seed(1))


def test_the_chain_of_layers_is_followed_back_to_what_is_pooled(master: nn.Module) -> None:
    master.train()
    modes = [part.training for part in master.modules()]
    last, first = final_linears(master, torch.zeros(1, *SHAPE))
    assert [part.training for part in master.modules()] == modes
    assert last == LinearUnits(
        "end.outputs_of_hidden",
        10,
        3,
        "end.hidden_of_channels",
        ("end.dropout", "end.act"),
    )
    assert (first.name, first.units, first.outputs) == ("end.hidden_of_channels", 8, 10)
    assert first.producer is None
    assert "rows of end.hidden_of_channels" in last.note
    assert "the layers before stay" in first.note
    # the perceptron of the attention is linear too, but not at the end
    assert sum(isinstance(part, nn.Linear) for part in master.modules()) == 4


def test_a_probe_has_one_layer_and_maps_have_none() -> None:
    probe = LinearProbe().build(Architecture("linear_probe", {}), SHAPE, 3)
    (only,) = final_linears(probe, torch.zeros(1, *SHAPE))
    assert (only.units, only.outputs, only.producer) == (12, 3, None)
    assert final_linears(nn.Conv2d(12, 3, 1), torch.zeros(1, *SHAPE)) == []


class Reused(nn.Module):
    """A layer that runs twice, and a sum between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.inner(self.inner(x)))


class Shortcut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(x + self.inner(x))


@pytest.mark.parametrize("net", [Reused(), Shortcut()], ids=["reused", "shortcut"])
def test_rows_are_left_alone_where_others_use_them(net: nn.Module) -> None:
    (only,) = final_linears(net, torch.zeros(1, 4))
    assert (only.name, only.producer) == ("last", None)


def zeroed(net: nn.Module, layer: LinearUnits, gone: list[int], maps: Tensor) -> Tensor:
    """The outputs of a network that gets zeros from some units."""
    linear = net.get_submodule(layer.name)

    def silence(part: nn.Module, given: tuple[Tensor]) -> Tensor:
        values = given[0].clone()
        values[:, gone] = 0
        return values

    handle = linear.register_forward_pre_hook(silence)
    with torch.no_grad():
        found = net(maps)
    handle.remove()
    return found


@pytest.mark.parametrize("number", [0, 1])
def test_removed_units_are_as_good_as_silent_and_cost_nothing(
    master: nn.Module, maps: Tensor, number: int
) -> None:
    layer = final_linears(master, maps[:1])[number]
    before = {k: v.clone() for k, v in master.state_dict().items()}
    weight, bias = weights(master, layer)
    gone = Relations((), ((1, 4),), (6,), 0, 1)
    with entering(master, [layer]) as seen, torch.no_grad():
        master(maps[:30])
        master(maps[30:])
    entered = torch.cat(seen[layer.name]).numpy()
    assert entered.shape == (50, layer.units)
    small = without(master, layer, merge("literal", weight, bias, entered, gone))
    with torch.no_grad():
        torch.testing.assert_close(
            small(maps), zeroed(master, layer, [1, 4, 6], maps), rtol=1e-4, atol=1e-5
        )
    fewer = sum(p.numel() for p in master.parameters()) - sum(p.numel() for p in small.parameters())
    # a column of the layer each; and of the hidden one a row, a bias and a slope of the PReLU
    assert fewer == 3 * layer.outputs + (3 * (8 + 1 + 1) if number == 0 else 0)
    assert all(torch.equal(v, before[k]) for k, v in master.state_dict().items())


def test_an_exact_merge_of_copied_units_leaves_the_network_as_it_was(maps: Tensor) -> None:
    end = make_end("flatten", SHAPE, 4, hidden=9, dropout=0.0, act="relu")
    inner: Any = end.hidden_of_places
    with torch.no_grad():
        for i, j, c in ((0, 5, 2.0), (3, 7, 0.25)):
            inner.weight[j], inner.bias[j] = c * inner.weight[i], c * inner.bias[i]
    layer = final_linears(end, maps[:1])[0]
    weight, bias = weights(end, layer)
    with entering(end, [layer]) as seen, torch.no_grad():
        expected = end(maps)
    entered = torch.cat(seen[layer.name]).numpy()
    related = relations(vectors("activations", weight, entered), similar=1.0, complementary=179.9)
    assert related.similar == ((0, 5), (3, 7))
    small: Any = without(end, layer, merge("exact", weight, bias, entered, related))
    with torch.no_grad():
        torch.testing.assert_close(small(maps), expected, rtol=1e-5, atol=1e-5)
    assert small.hidden_of_places.out_features == small.outputs_of_hidden.in_features == 7


def test_a_layer_without_a_bias_gets_one_and_a_network_may_be_one_layer() -> None:
    net = nn.Linear(3, 2, bias=False)
    x = torch.randn(20, 3)
    x[:, 1] = 2.0
    (layer,) = final_linears(net, x[:1])
    weight, bias = weights(net, layer)
    assert not bias.any()
    merged = merge("exact", weight, bias, x.numpy(), Relations((), (), (1,), 0, 0))
    small = without(net, layer, merged)
    torch.testing.assert_close(small(x), net(x))


def test_nothing_removed_is_the_same_network(master: nn.Module, maps: Tensor) -> None:
    for layer in final_linears(master, maps[:1]):
        weight, bias = weights(master, layer)
        none = merge("exact", weight, bias, np.zeros((2, layer.units)), Relations((), (), (), 0, 0))
        small = without(master, layer, none)
        assert small.state_dict().keys() == master.state_dict().keys()
        with torch.no_grad():
            assert torch.equal(small(maps), master(maps))


def test_names_stay_in_order() -> None:
    net = nn.Sequential(OrderedDict(a=nn.Linear(4, 6), b=nn.ReLU(inplace=True), c=nn.Linear(6, 2)))
    last, first = final_linears(net, torch.zeros(1, 4))
    assert (last.producer, last.between, first.name) == ("a", ("b",), "a")

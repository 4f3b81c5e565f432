"""A network's blocks: every block has its shape, and their costs are those of the whole."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from evonas.core import registry
from evonas.estimation.cost.block_summary import blocks
from evonas.estimation.cost.complexity import count
from evonas.space import Architecture

GOLDEN = Path(__file__).parents[2] / "golden" / "network_costs.json"
SHIPPED = {name: rows[0] for name, rows in json.loads(GOLDEN.read_text("utf-8")).items() if rows}


@pytest.mark.parametrize("name", SHIPPED)
def test_blocks_add_up_to_the_network(name: str) -> None:
    architecture = Architecture(SHIPPED[name]["network"], SHIPPED[name]["settings"])
    module = registry.load("network", architecture.network)().build(architecture, (128, 8, 8), 3)
    found, whole = blocks(module, (128, 8, 8)), count(module, (128, 8, 8))
    assert sum(block.macs for block in found) == whole.macs
    assert sum(block.params for block in found) == sum(p.numel() for p in module.parameters())
    assert len(found) >= 1
    assert all(block.shape for block in found if block.name != "(between)")
    assert json.loads(json.dumps([block.to_dict() for block in found]))


def test_a_row_is_split_where_its_parts_have_parts() -> None:
    inner = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    net = nn.Sequential()
    net.add_module("stem", nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU()))
    net.add_module("stage", nn.Sequential(inner))
    net.add_module("end", nn.Sequential(nn.Flatten(), nn.Linear(4 * 4 * 4, 2)))
    found = {block.name: block for block in blocks(net, (3, 8, 8))}
    assert list(found) == ["stem", "stage.0", "end"]
    assert found["stem"].shape == (3, 8, 8)
    assert found["stem"].macs == 3 * 3 * 64
    assert found["stage.0"].layers == "3×3 /2 3→4, ReLU"
    assert found["stage.0"].macs == 3 * 4 * 9 * 16
    assert found["stage.0"].params == 3 * 4 * 9 + 8
    assert found["end"].shape == (2,)
    assert found["end"].layers == "Flatten, linear 64→2"


def test_what_a_network_does_between_its_blocks_is_told() -> None:
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.weight = nn.Parameter(torch.ones(4, 5))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.first(x) @ self.weight

    net = Between()
    net.train()
    first, rest = blocks(net, (4,))
    assert (first.macs, rest.name, rest.macs, rest.params) == (16, "(between)", 20, 20)
    assert net.training

"""What time and memory follow from, counted by hand beside."""

from __future__ import annotations

import torch
from torch import nn

from evonas.estimation.cost.workload import Work, count


def test_a_network_that_can_be_counted_by_hand() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),  # 3 x 6 x 6 in, 8 x 6 x 6 out
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        nn.Linear(8, 2),
    )
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = count(module, (3, 6, 6), macs=77)
    assert found == Work(
        macs=77,
        elements=3 * 8 * 36 + 8 + 8 + 2,
        widest=2 * 8 * 36,
        layers=6,
        params=8 * 3 * 9 + 16 + 18,
    )
    assert module.training
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(part._forward_hooks for part in module.modules())

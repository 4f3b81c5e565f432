"""Batch norms become part of the layer before, or a scale and a shift: the outputs stay."""

from __future__ import annotations

import pytest
import torch
from quantizable import SIDE, Norm, images, made
from torch import Tensor, nn

from evonas.deployment.quantization.capture import capture


class _Chain(nn.Module):
    """Folded into a convolution with bias, one without, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.one = nn.Conv2d(3, 4, 3, 2), Norm(4)
        self.second, self.two = nn.Conv2d(4, 6, 3, 2, groups=2, bias=False), Norm(6)
        self.third, self.three = nn.Linear(6, 5), nn.BatchNorm1d(5, affine=False)
        self.three.running_mean += 0.3

    def forward(self, x: Tensor) -> Tensor:
        x = self.two(self.second(self.one(self.first(x / 255)).relu()))
        found: Tensor = self.three(self.third(x.mean((2, 3))))
        return found


class _Apart(nn.Module):
    """None can be folded: behind a sum, an output used twice, weights used twice, an image."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.used, self.same = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.norms = nn.ModuleList([Norm(3), *(Norm(4) for _ in range(4))])

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(self.norms[0](x / 255))
        x = self.norms[1](x + x.relu())
        once = self.used(x)
        x = self.norms[2](once) + once
        found: Tensor = self.norms[3](self.same(x)) + self.norms[4](self.same(x + 1))
        return found


@pytest.mark.parametrize(("kind", "apart"), [(_Chain, 0), (_Apart, 5)])
def test_outputs_stay_and_no_batch_norm_is_left(kind: type[nn.Module], apart: int) -> None:
    net = made(kind)
    captured = capture(net, SIDE)
    shown = images(5)
    with torch.no_grad():
        torch.testing.assert_close(captured.graph(shown), net(shown), rtol=1e-4, atol=1e-5)
    operators = [str(node.target) for node in captured.graph.graph.nodes]
    assert "aten.batch_norm.default" not in operators
    assert operators.count("aten.mul.Tensor") == apart
    used = {n.target for n in captured.graph.graph.nodes if n.op == "get_attr"}
    assert set(captured.graph.state_dict()) == used, "nothing is kept that is not used"


def test_the_size_is_that_before_folding_and_weights_are_copies() -> None:
    net = made(_Chain)
    captured = capture(net, SIDE)
    state = net.state_dict()
    floats = sum(t.numel() for name, t in state.items() if "num_batches" not in name)
    assert captured.size == 4 * floats
    before = {name: tensor.clone() for name, tensor in state.items()}
    with torch.no_grad():
        for parameter in captured.graph.parameters():
            parameter.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())

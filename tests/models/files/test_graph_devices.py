"""A traced network runs on the device of its input, whatever tensors it makes on its way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from evonas.deployment.quantization.capture import capture, unlifted
from evonas.deployment.quantization.capture import trace as program
from evonas.deployment.quantization.qat import QATNetwork
from evonas.models import tracing
from evonas.models.files.program_runner import Program

SIDE = 8


class Maker(nn.Module):
    """Makes tensors of fixed sizes and of the batch's, of numbers of the host, and copies."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 8, 3), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv(x)
        slope = torch.arange(out.shape[-1], device=x.device).float().softmax(0)
        shift = torch.zeros(out.shape[0], 8, device=x.device) + torch.full((8,), 2.0).to(x.device)
        ends = torch.linspace(0, 1, 3, device="cpu")
        found: Tensor = self.linear((out * slope).mean((2, 3)) + shift)
        return found * torch.tensor([1.0, 2.0, 3.0]) + ends.to(x.device) + torch.scalar_tensor(2.0)


def captured(net: nn.Module) -> nn.Module:
    return capture(net, SIDE).graph


def traced(net: nn.Module) -> nn.Module:
    return tracing.trace(net, torch.zeros(2, 3, SIDE, SIDE))


def opened(net: nn.Module) -> nn.Module:
    """As the program in a file of another's: the device is written in it."""
    exported = program(net.eval(), SIDE, any_batch=True)
    assert any(node.kwargs.get("device") == torch.device("cpu") for node in exported.graph.nodes)
    return _Last(Program(exported, "here"))


def again(net: nn.Module) -> nn.Module:
    return unlifted(program(captured(net), SIDE, any_batch=True))


class _Last(nn.Module):
    def __init__(self, net: Program) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x, {self.net.last})[self.net.last]  # type: ignore[no-any-return]


@pytest.mark.parametrize("made", [captured, traced, opened, again])
def test_it_follows_its_input(made: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    net, images = Maker().eval(), torch.randn(5, 3, SIDE, SIDE)
    module = made(net)
    with torch.no_grad():
        assert torch.equal(module(images), net(images))
        found = module.to("meta")(images.to("meta"))
    assert (found.device.type, found.shape) == ("meta", (5, 3))


def test_a_graph_that_names_no_device_stays_as_it_is() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    for graph in (captured(net), traced(net)):
        assert not [node for node in graph.graph.nodes if node.target is getattr]


def test_such_a_network_can_still_be_quantised_and_written(tmp_path: Path) -> None:
    pytest.importorskip("torchao")
    from evonas.deployment.quantization.backends import quantize
    from evonas.models.files.quantized_network import load_quantized

    torch.manual_seed(0)
    images = torch.randn(16, 3, SIDE, SIDE)
    whole = capture(Maker(), SIDE)
    aware = QATNetwork(whole, [images]).eval()
    with torch.no_grad():
        expected = aware(images)
        for network in (None, aware):
            path = tmp_path / "net.pt2"
            quantize(whole, "pt2e", [images], path, network)
            found = load_quantized(path)(images)
            assert (found - expected).abs().max() < 0.05 * expected.abs().max()

"""Training with simulated rounding: what a GPU would run of it, on a CPU that forbids waiting."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from op_tape import OpTape
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("torchao")

from torchao.quantization.pt2e.fake_quantize import FakeQuantize
from torchao.quantization.pt2e.observer import MovingAveragePerChannelMinMaxObserver

from evonas.core.settings import TrainingSettings
from evonas.deployment.quantization.capture import capture
from evonas.deployment.quantization.qat import QATNetwork
from evonas.deployment.quantization.weight_rounding import WeightRounding
from evonas.estimation.training.batches import TrainingData
from evonas.estimation.training.checkpoint import pause, resume
from evonas.estimation.training.cuda_graphs import Graphs
from evonas.estimation.training.training import Training
from evonas.tasks.head_pose import HeadPose

SIDE = 8
TASK = HeadPose(("yaw", "pitch"))


class Net(nn.Module):
    """Dense, depthwise and linear weights, and a norm that stays."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.linear = nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        shared = self.first(images / 64 - 2)
        out = self.depthwise(torch.relu(self.norm(shared))) + shared
        return self.linear(torch.relu(out).mean((2, 3)))  # type: ignore[no-any-return]


def images(n: int, seed: int) -> Tensor:
    return torch.rand(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)).mul(255)


def aware() -> QATNetwork:
    torch.manual_seed(0)
    return QATNetwork(capture(Net(), SIDE), [images(8, 1)])


def data() -> TrainingData:
    rng = np.random.default_rng(3)
    maps = [images(40, 4).half().numpy()]
    targets = (30 * rng.normal(size=(1, 40, 2))).astype(np.float32)
    return TrainingData(maps, targets, np.arange(32), np.arange(32, 40))


class NoWaiting(TorchDispatchMode):
    """Refuses what a host has to wait for; notes the zero points, at which torch's code looks."""

    def __init__(self) -> None:
        super().__init__()
        self.zero_points: list[torch.dtype] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default, "the host waits"
        if func is torch.ops.aten.fake_quantize_per_channel_affine_cachemask.default:
            self.zero_points.append(args[2].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("mode", [True, False])
def test_the_host_waits_for_nothing(mode: bool) -> None:
    module, seen = aware().train(mode), images(4, 2)
    with NoWaiting() as waits:
        module(seen).square().mean().backward()
    assert waits.zero_points == [torch.float32] * 3


def test_weights_are_rounded_as_torchao_does() -> None:
    """Scale, rounded weights and gradients, to the bit, also of a channel of zeros."""
    how = {
        "observer": MovingAveragePerChannelMinMaxObserver,
        "dtype": torch.int8,
        "quant_min": -128,
        "quant_max": 127,
        "qscheme": torch.per_channel_symmetric,
        "ch_axis": 0,
        "averaging_constant": 1.0,
        "eps": 2**-12,
    }
    own, other = WeightRounding(**how), FakeQuantize(**how)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(5, 4, 3, 3, generator=generator) * 10.0 ** (seed - 1)
        weight[2] = 0.0
        weight[3].abs_()
        found = []
        for rounding in (own, other):
            given = weight.clone().requires_grad_()
            out = rounding(given)
            (out * torch.arange(out.numel()).reshape(out.shape)).sum().backward()
            found.append((out, given.grad, rounding.scale, rounding.zero_point))
        for mine, its in zip(*found, strict=True):
            assert torch.equal(mine, its)
            assert mine.dtype == its.dtype
    for mine, its in zip(own.calculate_qparams(), other.calculate_qparams(), strict=True):
        assert torch.equal(mine, its)


def test_its_steps_are_captured_and_give_the_same_bits() -> None:
    """On a GPU they would be a CUDA graph, as those of any other network."""
    settings = TrainingSettings(epochs=15, batch_size=8, ema=0.9)
    tape, states = OpTape(), []
    for graphs in (Graphs("cpu"), Graphs("cpu", tape)):
        training = Training(copy.deepcopy(aware()), data(), TASK, settings, 5)
        rate = torch.full((), settings.learning_rate, dtype=torch.float64)  # as on a GPU
        if graphs._recorder:
            for group in training.step.optimizer.param_groups:
                group["lr"] = rate
        training.run(graphs=graphs)
        states.append(training.module.state_dict())
    assert (tape.captures, tape.replays) == (1, 60)
    assert [key for key, value in states[0].items() if not torch.equal(value, states[1][key])] == []


def test_a_paused_training_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Ranges of activations, and the smallest scale of each observer, are among them."""
    settings = TrainingSettings(epochs=3, batch_size=8)
    whole, begun, other = (Training(aware(), data(), TASK, settings, 5) for _ in range(3))
    whole.run()
    begun.run(until=2)
    pause(begun, tmp_path / "paused.safetensors")
    assert resume(other, tmp_path / "paused.safetensors")
    other.run()
    expected, found = whole.module.state_dict(), other.module.state_dict()
    assert [key for key, value in expected.items() if not torch.equal(value, found[key])] == []
    assert whole.outcome.history == other.outcome.history

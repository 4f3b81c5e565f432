"""A training step: its one row of parameters, and the textbook step that it has to equal."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evonas.core.settings import TrainingSettings
from evonas.deployment.quantization.capture import capture
from evonas.deployment.quantization.qat import QATNetwork
from evonas.estimation.training.batches import TrainingData
from evonas.estimation.training.training import Training
from evonas.estimation.training.training_step import Step, flattened, placed
from evonas.tasks.head_pose import HeadPose

TASK = HeadPose({"yaw": (), "pitch": (), "roll": ()})
SETTINGS = TrainingSettings(learning_rate=0.01, weight_decay=0.1)


def network(depthwise: bool) -> nn.Module:
    """With kernels of all shapes, and a slope; not yet placed.

    No bias in front of the norm: its gradient is rounding noise, which AdamW makes large.
    """
    torch.manual_seed(0)
    middle = nn.Conv2d(6, 6, 3, padding=1, groups=6 if depthwise else 1, bias=False)
    return nn.Sequential(
        *(nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.PReLU(), middle),
        *(nn.Conv2d(6, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)),
    )


def batch(number: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    return (
        torch.randn(16, 4, 5, 5, generator=generator).half(),
        30 * torch.randn(16, 3, generator=generator),
    )


def shares(row: Tensor, part: Tensor) -> bool:
    low, size = row.data_ptr(), row.numel() * row.element_size()
    return low <= part.data_ptr() < low + size


@pytest.mark.parametrize("depthwise", [False, True])
def test_parameters_become_views_of_one_row_and_stay_what_they_were(depthwise: bool) -> None:
    module = placed(network(depthwise), "cpu")
    before = {name: value.clone() for name, value in module.state_dict().items()}
    strides = {name: value.stride() for name, value in module.named_parameters()}
    row, (weights, others) = flattened(module)
    decaying = weights.size
    assert (weights.decays, others.decays, weights.rate, others.rate) == (True, False, 1.0, 1.0)
    assert len(row) == sum(p.numel() for p in module.parameters())
    assert decaying == sum(p.numel() for p in module.parameters() if p.ndim > 1)
    for name, value in module.named_parameters():
        assert torch.equal(value, before[name])
        assert value.stride() == strides[name], "its order in memory"
        assert shares(row, value)
        assert (value.storage_offset() < decaying) is (value.ndim > 1)
    row.zero_()
    assert not any(value.any() for value in module.parameters())


class Norms(nn.Module):
    """Norms that no convolution can take in, and a depthwise kernel of one element a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 1, groups=8)
        self.last = nn.Sequential(nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.linear = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        shared = self.first(x)
        out = self.depthwise(torch.relu(self.norm(shared))) + shared
        return self.linear(self.last(out))  # type: ignore[no-any-return]


@pytest.mark.parametrize("rounding", [False, True])
def test_norms_of_a_captured_graph_do_not_decay(rounding: bool) -> None:
    """There they are (c, 1, 1), two dimensions more than in the network; kernels (c, 1, 1, 1)."""
    if rounding:
        pytest.importorskip("torchao")
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255
    captured = capture(Norms(), 8)
    module = QATNetwork(captured, [images]) if rounding else captured.graph
    shapes = sorted((tuple(p.shape) for p in module.parameters()), key=len)
    assert shapes.count((8, 1, 1)) == 4
    step = Step(module, TASK, SETTINGS.model_copy(update={"learning_rate": 1e-30}), "cpu")
    # A rate that moves nothing but by decay, at which only weights become smaller.
    for group in step.optimizer.param_groups:
        group["weight_decay"] *= 1e29
    before = {name: value.clone() for name, value in module.named_parameters()}
    step(images, torch.zeros(4, 3))
    shrunk = {
        tuple(value.shape): bool((value.abs() < before[name].abs()).all())
        for name, value in module.named_parameters()
        if before[name].any()
    }
    assert shrunk == {
        (8, 3, 3, 3): True,
        (8, 1, 1, 1): True,
        (3, 8): True,
        (8,): False,
        (3,): False,
        (8, 1, 1): False,
    }
    copied = copy.deepcopy(module)  # as the average of the weights has it
    assert flattened(copied)[1] == flattened(module)[1]
    assert flattened(module)[1][0].size == 8 * 3 * 9 + 8 + 3 * 8


@pytest.mark.parametrize("depthwise", [False, True])
def test_steps_equal_the_textbook(depthwise: bool) -> None:
    """Loss by loss: AdamW over separate tensors, torch's own clipping, no row anywhere."""
    module = placed(network(depthwise), "cpu").train()
    plain = copy.deepcopy(network(depthwise)).train()
    step = Step(module, TASK, SETTINGS, "cpu")
    weights = [p for p in plain.parameters() if p.ndim > 1]
    rest = [p for p in plain.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}],
        fused=False,
    )
    for number in range(6):
        maps, targets = batch(number)
        rate = 0.01 / (number + 1)
        step.set_rate(rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = TASK.loss(plain(maps.float()), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 5.0)
        optimizer.step()
        assert float(step(maps, targets)) == pytest.approx(loss.item(), rel=1e-4)
    for (name, own), other in zip(module.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(own, other, rtol=1e-3, atol=1e-5), name
        assert own.grad is not None
        assert torch.allclose(own.grad, other.grad, rtol=1e-2, atol=1e-5), name  # type: ignore[arg-type]


def test_layers_learn_and_decay_at_rates_of_their_own() -> None:
    """As AdamW with a group for each rate; the average of the weights has the same order."""
    module, plain = placed(network(False), "cpu").train(), network(False).train()
    rates = {"0.weight": 0.1, "1.weight": 0.1, "1.bias": 0.1, "3.weight": 0.5}
    step = Step(module, TASK, SETTINGS, "cpu", rates)
    before = {name: value.clone() for name, value in module.named_parameters()}
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [value],
                "lr": 0.01 * rates.get(name, 1.0),
                "weight_decay": 0.1 if value.ndim > 1 else 0.0,
            }
            for name, value in plain.named_parameters()
        ],
        fused=False,
    )
    for number in range(4):
        maps, targets = batch(number)
        step.set_rate(0.01)
        step(maps, targets)
        optimizer.zero_grad()
        TASK.loss(plain(maps.float()), targets).backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 5.0)
        optimizer.step()
    for (name, own), other in zip(module.named_parameters(), plain.parameters(), strict=True):
        assert torch.allclose(own, other, rtol=1e-3, atol=1e-5), name
    moved = {n: float((v - before[n]).detach().abs().max()) for n, v in module.named_parameters()}
    assert moved["0.weight"] < 0.2 * moved["7.weight"]
    step.verify()


def test_averages_of_layers_with_rates_of_their_own_are_theirs() -> None:
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((16, 4, 5, 5)).astype(np.float16)
    rows = np.arange(16)
    data = TrainingData([maps], rng.standard_normal((1, 16, 3)).astype(np.float32), rows, rows)
    settings = SETTINGS.model_copy(update={"epochs": 1, "batch_size": 16, "ema": 0.9})
    module = network(False)
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    training = Training(module, data, TASK, settings, 0, rates={"0.weight": 0.1, "7.bias": 0.3})
    training.run()
    average = dict(training.average.module.named_parameters())
    for name, new in training.module.named_parameters():
        # of one step: an eleventh of the start is left
        expected = before[name] + (new - before[name]) * 10 / 11
        torch.testing.assert_close(average[name], expected, rtol=1e-4, atol=1e-6)
        assert not torch.equal(new, before[name])


def test_large_gradients_are_clipped_and_small_ones_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own, norms = TASK.loss, []
    for scale in (1000.0, 1e-6, 2e-6):
        monkeypatch.setattr(TASK, "loss", lambda *both, scale=scale: scale * own(*both))
        module = placed(network(False), "cpu").train()
        Step(module, TASK, SETTINGS, "cpu")(*batch(0))
        gradients = [p.grad.flatten() for p in module.parameters() if p.grad is not None]
        norms.append(float(torch.cat(gradients).norm()))
    assert norms[0] == pytest.approx(5.0, rel=1e-3)
    assert norms[2] == pytest.approx(2 * norms[1], rel=1e-3)


def test_a_module_that_moves_on_stays_one_row() -> None:
    """What happens to it later: loading, validating, copying."""
    module = placed(network(True), "cpu")
    step = Step(module, TASK, SETTINGS, "cpu")
    state = {name: value + 1 for name, value in module.state_dict().items()}
    module.load_state_dict(state)
    placed(module, "cpu").eval()
    for parameter in module.parameters():
        assert shares(step.parameters, parameter)
    other = copy.deepcopy(module)
    assert not any(shares(step.parameters, p) for p in other.parameters())
    assert all(p.grad is None for p in other.parameters())

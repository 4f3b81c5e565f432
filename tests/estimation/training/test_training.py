"""Training on cached features: it learns, it is deterministic, its schedules follow formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from evonas.core.settings import TrainingSettings
from evonas.estimation.training.training import (
    Diverged,
    NotANumber,
    Outcome,
    Training,
    TrainingData,
    _rate,
    predict,
    train,
    validate,
)
from evonas.tasks.head_pose import HeadPose
from evonas.tasks.regression import Regression

TASK = HeadPose(("yaw", "pitch"))
SHORT = TrainingSettings(epochs=3, batch_size=16, learning_rate=1e-2)


@pytest.fixture(scope="module")
def data() -> TrainingData:
    """Two views of 120 maps from which the angles follow linearly, with sign for the mirror."""
    rng = np.random.default_rng(1)
    maps = rng.normal(size=(120, 6, 3, 3)).astype(np.float16)
    pooled = maps.astype(np.float32).mean((2, 3))
    angles = (40 * pooled[:, :2]).astype(np.float32)
    mirrored = maps.copy()
    mirrored[:, 0] *= -1
    targets = np.stack([angles, angles * np.array([-1, 1], np.float32)])
    return TrainingData([maps, mirrored], targets, np.arange(90), np.arange(90, 120))


def network(dropout: float = 0.0, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(6, 8, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(8, 2),
    )


def run(data: TrainingData, settings: TrainingSettings = SHORT, seed: int = 3) -> Outcome:
    return train(network(dropout=0.1), data, TASK, settings, seed)


def same(one: Outcome, other: Outcome) -> bool:
    weights = all(torch.equal(one.state[key], other.state[key]) for key in one.state)
    return weights and one.metrics == other.metrics and one.history == other.history


def test_the_same_seed_gives_the_same_bits(data: TrainingData) -> None:
    torch.manual_seed(100)
    first = run(data)
    torch.manual_seed(200)
    np.random.seed(5)
    assert same(first, run(data))


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_another_seed_gives_another_result(data: TrainingData, ema: float) -> None:
    settings = SHORT.model_copy(update={"ema": ema})
    assert not same(run(data, settings), run(data, settings, seed=4))


def test_batch_order_and_view_follow_from_the_seed_without_dropout(data: TrainingData) -> None:
    results = [train(network(), data, TASK, SHORT, seed).metrics["mae"] for seed in (1, 2)]
    assert results[0] != results[1]


def test_it_learns(data: TrainingData) -> None:
    settings = TrainingSettings(epochs=40, batch_size=16, learning_rate=2e-2)
    outcome = train(network(), data, TASK, settings, 0)
    guess = TASK.constant_baseline(data.targets[0, data.train])
    truth = data.targets[0, data.validation]
    floor = TASK.metrics(np.broadcast_to(guess, truth.shape), truth)["mae"]
    assert outcome.metrics["mae"] < 0.35 * floor
    assert outcome.history[-1]["loss"] < 0.2 * outcome.history[0]["loss"]


def test_the_mirrored_view_is_trained_on_its_own_targets(data: TrainingData) -> None:
    """With wrong targets for one view the same training must get worse."""
    settings = TrainingSettings(epochs=30, batch_size=16, learning_rate=2e-2)
    wrong = replace(data, targets=np.stack([data.targets[0]] * 2))
    right = train(network(), data, TASK, settings, 0).metrics["mae_yaw"]
    assert train(network(), wrong, TASK, settings, 0).metrics["mae_yaw"] > 1.5 * right


def test_validation_looks_at_the_plain_view_of_its_side_alone(data: TrainingData) -> None:
    module = network()
    outputs = predict(module, data, data.validation)
    plain = torch.from_numpy(data.maps[0][data.validation]).float()
    with torch.inference_mode():
        np.testing.assert_array_equal(outputs, module.eval()(plain).numpy())
    mirrored = predict(module, data, data.validation, view=1)
    np.testing.assert_array_equal(
        mirrored, predict(module, replace(data, maps=data.maps[::-1]), data.validation)
    )
    assert (mirrored != outputs).any()
    metrics = validate(module, data, TASK, data.validation)
    errors = np.abs(outputs * 45.0 - data.targets[0, data.validation]).mean(0)
    assert metrics["mae"] == pytest.approx(errors.mean(), rel=1e-6)


def test_the_best_epoch_is_kept_or_the_last(data: TrainingData) -> None:
    settings = TrainingSettings(epochs=8, batch_size=16, learning_rate=1.0, schedule="constant")
    best = run(data, settings)
    maes = [epoch["mae"] for epoch in best.history]
    assert len(maes) == 8
    assert best.metrics["mae"] == min(maes)
    assert best.metrics["epoch"] == 1 + maes.index(min(maes)) != 8, "the last is best: no test"
    last = run(data, settings.model_copy(update={"keep": "last"}))
    assert last.history == best.history
    assert (last.metrics["mae"], last.metrics["epoch"]) == (maes[-1], 8)


def test_the_loss_chooses_the_epoch_where_it_is_the_error(data: TrainingData) -> None:
    """By hand: the Huber loss with delta 5 degrees of the validation images, in units of 45."""
    settings = TrainingSettings(epochs=8, batch_size=16, learning_rate=1.0, schedule="constant")
    plain = run(data, settings)
    by_loss = train(network(dropout=0.1), data, TASK.minimising("loss"), settings, 3)
    losses = [epoch.pop("held_out_loss") for epoch in by_loss.history]
    assert by_loss.history == plain.history  # not a bit of the training is another
    assert by_loss.metrics["held_out_loss"] == min(losses)
    assert by_loss.metrics["epoch"] == 1 + losses.index(min(losses)) != 8
    module = network()
    module.load_state_dict(by_loss.state)
    outputs = predict(module, data, data.validation).astype(np.float64)
    away = np.abs(outputs - data.targets[0, data.validation] / 45.0)
    delta = 5 / 45
    huber = np.where(away <= delta, 0.5 * away**2, delta * (away - 0.5 * delta))
    assert min(losses) == pytest.approx(huber.mean(), rel=1e-6)


def test_an_epoch_of_the_least_loss_need_not_be_that_of_the_least_error() -> None:
    """Two networks of one quantity: small errors and one large one, or all of middling size."""
    task = Regression({"age": ()}, loss="l2", centre=[0.0], scale=[1.0])
    targets = np.zeros((4, 1), np.float32)
    maps = [np.ones((8, 1, 1, 1), np.float16)]
    data = TrainingData(maps, np.zeros((1, 8, 1), np.float32), np.arange(4), np.arange(4, 8))
    said = {
        1: np.array([0, 0, 0, 3], np.float32)[:, None],  # mae 0.75, loss 2.25
        2: np.ones((4, 1), np.float32),  # mae 1, loss 1
    }
    for error, epoch in (("metric", 1), ("loss", 2)):
        judged = task.minimising(error)
        training = Training(
            nn.Sequential(nn.Flatten(), nn.Linear(1, 1)),
            data,
            judged,
            TrainingSettings(epochs=2, batch_size=2, learning_rate=1e-6),
            0,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                "evonas.estimation.training.training.predict",
                lambda *words, training=training: said[training.epoch + 1],
            )
            training.run()
        assert training.outcome.metrics["epoch"] == epoch
    assert task.minimising("loss").validate(said[1], targets)["held_out_loss"] == 2.25


def test_the_kept_weights_give_the_kept_metrics(data: TrainingData) -> None:
    outcome = run(data, SHORT.model_copy(update={"ema": 0.9}))
    module = network()
    module.load_state_dict(outcome.state)
    metrics = validate(module, data, TASK, data.validation)
    assert metrics == {key: outcome.metrics[key] for key in metrics}


def test_the_average_follows_its_formula(data: TrainingData) -> None:
    """One linear layer, by hand: e_t = k e_(t-1) + (1 - k) w_t, k = min(decay, t / (t + 10))."""

    class Recording(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(self.weight.detach().clone())
            return super().forward(x.mean((2, 3)))

    seen: list[torch.Tensor] = []
    torch.manual_seed(0)
    module = Recording(6, 2)
    settings = TrainingSettings(epochs=6, batch_size=16, ema=0.7, keep="last")
    outcome = train(module, data, TASK, settings, 0)
    weights = [*seen[1:], module.weight.detach()]
    assert len(weights) == 6 * (90 // 16)
    expected = seen[0].clone()
    for step, weight in enumerate(weights, start=1):
        keep = min(0.7, step / (step + 10))
        expected = keep * expected + (1 - keep) * weight
    torch.testing.assert_close(outcome.state["weight"], expected, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(outcome.state["weight"], module.weight.detach(), rtol=1e-3)


def test_without_average_the_weights_themselves_are_kept(data: TrainingData) -> None:
    module = network()
    outcome = train(module, data, TASK, SHORT.model_copy(update={"keep": "last"}), 0)
    for key, value in module.state_dict().items():
        assert torch.equal(outcome.state[key], value)


def rates(steps: int = 10, **changes: object) -> list[float]:
    settings = TrainingSettings(epochs=10, learning_rate=0.5, **changes)
    total = steps * settings.epochs
    return [_rate(settings, step // steps, step, total) for step in range(total)]


def test_the_cosine_goes_from_the_rate_to_zero() -> None:
    found = rates(schedule="cosine", warmup=0.0)
    expected = [0.25 * (1 + math.cos(math.pi * step / 100)) for step in range(100)]
    assert found == pytest.approx(expected, rel=1e-12)
    assert found[0] == 0.5
    assert found[50] == pytest.approx(0.25)
    assert found[-1] < 2e-4


def test_the_exponential_falls_by_its_factor_after_every_epoch() -> None:
    found = rates(schedule="exponential", decay=0.8, warmup=0.0)
    assert found == pytest.approx([0.5 * 0.8 ** (step // 10) for step in range(100)], rel=1e-12)


def test_the_constant_is_constant() -> None:
    assert set(rates(schedule="constant", warmup=0.0)) == {0.5}


@pytest.mark.parametrize("schedule", ["cosine", "exponential", "constant"])
def test_warmup_rises_linearly(schedule: str) -> None:
    found = rates(schedule=schedule, warmup=0.2)
    assert found[:20] == pytest.approx([0.5 * (step + 1) / 21 for step in range(20)], rel=1e-12)
    assert max(found) <= 0.5
    if schedule == "cosine":
        assert found[20] == 0.5
        assert found[60] == pytest.approx(0.25)


def test_the_rate_reaches_the_optimizer(
    data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *args: object) -> object:
        seen.extend(group["lr"] for group in self.param_groups)
        assert {group["weight_decay"] for group in self.param_groups} == {0.3, 0.0}
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    settings = TrainingSettings(
        epochs=2, batch_size=30, schedule="exponential", decay=0.5, warmup=0.0, weight_decay=0.3
    )
    run(data, settings)
    assert seen == pytest.approx([2e-3] * 6 + [1e-3] * 6)


def test_a_loss_that_is_not_finite_is_a_divergence(data: TrainingData) -> None:
    class Exploding(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.mean((2, 3))) * float("inf")

    with pytest.raises(Diverged, match=r"loss (became|is) (nan|inf)"):
        train(Exploding(6, 2), data, TASK, SHORT, 0)


def test_an_output_that_is_not_finite_is_a_divergence(data: TrainingData) -> None:
    class Late(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = super().forward(x.mean((2, 3)))
            return out if self.training else out / 0.0

    with pytest.raises(Diverged, match="output is not finite"):
        train(Late(6, 2), data, TASK, SHORT, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_metric_that_is_not_finite_is_a_failure_of_its_own(
    data: TrainingData, value: float
) -> None:
    class Unmeasured(HeadPose):
        def metrics(self, predictions: object, targets: object) -> dict[str, float]:
            return {"mae": value}

    with pytest.raises(NotANumber, match=f"metric mae is {value}, expected a finite number"):
        train(network(), data, Unmeasured(("yaw", "pitch")), SHORT, 0)


def test_fewer_images_than_a_batch_still_train(data: TrainingData) -> None:
    few = replace(data, train=np.arange(5))
    assert len(run(few).history) == 3


def test_every_epoch_is_reported(data: TrainingData) -> None:
    seen: list[int] = []
    train(network(), data, TASK, SHORT, 0, on_epoch=lambda epoch, metrics: seen.append(epoch))
    assert seen == [0, 1, 2]

"""Steps of the rate, stopping early, and starting from weights: the habits of a published loop."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import Tensor, nn

from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.settings import TrainingSettings
from evonas.errors import InputError
from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.training.training import Outcome, TrainingData, _rate, train
from evonas.models.initial_weights import read_start, start_from
from evonas.space import Architecture
from evonas.tasks.head_pose import HeadPose

TASK = HeadPose(("yaw", "pitch"))
IMAGES, BATCH = 40, 16
STEPS = 2  # an epoch: 32 images to train on


def data() -> TrainingData:
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(IMAGES, 3, 2, 2)).astype(np.float16)
    targets = (30 * rng.normal(size=(1, IMAGES, 2))).astype(np.float32)
    return TrainingData([maps], targets, np.arange(32), np.arange(32, IMAGES))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))


class Scripted(HeadPose):
    """Head pose whose validation error is read off a list, one an epoch."""

    def __init__(self, errors: list[float]) -> None:
        super().__init__(("yaw", "pitch"))
        self.errors = iter(errors)

    def metrics(self, predictions: object, targets: object) -> dict[str, float]:
        return {self.metric: next(self.errors)}


def scripted(errors: list[float], **changes: object) -> Outcome:
    settings = TrainingSettings(epochs=len(errors), batch_size=BATCH, **changes)
    return train(network(), data(), Scripted(errors), settings, 0)


# Steps


def rates(epochs: int = 25, **changes: object) -> list[float]:
    settings = TrainingSettings(
        epochs=epochs, learning_rate=1e-5, schedule="step", decay=0.1, **changes
    )
    return [_rate(settings, step // STEPS, step, epochs * STEPS) for step in range(epochs * STEPS)]


def test_the_rate_of_the_published_loop() -> None:
    """1e-5, a tenth of it after epoch 8 and again after epoch 18, 25 epochs."""
    found = rates(milestones=(8, 18), warmup=0.0)
    expected = [1e-5] * 8 * STEPS + [1e-6] * 10 * STEPS + [1e-7] * 7 * STEPS
    assert found == pytest.approx(expected, rel=1e-12)


def test_the_rule_for_large_batches() -> None:
    """McNally et al. 2021: 2.5e-4 for 32 images; warm-up from there, then a cosine to zero."""
    settings = TrainingSettings(
        epochs=10, batch_size=512, learning_rate=2.5e-4, reference_batch=32, warmup=0.2
    )
    assert settings.highest_rate == pytest.approx(4e-3, rel=1e-12)
    found = [_rate(settings, step // STEPS, step, 10 * STEPS) for step in range(10 * STEPS)]
    rising = 2 * STEPS
    assert found[0] == pytest.approx(2.5e-4, rel=1e-12)
    assert np.diff(found[: rising + 1]) == pytest.approx([(4e-3 - 2.5e-4) / rising] * rising)
    middle = found[rising + 4 * STEPS]
    assert middle == pytest.approx(2e-3, rel=1e-9)
    assert 0 < found[-1] < 1e-4
    small = settings.model_copy(update={"batch_size": 8})
    assert _rate(small, 0, 0, 10 * STEPS) == small.highest_rate == pytest.approx(6.25e-5)


def test_warmup_comes_before_the_first_step() -> None:
    found = rates(epochs=10, milestones=(5,), warmup=0.2)
    assert found[:4] == pytest.approx([1e-5 * (i + 1) / 5 for i in range(4)], rel=1e-12)
    assert found[4:] == pytest.approx([1e-5] * 6 + [1e-6] * 10, rel=1e-12)


def test_a_milestone_beyond_the_last_epoch_never_comes() -> None:
    assert set(rates(epochs=4, milestones=(4, 99), warmup=0.0)) == {1e-5}
    assert len(set(rates(epochs=4, milestones=(3, 99), warmup=0.0))) == 2


def test_the_steps_reach_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    step = torch.optim.AdamW.step

    def watched(self: torch.optim.AdamW, *args: object) -> object:
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    settings = TrainingSettings(
        epochs=5,
        batch_size=BATCH,
        learning_rate=0.1,
        schedule="step",
        decay=0.5,
        milestones=(1, 3),
        warmup=0.0,
    )
    train(network(), data(), TASK, settings, 0)
    each = [0.1, 0.05, 0.05, 0.025, 0.025]
    assert seen == pytest.approx([rate for rate in each for _ in range(STEPS)])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"schedule": "step"}, "expected at least one epoch for schedule=step, such as [8, 18]"),
        ({"milestones": [8]}, "expected none with schedule=cosine: choose schedule=step"),
        ({"schedule": "constant", "milestones": [8]}, "expected none with schedule=constant"),
        (
            {"schedule": "step", "milestones": [8, 8]},
            "expected increasing numbers of epochs from 1",
        ),
        (
            {"schedule": "step", "milestones": [18, 8]},
            "expected increasing numbers of epochs from 1",
        ),
        (
            {"schedule": "step", "milestones": [0, 8]},
            "expected increasing numbers of epochs from 1",
        ),
        ({"schedule": "step", "milestones": [1.5]}, "valid integer"),
    ],
)
def test_milestones_fit_the_schedule(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainingSettings(**given)
    assert [detail["loc"][0] for detail in caught.value.errors()] == ["milestones"]
    assert said in caught.value.errors()[0]["msg"]


def test_a_wrong_schedule_alone_is_told_once() -> None:
    with pytest.raises(ValidationError) as caught:
        TrainingSettings(schedule="steps", milestones=(8,))
    assert [detail["loc"][0] for detail in caught.value.errors()] == ["schedule"]


# Patience


@pytest.mark.parametrize(
    ("patience", "ran"),
    [(0, 9), (1, 4), (2, 5), (3, 9), (4, 9)],
)
def test_patience_counts_epochs_since_the_best(patience: int, ran: int) -> None:
    errors = [9.0, 8.0, 7.0, 7.0, 7.5, 6.0, 6.5, 6.5, 6.2]
    outcome = scripted(errors, patience=patience)
    assert [row["mae"] for row in outcome.history] == errors[:ran]
    kept = min(errors[:ran])
    assert outcome.metrics == {"mae": kept, "epoch": 1 + errors.index(kept)}


def test_an_equal_result_is_no_improvement() -> None:
    assert len(scripted([5.0] * 6, patience=2).history) == 3


def test_a_stopped_training_is_the_start_of_the_long_one() -> None:
    errors = [9.0, 8.0, 8.5, 8.5, 8.5, 8.5]
    short, long = scripted(errors, patience=2), scripted(errors)
    assert short.history == long.history[:4]
    assert short.metrics == long.metrics
    assert all(torch.equal(short.state[key], long.state[key]) for key in long.state)


def test_patience_needs_the_best_to_be_kept() -> None:
    with pytest.raises(ValidationError) as caught:
        TrainingSettings(keep="last", patience=3)
    (detail,) = caught.value.errors()
    assert detail["loc"] == ("patience",)
    assert detail["msg"] == "expected 0 with keep=last: stopping early needs keep=best"
    assert TrainingSettings(keep="last", patience=0).patience == 0


def test_where_the_last_is_kept_after_all_validation_stops_nothing() -> None:
    """Cross-validation turns keep to last: the fold that judges must not choose an epoch."""
    settings = TrainingSettings(epochs=6, batch_size=BATCH, patience=1)
    last = settings.model_copy(update={"keep": "last"})
    outcome = train(network(), data(), Scripted([5.0] * 6), last, 0)
    assert len(outcome.history) == outcome.metrics["epoch"] == 6


# Start


def two_layers(outputs: int = 2) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, outputs, 1))


def test_what_fits_is_copied_and_the_rest_stays_fresh() -> None:
    source, module = two_layers(5), two_layers(2)
    with torch.no_grad():
        source[1].running_mean.fill_(0.7)
    fresh = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    left = start_from(module, source.state_dict(), "file")
    assert left == ["2.weight", "2.bias"]
    for name, tensor in module.state_dict().items():
        expected = fresh[name] if name in left else source.state_dict()[name]
        assert torch.equal(tensor, expected), name
    assert (module[1].running_mean == 0.7).all()


def test_a_copy_is_a_copy_and_keeps_the_modules_precision() -> None:
    source, module = two_layers().double(), two_layers()
    state = source.state_dict()
    assert start_from(module, state, "file") == []
    assert module[0].weight.dtype == torch.float32
    assert module[0].weight.requires_grad
    before = state["0.weight"].clone()
    with torch.no_grad():
        module[0].weight.zero_()
    assert torch.equal(state["0.weight"], before)


def test_names_that_the_module_does_not_have_are_left_alone() -> None:
    module = two_layers()
    state = two_layers().state_dict() | {"head.weight": torch.zeros(3)}
    del state["1.num_batches_tracked"]
    assert start_from(module, state, "file") == ["1.num_batches_tracked"]


def test_quantised_weights_do_not_fit() -> None:
    module = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    state = {"0.weight": torch.ones(4, 4, dtype=torch.int8), "1.weight": torch.ones(4, 4)}
    assert start_from(module, state, "file") == ["0.weight"]


def wrong(module: nn.Module, state: dict[str, Tensor]) -> str:
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(InputError) as caught:
        start_from(module, state, "weights.pt")
    now = module.state_dict()
    assert all(torch.equal(now[name], before[name]) for name in before), "it changed the module"
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_weights_of_another_network_are_refused() -> None:
    other = {f"trunk.{name}": tensor for name, tensor in two_layers().state_dict().items()}
    said = wrong(two_layers(), other)
    assert said == (
        "start weights.pt: expected weights of this network, got 0 of its 258 parameters; missing "
        "'0.weight', '0.bias', '1.weight', while the file begins with 'trunk.0.weight': "
        "give the weights of the same network, or leave start empty"
    )


def test_another_shape_is_told_with_both_shapes() -> None:
    state = two_layers().state_dict() | {"0.weight": torch.zeros(8, 1, 3, 3)}
    said = wrong(two_layers(), state)
    assert "got 42 of its 258 parameters" in said
    assert "missing '0.weight' (8, 3, 3, 3) (the file: (8, 1, 3, 3)), while" in said


def test_an_empty_state_is_refused() -> None:
    assert "the file is empty" in wrong(two_layers(), {})


def test_half_is_enough_and_less_is_not() -> None:
    module = nn.ModuleDict({name: nn.Linear(4, 4, bias=False) for name in "abcd"})
    state = {f"{name}.weight": torch.ones(4, 4) for name in "ab"}
    assert start_from(module, state, "file") == ["c.weight", "d.weight"]
    assert "got 16 of its 64" in wrong(module, {"a.weight": torch.ones(4, 4)})


def test_imagenet_names_start_a_whole_network() -> None:
    """A classifier of 1000 classes gives the trunk; three angles get a fresh last layer."""
    for family, settings in (("resnet50", {}), ("shufflenet_v2", {"width": 0.5})):
        network, chosen = registry.load("network", family)(), Architecture(family, settings)
        torch.manual_seed(1)
        published = network.build(chosen, (3, 64, 64), 1000).state_dict()
        module = network.build(chosen, (3, 64, 64), 3)
        assert start_from(module, published, "file") == ["fc.weight", "fc.bias"]
        name = list(published)[-10]
        assert torch.equal(module.state_dict()[name], published[name])


# Start, from a file to a measurement

HEAD = Architecture("residual_head", {"width": 8, "tap": "block4"})
STILL = TrainingSettings(epochs=1, learning_rate=1e-12, warmup=0.0, schedule="constant")


def state_of(setting: TrainingContext, width: int = 8) -> dict[str, Tensor]:
    torch.manual_seed(77)
    family = registry.load("network", "residual_head")()
    architecture = Architecture("residual_head", {"width": width})
    module = family.build(architecture, setting.shapes["block4"], 3)
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def trained(setting: TrainingContext, start: str, kept: Path) -> dict[str, Tensor]:
    training = STILL.model_copy(update={"start": start})
    found = Estimator(setting)(Job(0, HEAD, seed=5, training=training, weights=str(kept)))
    assert found.status == "ok", found.error
    return read_start(str(kept))


@pytest.mark.parametrize("name", ["start.safetensors", "start.pt"])
def test_a_job_starts_from_a_file(setting: TrainingContext, tmp_path: Path, name: str) -> None:
    state, path = state_of(setting), tmp_path / name
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    loaded = trained(setting, str(path), tmp_path / "kept.safetensors")
    fresh = trained(setting, "", tmp_path / "fresh.safetensors")
    weights = [key for key, tensor in state.items() if tensor.ndim > 1]
    assert weights
    for key in weights:
        torch.testing.assert_close(loaded[key], state[key])
        assert not torch.allclose(fresh[key], state[key], rtol=0.1)


def failure(setting: TrainingContext, start: Path) -> str:
    training = STILL.model_copy(update={"start": str(start)})
    found = Estimator(setting)(Job(0, HEAD, seed=5, training=training))
    assert (found.status, found.error_kind) == ("failed", "invalid-shape")
    assert found.macs > 0
    assert "\n" not in found.error
    return found.error


def test_a_file_that_cannot_be_a_start_is_a_failure_that_says_so(
    setting: TrainingContext, tmp_path: Path
) -> None:
    missing = tmp_path / "none.safetensors"
    assert failure(setting, missing).startswith(f"start={missing}: no such file")
    other = tmp_path / "other.safetensors"
    save_file(state_of(setting, width=9), other)
    said = failure(setting, other)
    assert said.startswith(f"start {other}: expected weights of this network")
    code = tmp_path / "code.pt"
    code.write_bytes(pickle.dumps({"a": Path("x")}))
    assert failure(setting, code).startswith(f"start={code}: ")


def test_a_start_is_the_same_every_time(setting: TrainingContext, tmp_path: Path) -> None:
    path = tmp_path / "start.safetensors"
    save_file(state_of(setting), path)
    training = TrainingSettings(epochs=1, start=str(path))
    job = Job(0, HEAD, seed=5, training=training)
    first, again = (Estimator(setting)(job).metrics for _ in range(2))
    assert first == again
    fresh = replace(job, training=TrainingSettings(epochs=1))
    assert Estimator(setting)(fresh).metrics != first


# From the command line


def test_the_habits_are_keys_of_an_experiment(tiny_file: Path) -> None:
    words = ["epochs=25", "learning_rate=1e-5", "schedule=step", "milestones=[8, 18]", "decay=0.1"]
    words += ["warmup=0", "weight_decay=0", "patience=5", "start=weights.safetensors"]
    found = config.load(tiny_file, [f"retraining.{word}" for word in words])
    assert found.retraining.milestones == (8, 18)
    assert (found.retraining.patience, found.retraining.start) == (5, "weights.safetensors")
    assert (found.training.milestones, found.training.patience, found.training.start) == ((), 0, "")
    assert config.check(found.model_dump(mode="json"), "again") == found


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["retraining.schedule=step"], "retraining.milestones: expected at least one epoch"),
        (["training.milestones=[3]"], "training.milestones: expected none with schedule=cosine"),
        (["training.keep=last", "training.patience=2"], "training.patience: expected 0 with keep"),
        (["training.patience=-1"], "training.patience: "),
        (["training.start=3"], "training.start: "),
    ],
)
def test_a_contradiction_is_named_with_its_key(
    tiny_file: Path, overrides: list[str], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        config.load(tiny_file, overrides)
    assert caught.value.args[0].startswith(f"{tiny_file}: {said}")
    assert "\n" not in caught.value.args[0]

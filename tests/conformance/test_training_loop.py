"""The training loop against a textbook one, over random networks of everything that is shipped.

The loop under test keeps parameters in one vector, chooses memory layouts, validates an average
of the weights and may replay captured steps. The textbook has a plain module, ``torch.optim.AdamW``
and a loop. Both compute in float64, where rounding cannot hide a wrong step: batch norm leaves
biases without a gradient, and Adam would blow float32's noise in them up to full steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.settings import TrainingSettings
from evonas.estimation.training import cuda_graphs as graphs
from evonas.estimation.training.training import Training, TrainingData
from evonas.estimation.training.training_step import Untrained
from evonas.models.networks.base import Shape
from evonas.space import Architecture, SearchSpace
from evonas.tasks.base import Task

ROOT = Path(__file__).parents[2]
#: Largest relative difference: of weights; of metrics and the mean loss, which are float32. Whole
#: networks of fifty layers amplify rounding: with weights changed by 1e-15 the textbook's own
#: losses differ by up to 1e-6 after eight steps. A step that is left out makes 1e-3 and more.
OF_WEIGHTS, OF_METRICS = {False: 1e-7, True: 1e-4}, {False: 1e-5, True: 1e-4}
EPOCHS, EPOCHS_OF_WHOLE, BATCH, TRAIN, VALIDATION = 4, 2, 6, 20, 7
HEADS = 14  # drawn from each space of heads
WHOLE = 1  # drawn from each space of whole networks, which take long
LARGEST = 2_000_000  # multiply-adds of a head: larger ones have wider layers, and no others
MAPS: list[Shape] = [(12, 6, 6), (8, 4, 4), (16, 5, 3)]
#: Families of whole networks -> side of the images.
ON_IMAGES = {"evopose2d": 64, "resnet50": 32, "shufflenet_v2": 32}
DEVICES = ["cpu", *(["cuda", "cuda with graphs"] if torch.cuda.is_available() else [])]


@dataclass(frozen=True)
class Drawn:
    """A network to train, and where it comes from."""

    origin: str
    architecture: Architecture
    shape: Shape


def spaces() -> Iterator[tuple[str, SearchSpace]]:
    """Every shipped space, and each as a shipped experiment narrows it, without repetitions."""
    found = {}
    for path in sorted((ROOT / "search_spaces").glob("*.yaml")):
        found[path.stem] = SearchSpace.from_file(path)
    for path in sorted((ROOT / "experiments").rglob("*.yaml")):
        experiment = config.load(path)
        if not experiment.table:
            file = config.find("search_spaces", experiment.space.name)
            options = {k: v for k, v in experiment.space.options.items() if k != "tap"}
            space = SearchSpace.from_file(file).narrowed(options)
            if not any(genes(space) == genes(other) for other in found.values()):
                found[path.stem] = space
    yield from found.items()


def genes(space: SearchSpace) -> tuple[str, str]:
    """What decides about the networks of a space."""
    return space.network, json.dumps(space.to_dict()["genes"])


def baselines() -> Iterator[tuple[str, Architecture]]:
    for path in sorted((ROOT / "experiments").rglob("*.yaml")):
        for baseline in config.load(path).baselines:
            yield path.stem, Architecture(baseline.network, baseline.settings)


@cache
def drawn() -> list[Drawn]:
    found = []
    for number, (origin, space) in enumerate(spaces()):
        rng = np.random.default_rng(number)
        side = ON_IMAGES.get(space.network, 0)
        points, some = rng.random((8 * HEADS, space.dim)), set()
        for architecture in (space.decode(point) for point in points):
            shape = (3, side, side) if side else MAPS[len(found) % len(MAPS)]
            one = Drawn(origin, architecture, shape)
            if architecture not in some and (side or macs(one) <= LARGEST):
                some.add(architecture)
                found.append(one)
            if len(some) == (WHOLE if side else HEADS):
                break
    heads = [(o, a) for o, a in baselines() if a.network not in ON_IMAGES]
    return found + [Drawn(o, a, MAPS[i % len(MAPS)]) for i, (o, a) in enumerate(heads)]


def macs(one: Drawn) -> int:
    family = registry.load("network", one.architecture.network)()
    outputs = task_of(one.architecture).n_outputs
    return int(family.macs(one.architecture, one.shape, outputs))


def task_of(architecture: Architecture) -> Task:
    dense = registry.load("network", architecture.network).dense
    points = {f"{name}.{part}": () for name in ("nose", "chin") for part in "xyv"}
    made: Task = registry.create(
        "task",
        "key_points" if dense else "head_pose",
        {},
        points if dense else {"yaw": (), "pitch": ()},
    )
    return made


def data_of(task: Task, shape: Shape, seed: int) -> TrainingData:
    """Two views of random maps; targets in the units of the task, unrelated to the maps."""
    rng = np.random.default_rng(seed)
    n = TRAIN + VALIDATION
    maps = [rng.normal(size=(n, *shape)).astype(np.float16) for _ in range(2)]
    if task.dense:
        points = rng.uniform(0.1, 0.9, (2, n, 2, 3))
        points[..., 2] = 2.0
        rest = np.tile([0.0, 0.0, 1.0, 0.5, 0.0], (2, n, 1))
        targets = np.concatenate([points.reshape(2, n, 6), rest], axis=2)
    else:
        targets = rng.normal(0.0, 30.0, (2, n, 2))
    train = np.arange(2 * BATCH if shape[0] == 3 else TRAIN)  # whole networks: fewer steps
    return TrainingData(maps, targets, train, np.arange(TRAIN, n))


def textbook(
    module: nn.Module, data: TrainingData, task: Task, settings: TrainingSettings, seed: int
) -> tuple[list[dict[str, float]], nn.Module]:
    """Return the history of a training and the module that is validated."""
    decaying = [p for p in module.parameters() if p.ndim > 1]
    others = [p for p in module.parameters() if p.ndim <= 1]
    groups = [
        {"params": decaying, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    rate = settings.learning_rate
    optimizer = torch.optim.AdamW(groups, lr=rate, foreach=False, fused=False)
    average = deepcopy(module) if settings.ema else module
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    steps = len(data.train) // settings.batch_size
    total = steps * settings.epochs
    rising = settings.warmup * total
    number, history = 0, []
    for _ in range(settings.epochs):
        module.train()
        order = rng.permutation(data.train)
        views = rng.integers(0, len(data.maps), len(order))
        losses = []
        for start in range(0, steps * settings.batch_size, settings.batch_size):
            chosen = range(start, start + settings.batch_size)
            maps = torch.stack(
                [torch.from_numpy(data.maps[views[i]][order[i]]).double() for i in chosen]
            )
            targets = torch.stack(
                [torch.from_numpy(data.targets[views[i], order[i]]) for i in chosen]
            )
            done = (number - rising) / (total - rising)
            now = (
                rate * (number + 1) / (rising + 1)
                if number < rising
                else rate * (1 + math.cos(math.pi * done)) / 2
            )
            for group in optimizer.param_groups:
                group["lr"] = now
            optimizer.zero_grad()
            loss = task.loss(module(maps), targets)
            loss.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 5.0, foreach=False)
            optimizer.step()
            losses.append(float(loss.detach()))
            number += 1
            if settings.ema:
                follow(average, module, min(settings.ema, number / (number + 10)))
        average.eval()
        with torch.no_grad():
            plain = torch.from_numpy(data.maps[0][data.validation]).double()
            outputs = average(plain).float().numpy()
        truth = data.targets[0, data.validation]
        metrics = task.metrics(task.predictions(outputs), truth)
        history.append({"loss": sum(losses) / len(losses), **metrics})
    return history, average


def follow(average: nn.Module, module: nn.Module, keep: float) -> None:
    with torch.no_grad():
        for own, new in zip(average.parameters(), module.parameters(), strict=True):
            own.copy_(keep * own + (1 - keep) * new)
        for own, new in zip(average.buffers(), module.buffers(), strict=True):
            if own.is_floating_point():
                own.copy_(keep * own + (1 - keep) * new)


def settings_of(number: int, whole: bool = False) -> TrainingSettings:
    """Average on and off, warm-up on and off, in turn."""
    return TrainingSettings(
        epochs=EPOCHS_OF_WHOLE if whole else EPOCHS,
        batch_size=BATCH,
        learning_rate=2e-3,
        warmup=(0.0, 0.3)[number % 2],
        ema=(0.0, 0.9)[number // 2 % 2],
        precision="float32",
        keep="last",
    )


def test_enough_is_drawn_and_depthwise_weights_of_one_place_are_among_it() -> None:
    assert len(drawn()) >= 100
    assert {one.origin for one in drawn()} >= {p.stem for p in (ROOT / "search_spaces").iterdir()}
    single = [one for one in drawn() if any(single_places(build(one)))]
    assert len(single) >= 20
    families = {one.architecture.network for one in single}
    assert {"master_module", "head_pose_nas_2020"} <= families


def build(one: Drawn) -> nn.Module:
    torch.manual_seed(1)
    family = registry.load("network", one.architecture.network)()
    module: nn.Module = family.build(
        one.architecture, one.shape, task_of(one.architecture).n_outputs
    )
    return module


def single_places(module: nn.Module) -> Iterator[bool]:
    return (p.ndim == 4 and p.shape[1:] == (1, 1, 1) for p in module.parameters())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("origin", sorted({one.origin for one in drawn()}))
def test_the_loop_trains_as_the_textbook_does(
    origin: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "LEAST", 1 if "graphs" in device else 10**9)
    torch.set_num_threads(1)
    for number, one in enumerate(drawn()):
        if one.origin != origin:
            continue
        task, whole = task_of(one.architecture), one.shape[0] == 3
        settings = settings_of(number, whole)
        data = data_of(task, one.shape, number)
        module = build(one).double()
        expected, kept = textbook(deepcopy(module), data, task, settings, number)
        training = Training(module, data, task, settings, number, device.split(" ")[0])
        training.run()
        name = f"{number}: {one.architecture.to_dict()}"
        for found, right in zip(training.outcome.history, expected, strict=True):
            for metric, value in right.items():
                near = pytest.approx(value, rel=OF_METRICS[whole], abs=1e-6)
                assert found[metric] == near, f"{metric} of {name}"
        for key, weight in kept.state_dict().items():
            torch.testing.assert_close(
                training.outcome.state[key],
                weight.cpu(),
                rtol=OF_WEIGHTS[whole],
                atol=OF_WEIGHTS[whole],
                msg=lambda text, key=key, name=name: f"{key} of {name}: {text}",
            )


class Moving(nn.Module):
    """A network, one of whose parameters leaves the optimizer while it trains."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.inner, self.scale = nn.Linear(8, 2), nn.Parameter(torch.ones(8, 1))
        self.how, self.calls = how, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if self.calls == 2 and self.how == "copied":
            self.scale.data = self.scale.data.clone()
        if self.calls == 2 and self.how == "gradient lost":
            self.scale.grad = None
        return self.inner(x.mean((2, 3)) * self.scale.T)


@pytest.mark.parametrize(
    ("how", "said"),
    [("copied", "scale was moved or replaced"), ("gradient lost", "the gradient of scale")],
)
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_training_that_does_not_reach_a_parameter_fails(how: str, said: str, ema: float) -> None:
    task = task_of(Architecture("linear_probe", {}))
    data = data_of(task, (8, 4, 4), 0)
    data = replace(data, targets=data.targets.astype(np.float32))
    settings = settings_of(0).model_copy(update={"ema": ema})
    Training(Moving(""), data, task, settings, 0).run()
    with pytest.raises(Untrained, match=said):
        Training(Moving(how), data, task, settings, 0).run()


def test_a_parameter_with_a_gradient_that_never_moved_fails() -> None:
    task = task_of(Architecture("linear_probe", {}))
    data = data_of(task, (8, 4, 4), 0)
    data = replace(data, targets=data.targets.astype(np.float32))
    module = Moving("")
    training = Training(module, data, task, settings_of(0), 0)
    training.run()
    training.step.verify()
    assert module.scale.grad is not None
    with torch.no_grad():
        module.scale.fill_(1.0)  # where it started
        module.scale.grad.fill_(0.1)
    with pytest.raises(Untrained, match="scale has a gradient but still has its initial value"):
        training.step.verify()
    with torch.no_grad():
        module.scale.grad.zero_()  # a parameter that nothing depends on may stay
    training.step.verify()

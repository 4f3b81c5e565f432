"""A job trains with the recipe of its architecture, as if settings and task had been given so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from evonas.core.settings import TrainingSettings
from evonas.estimation.cost.latency import Latency
from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.measurement import Measurement
from evonas.estimation.training.training import Training
from evonas.models.networks.residual_head import ResidualHead
from evonas.space import Architecture

TWO = TrainingSettings(epochs=2, keep="last")
NETWORK = {"width": 4, "tap": "block4"}


def trained(
    setting: TrainingContext, training: TrainingSettings = TWO, **recipe: object
) -> Measurement:
    """Train a network with a recipe, whose names have _ for dots."""
    own = {name.replace("_", ".", 1): value for name, value in recipe.items()}
    architecture = Architecture("residual_head", {**NETWORK, **own})
    found = Estimator(setting)(Job(0, architecture, 5, training, history=True))
    assert found.status == "ok", found.error
    return replace(found, seconds=0.0)


def test_training_genes_train_as_these_settings_do(setting: TrainingContext) -> None:
    """Of a job with a recipe and one without, with other settings: every metric, to the bit."""
    plain = trained(setting)
    seen = [plain.metrics]
    for key, value in (
        *(("learning_rate", 3e-4), ("learning_rate", 1e-2)),
        *(("batch_size", 8), ("weight_decay", 0.9), ("ema", 0.9)),
    ):
        direct = trained(setting, TWO.model_copy(update={key: value}))
        assert trained(setting, **{f"training_{key}": value}) == direct
        assert direct.metrics not in seen
        seen.append(direct.metrics)


@pytest.mark.parametrize(("output", "outputs"), [("bins", 198), ("rotation6d", 6), ("angles", 3)])
def test_task_genes_train_as_these_options_do(
    setting: TrainingContext, output: str, outputs: int
) -> None:
    name, options, labels = setting.task
    other = replace(setting, task=(name, {**options, "output": output}, labels))
    found, direct = trained(setting, task_output=output), trained(other)
    assert found == direct
    architecture = Architecture("residual_head", NETWORK)
    assert found.macs == ResidualHead().macs(architecture, setting.shapes["block4"], outputs)


def test_options_fitted_to_a_split_hold_for_their_recipe_alone(setting: TrainingContext) -> None:
    recipe = (("output", "bins"),)
    fitted = replace(setting, settled={("search", recipe): {"output": "bins", "alpha": 9.0}})
    name, _, labels = setting.task
    direct = replace(setting, task=(name, {"output": "bins", "alpha": 9.0}, labels))
    assert trained(fitted, task_output="bins") == trained(direct)
    assert trained(fitted, task_output="angles") == trained(setting, task_output="angles")
    assert trained(fitted) == trained(setting)


def test_the_workload_is_that_of_the_outputs(setting: TrainingContext) -> None:
    jobs = [
        Job(0, Architecture("residual_head", NETWORK | extra), 5, TWO)
        for extra in ({}, {"task.output": "bins"}, {"training.ema": 0.5})
    ]
    plain, bins, ema = (Estimator.work(setting, job) for job in jobs)
    assert plain == ema
    assert bins.params - plain.params == 195 * (32 + 1)


def test_outputs_of_another_task_are_not_inherited(
    setting: TrainingContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body is; the output layer starts with the weights that it has without a parent."""
    parent, child = (
        Architecture("residual_head", {**NETWORK, "task.output": output})
        for output in ("bins", "angles")
    )
    file = tmp_path / "parent.safetensors"
    Estimator(setting)(Job(0, parent, 1, TWO, weights=str(file)))
    begun: list[dict[str, torch.Tensor]] = []

    def stop(training: Training, *arguments: object, **more: object) -> None:
        begun.append(training.module.state_dict())
        raise RuntimeError("stopped by the test")

    monkeypatch.setattr(Training, "run", stop)
    alone = Job(0, child, 5, TWO)
    for changes in ({}, {"parent": str(file)}, {"parent": str(file), "fresh_outputs": True}):
        Estimator(setting)(replace(alone, **changes))  # type: ignore[arg-type]
    fresh, mixed, own = begun
    known = load_file(file)
    last = [name for name in fresh if known[name].shape != fresh[name].shape]
    assert len(last) == 2
    for name in fresh:
        assert torch.equal(own[name], fresh[name] if name in last else known[name])
    assert not any(torch.equal(mixed[name], fresh[name]) for name in last if "weight" in name)


def test_networks_of_different_recipes_share_a_latency(
    setting: TrainingContext, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured: list[int] = []

    def once(*arguments: object) -> Latency:
        measured.append(1)
        return Latency(0.25, 0.0)

    monkeypatch.setattr("evonas.estimation.cost.latency_cache.latency", once)
    timed = replace(setting, timing=replace(setting.timing, folder=tmp_path))
    for rate, output in ((1e-3, "angles"), (2e-3, "angles"), (2e-3, "bins")):
        own = {**NETWORK, "training.learning_rate": rate, "task.output": output}
        job = Job(0, Architecture("residual_head", own), 5, TWO, latency=True)
        assert Estimator(timed)(job).latency == 0.25
    assert len(measured) == 2

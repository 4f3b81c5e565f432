"""Paused trainings: forecasts of their ends, and a strategy that decides which go on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from evonas.core import registry
from evonas.errors import InputError
from evonas.optimizers.base import Optimizer
from evonas.optimizers.bayesian.acquisition import (
    CandidatePosterior,
    Forecasts,
    normal_scores,
    score_deviations,
)
from evonas.optimizers.bayesian.gaussian_process import GaussianProcess
from evonas.optimizers.bayesian.kernel import Kernel
from evonas.optimizers.common.learning_curves import LearningCurves
from evonas.space import SearchSpace
from evonas.testing.optimizer_problems import build, cost, mixed, ordinal

Array = NDArray[np.float64]
STEPS = (3, 12)
ABLE = [n for n in registry.names("optimizer") if registry.load("optimizer", n).resumes]


def known(curves: dict[str, list[float]], steps: tuple[int, ...] = (1, 3)) -> LearningCurves:
    found = LearningCurves(steps)
    for digest, curve in curves.items():
        found.record(digest, curve)
    return found


def test_a_training_that_has_ended_is_its_own_forecast() -> None:
    curves = known({"a": [8.0, 4.0, 2.0], "b": [4.0, 2.0, 3.0], "c": [4.0]})
    values, deviations = curves.forecast({"a": 2.0, "b": 2.0, "c": 4.0, "failed": 9.0})
    assert np.allclose(np.exp(values[[0, 1, 3]]), [2.0, 2.0, 9.0])  # the lowest, not the last
    assert deviations[[0, 1, 3]].tolist() == [0.0, 0.0, 0.0]
    # From one epoch to the next both halved it, then one halved it and one stayed: sqrt(1/8).
    assert np.isclose(np.exp(values[2]), 4.0 * 0.5 * 2.0**-0.5)
    assert deviations[2] > 0.0


def test_forecasts_of_random_walks_are_as_far_off_as_they_say() -> None:
    rng = np.random.default_rng(0)
    drift = -1.5 / np.arange(1, 12) ** 1.3
    changes = drift + 0.3 * np.abs(drift) * rng.standard_normal((200, 11))
    logs = 2.0 + np.cumsum(np.column_stack([rng.standard_normal(200) / 5, changes]), axis=1)
    curves = {str(n): np.exp(log if n < 40 else log[:4]).tolist() for n, log in enumerate(logs)}
    paused = {str(n): curves[str(n)][-1] for n in range(40, 200)}
    values, deviations = known(curves, (4, 12)).forecast(paused)
    off = (np.minimum.accumulate(logs, axis=1)[40:, -1] - values) / deviations
    assert abs(off.mean()) < 0.3
    assert 0.6 < off.std() < 1.3


def test_before_any_training_went_on_its_changes_go_on_ever_smaller() -> None:
    values, deviations = known({"a": [8.0, 4.0]}, (2, 4)).forecast({"a": 4.0})
    last = np.log(0.5)
    assert np.isclose(values[0], np.log(4.0) + last * (1 / 2) ** 2 * (1 + (2 / 3) ** 2))
    assert deviations[0] > 0.0
    values, _ = known({"a": [0.0, 0.0], "b": [2.0, 1.0]}, (2, 4)).forecast({"a": 0.0, "b": 1.0})
    assert np.isfinite(values).all()
    assert values[0] < values[1]


def test_scores_have_the_spread_of_what_they_rank() -> None:
    values = np.linspace(-1.0, 1.0, 9)
    scores = normal_scores(values)
    assert score_deviations(values, np.zeros(9), scores).tolist() == [0.0] * 9
    found = score_deviations(values, np.full(9, 0.25), scores)
    assert np.isclose(found[4], scores[5])  # at the median a step of values is one of scores
    assert (found > 0.0).all()
    assert np.isclose(score_deviations(values, np.full(9, 1e6), scores)[0], scores[8] * 1e6)


def process(points: Array, targets: Array, extra: Array) -> GaussianProcess:
    made = GaussianProcess(Kernel([True, False], cost=False))
    made.log[-1] = np.log(0.2)
    made.condition(points, targets, extra)
    return made


def test_a_target_of_endless_noise_is_as_if_it_were_not_there() -> None:
    rng = np.random.default_rng(1)
    points, targets, at = rng.random((6, 2)), rng.standard_normal(6), rng.random((4, 2))
    noisy = process(points, targets, np.array([0.0] * 5 + [1e5])).predict(at)
    without = process(points[:5], targets[:5], np.zeros(5)).predict(at)
    assert np.allclose(noisy[0], without[0], atol=1e-3)
    assert np.allclose(noisy[1], without[1], atol=1e-3)


def test_a_paused_training_is_weighed_as_in_the_joint_normal_distribution() -> None:
    """Against the conditional distribution of y = f + noise, given forecasts z = y + error."""
    rng = np.random.default_rng(2)
    points, scores = rng.random((5, 2)), rng.standard_normal(5)
    extra = np.array([0.0, 0.0, 0.0, 0.3, 0.05])
    made = process(points, scores, extra)
    posterior = CandidatePosterior(made, points[3:], best=0.0)
    posterior.use(Forecasts(scores[3:], extra[3:], np.ones(2)))
    prior = made.kernel(made.log, points, points)
    noise, mean = made.noise, made.kernel.mean(points)
    given = prior + np.diag(noise + extra)
    for place, index in enumerate((3, 4)):
        across = prior[index].copy()
        across[index] += noise  # the noise of this training is in its forecast as well
        gain = np.linalg.solve(given, across)
        expected = mean[index] + gain @ (scores - mean)
        variance = prior[index, index] + noise - gain @ across
        assert np.isclose(posterior._mean[place], expected, atol=1e-6)
        assert np.isclose(posterior._variance[place], variance, atol=1e-6)


# ------------------------------------------------------------------------- strategies


def ends(space: SearchSpace, genome: Array) -> float:
    """Fitness at the end of a training: a bowl in the first genes."""
    return 1.0 + float(((genome[:3] - 0.3) ** 2).sum())


def curve(space: SearchSpace, genome: Array, epochs: int) -> list[float]:
    steepness = int(space.decode(genome).digest[:4], 16) / 0xFFFF
    last = ends(space, genome)
    return [
        last * (1 + (2 + steepness) / e**2 - (2 + steepness) / 144) for e in range(1, 1 + epochs)
    ]


def drive(
    optimizer: Optimizer, fails: Callable[[str], bool] = lambda digest: False
) -> tuple[dict[str, int], list[Array]]:
    """Train what is asked up to the next step; return the epochs of each, and all asks."""
    done: dict[str, int] = {}
    asked = []
    while len(genomes := optimizer.ask()):
        asked.append(genomes)
        fitness, curves = [], []
        for genome in genomes:
            digest = optimizer.space.decode(genome).digest
            steps = [step for step in STEPS if step > done.get(digest, 0)]
            if fails(digest):
                done[digest] = STEPS[-1]
                fitness.append(np.nan)
                curves.append([])
                continue
            done[digest] = steps[0] if steps else STEPS[-1]
            curves.append(curve(optimizer.space, genome, done[digest]))
            fitness.append(min(curves[-1]))
        optimizer.tell(fitness, curves=curves)
    return done, asked


def test_the_default_strategy_resumes_trainings() -> None:
    assert "surrogate" in ABLE


@pytest.mark.parametrize("name", ABLE)
@pytest.mark.parametrize("size", [1, 4])
def test_the_budget_is_whole_trainings(name: str, size: int) -> None:
    made = build(name, mixed(), budget=10, steps=STEPS, population_size=size)
    done, asked = drive(made)
    assert 10 * STEPS[-1] <= sum(done.values()) < 10 * STEPS[-1] + size * STEPS[-1]
    assert made.stop_reason == "The budget of 10 whole trainings is spent."
    assert set(done.values()) == set(STEPS)  # some ended, and some did not
    assert len(done) > 10
    again = drive(build(name, mixed(), budget=10, steps=STEPS, population_size=size))
    assert done == again[0]
    assert all(map(np.array_equal, asked, again[1]))


@pytest.mark.parametrize("name", ABLE)
def test_who_went_on_is_better_than_who_did_not(name: str) -> None:
    made = build(name, ordinal(), budget=12, steps=STEPS)
    done, asked = drive(made)
    where = {made.space.decode(g).digest: g for genomes in asked for g in genomes}
    went = [ends(made.space, where[d]) for d, epochs in done.items() if epochs == STEPS[-1]]
    stayed = [ends(made.space, where[d]) for d, epochs in done.items() if epochs < STEPS[-1]]
    assert np.median(went) < np.percentile(stayed, 40)
    assert len(went) >= sum(done.values()) / STEPS[-1] / 4


@pytest.mark.parametrize("name", ABLE)
def test_a_whole_space_is_trained_to_the_end_and_failures_are_not_asked_again(name: str) -> None:
    space = SearchSpace.from_dict(
        {
            "name": "small",
            "network": "toy",
            "genes": [{"name": f"g{i}", "kind": "ordinal", "choices": [1, 2, 3]} for i in range(3)],
        }
    )
    made = build(name, space, budget=100, steps=STEPS, macs=cost)
    done, _ = drive(made, fails=lambda digest: int(digest, 16) % 5 == 0)
    assert len(done) == 27
    assert set(done.values()) == {STEPS[-1]}
    assert made.stop_reason.startswith("The space is exhausted")


def test_misuse_is_refused() -> None:
    for name in sorted({*registry.names("optimizer")} - {*ABLE}):
        with pytest.raises(InputError, match=r"no model of learning curves, got 3, 12: leave"):
            build(name, mixed(), budget=10, steps=STEPS)
    with pytest.raises(InputError, match="steps: expected epochs that increase, got 12, 3"):
        build("surrogate", mixed(), budget=10, steps=(12, 3))
    made = build("surrogate", mixed(), budget=10, steps=STEPS)
    genomes = made.ask()
    with pytest.raises(InputError, match=r"tell\(\) expected 4 curves with steps, got none"):
        made.tell(np.ones(len(genomes)))
    made.tell(np.ones(len(genomes)), curves=[[2.0, 1.5, 1.0]] * 4)

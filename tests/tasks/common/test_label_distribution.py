"""Label distributions against scipy, and the options of the tasks that use them."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import entropy, norm

from evonas.core import registry
from evonas.errors import InputError
from evonas.tasks.common.label_distribution import (
    Estimate,
    distribution_loss,
    grid,
    median,
    point_estimate,
)
from evonas.tasks.head_pose import HeadPose


def test_the_loss_is_scipys_divergence() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(5, 2, 40)), rng.uniform(-20, 20, (5, 2))
    values = np.stack([np.linspace(-60, 57, 40), np.linspace(-80, 76, 40)])
    given = [torch.from_numpy(x) for x in (logits, targets, values)]
    for sigma, loss in ((2.0, distribution_loss(*given)), (0.5, distribution_loss(*given, 0.5))):
        expected = 0.0
        for image in range(5):
            for column, step in enumerate((3.0, 4.0)):
                target = norm.pdf(values[column], targets[image, column], sigma * step)
                found = np.exp(log_softmax(logits[image, column]))
                expected += entropy(target / target.sum(), found) / 5
        assert float(loss) == pytest.approx(expected, rel=1e-9)


def test_the_median_is_that_of_a_piecewise_uniform_density() -> None:
    """Against numpy's interpolation of the distribution function, also with empty values."""
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 4, (50, 2, 21))
    logits[::3, :, ::2] = -200
    values = np.stack([np.linspace(-30, 30, 21), np.linspace(0, 5, 21)])
    shares = np.exp(log_softmax(logits, -1))
    expected = np.empty((50, 2))
    for image, column in np.ndindex(50, 2):
        step = values[column, 1] - values[column, 0]
        edges = np.append(values[column] - step / 2, values[column, -1] + step / 2)
        function = np.append(0, shares[image, column].cumsum())
        expected[image, column] = np.interp(0.5, function, edges)
    found = median(torch.from_numpy(logits), torch.from_numpy(values))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-6)
    mirrored = median(torch.from_numpy(logits[..., ::-1].copy()), torch.from_numpy(values))
    np.testing.assert_allclose(mirrored.numpy()[:, 0], -expected[:, 0], atol=1e-6)


def test_the_median_has_the_least_expected_absolute_error_and_the_mean_the_least_squared() -> None:
    values = np.linspace(-60.0, 60.0, 121)
    rng = np.random.default_rng(2)
    for _ in range(20):
        centres, weights = rng.uniform(-40, 40, 3), rng.dirichlet(np.ones(3))
        density = sum(w * norm.pdf(values, c, 5) for w, c in zip(weights, centres, strict=True))
        shares = density / density.sum()
        logits = torch.from_numpy(np.log(shares))[None, None]
        answers = [
            point_estimate(logits, torch.from_numpy(values)[None], name).item()
            for name in get_args(Estimate)
        ]
        absolute, squared = (
            [(shares * np.abs(values - one) ** power).sum() for one in values] for power in (1, 2)
        )
        assert abs(answers[0] - values[np.argmin(absolute)]) <= 1
        assert abs(answers[1] - values[np.argmin(squared)]) <= 1


@pytest.mark.parametrize("name", ["head_pose", "regression"])
def test_a_sigma_out_of_its_range_is_refused_in_one_line(name: str) -> None:
    for sigma in (0.0, 5.0, float("nan")):
        options = {"output": "distribution", "sigma": sigma}
        with pytest.raises(InputError, match=r"^task\.sigma: expected 0\.25 to 4 [^\n]+, got "):
            registry.create("task", name, options, {"yaw": ()})


def test_labels_of_few_values_have_narrow_targets_and_their_median() -> None:
    poses = np.tile(np.array([[-30, 0], [-15, 60], [0, -60], [15, 0]], np.float32), (8, 1))
    drawn = np.random.default_rng(0).uniform(-60, 60, (32, 2)).astype(np.float32)
    mixed = np.column_stack([poses[:, 0], drawn[:, 0]])
    schema: dict[str, tuple[str, ...]] = {"yaw": (), "pitch": ()}
    for targets, sigma in ((poses, 0.5), (drawn, 2.0), (mixed, 2.0), (poses[:15], 2.0)):
        pose = HeadPose(schema, output="distribution")
        assert pose.fit_options(targets) == {"sigma": sigma}
        quantity = registry.create("task", "regression", {"output": "distribution"}, schema)
        settled = quantity.fit_options(targets)
        assert settled["sigma"] == sigma
        assert settled["estimate"] == ("median" if sigma < 1 else "mean")
        outputs = torch.from_numpy(drawn.repeat(79, 1))
        own = HeadPose(schema, output="distribution", sigma=sigma)
        assert own.fit_options(targets) == {}
        for given in (targets[:15], drawn[:15]):
            truth = torch.from_numpy(given)
            expected = distribution_loss(
                outputs[:15].reshape(15, 2, 79),
                truth,
                torch.arange(-117.0, 118.0, 3.0)[None],
                sigma,
            )
            assert float(own.loss(outputs[:15], truth)) == pytest.approx(float(expected))
    assert HeadPose(schema, output="angles").fit_options(poses) == {}


def test_a_narrow_target_is_the_label_or_its_two_neighbours() -> None:
    """Steps of 3 degrees: nearly all lies at a label on a value, or is shared by the two beside."""
    values = grid(torch.tensor([-117.0]), torch.tensor([117.0]), 79)
    for label, shares in ((15.0, {15.0: 1.0}), (16.5, {15.0: 0.5, 18.0: 0.5})):
        logits = torch.full((1, 1, 79), -30.0)
        for value, share in shares.items():
            logits[0, 0, int(value + 117) // 3] = np.log(share)
        truth = torch.tensor([[label]])
        assert float(distribution_loss(logits, truth, values, 0.25)) < 0.02
        assert float(distribution_loss(logits, truth, values)) > 1


@pytest.mark.parametrize("angle", [-90.0, -37.0, 0.0, 90.0, 99.0])
def test_the_estimates_of_an_angles_target_are_the_angle(angle: float) -> None:
    """Also at profile: the values go on beyond it. Error at 99 degrees: 0.03."""
    values = grid(torch.tensor([-117.0]), torch.tensor([117.0]), 79)
    torch.testing.assert_close(values, torch.arange(-117.0, 118.0, 3.0)[None])
    logits = -0.5 * ((values - angle) / 6.0).square()
    for estimate in get_args(Estimate):
        task = HeadPose({"yaw": ()}, output="distribution", estimate=estimate)
        assert task.read(logits.numpy())[0, 0] == pytest.approx(angle, abs=0.05)


def test_a_distributions_bounds_come_from_the_training_labels() -> None:
    schema: dict[str, tuple[str, ...]] = {"age": (), "yaw": ()}
    options = {"output": "distribution", "labels": ["age", "yaw"]}
    task = registry.create("task", "regression", options, schema)
    targets = np.array([[20, -30], [67, 40]], np.float32)
    found = task.fit_options(targets)
    # 8 of the 63 steps beyond the labels on each side, and odd labels around 0
    np.testing.assert_allclose(found["low"], [12, -40 * 63 / 47])
    np.testing.assert_allclose(found["high"], [75, 40 * 63 / 47])
    own = registry.create("task", "regression", {**options, **found}, schema)
    assert own.fit_options(targets) == {}
    assert (found["sigma"], found["estimate"]) == (2.0, "mean")
    assert own.n_outputs == 128


def test_a_distribution_with_wrong_bounds_is_refused_in_one_line() -> None:
    schema: dict[str, tuple[str, ...]] = {"yaw": ()}
    options = {"output": "distribution", "low": [5], "high": [1]}
    with pytest.raises(InputError, match=r"^task\.low: expected values below task\.high[^\n]+$"):
        registry.create("task", "regression", options, schema)
    lopsided = registry.create("task", "regression", {**options, "low": [-5], "high": [9]}, schema)
    with pytest.raises(InputError, match=r"^task\.low and task\.high: [^\n]+ --flip$"):
        lopsided.unflip_outputs(np.zeros((2, 64), np.float32))
    unknown = registry.create("task", "regression", {"output": "distribution"}, schema)
    with pytest.raises(InputError, match=r"^task\.low and task\.high: expected numbers"):
        unknown.loss(torch.zeros(2, 64), torch.zeros(2, 1))
    with pytest.raises(InputError, match=r"^task\.labels: [^\n]+task\.low and task\.high$"):
        unknown.fit_options(np.ones((3, 1), np.float32))


def test_an_angle_beyond_the_distribution_is_refused_in_one_line() -> None:
    class Poses:
        def __init__(self) -> None:
            self.labels = {"yaw": np.array([0.0, 120.0], np.float32)}

        def describe(self, index: int) -> str:
            return f"image {index}"

    task = HeadPose({"yaw": ()}, output="distribution")
    with pytest.raises(InputError, match=r"^task\.output=distribution: [^\n]+yaw 120 for image 1"):
        task.targets(Poses())  # type: ignore[arg-type]

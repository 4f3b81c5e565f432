"""Label distributions against scipy, and the options of the tasks that use them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from scipy.stats import entropy, norm

from evonas.core import registry
from evonas.errors import InputError
from evonas.tasks.common.label_distribution import distribution_loss, expectation, grid
from evonas.tasks.head_pose import HeadPose


def test_the_loss_is_scipys_divergence() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(5, 2, 40)), rng.uniform(-20, 20, (5, 2))
    values = np.stack([np.linspace(-60, 57, 40), np.linspace(-80, 76, 40)])
    expected = 0.0
    for image in range(5):
        for column, sigma in enumerate((6.0, 8.0)):
            target = norm.pdf(values[column], targets[image, column], sigma)
            found = np.exp(log_softmax(logits[image, column]))
            expected += entropy(target / target.sum(), found) / 5
    loss = distribution_loss(*(torch.from_numpy(x) for x in (logits, targets, values)))
    assert float(loss) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("angle", [-90.0, -37.0, 0.0, 90.0, 99.0])
def test_the_expectation_of_an_angles_target_is_the_angle(angle: float) -> None:
    """Also at profile: the values go on beyond it. Error at 99 degrees: 0.03."""
    values = grid(torch.tensor([-117.0]), torch.tensor([117.0]), 79)
    torch.testing.assert_close(values, torch.arange(-117.0, 118.0, 3.0)[None])
    logits = -0.5 * ((values - angle) / 6.0).square()
    assert float(expectation(logits[None], values)) == pytest.approx(angle, abs=0.05)
    task = HeadPose({"yaw": ()}, output="distribution")
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

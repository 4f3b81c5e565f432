"""What an components checks before anything is trained, and the targets that views see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evonas.core.experiment import check
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.estimation.features.feature_cache import Features
from evonas.estimation.features.views import standard_views
from evonas.space import Architecture
from evonas.workflows.components import Components


class Dots(Dataset):
    """Six grey images with a point each; told how they are split."""

    def __init__(self, splits: dict[str, Any], leaky: str = "") -> None:
        n = 6
        rng = np.random.default_rng(0)
        self.labels = {
            "left_eye.x": rng.uniform(0.3, 0.7, n).astype(np.float32),
            "left_eye.y": rng.uniform(0.3, 0.7, n).astype(np.float32),
            "right_eye.x": rng.uniform(0.3, 0.7, n).astype(np.float32),
            "right_eye.y": rng.uniform(0.3, 0.7, n).astype(np.float32),
            "age": rng.uniform(20, 60, n).astype(np.float32),
        }
        self.groups = np.array(["a", "a", "b", "b", "c", "c"])
        self.splits = {side: np.array(rows) for side, rows in splits.items()}
        self.leaky, self.fingerprint = leaky, "0"
        self.check()

    def image(self, index: int) -> NDArray[np.uint8]:
        return np.full((32, 32, 3), 100, np.uint8)


SPLITS = {"train": [0, 1, 2, 3], "validation": [4, 5]}


def assembled(tiny: dict[str, Any], dataset: Dataset, **changes: Any) -> Components:
    made = Components(check({**tiny, "baselines": [], **changes}, "tests"))
    vars(made)["dataset"] = dataset
    return made


def test_a_set_for_testing_cannot_train(tiny: dict[str, Any]) -> None:
    made = assembled(tiny, Dots({"test": range(6)}), task="regression")
    with pytest.raises(
        InputError, match=r"expected a train split, got only test: .* in `evonas evaluate`"
    ):
        made.task  # noqa: B018


def test_a_leak_has_to_be_declared_and_is_then_said_everywhere(tiny: dict[str, Any]) -> None:
    leaking = {"train": [0, 2, 4], "validation": [1, 3, 5]}
    with pytest.raises(InputError, match="group 'a' is in both train and validation"):
        Dots(leaking)
    made = assembled(tiny, Dots(leaking, "single images at random"))
    assert made.warnings() == ["LEAKY split, errors on it flatter: single images at random"]
    assert assembled(tiny, Dots(SPLITS)).warnings() == []


@pytest.mark.parametrize(
    ("task", "network", "others"),
    [
        ("key_points", "linear_probe", "heatmap_head"),
        ("regression", "heatmap_head", "linear_probe"),
    ],
)
def test_a_network_has_to_give_what_the_task_learns(
    tiny: dict[str, Any], task: str, network: str, others: str
) -> None:
    made = assembled(tiny, Dots(SPLITS), task=task)
    with pytest.raises(InputError, match=rf"network '{network}' gives .* use one of .*{others}"):
        made.cost(Architecture(network, {}))
    assert made.cost(Architecture(others, {})) > 0


def test_what_training_settles_reaches_the_workers(tiny: dict[str, Any]) -> None:
    dataset = Dots(SPLITS)
    made = assembled(tiny, dataset, task={"name": "regression", "labels": ["age"]})
    _, options, labels = made.task_parts
    age = dataset.labels["age"][:4].astype(np.float64)
    assert options["centre"] == pytest.approx([age.mean()])
    assert options["scale"] == pytest.approx([age.std()])
    assert list(labels) == list(dataset.labels)
    given = assembled(tiny, dataset, task={"name": "regression", "labels": ["age"], "scale": [5.0]})
    assert given.task_parts[1]["scale"] == [5.0]


def test_each_view_has_the_targets_that_it_shows(tiny: dict[str, Any]) -> None:
    dataset = Dots(SPLITS)
    made = assembled(tiny, dataset, task="key_points")
    views = standard_views(1)
    features = Features({"block3": ()}, views, np.arange(6), 0)
    targets = made.context({"backbone": features}, {}).targets
    x = {name: dataset.labels[f"{name}.x"] for name in ("left_eye", "right_eye")}
    plain, flip, jitter, both = (targets[k] for k in range(4))
    np.testing.assert_allclose(plain[:, [0, 3]].T, [x["left_eye"], x["right_eye"]])
    np.testing.assert_allclose(
        flip[:, [0, 3]].T, [1 - x["right_eye"], 1 - x["left_eye"]], rtol=1e-5
    )
    for view, found, points in ((views[2], jitter, plain), (views[3], both, plain)):
        corner, side = view.crops(6)
        left, right = ((points[:, k] - corner[:, 0]) / side for k in (0, 3))
        expected = [1 - right, 1 - left] if view.flip else [left, right]
        np.testing.assert_allclose(found[:, [0, 3]].T, expected, rtol=1e-5)
        assert np.abs(found[:, 0] - points[:, 0]).max() > 0.01

"""Several yes/no labels: the loss, missing labels, metrics against scikit-learn, mistakes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as oracle

from evonas.core import registry
from evonas.core.array_types import Array
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.tasks.multi_label import MultiLabel

SCHEMA = {"glasses": ("no", "yes"), "smile": (), "mood": ("a", "b", "c"), "beard": ("no", "yes")}
NAN = float("nan")


class Looks(Dataset):
    def __init__(self, **labels: list[float]) -> None:
        self.labels = {name: np.array(values, np.float32) for name, values in labels.items()}
        self.groups = np.array([str(i) for i in range(len(next(iter(labels.values()))))])

    def image(self, index: int) -> NDArray[np.uint8]:
        raise NotImplementedError


def made(**options: Any) -> MultiLabel:
    task: MultiLabel = registry.create("task", "multi_label", options, SCHEMA)
    return task


def test_labels_are_those_with_two_classes_or_those_that_are_named() -> None:
    assert made().labels == ("glasses", "beard")
    task = made(labels=["smile", "glasses"])
    assert (task.labels, task.n_outputs) == (("smile", "glasses"), 2)
    found = task.targets(Looks(smile=[0, 1, NAN], glasses=[1, NAN, 0]))
    np.testing.assert_array_equal(found, [[0, 1], [1, NAN], [NAN, 0]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"labels": ["mood"]}, r"^task\.labels: expected labels with two classes[^\n]+'mood'"),
        ({"labels": ["glases"]}, r"did you mean 'glasses'\?"),
        ({"labels": []}, r"^task\.labels: expected at least one label"),
        ({"labels": ["smile", "smile"]}, "each once"),
        ({"positive_weights": [1.0]}, r"^task\.positive_weights: expected 2 positive numbers"),
        ({"positive_weights": [1.0, 0.0]}, "got "),
        ({"pairs": [["glasses", "hat"]]}, r"^task\.pairs"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        made(**options)


def test_a_label_is_0_or_1() -> None:
    with pytest.raises(InputError, match=r"expected 0 or 1 for 'smile', got 2 for image 1, 1 such"):
        made(labels=["smile"]).targets(Looks(smile=[0, 2]))


@pytest.mark.parametrize("values", [[1, 1, NAN], [0, 0, 0], [NAN, NAN, NAN]])
def test_training_images_need_both_answers(values: list[float]) -> None:
    targets = np.array([values, [0, 1, 1]], np.float32).T
    with pytest.raises(InputError, match=r"training images with 'glasses' 0 and 1, got [^\n]+$"):
        made().fit_options(targets)


@given(st.integers(0, 10_000))
def test_loss_and_gradient_are_those_of_a_loop_over_known_labels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, weights = int(rng.integers(1, 6)), rng.uniform(0.2, 5, 2)
    truth = rng.choice([0, 1, NAN], (n, 2)).astype(np.float32)
    outputs = torch.tensor(rng.normal(0, 3, (n, 2)), requires_grad=True)
    task = made(positive_weights=weights.tolist())
    loss = task.loss(outputs, torch.from_numpy(truth))
    loss.backward()  # type: ignore[no-untyped-call]
    total, gradient, count = 0.0, np.zeros((n, 2)), int(np.isfinite(truth).sum())
    for i in range(n):
        for k in range(2):
            if math.isnan(truth[i, k]):
                continue
            yes = 1 / (1 + math.exp(-float(outputs.detach()[i, k])))
            w = float(np.float32(weights[k]))
            total -= w * math.log(yes) if truth[i, k] else math.log(1 - yes)
            gradient[i, k] = (-w * (1 - yes) if truth[i, k] else yes) / count
    assert float(loss.detach()) == pytest.approx(total / max(count, 1), rel=1e-5)
    assert outputs.grad is not None
    np.testing.assert_allclose(outputs.grad.numpy(), gradient, rtol=1e-5, atol=1e-9)


def test_balanced_weights_are_no_to_yes() -> None:
    targets = np.array([[1, 0], [0, 1], [0, NAN], [0, 1]], np.float32)
    task = made(balanced=True)
    assert task.fit_options(targets) == {"positive_weights": [3.0, 0.5]}
    assert made().fit_options(targets) == {}
    with pytest.raises(InputError, match=r"^task\.positive_weights: expected the weights"):
        task.loss(torch.zeros(4, 2), torch.from_numpy(targets))


def test_metrics_are_those_of_scikit_learn_on_known_labels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, NAN], (60, 2), p=[0.5, 0.3, 0.2]).astype(np.float32)
    guess = np.round(rng.random((60, 2)), 1).astype(np.float32)
    found = made().details(guess, truth)
    each: dict[str, list[float]] = {"ap": [], "f1": [], "accuracy": []}
    for k, name in enumerate(("glasses", "beard")):
        known = np.isfinite(truth[:, k])
        yes, said = truth[known, k] == 1, guess[known, k] >= 0.5
        each["ap"].append(100 * oracle.average_precision_score(yes, guess[known, k]))
        each["f1"].append(100 * oracle.f1_score(yes, said))
        each["accuracy"].append(100 * oracle.accuracy_score(yes, said))
        for kind, values in each.items():
            assert found[f"{kind} {name}"] == pytest.approx(values[-1]), kind
    assert found["error"] == pytest.approx(100 - np.mean(each["ap"]))
    assert found["map"] == pytest.approx(np.mean(each["ap"]))
    assert found["macro_f1"] == pytest.approx(np.mean(each["f1"]))
    assert found["accuracy"] == pytest.approx(np.mean(each["accuracy"]))


@pytest.mark.parametrize(
    ("scores", "precision"),
    [([0, 0, 0, 0, 0], 40.0), ([5, 1, 2, 4, 3], 100.0), ([4, 5, 3, 2, 1], 50.0)],
)
def test_average_precision_is_not_interpolated(scores: list[float], precision: float) -> None:
    """A constant has the share of yes; yes at ranks 2 and 4 is (1/2 + 2/4) / 2."""
    truth = np.array([[1, 0], [0, 1], [0, 1], [1, 0], [0, 1]], np.float32)
    guess = np.array([scores, scores], np.float32).T
    assert made().details(guess, truth)["ap glasses"] == pytest.approx(precision)


def test_a_label_without_a_yes_is_left_out_and_none_with_a_yes_is_an_error() -> None:
    task = made()
    guess: Array = np.array([[0.9, 0.1], [0.2, 0.3]], np.float32)
    found = task.details(guess, np.array([[1, 0], [0, 0]], np.float32))
    assert (found["error"], found["map"]) == (0.0, 100.0)
    assert "ap beard" not in found
    with pytest.raises(InputError, match=r"^task\.labels: expected images with one of[^\n]+$"):
        task.metrics(guess, np.zeros((2, 2), np.float32))


def test_the_constant_is_the_share_of_yes() -> None:
    targets = np.array([[1, NAN], [0, NAN], [0, NAN], [NAN, NAN]], np.float32)
    np.testing.assert_allclose(made().constant_baseline(targets), [1 / 3, 0.5])


def test_outputs_are_probabilities_of_named_labels() -> None:
    task = made()
    outputs = np.array([[0.0, 2.0]], np.float32)
    np.testing.assert_allclose(task.predictions(outputs), 1 / (1 + np.exp(-outputs)), rtol=1e-6)
    answer = task.answer
    assert (answer.kind, answer.columns, answer.output) == (
        "labels",
        ("glasses", "beard"),
        "probabilities",
    )


def test_sides_are_exchanged_in_a_mirrored_image() -> None:
    schema = {"left_wink": (), "hat": (), "right_wink": ()}
    task = MultiLabel(schema, labels=("left_wink", "hat", "right_wink"))
    rows = np.array([[1, 0, NAN]], np.float32)
    np.testing.assert_array_equal(task.flip_targets(rows), [[NAN, 0, 1]])
    plain = MultiLabel(schema, labels=("left_wink", "hat", "right_wink"), pairs=())
    np.testing.assert_array_equal(plain.flip_targets(rows), rows)

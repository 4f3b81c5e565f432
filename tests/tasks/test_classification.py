"""Classification: the label, the loss and its weights, F1 and the confusion matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evonas.core import registry
from evonas.core.array_types import Array
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.tasks.classification import Classification

NAMES = ("neutral", "happy", "sad")
SCHEMA = {"age": (), "emotion": NAMES}


class Emotions(Dataset):
    def __init__(self, *numbers: float) -> None:
        self.labels = {"emotion": np.array(numbers, np.float32)}
        self.groups = np.array([str(i) for i in range(len(numbers))])

    def image(self, index: int) -> NDArray[np.uint8]:
        raise NotImplementedError


def column(*numbers: float) -> Array:
    return np.array(numbers, np.float32)[:, None]


def made(**options: Any) -> Classification:
    task: Classification = registry.create("task", "classification", options, SCHEMA)
    return task


# By hand: truth 0 0 0 1 1 2, prediction 0 0 1 1 2 2.
TRUTH, GUESS = column(0, 0, 0, 1, 1, 2), column(0, 0, 1, 1, 2, 2)


def test_metrics_by_hand() -> None:
    metrics = made().metrics(GUESS, TRUTH)
    assert set(metrics) == {"error", "accuracy", "macro_f1"}
    assert metrics["accuracy"] == pytest.approx(100 * 4 / 6)
    assert metrics["error"] == pytest.approx(100 * 2 / 6)
    # F1 = 2 hits / (shown + predicted): 4/5, 2/4, 2/3.
    assert metrics["macro_f1"] == pytest.approx(100 * (4 / 5 + 1 / 2 + 2 / 3) / 3)
    details = made().details(GUESS, TRUTH)
    assert details["recall neutral"] == pytest.approx(100 * 2 / 3)
    assert details["recall happy"] == pytest.approx(50)
    assert details["recall sad"] == pytest.approx(100)
    assert details["f1 happy"] == pytest.approx(50)
    assert set(details) - set(metrics) == {
        f"{kind} {n}" for kind in ("recall", "f1") for n in NAMES
    }


def test_the_matrix_has_the_truth_in_rows() -> None:
    matrix = made().matrix(GUESS, TRUTH)
    assert matrix.names == NAMES
    assert matrix.counts.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert "truth in rows" in matrix.title
    assert made().matrix(column(0), column(0)).counts.shape == (3, 3)


@pytest.fixture(scope="module")
def oracle() -> Any:
    """scikit-learn's metrics; a second of import, so that evonas itself does without."""
    return pytest.importorskip("sklearn.metrics")


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40))
def test_scikit_learn_finds_the_same(oracle: Any, pairs: list[tuple[int, int]]) -> None:
    truth, guess = (list(side) for side in zip(*pairs, strict=True))
    task = made()
    details = task.details(column(*guess), column(*truth))
    assert details["accuracy"] == pytest.approx(100 * oracle.accuracy_score(truth, guess))
    expected = oracle.f1_score(truth, guess, average="macro", zero_division=0)
    assert details["macro_f1"] == pytest.approx(100 * expected)
    confusion = oracle.confusion_matrix(truth, guess, labels=[0, 1, 2])
    np.testing.assert_array_equal(task.matrix(column(*guess), column(*truth)).counts, confusion)
    each = {"labels": [0, 1, 2], "average": None, "zero_division": np.nan}
    for kind, values in (
        ("recall", oracle.recall_score(truth, guess, **each)),
        ("f1", oracle.f1_score(truth, guess, **each)),
    ):
        for name, value in zip(NAMES, values, strict=True):
            assert details.get(f"{kind} {name}", np.nan) == pytest.approx(100 * value, nan_ok=True)


def test_a_class_that_does_not_occur_has_no_recall_and_does_not_count() -> None:
    details = made().details(column(0, 1), column(0, 0))
    assert "recall happy" not in details
    assert details["f1 happy"] == 0.0
    assert "f1 sad" not in details
    assert details["macro_f1"] == pytest.approx((100 * 2 / 3 + 0) / 2)


def test_what_rises_is_named() -> None:
    task = made()
    assert {"accuracy", "macro_f1", "recall sad", "f1 sad"} <= task.higher_is_better
    assert set(task.details(GUESS, TRUTH)) - task.higher_is_better == {"error"}
    assert (task.metric, task.unit, task.n_outputs, task.dense) == ("error", "percent", 3, False)


def test_the_loss_is_the_cross_entropy_by_hand() -> None:
    outputs = np.array([[1.0, 2.0, -1.0], [0.5, 0.0, 0.0]])
    shares = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    np.testing.assert_allclose(made().read(outputs), shares, rtol=1e-6)
    nll = -np.log(shares)
    tensors = torch.from_numpy(outputs), torch.from_numpy(column(1, 2))
    assert float(made().loss(*tensors)) == pytest.approx((nll[0, 1] + nll[1, 2]) / 2)
    weighted = made(weights=[1.0, 2.0, 3.0]).loss(*tensors)
    assert float(weighted) == pytest.approx((2 * nll[0, 1] + 3 * nll[1, 2]) / 5)
    smoothed = made(label_smoothing=0.3).loss(*tensors)
    soft = np.array([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    assert float(smoothed) == pytest.approx((soft * nll).sum(1).mean())


def test_predictions_and_scores_agree_and_large_outputs_do_not_overflow() -> None:
    outputs = np.array([[1e4, -1e4, 0], [0, 0, 5], [-1, 3, 2]], np.float32)
    task = made()
    assert task.predictions(outputs).tolist() == [[0], [2], [1]]
    scores = task.read(outputs)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-6)
    np.testing.assert_array_equal(scores.argmax(1)[:, None], task.predictions(outputs))


def test_balanced_weights_are_settled_from_the_training_targets() -> None:
    targets = column(0, 0, 0, 0, 0, 0, 1, 1, 1, 2)
    draft = made(balanced=True)
    settled = draft.fit_options(targets)
    assert settled == {"weights": pytest.approx([10 / 18, 10 / 9, 10 / 3])}
    weights = pytest.importorskip("sklearn.utils.class_weight")
    expected = weights.compute_class_weight("balanced", classes=np.arange(3), y=targets[:, 0])
    assert settled["weights"] == pytest.approx(expected.tolist())
    task = made(balanced=True, **settled)
    assert task.fit_options(targets) == {}
    # Balanced, each class has the same share of the loss.
    outputs = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    each = torch.nn.functional.cross_entropy(
        outputs, torch.from_numpy(targets[:, 0]).long(), reduction="none"
    )
    means = [each[targets[:, 0] == c].mean() for c in range(3)]
    loss = task.loss(outputs, torch.from_numpy(targets))
    assert float(loss) == pytest.approx(float(sum(means) / 3), rel=1e-5)
    assert made().fit_options(targets) == {}
    with pytest.raises(InputError, match=r"^task\.weights: [^\n]+fit_options[^\n]+$"):
        draft.loss(outputs, torch.from_numpy(targets))


def test_a_class_without_training_images_does_not_break_the_weights() -> None:
    settled = made(balanced=True).fit_options(column(0, 0, 0, 2))
    assert settled["weights"] == pytest.approx([4 / 6, 1.0, 4 / 2])


def test_the_constant_is_the_most_frequent_class() -> None:
    assert made().constant_baseline(column(2, 1, 2, 0)).tolist() == [2.0]


def test_targets_are_numbers_of_classes() -> None:
    targets = made().targets(Emotions(2, 0, 1))
    assert targets.tolist() == [[2], [0], [1]]
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(made().flip_targets(targets), targets)


@pytest.mark.parametrize("wrong", [-1, 3, 0.5])
def test_a_number_that_is_no_class_is_refused_by_name(wrong: float) -> None:
    expected = rf"^task\.label: [^\n]*0 to 2, got {wrong:g} for image 1, 2 such images in total"
    with pytest.raises(InputError, match=expected):
        made().targets(Emotions(0, wrong, 1, 7))


def test_the_label_with_classes_is_found() -> None:
    assert made().label == "emotion"
    both = {**SCHEMA, "gender": ("female", "male")}
    assert Classification(both, "gender").names == ("female", "male")
    with pytest.raises(InputError, match=r"^task\.label: [^\n]*emotion, gender$"):
        Classification(both)


@pytest.mark.parametrize(
    ("schema", "label", "expected"),
    [
        ({"age": (), "yaw": ()}, None, "a label that has classes, got only age, yaw"),
        ({}, None, "got only none"),
        (SCHEMA, "age", "a label with classes, got 'age'"),
        (SCHEMA, "emotoin", "did you mean 'emotion'"),
        ({"emotion": ("neutral",)}, None, "at least two classes"),
    ],
)
def test_what_has_no_classes_cannot_be_learnt(
    schema: dict[str, tuple[str, ...]], label: str | None, expected: str
) -> None:
    with pytest.raises(InputError, match=rf"^task\.label: [^\n]*{expected}[^\n]*$"):
        Classification(schema, label)


@pytest.mark.parametrize(
    "options",
    [
        {"label_smoothing": 1.0},
        {"label_smoothing": -0.1},
        {"label_smoothing": float("nan")},
        {"weights": [1.0, 2.0]},
        {"weights": [1.0, 0.0, 1.0]},
        {"weights": [1.0, float("inf"), 1.0]},
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"^task\.{next(iter(options))}: expected [^\n]+$"):
        made(**options)


def test_classes_named_by_a_side_change_places_in_the_mirror() -> None:
    names = ("ahead", "left", "right", "left_wink")
    task = Classification({"looks": names})
    assert task.flip_targets(np.float32([[0], [1], [2], [3]])).tolist() == [[0], [2], [1], [3]]
    assert task.flip_targets(np.float32([[1]])).dtype == np.float32
    given = Classification({"looks": names}, pairs=(("ahead", "right"),))
    assert given.flip_targets(np.float32([[0], [1], [2], [3]])).tolist() == [[2], [1], [0], [3]]
    none = Classification({"looks": names}, pairs=())
    assert none.flip_targets(np.float32([[1]])).tolist() == [[1]]
    with pytest.raises(InputError, match=r"task\.pairs: expected pairs of ahead, left"):
        Classification({"looks": names}, pairs=(("left", "rigth"),))


def test_outputs_of_classes_named_by_a_side_change_places_as_well() -> None:
    schema = {"gaze": ("left", "ahead", "right", "up")}
    outputs = np.array([[1, 2, 3, 4]], np.float32)
    assert Classification(schema).unflip_outputs(outputs).tolist() == [[3, 2, 1, 4]]
    pairs = Classification(schema, pairs=(("ahead", "up"),))
    assert pairs.unflip_outputs(outputs).tolist() == [[1, 4, 3, 2]]

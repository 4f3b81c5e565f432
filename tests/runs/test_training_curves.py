"""Training losses in the journal, and when a training is said to overfit."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from logs import READ, accumulated

from evonas.runs.run_store import RunStore, Trial, read_journal
from evonas.runs.training_curves import epochs, kept_loss, overfitting, training_losses
from evonas.testing.loggers import TRIALS, trial, write

FALLING = [0.5, 0.4, 0.3, 0.2, 0.1]


@pytest.mark.parametrize(
    ("errors", "losses", "found"),
    [
        ([9, 5, 4, 4.1, 4.2], FALLING, True),  # 3 of 5 epochs, 5 % above the best
        ([9, 5, 4, 4.1, 4.11], FALLING, False),  # 2.75 % above
        ([9, 5, 4.5, 4, 5], FALLING, False),  # the best is late
        ([9, 5, 4, 4.1, 4.2], [0.5, 0.4, 0.1, 0.2, 0.1], False),  # the loss does not fall on
        ([4, 5], [0.5, 0.4], True),
        ([4], [0.5], False),
        ([], [], False),
        ([9, 5, 4, 4.1, 4.2], [], False),  # of an earlier version
        ([9, 5, 4, 4.1, 4.2], [0.5, 0.4], False),
        ([-4, -9, -3, -3, -3], FALLING, True),  # a loss may be negative
        ([0, 0, 0, 0, 1], FALLING, True),
    ],
)
def test_overfitting_is_an_early_best_epoch_and_a_rising_error(
    errors: list[float], losses: list[float], found: bool
) -> None:
    assert bool(overfitting(errors, losses)) is found


def test_the_remark_has_the_figures() -> None:
    assert overfitting([9, 5, 4, 4.1, 4.4], FALLING) == (
        "overfits: lowest validation error in epoch 3 of 5, 10 % higher in the last, while the "
        "training loss fell"
    )


def test_losses_have_six_significant_digits() -> None:
    history = [{"loss": 1 / 3, "mae": 1.0}, {"loss": 1e-9 / 3}, {"loss": 2e6 / 3}, {"mae": 1.0}]
    assert training_losses(history) == [0.333333, 3.33333e-10, 666667.0]


def test_the_loss_of_the_kept_epoch() -> None:
    assert kept_loss([0.3, 0.2], {"epoch": 2}) == 0.2
    assert math.isnan(kept_loss([], {"epoch": 2}))
    assert math.isnan(kept_loss([0.3], {}))


def test_a_line_without_losses_is_that_of_an_earlier_version(tmp_path: Path) -> None:
    """It is written and read as before; with losses it has them before ``at``."""
    plain, full = trial(0, 0, 1.0), trial(0, 1, 1.0, curve=(2.0, 1.0), losses=(0.5, 0.25), fold=1)
    with RunStore(tmp_path) as store:
        store.append(plain, full)
    first, second = (json.loads(x) for x in (tmp_path / "journal.jsonl").read_text().splitlines())
    optional = ("losses", "fold")
    assert list(first) == [name for name in Trial.__struct_fields__ if name not in optional]
    assert list(second) == list(Trial.__struct_fields__)
    assert second["losses"] == [0.5, 0.25]
    assert read_journal(tmp_path) == [plain, full]
    assert full != trial(0, 1, 1.0, curve=(2.0, 1.0))


def test_epochs_pair_loss_and_error() -> None:
    one = trial(0, 0, 1.0, curve=(2.0, 1.0), losses=(0.5, 0.25))
    assert list(epochs(one)) == [
        (1, {"train_loss": 0.5, "error": 2.0}),
        (2, {"train_loss": 0.25, "error": 1.0}),
    ]
    assert not list(epochs(trial(0, 0, 1.0, curve=(2.0, 1.0))))


@pytest.mark.parametrize("name", READ)
def test_loggers_have_a_scalar_an_epoch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    own = {"curve": (5.0, 4.0, 4.5), "losses": (0.5, 0.25, 0.125)}
    own["metrics"] = {"mae": 4.0, "epoch": 2.0}
    rows = [TRIALS[1], trial(0, 1, 6.0, **own), trial(0, 2, 7.0, status="stopped", **own)]
    write(name, tmp_path, rows)
    write(name, tmp_path, rows)  # a resumed search does not write them twice
    found = READ[name](tmp_path)
    assert found["train_loss"] == [(2, 0.25)]  # of the kept epoch, at the number of the training
    if name == "tensorboard":
        read = accumulated(tmp_path / "tensorboard" / "trials" / "01")
        curves = {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in EPOCHS}
    else:
        curves = {tag: found[f"{tag}/01"] for tag in EPOCHS}
    assert curves == EPOCHS


EPOCHS = {
    "epoch/train_loss": [(1, 0.5), (2, 0.25), (3, 0.125)],
    "epoch/error": [(1, 5.0), (2, 4.0), (3, 4.5)],
}

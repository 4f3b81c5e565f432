"""Jobs with a paused training in their file: only the same training goes on from it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evonas.core.settings import TrainingSettings
from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.measurement import Measurement
from evonas.estimation.training.training import Training
from evonas.space import Architecture


@pytest.fixture
def epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epochs that are trained, by number."""
    done: list[int] = []
    whole = Training._epoch

    def counted(self: Training, *given: object) -> float:
        done.append(self.epoch)
        return whole(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Training, "_epoch", counted)
    return done


def job(**changes: object) -> Job:
    settings = TrainingSettings(epochs=3)
    head = Architecture("residual_head", {"width": 4, "tap": "block4"})
    return replace(Job(0, head, 5, settings, history=True), **changes)  # type: ignore[arg-type]


def plain(found: Measurement) -> Measurement:
    return replace(found, seconds=0.0)


def test_the_same_training_goes_on(
    setting: TrainingContext, tmp_path: Path, epochs: list[int]
) -> None:
    path = str(tmp_path / "p")
    whole = plain(Estimator(setting)(job()))
    assert Estimator(setting)(job(until=2, paused=path)).epochs == 2
    epochs.clear()
    assert plain(Estimator(setting)(job(paused=path))) == whole
    assert epochs == [2]
    epochs.clear()
    # A search that was killed at the rung asks for the first rung again.
    assert Estimator(setting)(job(until=2, paused=path)).epochs == 2
    assert not epochs


@pytest.mark.parametrize(
    "what",
    ["seed", "learning rate", "tap", "architecture", "parent", "source", "split", "task", "data"],
)
def test_another_training_starts_anew(
    setting: TrainingContext,
    tmp_path: Path,
    epochs: list[int],
    what: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path, one, other = str(tmp_path / "p"), setting, setting
    first, second = job(), job()
    if what == "seed":
        second = job(seed=6)
    elif what == "learning rate":
        second = job(training=TrainingSettings(epochs=3, learning_rate=1e-5))
    elif what == "tap":  # of the setting, and so of an architecture that names none
        head = Architecture("linear_probe", {})
        first = second = job(architecture=head)
        one, other = replace(setting, tap="block4"), replace(setting, tap="block3")
    elif what == "architecture":
        second = job(architecture=Architecture("residual_head", {"width": 6, "tap": "block4"}))
    elif what == "parent":
        Estimator(setting)(job(seed=9, weights=str(tmp_path / "parent")))
        first = job(parent=str(tmp_path / "parent"))
    elif what == "source":
        other = replace(setting, files={**setting.files, "other": setting.files["backbone"]})
        second = job(source="other")
    elif what == "split":
        split = setting.splits["search"]
        fewer = replace(split, train=split.train[:-1])
        other = replace(setting, splits={"search": fewer})
    elif what == "task":
        name, options, labels = setting.task
        other = replace(setting, task=(name, {**options, "delta": 3.0}, labels))
    elif what == "data":
        targets = setting.targets.copy()
        targets[0, 0, 0] += 1
        other = replace(setting, targets=np.ascontiguousarray(targets))
    whole = plain(Estimator(other)(second))
    assert whole.status == "ok", whole.error
    Estimator(one)(replace(first, until=2, paused=path))
    epochs.clear()
    assert not caplog.messages
    assert plain(Estimator(other)(replace(second, paused=path))) == whole
    assert epochs == [0, 1, 2]
    assert "a paused training of another run: it starts anew (what differs: " in caplog.text

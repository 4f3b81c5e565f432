"""A worker on a node without the search's disk: files of a job travel with it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import ray

from evonas.core.files import write_file
from evonas.core.settings import TrainingSettings
from evonas.estimation.estimator import Estimator, Job, TrainingContext
from evonas.estimation.execution.ray import _keep
from evonas.estimation.execution.ray_cluster.worker import Answer, Origin, Worker
from evonas.estimation.measurement import Measurement
from evonas.estimation.training.training import Training
from evonas.space import Architecture

JOB = Job(
    0,
    Architecture("residual_head", {"width": 4, "tap": "block4"}),
    5,
    TrainingSettings(epochs=3),
    history=True,
)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where workers have their own files."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def far(setting: TrainingContext, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A worker whose features happen to be there, and nothing else of the search."""
    here = SimpleNamespace(get_node_id=lambda: "here")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: here)
    monkeypatch.delenv("EVONAS_CACHE", raising=False)
    return Worker(setting, Estimator, "far", Origin("elsewhere", None))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def plain(found: Measurement) -> Measurement:
    return replace(found, seconds=0.0)


def counted(monkeypatch: pytest.MonkeyPatch) -> Sequence[int]:
    done, train = list[int](), Training._epoch

    def epoch(self: Training, *given: object) -> float:
        done.append(self.epoch)
        return train(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Training, "_epoch", epoch)
    return done


def test_a_paused_training_comes_back_and_goes_along(
    far: Worker,
    setting: TrainingContext,
    tmp_path: Path,
    scratch: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = plain(Estimator(setting)(JOB))
    run = tmp_path / "run" / "rungs"
    opening = replace(JOB, until=1, paused=str(run / "p.safetensors"))
    answer = far.estimate(opening)
    assert answer.measurement.epochs == 1
    assert answer.paused
    assert not run.exists(), "a path of the search's node was used"
    assert not names(scratch)

    _keep(opening, answer)  # on the search's node
    assert names(run) == ["p.safetensors"]
    epochs = counted(monkeypatch)
    closing = replace(opening, until=0)
    answer = far.estimate(closing, paused=(run / "p.safetensors").read_bytes())
    assert plain(answer.measurement) == whole
    assert epochs == [1, 2]
    assert not answer.paused
    assert not names(scratch)
    # A worker on the search's own node takes it up as well, and one without it starts anew.
    assert plain(Estimator(setting)(closing)) == whole
    assert plain(far.estimate(closing).measurement) == whole
    assert epochs == [1, 2, 1, 2, 0, 1, 2]


def test_a_file_that_lies_at_the_same_path_there_is_left_alone(
    far: Worker, setting: TrainingContext, tmp_path: Path
) -> None:
    """The search's path names somebody else's file on this node: of the same training, even."""
    theirs = tmp_path / "theirs.safetensors"
    opening = replace(JOB, until=1, paused=str(theirs))
    Estimator(setting)(opening)
    before = theirs.read_bytes()
    write_file(theirs, before)
    state = theirs.stat()
    far.estimate(replace(opening, seed=6))
    assert theirs.read_bytes() == before
    assert theirs.stat().st_mtime_ns == state.st_mtime_ns


def test_what_comes_back_to_a_full_disk_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise OSError(28, "No space left on device")

    job = replace(JOB, weights=str(tmp_path / "a" / "w"), paused=str(tmp_path / "b" / "p"))
    answer = Answer(Measurement("ok", {"error": 1.0}), b"weights", b"paused")
    with monkeypatch.context() as patch:
        patch.setattr("evonas.estimation.execution.ray.write_file", full)
        _keep(job, answer)
    assert not names(tmp_path)
    _keep(job, answer)
    assert names(tmp_path) == ["p", "w"]

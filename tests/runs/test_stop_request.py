"""A search that is asked to stop ends as after Ctrl-C, and goes on when it is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from evonas.api.search import search
from evonas.core.experiment import Experiment
from evonas.errors import InputError
from evonas.runs import file_schemas
from evonas.runs.callbacks import Callback
from evonas.runs.run_store import RunStore, is_open, read_journal
from evonas.runs.stop_request import FILE, StopRequest, request_stop, stop_requested
from evonas.runs.trial import Trial


class AskAfter(Callback):
    """Asks the search to stop after some trials, and keeps what it says."""

    def __init__(self, folder: Path, trials: int) -> None:
        self.folder, self.trials, self.said = folder, trials, ""

    def on_trial(self, trial: Trial) -> None:
        self.trials -= 1
        if not self.trials:
            request_stop(self.folder)
            assert stop_requested(self.folder)

    def on_stop(self, error: BaseException, message: str) -> None:
        self.said = message


def untimed(folder: Path) -> list[Trial]:
    return [replace(trial, seconds=0.0) for trial in read_journal(folder)]


def test_a_search_stops_after_the_training_in_progress_and_resumes(
    tiny_experiment: Experiment, tmp_path: Path
) -> None:
    experiment = tiny_experiment.changed(**{"finals.networks": 0})
    folder, whole = tmp_path / "stopped", tmp_path / "whole"
    asking = AskAfter(folder, 2)
    with pytest.raises(KeyboardInterrupt):
        search(experiment, run_dir=folder, callbacks=[asking])
    assert sum(trial.trained for trial in read_journal(folder)) == 2
    assert not (folder / FILE).exists()
    assert not is_open(folder)
    assert f"evonas search --resume --run-dir {folder}" in asking.said
    (folder / FILE).touch()  # left by a request that came too late
    search(experiment, run_dir=folder, resume=True)
    search(experiment, run_dir=whole)
    assert untimed(folder) == untimed(whole)
    progress: Any = json.loads((folder / "progress.json").read_text())
    file_schemas.checked(progress, file_schemas.Progress, "progress.json", list(progress))
    assert (progress["trained"], progress["workers"], progress["stage"]) == (2, 1, "baselines")
    assert progress["seconds"] > 0


def test_where_nothing_runs_there_is_nothing_to_stop(tmp_path: Path) -> None:
    with RunStore(tmp_path / "run"):
        pass
    with pytest.raises(InputError, match="no search is running there"):
        request_stop(tmp_path / "run")
    assert not (tmp_path / "run" / FILE).exists()


def test_features_are_stopped_too(tmp_path: Path) -> None:
    stop = StopRequest(tmp_path)
    stop.on_progress("features", 1, 2)
    (tmp_path / FILE).touch()
    with pytest.raises(KeyboardInterrupt):
        stop.on_progress("features", 2, 2)
    stop.on_progress("features", 2, 2)

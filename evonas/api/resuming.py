"""Resuming: searches, after a check that experiment and data are those of the run; trainings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from evonas.core import experiment as config
from evonas.core.experiment import Experiment
from evonas.core.files import read_yaml
from evonas.core.overrides import Word
from evonas.errors import InputError, RunError, one_line
from evonas.runs.callbacks import Callback
from evonas.runs.file_schemas import Environment, checked
from evonas.runs.run_store import RunStore
from evonas.workflows.base_components import BaseComponents


def check_start(run_dir: Path | None, resume: bool, warm_start: Path | None) -> None:
    """Refuse a search with contradictory arguments.

    Raises:
        InputError: it resumes no folder, or resumes and begins with another run.
    """
    if resume and run_dir is None:
        raise InputError("--resume needs --run-dir: which run is to go on?")
    if resume and warm_start is not None:
        raise InputError("--from is for a new run: one that is resumed knows what it began with")


def stored(folder: Path, overrides: Sequence[Word]) -> Experiment:
    """Return the experiment of a run directory, changed by overrides.

    Raises:
        InputError: the directory holds no run.
    """
    path = folder / "experiment.yaml"
    if not path.is_file():
        raise InputError(
            f"{folder}: holds no run to resume: experiment.yaml is missing: start "
            f"it without --resume"
        )
    content = read_yaml(path)
    if isinstance(finals := content.get("finals"), dict):
        # A run that names no method is older than races, and one that names no validation is
        # older than folds: each goes on as it began.
        content["finals"] = {"method": "fixed", "validation": "search", **finals}
    return config.check(config.merge(content, overrides), str(path))


def check_same(store: RunStore, experiment: Experiment, components: BaseComponents) -> None:
    """Refuse to resume a run with another experiment, other data or another space.

    Raises:
        InputError: a value, the data, the backbone or the space differs; or the journal lacks
            networks that the run began with.
    """
    before = stored(store.folder, []).model_dump(mode="json")
    found = config.differences(before, experiment.model_dump(mode="json"))
    where = store.folder / "environment.json"
    environment = checked(store.read(where.name), Environment, where)
    space = json.loads(json.dumps(components.space.to_dict()))
    now = {**components.fingerprints(), "space": space}
    changed = [key for key in now if environment.get(key) != now[key]]
    of = {"machine": "the machine that latencies are measured on"}
    found += [of.get(key, f"the content of the {key}") for key in changed]
    begun = sum(trial.status in ("earlier", "suggested") for trial in store.trials())
    if begun != environment.get("begins_with", 0):
        raise InputError(
            f"{store.folder}: cannot be resumed: of the {environment.get('begins_with', 0)} "
            f"networks that it began with, the journal holds {begun}: start a new run"
        )
    if found:
        raise InputError(
            f"{store.folder}: cannot be resumed with other values; what differs: "
            f"{'; '.join(found)}. Undo this, or start a new run"
        )


def already_searched(folders: Sequence[Path], experiment: Experiment, new: Path) -> str:
    """Return a line on the latest run that could be resumed instead of a new search.

    Args:
        folders: of runs, the oldest first.
        experiment: of the new search.
        new: its folder.

    Returns:
        The line; empty if no run is of this experiment.
    """
    wanted = experiment.model_dump(mode="json")
    for folder in reversed(folders):
        try:
            before = stored(folder, []).model_dump(mode="json")
        except InputError:  # no run, or a damaged one, which cannot be resumed
            continue
        if not config.differences(before, wanted):
            return (
                f"note: {folder} is a search of this experiment; all is trained anew into {new}. "
                f"To go on with that one instead: evonas search --resume --run-dir {folder}"
            )
    return ""


@contextmanager
def resumable(store: RunStore, callback: Callback) -> Iterator[None]:
    """Send ``on_stop`` for a search that is stopped, with the command that resumes it."""
    again = f"evonas search --resume --run-dir {store.folder}"
    try:
        yield
    except KeyboardInterrupt as error:
        store.log(f"stopped with {store.trained} trained networks")
        message = f"Stopped after {store.trained} networks; nothing is lost. Go on with:\n  {again}"
        callback.on_stop(error, message)
        raise
    except RunError as error:
        store.log(f"ended: {error}")
        if again in str(error):
            callback.on_stop(error, "")
            raise
        whole = RunError(f"{error}; nothing that is done is lost, go on with {again}")
        callback.on_stop(whole, "")
        raise whole from error
    except Exception as error:
        store.log(f"ended: {one_line(error)}")
        callback.on_stop(error, f"Nothing that is done is lost, go on with {again}")
        raise


@contextmanager
def resumable_trainings(folder: Path, callback: Callback) -> Iterator[Path]:
    """Yield a folder for checkpoints of trainings, and remove it once their results are written.

    After Ctrl-C a message says how to go on, and after any error the checkpoints stay.

    Args:
        folder: of the results; the checkpoints are in a folder inside, which need not exist.
        callback: receives the message.
    """
    unfinished = folder / "unfinished"
    try:
        yield unfinished
    except KeyboardInterrupt:
        callback.on_message(
            "stopped: the same command goes on from the trainings that are finished, and from the "
            "last seconds of the others"
        )
        raise
    shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def announced(callback: Callback) -> Iterator[None]:
    """Send ``on_stop`` where there is nothing yet, or nothing more, to resume."""
    try:
        yield
    except BaseException as error:
        callback.on_stop(error, "")
        raise

"""Steps in a row, each with a file that it ends with: what is done is not repeated."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from evonas.api.evaluation import Evaluation, evaluate
from evonas.api.search import search
from evonas.api.search_result import SearchResult
from evonas.core import experiment as config
from evonas.core.experiment import Experiment
from evonas.core.files import keep, make_folder, read_json
from evonas.errors import InputError
from evonas.runs.callbacks import Callback
from evonas.workflows.evaluation import Retrained
from evonas.workflows.judging import Include

EXPERIMENT = "experiment.json"
#: Ends a search: best.json is there from the first network on.
DONE = "complete"

Result = TypeVar("Result")


@dataclass(frozen=True)
class Step(Generic[Result]):
    """One step: its name, the file that it ends with, and the function that takes it."""

    name: str
    result: Path
    work: Callable[[], Result]


def take(
    steps: Sequence[Step[Result]],
    callback: Callback,
    on_step: Callable[[int, int, str], None] | None = None,
    on_result: Callable[[Result], None] | None = None,
) -> None:
    """Take the steps whose files are not there, in their order.

    Args:
        steps: in their order.
        callback: receives a message for each step that was done before.
        on_step: called before a step with its number, from 1, the number of steps and its name.
        on_result: called with the result of each step.
    """
    for number, step in enumerate(steps, start=1):
        if step.result.is_file():
            done = f"[{number}/{len(steps)}] {step.name}: done before, {step.result}"
            callback.on_message(done)
            continue
        if on_step is not None:
            on_step(number, len(steps), step.name)
        try:
            result = step.work()
        except KeyboardInterrupt:
            callback.on_message(f"stopped in step {step.name}: the same command goes on from here")
            raise
        if on_result is not None:
            on_result(result)


def claim(experiment: Experiment, folder: Path, free: Sequence[str] = ()) -> None:
    """Note whose results a folder holds.

    Args:
        experiment: whose steps are taken.
        folder: of the results.
        free: keys that may differ from those of an earlier start.

    Raises:
        InputError: another experiment's.
    """
    path, now = folder / EXPERIMENT, experiment.model_dump(mode="json")
    make_folder(folder, "--run-dir")
    if not path.is_file():
        keep(path, json.dumps(now, indent=2) + "\n")
    before = config.check(read_json(path), str(path)).model_dump(mode="json")  # with new keys
    differing = config.differences(before, now, free=free)
    if differing:
        raise InputError(
            f"{folder}: holds results of another experiment ({differing[0]}): choose another "
            "folder with --run-dir, or give the same values"
        )


def searched(experiment: Experiment, folder: Path, callback: Callback) -> SearchResult:
    """Search, or go on with the search that is in a folder."""
    going_on = (folder / "journal.jsonl").is_file()
    result = search(experiment, run_dir=folder, resume=going_on, callbacks=[callback])
    (folder / DONE).touch()
    return result


def held_out(experiment: Experiment, folder: Path, callback: Callback) -> Evaluation:
    """Test the networks of a folder on the test split of their own data.

    Without one the validation images judge, and the table says that they flatter.
    """
    data = experiment.data
    own = "test" in Retrained(folder).components.dataset.splits
    include: Include = "unused" if own else "validation"
    return evaluate(folder, [(data.name, data.options)], include=include, callbacks=[callback])

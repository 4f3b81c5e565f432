"""``evonas pipeline``: probe, search, retrain, prune, quantise and test, one after the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from evonas.cli import pipeline_table as report
from evonas.cli import prune, quantize, retrain, search, test
from evonas.core import experiment as config
from evonas.core.experiment import Experiment
from evonas.core.files import keep, make_folder, read_json
from evonas.deployment.probing import run_probe as probe
from evonas.errors import InputError
from evonas.report.tables import markdown, show
from evonas.workflows.evaluation import Retrained
from evonas.workflows.judging import Include

_EXPERIMENT = "experiment.json"
_DONE = "complete"  # best.json is there from the first network on


@dataclass(frozen=True)
class _Step:
    """One step: what it is called, the file that it ends with, and how it is done."""

    name: str
    result: Path
    work: Callable[[], object]


def run(experiment: Experiment, folder: Path | None, console: Console) -> Path:
    """Do all steps whose results are not there yet; return the folder.

    What was stopped goes on when the same command is given again: the search from its
    journal, everything else from the step that it was in.

    Args:
        experiment: with sections ``probe``, ``prune`` and ``quantize``.
        folder: of the results; ``runs/NAME`` if left out.
        console: where to print.

    Raises:
        InputError: a step cannot be done, or the folder holds another experiment's results.
    """
    if experiment.table:
        raise InputError("pipeline: a search in a table has no backbone to probe or prune")
    folder = folder or Path("runs") / experiment.name
    _claim(experiment, folder)
    steps = _steps(experiment, folder, console)
    for number, step in enumerate(steps, start=1):
        head = f"[{number}/{len(steps)}] {step.name}"
        if step.result.is_file():
            console.print(f"{head}: done before, {step.result}", soft_wrap=True, markup=False)
            continue
        console.rule(head)
        try:
            step.work()
        except KeyboardInterrupt:
            console.print(
                f"stopped in step {step.name}: the same command goes on from here", soft_wrap=True
            )
            raise
    small = Retrained(folder / "pruned")
    table = report.stages(
        read_json(folder / "pruned" / "prune.json"),
        read_json(folder / "int8" / "quantize.json"),
        small.metrics,
        small.task.unit,
    )
    show(table, console)
    keep(folder / "pipeline.md", markdown(table))
    console.print(f"written: {folder / 'pipeline.md'}", soft_wrap=True)
    return folder


def _steps(experiment: Experiment, folder: Path, console: Console) -> list[_Step]:
    found, retrained, pruned = folder / "search", folder / "retrained", folder / "pruned"
    taps = folder / "probe" / "probe.json"

    def searched() -> Path:
        narrowed = config.changed(experiment, [f"space.tap=@{taps}"])
        going_on = (found / "journal.jsonl").is_file()
        best = search.run(narrowed, found, going_on, console, None)
        (found / _DONE).touch()
        return best

    def tested() -> None:
        name = experiment.data.name
        options = [f"{key}={value}" for key, value in experiment.data.options.items()]
        # without a test split the validation images judge, and the table says that they flatter
        own = "test" in Retrained(small).assembly.dataset.splits
        include: Include = "unused" if own else "validation"
        test.run(small, [name, *options], False, False, console, include=include)

    best, small = found / "best.json", folder / "int8"
    return [
        _Step("probe", taps, lambda: probe.run(experiment, [], taps.parent, False, console)),
        _Step("search", found / _DONE, searched),
        _Step(
            "retrain",
            retrained / "comparison.json",
            lambda: retrain.run(best, [], 0, 1, retrained, console),
        ),
        _Step(
            "prune",
            pruned / "comparison.json",
            lambda: prune.run(retrained, [], "", 0, pruned, console),
        ),
        _Step(
            "quantise",
            small / "quantize.json",
            lambda: quantize.run(pruned, [], "", 0, small, False, False, console),
        ),
        _Step("test", small / "test.json", tested),
    ]


def _claim(experiment: Experiment, folder: Path) -> None:
    """Note whose results a folder holds.

    Raises:
        InputError: another experiment's.
    """
    path, now = folder / _EXPERIMENT, experiment.model_dump(mode="json")
    make_folder(folder, "--run-dir")
    if not path.is_file():
        keep(path, json.dumps(now, indent=2) + "\n")
    before = config.check(read_json(path), str(path)).model_dump(mode="json")  # with new keys
    differing = config.differences(before, now, free=())
    if differing:
        raise InputError(
            f"{folder}: holds results of another experiment ({differing[0]}): choose another "
            "folder with --run-dir, or give the same values"
        )

"""``evonas validate``: every complaint about an experiment, nothing trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console

from evonas.core import experiment as config
from evonas.core.overrides import Word
from evonas.errors import InputError
from evonas.models.initial_weights import read_start
from evonas.workflows.components import Components
from evonas.workflows.feasibility import feasibility
from evonas.workflows.tabular_benchmark import TabularBenchmark


def run(source: str, overrides: Sequence[Word], console: Console) -> None:
    """Check an experiment: its values, its parts, their files and its cost limit.

    Raises:
        InputError: something is wrong; all complaints were printed.
    """
    try:
        experiment = config.load(source, overrides)
    except InputError as error:
        for complaint in error.args[1:]:
            console.print(complaint, soft_wrap=True, highlight=False)
        raise
    if experiment.table:
        replay = TabularBenchmark(experiment)
        replay.optimizer()
        console.print(f"{source}: fine ({len(replay.table)} trainings)", soft_wrap=True)
        return
    assembly = Components(experiment)

    def limit() -> object:
        return feasibility(assembly.space, assembly.cost, experiment.objective.max_macs)

    def start() -> None:
        files = [experiment.training.start, experiment.retraining.start]
        for file in {*files, *(baseline.start for baseline in experiment.baselines)} - {""}:
            read_start(file)

    steps: dict[str, Callable[[], object]] = {
        "data": lambda: assembly.dataset,
        "backbone": lambda: assembly.backbone,
        "task": lambda: assembly.task,
        "space": lambda: assembly.space,
        "baselines": lambda: assembly.baselines,
        "start": start,
        "optimizer": assembly.optimizer,
        "cost limit": limit,
        "device": lambda: assembly.hardware.device,
    }
    said: dict[str, InputError] = {}
    for step in steps.values():
        try:
            step()
        except InputError as error:
            said.setdefault(str(error), error)
    for message in said:
        console.print(message, soft_wrap=True, highlight=False)
    if said:
        raise InputError(f"{source}: {len(said)} thing(s) to mend, see above")
    console.print(f"{source}: fine", soft_wrap=True)

"""``evonas compare``: search strategies on one experiment at an equal budget."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from evonas import config, registry
from evonas.commands import report, search
from evonas.commands.run_files import plan
from evonas.errors import InputError
from evonas.files import keep
from evonas.report import comparison
from evonas.report.comparison import Curve
from evonas.report.run import Run
from evonas.report.tables import markdown, show
from evonas.store import read_journal


def run(
    source: str,
    overrides: list[str],
    optimizers: list[str],
    seeds: int,
    out: Path | None,
    console: Console,
) -> Path:
    """Run every strategy with every seed, each a run of its own, and compare them.

    A comparison that was stopped goes on where it was: runs that are there are resumed.

    Args:
        source: experiment, by name or path.
        overrides: ``key=value`` changes to it.
        optimizers: names; empty: all there are.
        seeds: how many, counted from the experiment's own.
        out: folder of the runs, ``comparison.md`` and ``comparison.png``.
        console: where to print.

    Raises:
        InputError: the experiment or a name is wrong.
    """
    experiment = config.load(source, overrides)
    known = registry.names("optimizer")
    for name in optimizers:
        registry.load("optimizer", name)
    folder = out or Path("runs") / f"{experiment.name}-compared"
    assembly = plan(experiment)
    curves, places = [], []
    for name in optimizers or known:
        # Options of the experiment's own optimizer are not those of another.
        changed = [] if name == experiment.optimizer.name else [f"optimizer={name}"]
        for seed in range(experiment.seed, experiment.seed + seeds):
            # One report of all is enough: a page holds megabytes of script.
            one = config.load(source, [*overrides, *changed, f"seed={seed}", "report=false"])
            place = folder / f"{name}-s{seed}"
            console.rule(f"{name}, seed {seed}")
            start = time.monotonic()
            search.run(one, place, (place / "journal.jsonl").exists(), console)
            places.append(place)
            trials = read_journal(place)
            spent = time.monotonic() - start
            finals = one.finals.networks or None
            curves.append(Curve.of(name, seed, trials, spent, assembly.objective, finals))
    title = f"{experiment.name}: {experiment.budget} distinct trainings a search"
    result = comparison.table(curves, experiment.budget, title, assembly.warnings())
    show(result, console)
    try:
        keep(folder / "comparison.md", markdown(result))
        comparison.picture(curves, experiment.budget, title, folder / "comparison.png")
        report.write(folder / report.FILE, [Run.read(place) for place in places])
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    console.print(f"written: {folder}/comparison.md, comparison.png, {report.FILE}", soft_wrap=True)
    return folder

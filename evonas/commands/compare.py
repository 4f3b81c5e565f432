"""``evonas compare``: search strategies on one experiment at an equal budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from evonas import config, registry
from evonas.api.result_files import plan
from evonas.assembly import strategy
from evonas.commands import search
from evonas.config import Experiment
from evonas.errors import InputError
from evonas.files import keep
from evonas.overrides import Override, Word
from evonas.report import comparison, writer
from evonas.report.comparison import Curve
from evonas.report.run import Run
from evonas.report.tables import markdown, show
from evonas.store import read_journal


def run(
    source: str,
    overrides: Sequence[Word],
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
    for name in optimizers:
        registry.load("optimizer", name)
    folder = out or Path("runs") / f"{experiment.name}-compared"
    assembly = plan(experiment)
    rivals = {
        name: _with(source, overrides, name, bool(optimizers))
        for name in optimizers or registry.names("optimizer")
    }
    limit = assembly.objective.settings.max_macs
    for one in rivals.values():  # what is wrong with the last is said before the first searches
        strategy(one, assembly.space, assembly.cost, limit)
    curves, places = [], []
    for name, rival in rivals.items():
        for seed in range(experiment.seed, experiment.seed + seeds):
            one = config.changed(rival, [f"seed={seed}"])
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
        writer.write(folder / writer.FILE, [Run.read(place) for place in places])
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from error
    console.print(f"written: {folder}/comparison.md, comparison.png, {writer.FILE}", soft_wrap=True)
    return folder


def _with(source: str, overrides: Sequence[Word], name: str, named: bool) -> Experiment:
    """Return the experiment with a strategy; the options of the file's own are for that alone.

    Raises:
        InputError: an override contradicts what a comparison does.
    """
    said = f"--optimizers {name}" if named else f"the search with {name}, one of all strategies,"
    # One report of all is enough: a page holds megabytes of script.
    once = Override(("report",), False, "the one report of a comparison")
    return config.load(source, [*overrides, Override(("optimizer",), name, said), once])

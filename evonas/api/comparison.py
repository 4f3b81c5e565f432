"""``evonas.compare``: search strategies on one experiment at an equal budget."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evonas.api.search import search
from evonas.api.search_result import SearchResult
from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.experiment import Experiment
from evonas.core.files import keep, writing
from evonas.core.overrides import Override, Word, given
from evonas.errors import InputError
from evonas.report import optimizer_comparison as comparison
from evonas.report.optimizer_comparison import Curve
from evonas.report.page import writer
from evonas.report.page.run_data import Run
from evonas.report.tables import Table, markdown
from evonas.runs.callbacks import Callback, CallbackList
from evonas.runs.run_store import read_journal
from evonas.workflows.components import components_of


@dataclass(frozen=True)
class Comparison:
    """Search strategies side by side.

    Attributes:
        folder: of the runs, ``comparison.md``, ``comparison.png`` and ``report.html``.
        results: (optimizer, seed) -> the result of that search.
        curves: of each search: the lowest fitness after 1 to n distinct trainings.
        tables: what the command line prints.
    """

    folder: Path
    results: Mapping[tuple[str, int], SearchResult]
    curves: tuple[Curve, ...] = field(repr=False)
    tables: tuple[Table, ...] = field(compare=False, repr=False)

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each search, as data.

        Keys: ``optimizer``, ``seed``; ``fitness``, the lowest of one training; ``final_fitness``,
        the winner's mean over further seeds, nan without finals; ``trained``, ``repeats`` and
        ``seconds``.
        """
        return [
            {
                "optimizer": curve.strategy,
                "seed": curve.seed,
                "fitness": curve.at(len(curve.best)),
                "final_fitness": curve.winner,
                "trained": len(curve.best),
                "repeats": curve.repeats,
                "seconds": curve.seconds,
            }
            for curve in self.curves
        ]


def compare(
    experiment: Experiment | str | Path,
    *,
    optimizers: Sequence[str] = (),
    seeds: int = 3,
    out: str | Path | None = None,
    callbacks: Iterable[Callback] = (),
    overrides: Iterable[Word] = (),
    **changes: Any,
) -> Comparison:
    """Run every strategy with every seed, each a run of its own, and compare them.

    A comparison that was stopped goes on where it was: runs that are there are resumed.

    Args:
        experiment: to search; a name or a file is loaded.
        optimizers: names of the strategies; empty: all there are.
        seeds: searches of each strategy, counted from the experiment's own seed.
        out: folder of the runs, the table and the picture; by default below ``runs``.
        callbacks: receive the events of every search.
        overrides: changes to the experiment as ``key=value`` words.
        changes: changes to the experiment, as ``Experiment.load`` takes them.

    Raises:
        InputError: the experiment, a name or a change is wrong; or as ``search``.

    Examples:
        >>> found = evonas.compare("quickstart", optimizers=["cma", "ga"], seeds=3, budget=40)
        >>> sorted(found.table, key=lambda row: row["fitness"])[0]["optimizer"]
        'cma'
    """
    words, callback = [*overrides, *given(changes)], CallbackList(callbacks)
    if isinstance(optimizers, str) or seeds < 1:
        raise InputError(
            f"compare: expected a list of optimizers and at least 1 seed, got {optimizers!r} and "
            f"{seeds}"
        )
    chosen = _with(experiment, words)
    if chosen.minutes is not None:
        raise InputError(
            f"compare: expected a budget of trainings, which is the same for all strategies, got "
            f"minutes={chosen.minutes:g}: give --budget N, and minutes=null"
        )
    for name in optimizers:
        registry.load("optimizer", name)
    folder = Path(out) if out is not None else Path("runs") / f"{chosen.name}-compared"
    components = components_of(chosen)
    rivals = {
        name: _with(experiment, [*words, *_strategy(name, bool(optimizers))])
        for name in optimizers or registry.names("optimizer")
    }
    for one in rivals.values():  # errors in the last are raised before the first search starts
        components.optimizer(one)
    curves: list[Curve] = []
    results: dict[tuple[str, int], SearchResult] = {}
    for name, rival in rivals.items():
        for seed in range(chosen.seed, chosen.seed + seeds):
            one = config.changed(rival, [f"seed={seed}"])
            place = folder / f"{name}-s{seed}"
            callback.on_search(name, seed)
            start = time.monotonic()
            resume = (place / "journal.jsonl").exists()
            results[name, seed] = search(one, run_dir=place, callbacks=[callback], resume=resume)
            trials = read_journal(place)
            spent = time.monotonic() - start
            curves.append(Curve.of(name, seed, trials, spent, components.objective, one.finals))
    title = f"{chosen.name}: {chosen.budget} distinct trainings a search"
    table = comparison.table(curves, chosen.budget, title, components.warnings())
    with writing(folder):
        keep(folder / "comparison.md", markdown(table))
        comparison.picture(curves, chosen.budget, title, folder / "comparison.png")
        runs = [Run.read(result.run_dir) for result in results.values()]
        writer.write(folder / writer.FILE, runs)
    return Comparison(folder, results, tuple(curves), (table,))


def _with(experiment: Experiment | str | Path, words: Sequence[Word]) -> Experiment:
    """Return the experiment with changes.

    Raises:
        InputError: the experiment is wrong, or a change contradicts another.
    """
    if isinstance(experiment, Experiment):
        return config.changed(experiment, words)
    return config.load(experiment, words)


def _strategy(name: str, named: bool) -> list[Override]:
    """Return what a comparison changes; options of the file's own strategy are for that alone."""
    said = f"--optimizers {name}" if named else f"the search with {name}, one of all strategies,"
    # One report of all is enough: a page holds megabytes of script.
    once = Override(("report",), False, "the one report of a comparison")
    return [Override(("optimizer",), name, said), once]

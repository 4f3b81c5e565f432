"""Sections of the page that compares several runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from evonas.report.page import charts
from evonas.report.page import run_tables as facts
from evonas.report.page.charts import Chart, Series
from evonas.report.page.formatting import architecture, millions, number, top
from evonas.report.page.run_data import Run, portable
from evonas.report.page.sections import Section
from evonas.report.tables import Table, with_spread


def sections(runs: Sequence[Run]) -> Iterator[Section]:
    """Yield the sections of a comparison."""
    lines = list(warnings(runs))
    yield Section("outcome", "Side by side", lines, [table(runs)])
    yield Section("progress", "Progress", figures=[progress(runs), progress(runs, True)])
    yield Section("trade-off", "Error against cost", figures=[trade_off(runs)])
    found = differences(runs)
    none = [] if found.rows else ["The experiments of these runs do not differ."]
    yield Section("settings", "What differs", none, [found] if found.rows else [])
    text = "\n".join(line for run in runs for line in facts.again(run))
    yield Section("again", "How to make them again", text=text)


def figures(runs: Sequence[Run]) -> list[Chart]:
    """Return all charts of a comparison."""
    return [progress(runs), progress(runs, True), trade_off(runs)]


def warnings(runs: Sequence[Run]) -> Iterator[str]:
    """Yield reasons why these runs cannot be compared."""
    objectives = [dict(run.experiment.get("objective", {})) for run in runs]
    for objective in objectives:
        objective.pop("axes", None)
    if any(objective != objectives[0] for objective in objectives):
        yield "The objectives differ, so fitness is not the same thing in all of them."
    for key in ("data", "backbone"):
        if len({str(run.environment.get(key)) for run in runs}) > 1:
            yield f"They do not share one {key}, so errors are of other features."
    if len({run.error for run in runs}) > 1:
        yield "The errors are different metrics."
    budgets = {len(run.trained) for run in runs}
    if len(budgets) > 1:
        yield f"Not equally many networks were trained: {min(budgets)} to {max(budgets)}."


def table(runs: Sequence[Run]) -> Table:
    """Return a table with a row per run, the best winner first."""
    rows: list[tuple[float, list[str]]] = []
    for run in runs:
        metric = run.error[0]
        strategy = run.experiment.get("optimizer", {}).get("name", "-")
        cells = [run.name, strategy, str(run.experiment.get("seed", "-")), str(len(run.trained))]
        lowest = min((trial.value for trial in run.trained), default=float("inf"))
        if not run.finalists:
            rows.append((float("inf"), [*cells, number(lowest), "-", "-", "-"]))
            continue
        best = run.finalists[0]
        mean = best.metrics().get(metric, float("nan"))
        error = with_spread(mean, best.spread().get(metric))
        hours = max(trial.at for trial in run.trials) / 3600
        end = [error, millions(best.trial.macs), f"{hours:.2f}" if hours else "-"]
        rows.append((best.fitness, [*cells, number(lowest), *end]))
    columns = ["run", "strategy", "seed", "trained", "lowest fitness"]
    columns += [f"{runs[0].axis}, winner", "M multiply-adds", "hours"]
    note = "The winner's error is the mean over its further trainings, where it has any."
    ordered = [cells for _, cells in sorted(rows, key=lambda row: row[0])]
    return Table(f"{len(runs)} searches", columns, ordered, [note])


def progress(runs: Sequence[Run], by_time: bool = False) -> Chart:
    """Return the chart of the best fitness so far over distinct trainings or minutes."""
    drawn, values = [], []
    for run, color in zip(runs, colors(runs), strict=True):
        rows = [(n, trial) for n, trial in enumerate(run.trained, 1) if trial.fitness is not None]
        if by_time:
            rows.sort(key=lambda row: row[1].at)
        if not rows:
            continue
        best = np.minimum.accumulate([trial.value for _, trial in rows])
        x = [trial.at / 60 if by_time else float(n) for n, trial in rows]
        hover = [f"{run.name}\n{architecture(run, trial)}" for _, trial in rows]
        drawn.append(Series(run.name, x, best.tolist(), "steps", color, hover, size=2.0))
        values.append(best)
    return Chart(
        "progress_by_time" if by_time else "progress",
        f"Best fitness against {'time' if by_time else 'distinct trainings'}",
        "minutes of searching" if by_time else "distinct trainings",
        "fitness (lower is better)",
        drawn,
        top=top(np.concatenate(values)) if values else None,
    )


def trade_off(runs: Sequence[Run]) -> Chart:
    """Return the chart of the Pareto front and the winner of every run."""
    drawn = []
    for run, color in zip(runs, colors(runs), strict=True):
        x = [trial.macs / 1e6 for trial in run.front]
        y = [run.error_of(trial) or 0.0 for trial in run.front]
        hover = [f"{run.name}\n{architecture(run, trial)}" for trial in run.front]
        drawn.append(Series(run.name, x, y, "line", color, size=1.5))
        drawn.append(Series("", x, y, "points", color, hover, size=6))
        for best in run.finalists[:1]:
            error = best.compared().get(run.error[0], 0.0)
            words = [f"winner of {run.name}\n{architecture(run, best.trial)}"]
            place = [best.trial.macs / 1e6]
            drawn.append(Series("", place, [error], "points", color, words, size=15, symbol="star"))
    return Chart(
        "trade_off",
        "Fronts and winners",
        "million multiply-adds of the head",
        runs[0].axis,
        [series for series in drawn if len(series.x)],
        note="Errors of one short training each; of winners (stars), means of further seeds where "
        "these were judged on the same images.",
    )


def differences(runs: Sequence[Run]) -> Table:
    """Return a table of the settings in which the runs differ."""
    flat = [dict(facts.flat(run.experiment)) for run in runs]
    keys = dict.fromkeys(key for one in flat for key in one)
    rows = [
        [key, *(str(portable(one.get(key, "-"))) for one in flat)]
        for key in keys
        if key != "name" and len({repr(one.get(key)) for one in flat}) > 1
    ]
    return Table("Settings", ["setting", *(run.name for run in runs)], rows, names=1)


def colors(runs: Sequence[Run]) -> list[str]:
    """Return a colour per run: that of its optimizer if the optimizers differ."""
    names = [run.experiment.get("optimizer", {}).get("name", "-") for run in runs]
    kinds = list(dict.fromkeys(names))
    keys = [kinds.index(name) for name in names] if len(kinds) > 1 else list(range(len(runs)))
    return [charts.PALETTE[key % len(charts.PALETTE)] for key in keys]

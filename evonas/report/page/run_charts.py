"""Charts of one run: progress, trade-off, training, failures, utilisation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from evonas.report.page import charts
from evonas.report.page.charts import Chart, Series
from evonas.report.page.formatting import MOST, architecture, kind_of, line, thinned, top
from evonas.report.page.learning_charts import learning, learning_retrained
from evonas.report.page.pareto_chart import MILLISECONDS, MULTIPLY_ADDS, trade_off
from evonas.report.page.run_data import Run
from evonas.runs.run_store import Trial

_CURVES = 12  # networks whose training is shown
_PARTS = {
    "busy": "training",
    "tail": "end of generations",
    "few": "fewer candidates than workers",
    "between": "strategy and files",
    "hand_over": "scheduling delay",
}


def all_charts(run: Run) -> Iterator[Chart]:
    """Yield the charts for which the run has data, in the order of the page."""
    costs = (trade_off(run, MULTIPLY_ADDS), trade_off(run, MILLISECONDS))
    first = (progress(run), progress(run, True), *costs, curves(run))
    made = (*first, learning(run), learning_retrained(run), use(run), kinds(run))
    yield from (chart for chart in made if chart is not None)


def progress(run: Run, by_time: bool = False) -> Chart | None:
    """Return the chart of the best fitness so far over distinct trainings or minutes."""
    rows = [(number, trial) for number, trial in enumerate(run.trained, 1)]
    rows = [(number, trial) for number, trial in rows if trial.fitness is not None]
    if not rows:
        return None
    timed = any(trial.at for _, trial in rows)
    if by_time and timed:
        rows.sort(key=lambda row: row[1].at)
    values = np.array([trial.value for _, trial in rows])
    spent = np.cumsum([trial.seconds for _, trial in rows])
    minutes = [trial.at / 60 for _, trial in rows] if timed else (spent / 60).tolist()
    x = minutes if by_time else [float(number) for number, _ in rows]
    lowest = np.minimum.accumulate(values)
    steps = [i for i in range(len(x)) if i in (0, len(x) - 1) or lowest[i] < lowest[i - 1]]
    best = Series(
        "best so far",
        [x[i] for i in steps],
        [float(lowest[i]) for i in steps],
        "steps",
        hover=[architecture(run, rows[i][1]) for i in steps],
        size=2.5,
    )
    kept = {id(trial) for trial in thinned([trial for _, trial in rows], MOST)}
    own = [i for i, (_, trial) in enumerate(rows) if id(trial) in kept]
    each = Series(
        "a network",
        [x[i] for i in own],
        [float(values[i]) for i in own],
        color=charts.GREY,
        hover=[line(run, rows[i][1]) for i in own],
        opacity=0.6,
    )
    label = "minutes of searching" if timed else "minutes of training, all workers added up"
    return Chart(
        key="progress_by_time" if by_time else "progress",
        title=f"Best fitness against {'time' if by_time else 'distinct trainings'}",
        x=label if by_time else "distinct trainings",
        y="fitness (lower is better)",
        series=[each, best],
        top=top(values),
    )


def curves(run: Run) -> Chart | None:
    """Return the validation error of the best networks over epochs."""
    winner = run.finalists[0].trial.digest if run.finalists else ""
    known = [trial for trial in run.networks if len(trial.curve) > 1 and trial.status == "ok"]
    known = sorted(known, key=lambda trial: trial.value)[:_CURVES]
    drawn = [
        _curve("one of the best" if not number else "", trial.curve, charts.GREY, 1.2, trial, run)
        for number, trial in enumerate(known)
    ]
    again = [t for t in run.trials if t.status == "final" and t.digest == winner and t.curve]
    drawn += [
        _curve("winner, further trainings" if not number else "", t.curve, charts.RED, 2.0, t, run)
        for number, t in enumerate(again)
    ]
    for contender in run.retrained.get("contenders", [])[:1]:
        drawn += [
            _curve("winner, retrained" if not number else "", own, charts.BLUE, 2.0, None, run)
            for number, own in enumerate(contender.get("curves", []))
            if own
        ]
    if not drawn:
        return None
    values = np.concatenate([np.asarray(series.y, np.float64) for series in drawn])
    return Chart(
        key="curves",
        title="Training curves of the best",
        x="epoch",
        y=f"{run.axis}, on the validation split",
        series=drawn,
        logarithmic="x" if max(len(series.x) for series in drawn) > 30 else "",
        top=top(values),
    )


def use(run: Run) -> Chart | None:
    """Return the chart of the workers' time by use, in percent."""
    whole = run.usage.get("workers", 0) * run.usage.get("wall", 0.0)
    if not whole:
        return None
    parts = {words: 100 * run.usage.get(key, 0.0) / whole for key, words in _PARTS.items()}
    bars = Series("", list(parts.values()), list(parts), "bars", charts.GREEN)
    title = f"Use of {run.usage['workers']:g} worker(s) over {run.usage['wall']:.0f} s"
    return Chart("utilisation", title, "% of the workers' time", "", [bars])


def kinds(run: Run) -> Chart | None:
    """Return the chart of failed trials by kind."""
    failed = [trial for trial in run.trials if trial.error and trial.fitness is None]
    if not failed:
        return None
    counted = Counter(kind_of(trial) for trial in failed)
    names = [name for name, _ in counted.most_common()]
    bars = Series("", [float(counted[name]) for name in names], names, "bars", charts.RED)
    return Chart("failures", "Failures by kind", "trainings", "", [bars])


def _curve(
    name: str, values: Sequence[float], color: str, width: float, trial: Trial | None, run: Run
) -> Series:
    epochs = [float(epoch) for epoch in range(1, len(values) + 1)]
    hover = [architecture(run, trial)] * len(values) if trial else ()
    faint = 0.5 if color == charts.GREY else 1.0
    return Series(name, epochs, values, "line", color, hover, size=width, opacity=faint)

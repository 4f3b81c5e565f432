"""The charts of one run: progress, trade-off, training curves, failures, use of the workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.report import charts
from evonas.report.charts import Chart, Series
from evonas.report.run import Run
from evonas.report.words import amount, architecture, kind_of, line, thinned
from evonas.store import Trial

#: Networks that a chart shows at most, so that a page of a long search still opens at once.
MOST = 2000
_CURVES = 12  # networks whose training is shown
_WIDE = 20  # the dearest network costs so many times the cheapest: a logarithmic axis
_PARTS = {
    "busy": "training",
    "tail": "end of generations",
    "few": "fewer candidates than workers",
    "between": "strategy and files",
    "hand_over": "hand-over",
}


def all_charts(run: Run) -> Iterator[Chart]:
    """Yield the charts that the run has something for, in the order of the page."""
    made = (progress(run), progress(run, True), trade_off(run), curves(run), use(run), kinds(run))
    yield from (chart for chart in made if chart is not None)


def progress(run: Run, by_time: bool = False) -> Chart | None:
    """Return the best fitness so far against distinct trainings, or against minutes."""
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


def trade_off(run: Run) -> Chart | None:
    """Return the error of every network against its multiply-adds, with the front and rivals."""
    if not run.networks:
        return None
    front = {trial.digest for trial in run.front}
    shown = thinned(run.networks, MOST)
    groups: list[tuple[str, str, list[Trial]]] = [
        ("network", charts.SKY, [t for t in shown if t.status == "ok"]),
        ("of the earlier run", charts.PURPLE, [t for t in shown if t.status == "earlier"]),
        ("stopped early", charts.GREY, [t for t in shown if t.status == "stopped"]),
    ]
    drawn = [
        _dots(run, name, color, [t for t in own if t.digest not in front])
        for name, color, own in groups
    ]
    edge = run.front
    line = Series(
        "front",
        [trial.macs / 1e6 for trial in edge],
        [run.error_of(trial) or 0.0 for trial in edge],
        "line",
        charts.BLUE,
        size=1.5,
    )
    drawn += [line, _dots(run, "on the front", charts.BLUE, edge)]
    drawn += [*_baselines(run), *_winner(run)]
    errors = np.array([run.error_of(trial) for trial in run.networks], np.float64)
    thin = len(shown) < len(run.networks)
    limits = list(_limits(run))
    costs = [trial.macs / 1e6 for trial in run.networks]
    wide = min(costs) > 0 and max(costs) / min(costs) > _WIDE
    ends = (min(costs), max([*costs, *(place for place, _ in limits)]))
    air = 0.04 * (ends[1] - ends[0]) or 0.1
    span = (ends[0] / 1.15, ends[1] * 1.15) if wide else (ends[0] - air, ends[1] + air)
    return Chart(
        key="trade_off",
        title="Error against multiply-adds of the head network",
        x="million multiply-adds of the head",
        y=run.axis,
        series=[series for series in drawn if len(series.x)],
        note="Errors of one short training each; of the winner, the mean of its further seeds."
        + _beyond(run, span)
        + (f" {len(shown)} of {len(run.networks)} networks are drawn." if thin else ""),
        logarithmic="x" if wide else "",
        limits=limits,
        span=span,
        top=top(errors),
    )


def curves(run: Run) -> Chart | None:
    """Return the error on the validation split after each epoch, of the best networks."""
    winner = run.finalists[0].trial.digest if run.finalists else ""
    known = [trial for trial in run.networks if len(trial.curve) > 1 and trial.status == "ok"]
    known = sorted(known, key=lambda trial: trial.value)[:_CURVES]
    drawn = [
        _curve("one of the best" if not number else "", trial.curve, charts.GREY, 1.2, trial, run)
        for number, trial in enumerate(known)
    ]
    again = [t for t in run.trials if t.status == "final" and t.digest == winner and t.curve]
    drawn += [
        _curve("winner, further seeds" if not number else "", t.curve, charts.RED, 2.0, t, run)
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
    """Return how the workers' time was used, in percent."""
    whole = run.usage.get("workers", 0) * run.usage.get("wall", 0.0)
    if not whole:
        return None
    parts = {words: 100 * run.usage.get(key, 0.0) / whole for key, words in _PARTS.items()}
    bars = Series("", list(parts.values()), list(parts), "bars", charts.GREEN)
    title = f"Use of {run.usage['workers']:g} worker(s) over {run.usage['wall']:.0f} s"
    return Chart("utilisation", title, "% of the workers' time", "", [bars])


def kinds(run: Run) -> Chart | None:
    """Return how many trials failed, by kind."""
    failed = [trial for trial in run.trials if trial.error and trial.fitness is None]
    if not failed:
        return None
    counted = Counter(kind_of(trial) for trial in failed)
    names = [name for name, _ in counted.most_common()]
    bars = Series("", [float(counted[name]) for name in names], names, "bars", charts.RED)
    return Chart("failures", "Failures by kind", "trainings", "", [bars])


def _dots(run: Run, name: str, color: str, trials: Sequence[Trial]) -> Series:
    return Series(
        name,
        [trial.macs / 1e6 for trial in trials],
        [run.error_of(trial) or 0.0 for trial in trials],
        color=color,
        hover=[architecture(run, trial) for trial in trials],
        opacity=0.8,
    )


def _curve(
    name: str, values: Sequence[float], color: str, width: float, trial: Trial | None, run: Run
) -> Series:
    epochs = [float(epoch) for epoch in range(1, len(values) + 1)]
    hover = [architecture(run, trial)] * len(values) if trial else ()
    faint = 0.5 if color == charts.GREY else 1.0
    return Series(name, epochs, values, "line", color, hover, size=width, opacity=faint)


def _winner(run: Run) -> Iterator[Series]:
    metric = run.error[0]
    for best in run.finalists[:1]:
        own = run.error_of(best.trial)
        yield Series(
            "winner",
            [best.trial.macs / 1e6],
            [best.metrics().get(metric, own or 0.0)],
            color=charts.RED,
            hover=[f"the winner\n{architecture(run, best.trial)}"],
            errors=[best.spread().get(metric, 0.0)] if best.further else (),
            size=15,
            symbol="star",
        )


def _beyond(run: Run, span: tuple[float, float]) -> str:
    """Return a sentence on hand-made networks that lie outside; they would squeeze the rest."""
    metric = run.error[0]
    outside = [
        f"{one['name']} ({one['metrics'][metric]:.1f} at {amount(one['macs'])})"
        for one in _known(run)
        if not span[0] <= one["macs"] / 1e6 <= span[1]
    ]
    return f" Beyond the edge: {', '.join(outside)}." if outside else ""


def _known(run: Run) -> list[Mapping[str, Any]]:
    """Return the hand-made networks that have a result and a cost."""
    metric = run.error[0]
    told = run.best.get("baselines", [])
    return [one for one in told if metric in one.get("metrics", {}) and one.get("macs")]


def _baselines(run: Run) -> Iterator[Series]:
    metric, known = run.error[0], _known(run)
    yield Series(
        "hand-made",
        [one["macs"] / 1e6 for one in known],
        [one["metrics"][metric] for one in known],
        color=charts.ORANGE,
        hover=[f"{one['name']}, trained as briefly" for one in known],
        size=10,
        symbol="diamond",
    )


def _limits(run: Run) -> Iterator[tuple[float, str]]:
    told = run.experiment.get("objective", {})
    found: dict[float, list[str]] = {}
    if told.get("max_macs"):
        found.setdefault(told["max_macs"] / 1e6, []).append("limit")
    if told.get("cost") == "macs" and told.get("weight") and told.get("target_mflops"):
        found.setdefault(told["target_mflops"] / 2, []).append("target T")
    yield from ((place, " and ".join(names)) for place, names in found.items())


def top(values: NDArray[np.float64]) -> float | None:
    """Return where an axis ends so that a few bad networks do not hide the others."""
    low, most, high = float(values.min()), float(np.quantile(values, 0.9)), float(values.max())
    return most + 0.5 * (most - low) if high - low > 3 * (most - low) > 0 else None

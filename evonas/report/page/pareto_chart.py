"""Chart of error against cost: networks of a run, Pareto front, winner, hand-made networks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evonas.report.page import charts
from evonas.report.page.charts import Chart, Series
from evonas.report.page.formatting import MOST, architecture, thinned, top
from evonas.report.page.run_data import Run
from evonas.runs.run_store import Trial

_NOTE = (
    "Errors of one short training each; of the winner, the mean of its further seeds where these "
    "were judged on the same images."
)
_WIDE = 20  # ratio of highest to lowest cost from which the axis is logarithmic


@dataclass(frozen=True)
class Cost:
    """A cost of networks, as an axis of a chart.

    Attributes:
        name: attribute of a trial.
        field: key of a hand-made network in best.json.
        unit: value that is 1 on the axis.
        key: of the chart.
        words: name in the title.
        axis: label of the axis.
    """

    name: str
    field: str
    unit: float
    key: str
    words: str
    axis: str

    def of(self, run: Run, trial: Trial) -> float:
        """Return the cost of a network in units of the axis."""
        return run.cost_of(trial, self.name) / self.unit


MULTIPLY_ADDS = Cost(
    "macs",
    "macs",
    1e6,
    "trade_off",
    "multiply-adds of the head network",
    "million multiply-adds of the head",
)
MILLISECONDS = Cost(
    "latency",
    "latency_ms",
    1.0,
    "trade_off_latency",
    "latency of the head network",
    "milliseconds of the head, for one image",
)


def trade_off(run: Run, cost: Cost) -> Chart | None:
    """Return the chart of a cost; None if no network has one."""
    known = [trial for trial in run.networks if cost is MULTIPLY_ADDS or cost.of(run, trial)]
    if not known:
        return None
    edge, shown = run.front_of(cost.name), thinned(known, MOST)
    front = {trial.digest for trial in edge}
    groups: list[tuple[str, str, list[Trial]]] = [
        ("network", charts.SKY, [t for t in shown if t.status == "ok"]),
        ("of the earlier run", charts.PURPLE, [t for t in shown if t.status == "earlier"]),
        ("stopped early", charts.GREY, [t for t in shown if t.status == "stopped"]),
    ]
    drawn = [
        _dots(run, cost, name, color, [t for t in own if t.digest not in front])
        for name, color, own in groups
    ]
    dots = _dots(run, cost, "on the front", charts.BLUE, edge)
    drawn += [Series("front", dots.x, dots.y, "line", charts.BLUE, size=1.5), dots]
    limits, costs = list(_limits(run, cost)), [cost.of(run, trial) for trial in known]
    wide = min(costs) > 0 and max(costs) / min(costs) > _WIDE
    ends = (min(costs), max([*costs, *(place for place, _ in limits)]))
    air = 0.04 * (ends[1] - ends[0]) or 0.1
    span = (ends[0] / 1.15, ends[1] * 1.15) if wide else (ends[0] - air, ends[1] + air)
    highest = top(np.array([run.error_of(trial) for trial in known], np.float64))
    inside, outside = _rivals_by_place(run, cost, span, highest)
    drawn += [_hand_made(run, cost, inside), *_winner(run, cost)]
    thin = f" {len(shown)} of {len(known)} networks are drawn." if len(shown) < len(known) else ""
    return Chart(
        key=cost.key,
        title=f"Error against {_whole(run, cost, cost.words)}",
        x=_whole(run, cost, cost.axis),
        y=run.axis,
        series=[series for series in drawn if len(series.x)],
        note=("" if run.replayed else _NOTE) + _beyond(run, cost, outside) + thin,
        logarithmic="x" if wide else "",
        limits=limits,
        span=span,
        top=highest,
    )


def _dots(run: Run, cost: Cost, name: str, color: str, trials: Sequence[Trial]) -> Series:
    return Series(
        name,
        [cost.of(run, trial) for trial in trials],
        [run.error_of(trial) or 0.0 for trial in trials],
        color=color,
        hover=[architecture(run, trial) for trial in trials],
        opacity=0.8,
    )


def _winner(run: Run, cost: Cost) -> Iterator[Series]:
    metric = run.error[0]
    for best in run.finalists[:1]:
        own = run.error_of(best.trial)
        yield Series(
            "winner",
            [cost.of(run, best.trial)],
            [best.compared().get(metric, own or 0.0)],
            color=charts.RED,
            hover=[f"the winner\n{architecture(run, best.trial)}"],
            errors=() if best.folds or not best.further else [best.spread().get(metric, 0.0)],
            size=15,
            symbol="star",
        )


def _hand_made(run: Run, cost: Cost, known: Sequence[Mapping[str, Any]]) -> Series:
    metric = run.error[0]
    return Series(
        "hand-made",
        [one[cost.field] / cost.unit for one in known],
        [one["metrics"][metric] for one in known],
        color=charts.ORANGE,
        hover=[
            f"{one['name']}, {'fitted' if one.get('digest') == '' else 'trained as briefly'}"
            f"{', beyond the limit' if one.get('over_limit') else ''}"
            for one in known
        ],
        size=10,
        symbol="diamond",
    )


def _rivals_by_place(
    run: Run, cost: Cost, span: tuple[float, float], highest: float | None
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Return the hand-made networks within the range of the chart, and those outside."""
    inside: list[Mapping[str, Any]] = []
    outside: list[Mapping[str, Any]] = []
    for one in _rivals(run, cost):
        high = highest is not None and one["metrics"][run.error[0]] > highest
        far = not span[0] <= one[cost.field] / cost.unit <= span[1]
        (outside if high or far else inside).append(one)
    return inside, outside


def _beyond(run: Run, cost: Cost, outside: Sequence[Mapping[str, Any]]) -> str:
    """Return a sentence on hand-made networks outside the range of the chart."""
    places = [
        f"{one['name']} ({one['metrics'][run.error[0]]:.1f} at {one[cost.field] / cost.unit:.3g})"
        for one in outside
    ]
    return f" Hand-made, beyond the edge, not drawn: {', '.join(places)}." if places else ""


def _rivals(run: Run, cost: Cost) -> list[Mapping[str, Any]]:
    """Return the hand-made networks with a result and a cost."""
    metric = run.error[0]
    rivals = run.best.get("baselines", [])
    known = [one for one in rivals if metric in one.get("metrics", {}) and one.get(cost.field)]
    taps = [str(one.get("name", "")).rpartition(" on ")[2] for one in known]
    return [
        {**one, cost.field: one[cost.field] + run.under(tap, cost.name)}
        for one, tap in zip(known, taps, strict=True)
    ]


def _whole(run: Run, cost: Cost, words: str) -> str:
    """Return words on a cost of the head; where the backbone counts, on all up to its tap."""
    total = run.counts == "total" and cost is MULTIPLY_ADDS
    return (
        words.replace("the head", "backbone and head").replace(" network", "") if total else words
    )


def _limits(run: Run, cost: Cost) -> Iterator[tuple[float, str]]:
    spec = run.experiment.get("objective", {})
    targets = {"macs": spec.get("target_macs", 0) / 1e6, "latency": spec.get("target_ms", 0.0)}
    found: dict[float, list[str]] = {}
    if cost is MULTIPLY_ADDS and spec.get("max_macs"):
        found.setdefault(spec["max_macs"] / 1e6, []).append("limit")
    if run.penalised == cost.name and spec.get("weight") and targets[cost.name]:
        found.setdefault(targets[cost.name], []).append("target T")
    yield from ((place, " and ".join(names)) for place, names in found.items())

"""Figures, Markdown tables and plots of ``search_quality``."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from replay import BEST_SHARE, Problem, Trace
from rivals import PATIENCE, RIVALS
from scipy.stats import binom

from evonas.report.tables import Table, markdown

MARKS = (25, 50, 100, 200)
LIBRARIES = ("evonas", "numpy", "scipy", "torch", "cma", "pymoo", "pyswarms", "Py-BOBYQA")
OPTIONAL = ("optuna", "nevergrad")
LOWEST = 1e-3  # where a regret of 0 is drawn: a logarithmic axis has none


@dataclass(frozen=True)
class Line:
    """All searches of one contender on one problem, protocol and batch."""

    label: str
    kind: str
    population: str
    reached: NDArray[np.float64]  # (seeds,) trainings to the best 0.1 %; inf: not reached
    regrets: NDArray[np.float64]  # (seeds, budget) after each training
    trained: float  # median
    seconds: float

    @property
    def order(self) -> tuple[float, float]:
        """The best line first."""
        return float(np.median(self.reached)), float(self.regrets[:, -1].mean())


def figures(found: Trace, problem: Problem, budget: int) -> dict[str, str]:
    """Return the figures of one search as they stand in the CSV.

    ``steps`` holds the whole trace: ``training:value`` wherever the value changes.
    """
    values, best = found.values, problem.best
    new = np.flatnonzero(np.diff(values, prepend=np.inf))
    steps = " ".join(f"{at + 1}:{values[at]!s}" for at in new)
    row = {"trainings_to_best": f"{found.trainings_to(problem.threshold):g}", "steps": steps}
    for mark in MARKS:
        row[f"regret{mark}"] = f"{regret(found, mark, best):.5f}" if mark <= budget else ""
    return row | {"regret": f"{regret(found, budget, best):.5f}"}


def regret(found: Trace, trainings: int, best: float) -> float:
    """Return how far what is believed best after some trainings is from the best there is.

    With noise the belief may change for the worse, so the last counts and not the lowest.
    """
    return float(found.values[min(trainings, len(found.values)) - 1] - best)


def curve(steps: str, budget: int) -> NDArray[np.float64]:
    """Return the value after each of ``budget`` trainings from the CSV's ``steps``."""
    values = np.empty(budget)
    for step in steps.split():
        at, value = step.split(":")
        values[int(at) - 1 :] = float(value)
    return values


def median_interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Return order statistics that hold the median with at least ``level``, distribution-free.

    With fewer than 6 values no two of them do: then the outermost.
    """
    ordered, n = np.sort(values), len(values)
    # P(median below the k-th smallest) = P(Bin(n, 1/2) < k)
    k = max(int(binom.ppf((1.0 - level) / 2.0, n, 0.5)), 1)
    return float(ordered[k - 1]), float(ordered[n - k])


def mean_interval(values: NDArray[np.float64], level: float = 0.95) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean over seeds, the same each time."""
    drawn = np.random.default_rng(0).integers(len(values), size=(2000, len(values)))
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(values[drawn].mean(axis=1), [tail, 100.0 - tail])
    return float(low), float(high)


def write(
    out: Path,
    rows: Sequence[Mapping[str, str]],
    problems: Mapping[str, Problem],
    budget: int,
    notes: Sequence[str],
) -> str:
    """Write table.md and a plot for each problem, protocol and batch; return the Markdown."""
    parts = [_header(budget), *(f"{note}\n" for note in notes)]

    def where(row: Mapping[str, str]) -> tuple[str, str, int]:
        return row["problem"], row["protocol"], int(row["batch"])

    for (problem, protocol, batch), group in groupby(sorted(rows, key=where), key=where):
        found = lines(list(group), problems[problem].best, budget)
        how = "serial" if batch == 1 else f"batches of {batch}"
        title = f"{problem}, {protocol}, {how}"
        name = f"{problem}_{protocol}_{batch}.png"
        plot(out / name, found, title)
        parts.append(markdown(table(title, found, budget)) + f"\n![{title}]({name})\n")
    text = "\n".join(parts)
    (out / "table.md").write_text(text, encoding="utf-8")
    return text


def lines(rows: Sequence[Mapping[str, str]], best: float, budget: int) -> list[Line]:
    """Return the contenders of one problem, protocol and batch, the best first."""
    found = []
    for name in dict.fromkeys(row["strategy"] for row in rows):
        own = [row for row in rows if row["strategy"] == name]
        label = name if own[0]["kind"] == "own" else RIVALS[name].label
        population = "/".join(sorted({row["population"] for row in own}, key=int))
        reached = np.array([float(row["trainings_to_best"]) for row in own])
        regrets = np.array([curve(row["steps"], budget) for row in own]) - best
        seconds = float(np.mean([float(row["seconds"]) for row in own]))
        trained = float(np.median([int(row["trained"]) for row in own]))
        line = Line(label, own[0]["kind"], population, reached, regrets, trained, seconds)
        found.append(line)
    return sorted(found, key=lambda line: line.order)


def table(title: str, found: Sequence[Line], budget: int) -> Table:
    """Return the table of one problem, protocol and batch."""
    marks = [mark for mark in MARKS if mark < budget] + [budget]
    cells = []
    for line in found:
        median, (low, high) = float(np.median(line.reached)), median_interval(line.reached)
        share = np.isfinite(line.reached).mean()
        row = [f"**{line.label}**" if line.kind == "own" else line.label, line.population]
        row += [str(len(line.reached)), f"{_count(median, budget)}"]
        row += [f"{_count(low, budget)} .. {_count(high, budget)}", f"{share:.0%}"]
        for mark in marks:
            at = line.regrets[:, mark - 1]
            low, high = mean_interval(at)
            row.append(f"{at.mean():.3f} ({low:.3f} .. {high:.3f})")
        cells.append([*row, f"{line.trained:g}", f"{line.seconds:.1f}"])
    head = ["search", "asks", "seeds", f"trainings to best {BEST_SHARE:.1%}", "95 %", "reached"]
    head += [*(f"regret at {mark}" for mark in marks), "trained", "CPU s"]
    notes = [
        "Medians with binomial intervals, mean regrets with bootstrap intervals over seeds, "
        "each 95 %. Bold: evonas. Asks: how many before it is told. Trained: median; less than "
        f"{budget} where a search only repeated itself, {PATIENCE} x {budget} calls. CPU s: "
        "of one search's own computing, trainings excluded. Noisy: all figures are the truth "
        "about what was told the lowest value so far, though a search may believe its model."
    ]
    return Table(title, head, cells, notes)


def plot(path: Path, found: Sequence[Line], title: str) -> None:
    """Draw median regrets against trainings; quartile bands for the leading lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    main = [line for line in found if line.kind == "own"][:2]
    main += [line for line in found if line.kind == "rival"][:2]
    for number, line in enumerate(found):
        name = f"evonas {line.label}" if line.kind == "own" else line.label
        low, middle, high = np.maximum(np.percentile(line.regrets, [25, 50, 75], axis=0), LOWEST)
        trainings = np.arange(1, len(middle) + 1)
        leads = any(line is one for one in main)
        style = (
            ("-" if number < 10 else "-.") if line.kind == "own" else ("--", ":")[number // 10 % 2]
        )
        color, width = f"C{number % 10}", 2.4 if leads else 1.0
        axes.step(*(trainings, middle), style, where="post", color=color, lw=width, label=name)
        if leads:
            axes.fill_between(trainings, low, high, step="post", color=color, alpha=0.12, lw=0)
    axes.set(yscale="log", title=title, xlabel="distinct trainings")
    axes.set_ylabel(f"median regret (0 drawn at {LOWEST:g}); bands: quartiles")
    early = [np.median(line.regrets[:, :5][:, -1]) for line in found]  # the first few are chance
    axes.set_ylim(0.7 * LOWEST, 2.0 * max([*early, LOWEST]))
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, dpi=120)


def _count(trainings: float, budget: int) -> str:
    return f"{trainings:g}" if np.isfinite(trainings) else f"> {budget}"


def _header(budget: int) -> str:
    def version(name: str) -> str:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            return f"no {name}"

    words = [Path(word).name if os.sep in word else word for word in sys.argv]
    return (
        f"# Search quality\n\n{date.today()}; {platform.machine()}, {os.cpu_count()} cores, "
        f"{platform.system()}, Python {platform.python_version()}; budget {budget} distinct "
        f"trainings; seeds as the command says\n\n`{' '.join(words)}`\n\n"
        f"{', '.join(map(version, (*LIBRARIES, *OPTIONAL)))}\n"
    )

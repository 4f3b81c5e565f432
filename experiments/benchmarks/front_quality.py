"""Fronts of error and cost: NSGA-II of evonas against others, on problems with known answers.

python experiments/benchmarks/front_quality.py --table nas_bench_macro_cifar10.csv --seeds 50 20

What counts is the hypervolume that all that was trained so far dominates (Zitzler and Thiele
1999, https://doi.org/10.1109/4235.797969), as a share of the true front's. The logarithm of
the cost is its axis, so half the cost is worth the same at either end; the reference point
is the worst error and the worst cost of all. Everyone is told plain error and cost; a repeat
is answered from memory and costs nothing, for everyone. Every finished search is a line of
fronts.csv, and is not run again.
"""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import moocore
import numpy as np
import replay
from memo import Memo
from numpy.typing import NDArray
from quality_report import MARKS, mean_interval
from replay import Source, TableProblem, problem_of
from rich.console import Console
from rich.progress import track
from rivals import FRONT_RIVALS
from search_quality import own_version
from searches import at_least, finished, one_thread_each, results

from evonas.core import registry
from evonas.errors import EvonasError, InputError, nearest
from evonas.report.tables import Table, markdown

Array = NDArray[np.float64]
#: The last two look for one best architecture; what they trained has a front all the same.
STRATEGIES = ("nsga2", "random", "surrogate", "cma")
#: A search takes many times as long as one of the others.
SLOW = ("surrogate",)
#: Below it lie only the first few trainings, which are chance.
LOWEST_DRAWN = 0.4
KEY = ("strategy", "problem", "budget", "seed", "version")
FIELDS = (*KEY, "seconds", "axes")
Row = dict[str, str]


@dataclass(frozen=True)
class Job:
    """One search. ``problem`` is the label of its lines, of what ``source`` leads to."""

    strategy: str
    problem: str
    budget: int
    seed: int
    version: str
    source: Source

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it apart from others, as it stands in the CSV."""
        return tuple(str(getattr(self, name)) for name in KEY)


def main() -> None:
    """Run what is missing, then write a table and plots."""
    args = _arguments()
    one_thread_each()  # before the workers start
    try:
        jobs, notes = plan(args)
        args.out.mkdir(parents=True, exist_ok=True)
        rows = measure(jobs, args.out / "fronts.csv", args.workers)
        text = write(args.out, rows, {job.problem: job.source for job in jobs}, notes)
    except (EvonasError, OSError) as error:
        raise SystemExit(f"front_quality: {error}") from error
    print(text)


def plan(args: argparse.Namespace) -> tuple[list[Job], list[str]]:
    """Return the searches, seed by seed, and what has to stand beside the table.

    Raises:
        InputError: a name is unknown, or the table is none.
    """
    versions, notes = {name: own_version(name) for name in args.strategies}, []
    for name in args.rivals:
        if name not in FRONT_RIVALS:
            raise InputError(f"unknown rival {name!r}: {nearest(name, FRONT_RIVALS)}")
        if missing := FRONT_RIVALS[name].missing():
            label = FRONT_RIVALS[name].label
            notes.append(f"{label} is left out: {', '.join(missing)} not installed.")
        else:
            versions[name] = FRONT_RIVALS[name].version()
    jobs = []
    for number, source in enumerate(replay.sources(args)):
        count = args.seeds[min(number, len(args.seeds) - 1)]
        jobs += [
            Job(name, source.label, args.budget, seed, version, source)
            for seed in range(args.first_seed, args.first_seed + count)
            for name, version in versions.items()
            if name not in SLOW or seed < args.first_seed + args.slow_seeds
        ]
    return jobs, notes


def measure(jobs: Sequence[Job], path: Path, workers: int) -> list[Row]:
    """Run the searches that a CSV does not hold yet; return all its lines of them.

    Raises:
        InputError: the CSV is not one of this benchmark.
    """
    wanted = {job.key for job in jobs}
    rows = [row for row in finished(path, FIELDS) if tuple(row[name] for name in KEY) in wanted]
    done = {tuple(row[name] for name in KEY) for row in rows}
    waiting = [job for job in jobs if job.key not in done]
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, FIELDS)
        if stream.tell() == 0:
            writer.writeheader()
        console = Console(stderr=True)
        done_now = results(execute, waiting, workers)
        for _, row in track(done_now, "searches", len(waiting), console=console):
            writer.writerow(row)
            stream.flush()
            rows.append(row)
    return rows


def execute(job: Job) -> Row:
    """Run one search; return its line. ``axes`` are error:cost in the order of training."""
    problem = problem_of(job.source)
    if job.strategy in FRONT_RIVALS:
        FRONT_RIVALS[job.strategy].load()
        start = time.process_time()
        memo = Memo(problem, job.budget, job.seed)
        FRONT_RIVALS[job.strategy].search(memo, job.seed)
        met = memo.met_axes()
    else:
        make = registry.load("optimizer", job.strategy)
        start = time.process_time()
        met = replay.run_front(make, problem, job.budget, job.seed)
    row = {name: str(getattr(job, name)) for name in KEY}
    axes = " ".join(f"{error!r}:{cost:.0f}" for error, cost in met.tolist())
    return row | {"seconds": f"{time.process_time() - start:.2f}", "axes": axes}


def volumes(axes: Array, worst: tuple[float, float]) -> Array:
    """Return the (n,) hypervolume of the first 1, 2, ... n of (n, 2) error and cost."""
    logged = np.column_stack([axes[:, 0], np.log(axes[:, 1])])
    reference = (worst[0], float(np.log(worst[1])))
    return np.array(
        [moocore.hypervolume(logged[: k + 1], ref=reference) for k in range(len(logged))]
    )


def shares(axes: Sequence[Array], whole: Array, worst: tuple[float, float], budget: int) -> Array:
    """Return (searches, budget) shares of the hypervolume of a whole (n, 2) front.

    A search that ended before its budget keeps what it had.
    """
    full = volumes(whole, worst)[-1]
    found = []
    for one in axes:
        curve = volumes(one, worst) / full
        found.append(np.pad(curve, (0, budget - len(curve)), mode="edge"))
    return np.array(found)


def write(
    out: Path, rows: Sequence[Row], sources: Mapping[str, Source], notes: Sequence[str]
) -> str:
    """Write fronts.md and a plot for each problem; return the Markdown."""
    words = [Path(word).name if os.sep in word else word for word in sys.argv]
    parts = [f"# Fronts of error and cost\n\n`{' '.join(words)}`\n", f"{_versions()}\n"]
    parts += [f"{note}\n" for note in notes]
    for label, source in sources.items():
        problem, own = problem_of(source), [row for row in rows if row["problem"] == label]
        every = [_axes(row) for row in own]
        # a table knows its front; a space too large to list, only what anyone ever found
        whole = problem.every() if isinstance(problem, TableProblem) else np.concatenate(every)
        whole = whole[moocore.is_nondominated(whole)]
        budget = int(own[0]["budget"])
        curves, seconds = {}, {}
        for name in dict.fromkeys(row["strategy"] for row in own):
            mine = [number for number, row in enumerate(own) if row["strategy"] == name]
            # workers finish in any order, and so may sums in floating point
            mine.sort(key=lambda number: int(own[number]["seed"]))
            curves[name] = shares([every[k] for k in mine], whole, problem.worst, budget)
            seconds[name] = float(np.mean([float(own[k]["seconds"]) for k in mine]))
        curves = dict(sorted(curves.items(), key=lambda item: -item[1][:, -1].mean()))
        kind = (
            "the table's front"
            if isinstance(problem, TableProblem)
            else "all searches' joint front"
        )
        title = f"{label}: share of the hypervolume of {kind} ({len(whole)} points)"
        plot(out / f"{label}.png", curves, title)
        parts.append(markdown(_table(title, curves, seconds, budget)))
        parts.append(f"![{title}]({label}.png)\n")
    text = "\n".join(parts)
    (out / "fronts.md").write_text(text, encoding="utf-8")
    return text


def plot(path: Path, curves: Mapping[str, Array], title: str) -> None:
    """Draw median shares against trainings; quartile bands."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no display, no global state
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (name, curve) in enumerate(curves.items()):
        style, color = ("--" if name in FRONT_RIVALS else "-"), f"C{number}"
        low, middle, high = np.percentile(curve, [25, 50, 75], axis=0)
        trainings = np.arange(1, len(middle) + 1)
        axes.plot(trainings, middle, style, color=color, lw=2, label=_label(name))
        axes.fill_between(trainings, low, high, color=color, alpha=0.12, lw=0)
    axes.set(title=title, xlabel="distinct trainings", ylim=(LOWEST_DRAWN, 1.005))
    axes.set_ylabel("median share of the hypervolume; bands: quartiles")
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def _table(
    title: str, curves: Mapping[str, Array], seconds: Mapping[str, float], budget: int
) -> Table:
    marks = [mark for mark in MARKS if mark < budget] + [budget]
    cells = []
    for name, curve in curves.items():
        label = _label(name)
        row = [label if name in FRONT_RIVALS else f"**{label}**", str(len(curve))]
        for mark in marks:
            low, high = mean_interval(curve[:, mark - 1])
            row.append(f"{curve[:, mark - 1].mean():.4f} ({low:.4f} .. {high:.4f})")
        cells.append([*row, f"{seconds[name]:.1f}"])
    head = ["search", "seeds", *(f"at {mark}" for mark in marks), "CPU s"]
    notes = [
        "Means and 95 % bootstrap intervals over seeds. Axes: error and the logarithm of the "
        "cost; reference point: the worst of each. Bold: evonas; surrogate and cma were told "
        "one fitness, and only what they trained is looked at. CPU s: of one search."
    ]
    return Table(title, head, cells, notes)


def _label(name: str) -> str:
    return FRONT_RIVALS[name].label if name in FRONT_RIVALS else f"evonas {name}"


def _axes(row: Row) -> Array:
    return np.array([[float(x) for x in pair.split(":")] for pair in row["axes"].split()])


def _versions() -> str:
    names = ["evonas", "numpy", "pymoo", "moocore", "cma", "optuna"]
    found = {d.metadata["Name"].lower() for d in importlib.metadata.distributions()}
    return ", ".join(
        f"{n} {importlib.metadata.version(n)}" if n in found else f"no {n}" for n in names
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    replay.add_problem_arguments(parser)
    parser.add_argument("--strategies", nargs="*", default=list(STRATEGIES))
    parser.add_argument(
        "--rivals", nargs="*", default=list(FRONT_RIVALS), help=", ".join(FRONT_RIVALS)
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[50, 20], help="how many, for each problem"
    )
    parser.add_argument(
        "--first-seed", type=int, default=0, help="leave those out that settings were tuned on"
    )
    parser.add_argument("--slow-seeds", type=int, default=12, help=f"at most so many of {SLOW[0]}")
    parser.add_argument("--budget", type=int, default=200, help="distinct trainings")
    parser.add_argument("--workers", type=int, default=2, help="0: in this process")
    parser.add_argument("--out", type=Path, default=Path("runs/front_quality"))
    args = parser.parse_args()
    least = {"first_seed": 0, "seeds": 1, "slow_seeds": 1, "budget": 1, "workers": 0}
    at_least(parser, args, least)
    return args


if __name__ == "__main__":
    main()

"""Multi-fidelity searches replayed on a table of learning curves, by seconds of training.

python experiments/benchmarks/curve_replay.py TABLE.csv --seeds 30 --page

Every searcher trains one network at a time. Its own computing is not counted, and a training
continues where it paused. Each finished search is a line of replays.csv, and is not run again.
A search ends once the table's best error is seen, since nothing can improve on it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import inspect
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import curve_page
import numpy as np
from curve_rivals import CURVE_RIVALS, GuardedStopwatch
from curve_table import CurveTable, TimeUp
from rich.console import Console
from searches import at_least, measured, one_thread_each

from evonas import optimizers
from evonas.core import registry
from evonas.core.settings import FidelitySettings, TrainingSettings
from evonas.errors import EvonasError, InputError, nearest
from evonas.workflows.paused_trainings import steps_of

#: What tells two replays apart; a line with another version is of other code.
KEY = ("table", "searcher", "version", "seed", "limit")
FIELDS = (*KEY, "seconds_to", "spent", "trained", "whole", "cpu", "steps")
#: Degrees above the table's best that ``seconds_to`` is about.
MARGIN = 0.2


def full(stopwatch: GuardedStopwatch, seed: int) -> None:
    """Train each network that the default strategy asks to the full length."""
    _search(stopwatch, seed)


def curves(stopwatch: GuardedStopwatch, seed: int) -> None:
    """Let the default strategy pause trainings, as with ``--fidelity curves``."""
    training = TrainingSettings(epochs=stopwatch.table.epochs)
    _search(stopwatch, seed, steps_of(FidelitySettings(name="curves"), training))


def _search(stopwatch: GuardedStopwatch, seed: int, steps: tuple[int, ...] = ()) -> None:
    table = stopwatch.table
    optimizer = registry.load("optimizer", "surrogate")(
        table.space,
        budget=len(table.seconds),
        seed=seed,
        macs=lambda architecture: int(table.macs[table.row(architecture)]),
        steps=steps,
    )
    while len(genomes := optimizer.ask()):
        told = []
        for row in [table.row(table.space.decode(genome)) for genome in genomes]:
            done = stopwatch.trained.get(row, 0)
            until = next((step for step in steps if step > done), table.epochs)
            stopwatch.error(row, until)
            told.append(table.errors[row, :until].tolist())
        optimizer.tell([curve[-1] for curve in told], curves=told)


def random(stopwatch: GuardedStopwatch, seed: int) -> None:
    """Train all networks to the full length in a random order."""
    table = stopwatch.table
    for row in np.random.default_rng(seed).permutation(len(table.seconds)):
        stopwatch.error(int(row), table.epochs)


#: Searchers of evonas: name -> function that searches until ``TimeUp``, or ends.
EVONAS: dict[str, Callable[[GuardedStopwatch, int], None]] = {
    "curves": curves,
    "full": full,
    "random": random,
}


@dataclass(frozen=True)
class Job:
    """One replay. ``table`` is the label of its lines, ``path`` the file."""

    table: str
    searcher: str
    version: str
    seed: int
    limit: float
    path: Path

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it apart from others, as it stands in the CSV."""
        return (self.table, self.searcher, self.version, str(self.seed), f"{self.limit:g}")


def main() -> None:
    """Run what is missing; with ``--page`` print a table and draw the curves."""
    args = _arguments()
    console = Console(stderr=True)
    one_thread_each()  # before the workers start
    try:
        jobs, notes = plan(args.table, args.seeds, args.seconds, args.only, args.slow_seeds)
        for note in notes:
            console.print(note, markup=False, soft_wrap=True)
        rows, failures = measure(jobs, args.out / "replays.csv", args.workers, console)
        if args.page:
            curve_page.draw(args.out / f"{args.table.stem}.png", rows, labels(), _best(args.table))
            print(curve_page.page(rows, labels(), _best(args.table), args.margin, notes + failures))
    except (EvonasError, OSError) as error:
        raise SystemExit(f"curve_replay: {error}") from error
    if failures:
        raise SystemExit("\n".join(failures))


def plan(
    path: Path,
    seeds: int,
    seconds: float,
    only: list[str] | None = None,
    slow_seeds: int | None = None,
) -> tuple[list[Job], list[str]]:
    """Return the replays, seed by seed, and what has to stand beside the page.

    Args:
        path: the table.
        seeds: how many of each searcher.
        seconds: of training, of each replay.
        only: names of the searchers; all of them if there are none.
        slow_seeds: at most so many of rivals that compute for minutes; None: no fewer.

    Raises:
        InputError: a name is unknown, or the table is none.
    """
    known = [*EVONAS, *CURVE_RIVALS]
    label, notes, versions = _label(path), [], {}
    for name in only or known:
        if name not in known:
            raise InputError(f"unknown searcher {name!r}: {nearest(name, known)}")
        if name in EVONAS:
            versions[name] = _own_version(name)
        elif missing := CURVE_RIVALS[name].missing():
            notes.append(f"{CURVE_RIVALS[name].label} is left out: {missing[0]} not installed.")
        else:
            versions[name] = CURVE_RIVALS[name].version()
    # An interrupted benchmark has a few seeds of all rather than all seeds of a few.
    jobs = [
        Job(label, name, version, seed, seconds, path)
        for seed in range(seeds)
        for name, version in versions.items()
        if slow_seeds is None
        or seed < slow_seeds
        or not (name in CURVE_RIVALS and CURVE_RIVALS[name].slow)
    ]
    return jobs, notes


def measure(
    jobs: list[Job], path: Path, workers: int, console: Console
) -> tuple[list[dict[str, str]], list[str]]:
    """Run the replays that a CSV does not hold yet; return its lines of all, and failures.

    Args:
        jobs: what is asked for.
        path: the CSV; each finished replay is appended at once.
        workers: processes; 0 runs the replays in this one.
        console: for the progress.
    """
    return measured(
        *(jobs, path, FIELDS, execute),
        key=lambda job: job.key,
        key_fields=KEY,
        name=lambda job: (job.searcher, job.seed),
        workers=workers,
        console=console,
    )


def execute(job: Job) -> dict[str, str] | str:
    """Run one replay; return its line, or in one line why it failed."""
    table = _table(job.path)
    stopwatch = GuardedStopwatch(table, job.limit, until=table.best)
    try:
        if job.searcher in CURVE_RIVALS:
            CURVE_RIVALS[job.searcher].load()
        start = time.process_time()
        search: Any = CURVE_RIVALS.get(job.searcher) or EVONAS[job.searcher]
        with contextlib.suppress(TimeUp):
            search(stopwatch, job.seed)
        cpu = time.process_time() - start
    except Exception as error:  # one broken searcher is no reason to lose the others
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    lowest, steps = math.inf, []
    for at, error in stopwatch.events:
        if error < lowest:
            lowest = error
            steps.append(f"{at:.2f}:{error:.5f}")
    return dict(zip(KEY, job.key, strict=True)) | {
        "seconds_to": f"{stopwatch.seconds_to(table.best + MARGIN):.2f}",
        "spent": f"{min(stopwatch.spent, job.limit):.2f}",
        "trained": str(len(stopwatch.trained)),
        "whole": str(sum(epochs == table.epochs for epochs in stopwatch.trained.values())),
        "cpu": f"{cpu:.2f}",
        "steps": " ".join(steps),
    }


def labels() -> dict[str, str]:
    """Return the names of all searchers in tables; those of evonas are bold."""
    return {name: f"**evonas {name}**" for name in EVONAS} | {
        name: rival.label for name, rival in CURVE_RIVALS.items()
    }


def _own_version(name: str) -> str:
    """Return a mark of a searcher of evonas and of the sources of all strategies."""
    sources = [path.read_bytes() for path in sorted(Path(optimizers.__file__).parent.rglob("*.py"))]
    text = b"".join([*sources, inspect.getsource(EVONAS[name]).encode()])
    return hashlib.sha256(text).hexdigest()[:8]


@lru_cache(maxsize=2)
def _table(path: Path) -> CurveTable:
    return CurveTable(path)


def _best(path: Path) -> float:
    return _table(path).best


def _label(path: Path) -> str:
    """Return the name of a table with a mark of its seed 0, which alone is replayed."""
    try:
        lines = path.read_text("utf-8").splitlines(keepends=True)
    except OSError as error:
        raise InputError(f"{path}: expected a CSV of learning curves: {error.strerror}") from error
    _table(path)
    place = lines[0].split(",").index("seed")
    kept = [line for line in lines if line.split(",")[place] in ("seed", "0")]
    return f"{path.stem}-{hashlib.sha256(''.join(kept).encode()).hexdigest()[:6]}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path, help="CSV of learning curves, see curve_table.py")
    parser.add_argument("--seeds", type=int, default=30, help="how many")
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", help=", ".join([*EVONAS, *CURVE_RIVALS])
    )
    parser.add_argument("--slow-seeds", type=int, default=10, help="at most so many of slow rivals")
    parser.add_argument("--seconds", type=float, default=1500.0, help="of training, of each search")
    parser.add_argument("--margin", type=float, default=MARGIN, help="degrees above the best")
    parser.add_argument("--page", action="store_true", help="print a table and draw the curves")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("experiments/headbench"))
    args = parser.parse_args()
    at_least(parser, args, {"seeds": 1, "slow_seeds": 0, "seconds": 1, "margin": 0, "workers": 0})
    return args


if __name__ == "__main__":
    main()

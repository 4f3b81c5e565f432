"""Search strategies of evonas against general optimizers, on problems with known answers.

python experiments/benchmarks/search_quality.py --table nas_bench_macro_cifar10.csv --seeds 25 75

Counts are distinct trainings; a repeat is answered from memory and costs nothing, for
everyone. Every finished search is a line of runs.csv, and is not run again.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import quality_report
import replay
from replay import Source, TableProblem, problem_of
from rich.console import Console
from rivals import RIVALS
from searches import at_least, measured, one_thread_each

import evonas
from evonas import optimizers
from evonas.core import registry
from evonas.errors import EvonasError, InputError, nearest
from evonas.optimizers.base import Optimizer

PROTOCOLS = ("clean", "noisy")
MARKS = quality_report.MARKS
#: What tells two searches apart; a line with another version is of other code.
KEY = ("strategy", "problem", "protocol", "batch", "budget", "seed", "version")
FIELDS = (
    *("strategy", "kind", "problem", "protocol", "batch", "population", "budget", "seed"),
    *("trained", "trainings_to_best", *(f"regret{mark}" for mark in MARKS), "regret"),
    *("seconds", "steps", "version"),
)


@dataclass(frozen=True)
class Job:
    """One search. ``problem`` is the label of its lines, of what ``source`` leads to."""

    strategy: str
    kind: str
    problem: str
    protocol: str
    batch: int
    budget: int
    seed: int
    version: str
    source: Source

    @property
    def key(self) -> tuple[str, ...]:
        """What tells it apart from others, as it stands in the CSV."""
        return tuple(str(getattr(self, name)) for name in KEY)


def main() -> None:
    """Run what is missing, then write tables and plots."""
    args = _arguments()
    console = Console(stderr=True)
    one_thread_each()  # before the workers start
    try:
        jobs, notes = plan(args)
        args.out.mkdir(parents=True, exist_ok=True)
        for note in notes:
            console.print(note, markup=False, soft_wrap=True)
        rows, failures = measure(jobs, args.out / "runs.csv", args.workers, console)
        problems = {job.problem: problem_of(job.source) for job in jobs}
        notes += failures
        text = quality_report.write(args.out, rows, problems, args.budget, notes)
    except (EvonasError, OSError) as error:
        raise SystemExit(f"search_quality: {error}") from error
    print(text)
    if failures:
        raise SystemExit(1)


def plan(args: argparse.Namespace) -> tuple[list[Job], list[str]]:
    """Return the searches, seed by seed, and what has to stand beside the tables.

    Raises:
        InputError: a name is unknown, or the table is none.
    """
    notes = []
    contenders = [(name, "own", own_version(name)) for name in args.strategies]
    for name in args.rivals:
        if name not in RIVALS:
            raise InputError(f"unknown rival {name!r}: {nearest(name, RIVALS)}")
        if missing := RIVALS[name].missing():
            notes.append(f"{RIVALS[name].label} is left out: {', '.join(missing)} not installed.")
        else:
            contenders.append((name, "rival", RIVALS[name].version()))
    jobs = []
    for source in replay.sources(args):
        problem = problem_of(source)
        for number, protocol in enumerate(args.protocols):
            seeds = args.seeds[min(number, len(args.seeds) - 1)]
            if protocol == "noisy" and isinstance(problem, TableProblem) and not problem.noisy:
                notes.append(f"{source.label}: no columns of single trainings, no noise.")
                continue
            for name, kind, version in contenders:
                slow = kind == "rival" and RIVALS[name].slow
                for batch in args.batch:
                    if kind == "rival" and batch > 1 and not RIVALS[name].batches:
                        notes.append(f"{RIVALS[name].label} has no batches.")
                        continue
                    jobs += [
                        Job(
                            *(name, kind, source.label, protocol, batch),
                            *(args.budget, seed, version, source),
                        )
                        for seed in _from(args.first_seed, seeds, args.slow_seeds if slow else 0)
                    ]
    # An interrupted benchmark has a few seeds of all rather than all seeds of a few.
    return sorted(jobs, key=lambda job: job.seed), list(dict.fromkeys(notes))


def measure(
    jobs: list[Job], path: Path, workers: int, console: Console
) -> tuple[list[dict[str, str]], list[str]]:
    """Run the searches that a CSV does not hold yet; return all its lines of them, and failures.

    Args:
        jobs: what is asked for.
        path: the CSV; each finished search is appended at once.
        workers: processes; 0 runs the searches in this one.
        console: for the progress.
    """
    return measured(
        *(jobs, path, FIELDS, execute),
        key=lambda job: job.key,
        key_fields=KEY,
        name=lambda job: (job.strategy, job.seed),
        workers=workers,
        console=console,
    )


def execute(job: Job) -> dict[str, Any] | str:
    """Run one search; return its line, or in one line why it failed."""
    problem = problem_of(job.source)
    noisy = job.protocol == "noisy"
    try:
        if job.kind == "rival":
            rival = RIVALS[job.strategy]
            rival.load()
            start = time.process_time()
            found = rival(problem, job.budget, job.seed, noisy, job.batch)
            population = rival.asks(job.batch)
        else:
            own = registry.load("optimizer", job.strategy)
            size = {} if job.batch == 1 else {"population_size": job.batch}
            built: list[Optimizer] = []

            def make(*args: Any, **options: Any) -> Optimizer:
                built.append(own(*args, **options, **size))
                return built[-1]

            start = time.process_time()
            found = replay.run(make, problem, job.budget, job.seed, noisy)
            population = built[-1].population_size
    except Exception as error:  # one broken contender is no reason to lose the others
        return f"{type(error).__name__}: {' '.join(str(error).split())}"
    row = {name: getattr(job, name) for name in FIELDS if hasattr(job, name)}
    row |= {"population": population, "trained": len(found.values)}
    row |= quality_report.figures(found, problem, job.budget)
    return row | {"seconds": f"{time.process_time() - start:.2f}"}


def own_version(name: str) -> str:
    """Return a mark of a strategy's sources, and of what all strategies share.

    Raises:
        InputError: no strategy has the name.
    """
    if name not in evonas.list_optimizers():
        raise InputError(f"unknown strategy {name!r}: {nearest(name, evonas.list_optimizers())}")
    folder = Path(optimizers.__file__).parent
    shared = sorted(folder.glob("_*.py"))
    sources = [folder / f"{name}.py", folder / "base.py", *shared]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:8]


def _from(first: int, count: int, most: int) -> range:
    """Return ``count`` seeds, at most ``most`` of them unless that is 0."""
    return range(first, first + (min(count, most) if most else count))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    replay.add_problem_arguments(parser)
    parser.add_argument("--protocols", nargs="+", choices=PROTOCOLS, default=list(PROTOCOLS))
    parser.add_argument("--strategies", nargs="*", default=evonas.list_optimizers())
    parser.add_argument("--rivals", nargs="*", default=list(RIVALS), help=", ".join(RIVALS))
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[25, 75], help="how many, for each protocol"
    )
    parser.add_argument(
        "--first-seed", type=int, default=0, help="leave those out that settings were tuned on"
    )
    parser.add_argument("--slow-seeds", type=int, default=12, help="at most so many of Optuna GP")
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="1: its own default")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/search_quality"))
    args = parser.parse_args()
    least = {"first_seed": 0, "seeds": 1, "slow_seeds": 1, "budget": 1, "batch": 1, "workers": 0}
    at_least(parser, args, least)
    return args


if __name__ == "__main__":
    main()

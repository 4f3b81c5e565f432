"""Part c: what a trial costs beyond its training, in evonas, Ray Tune and Optuna."""

from __future__ import annotations

import importlib.util
import logging
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import throughput_tuners
from throughput_problem import Problem, problems
from throughput_report import Options, Section, Verdict, in_turns, installed, spread

from evonas.estimation.estimator import Job
from evonas.estimation.execution.local import LocalExecutor
from evonas.report.tables import Table

LOCAL, RAY = "evonas, local", "evonas, Ray"
LIMITS = {LOCAL: 5.0, RAY: 10.0}  # milliseconds a trial
#: Ray Tune's default starts a process a trial, which takes seconds: so many of them show it.
PROCESS_TRIALS = 12
DEFINITION = (
    "Overhead a trial = (wall time of the search - seconds inside the trainings / workers) / "
    "trials. The clock starts when the last worker begins its first training, so the start of a "
    "library, of its processes and its first question are left out and stand in a column of "
    "their own; it stops when the call returns. Trainings are clocked inside the function, the "
    "same code for all; what of them lies before the clock's start is left out. With 2 workers "
    "the wait of one at the end of a generation counts as overhead."
)


@dataclass(frozen=True)
class Run:
    """One search by one contender: when it was called and returned, and its trainings."""

    called: float
    returned: float
    rows: list[throughput_tuners.Row]
    workers: int = 1
    syncs: int = 0

    @property
    def start(self) -> float:
        """When as many processes as there are workers had begun a training, as seconds since 1970.

        (Fewer, where one process was through with all before another was there.)
        """
        firsts: dict[float, float] = {}
        for begin, _, worker, _ in self.rows:
            firsts[worker] = min(begin, firsts.get(worker, begin))
        return sorted(firsts.values())[: self.workers][-1]

    @property
    def startup(self) -> float:
        """Seconds from the call until then."""
        return self.start - self.called

    @property
    def overhead(self) -> float:
        """Seconds a trial; see ``DEFINITION``."""
        return overhead(self.rows, self.start, self.returned, self.workers)

    @property
    def errors(self) -> list[float]:
        """Of the trainings, sorted."""
        return sorted(error for *_, error in self.rows)


@dataclass
class Contender:
    """One way to run a search."""

    name: str
    workers: int
    search: Callable[[Problem, list[Job], list[tuple[float, ...]], Path], Any]
    disk: str
    most: int = 0  # trials, where each takes seconds; 0: all
    runs: dict[str, list[Run]] = field(default_factory=dict)


def overhead(
    rows: Sequence[throughput_tuners.Row], start: float, returned: float, workers: int
) -> float:
    """Return the seconds a trial that are not training.

    Args:
        rows: of each training.
        start: when the clock starts; trainings that were over by then do not count.
        returned: when the search was over.
        workers: trainings at once.
    """
    counted = [(max(begin, start), end) for begin, end, *_ in rows if end >= start]
    busy = sum(end - begin for begin, end in counted)
    return ((returned - start) - busy / workers) / len(counted)


def measure(options: Options) -> Section:
    """Return the section of part c."""
    trials = (10, 20) if options.quick else (40, 200)
    with tempfile.TemporaryDirectory(prefix="throughput-") as place:
        folder = Path(place)
        trainings, nothing = problems(options.experiment, folder / "cache", trials)
        with ray_cluster() as ray_start:
            contenders = _contenders()
            for name, problem in (("training", trainings), ("nothing", nothing)):
                jobs, genomes = problem.jobs(folder / name)

                found = in_turns(
                    {c.name: partial(_run, c, problem, jobs, genomes, folder) for c in contenders},
                    options.repeats,
                )
                for contender in contenders:
                    contender.runs[name] = found[contender.name]
    return _section(contenders, trials, ray_start)


def _contenders() -> list[Contender]:
    found = [Contender(LOCAL, 1, _local, "journal, fsync")]
    for n in (1, 2):
        found.append(Contender(f"{RAY}, {_workers(n)}", n, partial(_on_ray, n), "journal, fsync"))
    if importlib.util.find_spec("ray.tune") and installed("pyarrow") and installed("tensorboardX"):
        for reuse, what in ((False, "Ray Tune"), (True, "Ray Tune, reuse_actors")):
            for n in (1, 2):
                disk = "result and log files, snapshots"
                most = 0 if reuse else PROCESS_TRIALS
                run = partial(_tune, n, reuse)
                found.append(Contender(f"{what}, {_workers(n)}", n, run, disk, most))
    if installed("optuna"):
        found.append(Contender("Optuna, a parameter a gene", 1, _optuna, "journal, fsync"))
        found.append(Contender("Optuna, one parameter", 1, _optuna_plain, "journal, fsync"))
    return found


def _workers(number: int) -> str:
    return f"{number} worker{'s' if number > 1 else ''}"


def _local(problem: Problem, jobs: list[Job], genomes: Any, folder: Path) -> Any:
    return problem.search(LocalExecutor(problem.setting, estimator=problem.make), folder)


def _on_ray(workers: int, problem: Problem, jobs: list[Job], genomes: Any, folder: Path) -> Any:
    from evonas.estimation.execution.ray import RayExecutor

    with RayExecutor(
        problem.setting, workers, f"bench{folder.parent.name}", problem.make
    ) as executor:
        # The actors are there when they have answered; else the second comes late.
        list(executor.evaluate(jobs[:1] * workers))
        trials = problem.search(executor, folder)
        return time.time(), trials


def _tune(
    workers: int, reuse: bool, problem: Problem, jobs: list[Job], genomes: Any, folder: Path
) -> Any:
    return throughput_tuners.tune(problem, jobs, folder, workers, reuse)


def _optuna(problem: Problem, jobs: list[Job], genomes: Any, folder: Path) -> Any:
    return throughput_tuners.optuna(problem, jobs, genomes, folder)


def _optuna_plain(problem: Problem, jobs: list[Job], genomes: Any, folder: Path) -> Any:
    numbers = [(float(number),) for number in range(len(jobs))]
    return throughput_tuners.optuna(problem, jobs, numbers, folder)


def _run(contender: Contender, problem: Problem, jobs: list[Job], genomes: Any, place: Path) -> Run:
    """Run a contender in a new folder, with the calls of fsync in this process counted."""
    folder = Path(tempfile.mkdtemp(dir=place)) / "run"
    sync, synced = os.fsync, []

    def counting(stream: Any) -> None:
        synced.append(stream)
        sync(stream)

    if contender.most:
        jobs = jobs[: contender.most]
    os.fsync = counting
    called = time.time()
    try:
        found = contender.search(problem, jobs, genomes, folder)
    finally:
        os.fsync = sync
    returned = time.time()
    if isinstance(found, tuple):  # the workers were given back as well, which is no trial's cost
        returned, found = found
    metric = problem.components.task.metric
    row_of = throughput_tuners.row_of
    rows = [row if isinstance(row, tuple) else row_of(row.metrics, metric) for row in found]
    return Run(called, returned, rows, contender.workers, len(synced))


@contextmanager
def ray_cluster() -> Iterator[float]:
    """Start Ray as evonas does, for all contenders; give the seconds that it takes."""
    import ray

    start = time.perf_counter()
    ray.init(
        num_cpus=max(2, os.cpu_count() or 1),
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        yield time.perf_counter() - start
    finally:
        ray.shutdown()


def _section(contenders: Sequence[Contender], trials: tuple[int, int], ray_start: float) -> Section:
    lines = [DEFINITION]
    seconds = [end - begin for begin, end, *_ in contenders[0].runs["training"][0].rows]
    lines.append(
        f"Two functions: {trials[0]} real trainings of "
        f"{1e3 * statistics.median(seconds):.0f} ms in the median "
        f"({1e3 * min(seconds):.0f}..{1e3 * max(seconds):.0f}), the same architectures and seeds "
        f"for all, and {trials[1]} calls of a function that does nothing. Starting Ray took "
        f"{ray_start:.1f} s, once, for evonas and Ray Tune alike; it is in no figure. Ray Tune: "
        "function trainables, its loggers and experiment snapshots as they come. Optuna: "
        "JournalStorage on a file. How durable each is shows in the "
        "last column: evonas's journal and Optuna's are on the disk before a call returns (a line "
        "a trial, and one a step of a trial); Ray Tune writes a trial's results and logs, and a "
        "snapshot of the whole search from time to time."
    )
    lines.append(
        f"Ray Tune without reuse_actors starts a process a trial; it ran the first "
        f"{PROCESS_TRIALS} trainings only, since each takes seconds."
    )
    expected = Counter(contenders[0].runs["training"][0].errors)
    others = []
    for contender in contenders:
        number = min(contender.most or trials[0], trials[0])
        errors = [run.errors for run in contender.runs["training"]]
        if any(len(found) != number or Counter(found) - expected for found in errors):
            others.append(contender.name)
    lines.append(
        f"The errors of the trainings differ from those of {LOCAL}: {', '.join(others)}."
        if others
        else "The errors of the trainings are the same numbers for all contenders, to the last bit."
    )
    tables = [_table(contenders, "training", trials[0]), _table(contenders, "nothing", trials[1])]
    return Section("Overhead a trial", lines, tables, _verdicts(contenders, not others))


def _table(contenders: Sequence[Contender], name: str, trials: int) -> Table:
    rows = []
    for contender in contenders:
        runs = contender.runs[name]
        rows.append(
            [
                *(contender.name, contender.disk),
                spread([run.overhead for run in runs], 2, 1e3),
                spread([run.startup for run in runs], 1),
                f"{statistics.median(run.syncs / len(run.rows) for run in runs):.1f}",
            ]
        )
    what = "real trainings" if name == "training" else "a function that does nothing"
    head = ["contender", "on disk", "overhead, ms a trial", "start, s", "fsyncs a trial (driver)"]
    return Table(f"{trials} trials, {what}", head, rows)


def _verdicts(contenders: Sequence[Contender], same: bool) -> list[Verdict]:
    verdicts = [Verdict("Same errors for all contenders", "yes" if same else "no", same)]
    for name, what in (("training", "real trainings"), ("nothing", "doing nothing")):
        medians = {
            c.name: 1e3 * statistics.median(run.overhead for run in c.runs[name])
            for c in contenders
        }
        rivals = {key: value for key, value in medians.items() if not key.startswith("evonas")}
        for key, value in medians.items():
            limit = next((limit for own, limit in LIMITS.items() if key.startswith(own)), None)
            if limit is None:
                continue
            target = f"{key}, {what}: <= {limit:g} ms a trial"
            verdicts.append(Verdict(target, f"{value:.2f} ms", value <= limit))
            for rival in ("Ray Tune", "Optuna"):
                best = min((v for k, v in rivals.items() if k.startswith(rival)), default=None)
                if best is None:
                    verdicts.append(Verdict(f"{key}, {what}: below {rival}", "not installed"))
                else:
                    said = f"{value:.2f} ms against its best {best:.2f} ms ({best / value:.1f} x)"
                    verdicts.append(Verdict(f"{key}, {what}: below {rival}", said, value < best))
    return verdicts

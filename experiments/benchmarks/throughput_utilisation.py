"""Part d: how much of the workers' time is training; for real on two, simulated on many."""

from __future__ import annotations

import hashlib
import math
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from statistics import NormalDist

import numpy as np
from throughput_overhead import ray_cluster
from throughput_picture import draw
from throughput_problem import Answer, Nothing
from throughput_report import Options, Section, Verdict, in_turns, spread
from throughput_simulation import Simulated, drawn, rank_correlation, simulate

from evonas import registry
from evonas.assembly import Assembly
from evonas.errors import InputError
from evonas.estimation.estimator import Job, Setting
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.estimation.settings import ObjectiveSettings, TrainingSettings
from evonas.estimation.views import standard_views
from evonas.execution.base import Executor, MakeEstimator
from evonas.report.tables import Table
from evonas.search import Search
from evonas.space import Architecture, SearchSpace
from evonas.store import RunStore, Trial, read_journal

NEEDS = ("ray",)
TARGET = 0.95
#: Spread of the predicted rank (0..1) around the true one that gives a correlation of 0.8.
SIGMA = 0.217
AS_ASKED, PREDICTED, KNOWN = "as asked", "longest first, predicted", "longest first, known"
ORDERS = {AS_ASKED: None, PREDICTED: SIGMA, KNOWN: 0.0}
WORKERS = tuple(2**n for n in range(11))
BUDGET = 10_000
NODE = 8  # workers of one node, which fetches the features once
SMALL = 16  # the population that does not grow with the workers
SLOWER = 100  # factor on the durations, for trainings as long as real ones
SHORTEST, RANGE = 0.02, 30.0  # seconds, and longest / shortest

SPACE = SearchSpace.from_dict(
    {
        "name": "digits",
        "network": "none",
        "genes": [{"name": f"g{i}", "kind": "integer", "low": 0, "high": 9} for i in range(8)],
    }
)


def rank_of(architecture: Architecture) -> float:
    """Return where its duration stands among all, 0..1, as its digest says."""
    return (int(architecture.digest, 16) + 0.5) / 2**64


def duration(architecture: Architecture) -> float:
    """Return the seconds that it sleeps: log-uniform over a range of 30."""
    return float(SHORTEST * RANGE ** rank_of(architecture))


def prediction(architecture: Architecture, sigma: float | None) -> int:
    """Return the cost that the search orders by; None: the same for all, so the order as asked."""
    if sigma is None:
        return 1
    noise = hashlib.blake2b(architecture.digest.encode(), digest_size=8).digest()
    normal = NormalDist().inv_cdf((int.from_bytes(noise, "little") + 0.5) / 2**64)
    return int(1e6 * math.exp(rank_of(architecture) + sigma * normal))


class Sleeper:
    """An estimator that sleeps as long as the architecture says."""

    def __init__(self, setting: Setting) -> None:
        pass

    def __call__(self, job: Job) -> Measurement:
        """Return a measurement with the seconds that it took."""
        start = time.perf_counter()
        time.sleep(duration(job.architecture))
        seconds = time.perf_counter() - start
        return Measurement("ok", {"error": rank_of(job.architecture)}, 1, 1, seconds)


class Idle:
    """An estimator that does nothing."""

    def __init__(self, setting: Setting) -> None:
        self._answer: Answer = Nothing("error")(setting)

    def __call__(self, job: Job) -> Measurement:
        """Return a measurement at once."""
        return self._answer(job)


@dataclass(frozen=True)
class Done:
    """A real search: its wall time, workers and trials."""

    wall: float
    workers: int
    trials: tuple[Trial, ...]
    sigma: float | None

    @property
    def busy(self) -> float:
        """Seconds of all trainings."""
        return sum(trial.seconds for trial in self.trials)

    @property
    def utilisation(self) -> float:
        """Share of the workers' time in which they trained."""
        return self.busy / (self.workers * self.wall)

    def generations(self) -> list[list[float]]:
        """Return the seconds of each training, in the order in which they were handed out."""
        found: dict[int, list[Trial]] = {}
        for trial in self.trials:
            found.setdefault(trial.generation, []).append(trial)
        in_turn = [sorted(found[n], key=lambda trial: (-trial.macs, trial.index)) for n in found]
        return [[trial.seconds for trial in generation] for generation in in_turn]


def search(
    executor: Executor,
    folder: Path,
    trials: int,
    population: int | None,
    sigma: float | None,
    seed: int,
) -> Done:
    """Run a real search on an executor that is ready; return what it took."""

    def cost(architecture: Architecture) -> int:
        return prediction(architecture, sigma)

    optimizer = registry.create(
        "optimizer", "random", {}, SPACE, budget=trials, seed=seed, population_size=population
    )
    objective = Objective("error", ObjectiveSettings())
    with RunStore(folder) as store:
        work = Search(SPACE, optimizer, executor, objective, store, TrainingSettings(), cost)
        start = time.perf_counter()
        work.run(seed)
        wall = time.perf_counter() - start
        return Done(wall, executor.workers, tuple(store.trials()), sigma)


def measure(options: Options) -> Section:
    """Return the section of part d."""
    trials = 12 if options.quick else 96
    seed, numbers = options.experiment.seed, count()
    with tempfile.TemporaryDirectory(prefix="throughput-") as place, ray_cluster():

        def run(
            make: MakeEstimator, workers: int, population: int | None, sigma: float | None
        ) -> Done:
            number = next(numbers)
            with _ready(make, workers, number) as executor:
                return search(executor, Path(place) / str(number), trials, population, sigma, seed)

        idle = {n: run(Idle, n, 32, None) for n in (1, 2)}
        contenders = {
            (workers, population, order): partial(run, Sleeper, workers, population, ORDERS[order])
            for workers, orders in ((1, (PREDICTED,)), (2, tuple(ORDERS)))
            for population in (4 * workers, None)
            for order in orders
        }
        found = in_turns(contenders, options.repeats)
    driver = idle[2].wall / trials
    latency = max(0.0, idle[1].wall / trials - driver)
    own = [trial.seconds for trial in found[2, 8, PREDICTED][0].trials]
    durations = _journal(options.journal) if options.journal else own
    real = _real_table(found, latency, driver)
    budget = 500 if options.quick else BUDGET
    factors = (1,) if options.journal else (1, SLOWER)
    tables, curves = [real], {}
    for factor in factors:
        scaled = [factor * seconds for seconds in durations]
        table, lines = _simulated(scaled, budget, latency, driver, seed)
        tables.append(table)
        curves |= lines
    picture = options.out.with_name("throughput_utilisation.png")
    draw(picture, WORKERS, curves)
    tables.append(_bytes(options, budget))
    lines = [
        "Utilisation = seconds inside the trainings / (workers x wall time of the search). The "
        "real searches run `Search`, the journal and `RayExecutor`; a training sleeps for "
        f"{1e3 * SHORTEST:.0f} to {1e3 * SHORTEST * RANGE:.0f} ms, log-uniform, as the "
        f"architecture's digest says (mean {1e3 * statistics.mean(own):.0f} ms). The order is "
        "evonas's own, longest first by multiply-adds, which here are made up: equal for all (so "
        "the order is as asked), or of a rank correlation of "
        f"{_correlation(found[2, 8, PREDICTED][0]):.2f} with the durations, or of 1.",
        "The simulation hands out generations event by event; measured with a function that does "
        f"nothing: {1e3 * driver:.2f} ms for the searching process to take an answer and hand out "
        f"the next (serial, from 2 workers), and {1e3 * latency:.2f} ms more until a training "
        "begins (from 1 worker). Durations are drawn from "
        + (f"the {len(durations)} of a journal." if options.journal else "the real run's.")
        + " Bytes: every node of 8 workers fetches the features once.",
    ]
    verdicts = _verdicts(found, latency, driver, durations, factors, budget, seed)
    pictures = {picture.name: "Simulated utilisation against workers"}
    return Section("Utilisation of the workers", lines, tables, verdicts, pictures)


def _ready(make: MakeEstimator, workers: int, number: int) -> Executor:
    """Return the Ray executor with workers that have answered."""
    from evonas.execution.ray import RayExecutor

    setting = Setting({}, {}, "", np.empty((0, 0, 0)), {}, ("", {}, {}))
    executor = RayExecutor(setting, workers, f"bench{number}", make)
    quick = min((SPACE.decode([x / 10] * SPACE.dim) for x in range(10)), key=rank_of)
    list(executor.evaluate([Job(i, quick, 0, TrainingSettings()) for i in range(workers)]))
    return executor


def _journal(folder: Path) -> list[float]:
    found = [trial.seconds for trial in read_journal(folder) if trial.status == "ok"]
    if not found or not min(found) > 0:
        raise InputError(f"{folder}: expected a run with timed trainings, got {len(found)} of them")
    return found


def _correlation(done: Done) -> float:
    costs = [float(trial.macs) for trial in done.trials]
    return rank_correlation(costs, [trial.seconds for trial in done.trials])


def _population(population: int | None) -> str:
    return "10 (default)" if population is None else str(population)


Runs = dict[tuple[int, int | None, str], list[Done]]


def _real_table(runs: Runs, latency: float, driver: float) -> Table:
    rows = []
    for (workers, population, order), done in runs.items():
        predicted = [simulate(d.generations(), workers, latency, driver).wall for d in done]
        rows.append(
            [
                *(str(workers), _population(population), order),
                spread([d.utilisation for d in done], 1, 100),
                spread([d.wall for d in done], 2),
                spread([p / d.wall - 1 for p, d in zip(predicted, done, strict=True)], 1, 100),
            ]
        )
    head = ["workers", "population", "order", "utilisation, %", "wall, s"]
    title = f"{len(next(iter(runs.values()))[0].trials)} trainings, for real"
    return Table(title, [*head, "simulated wall against it, %"], rows, names=3)


def _simulate(
    durations: list[float],
    workers: int,
    population: int,
    order: str,
    trials: int,
    latency: float,
    driver: float,
    seed: int,
) -> Simulated:
    generations = drawn(durations, trials, population, ORDERS[order], seed)
    return simulate(generations, workers, latency, driver)


def _simulated(
    durations: list[float], trials: int, latency: float, driver: float, seed: int
) -> tuple[Table, dict[str, list[float]]]:
    rows, mean = [], statistics.mean(durations)
    curves: dict[str, list[float]] = {}
    for workers in WORKERS:
        cells = [f"{workers:,}"]
        for label, population, order in (
            ("4 x workers", 4 * workers, PREDICTED),
            ("", 4 * workers, KNOWN),
            ("", 4 * workers, AS_ASKED),
            ("", 16 * workers, PREDICTED),
            (f"{SMALL}", SMALL, PREDICTED),
        ):
            done = _simulate(durations, workers, population, order, trials, latency, driver, seed)
            cells.append(f"{100 * done.utilisation:.1f}, {_time(done.wall)}")
            if label:
                name = f"population {label}, trainings of {mean:.2g} s"
                curves.setdefault(name, []).append(done.utilisation)
        rows.append(cells)
    head = ["workers", "p = 4 x workers", "the same, durations known", "the same, as asked"]
    title = (
        f"Simulated: utilisation in percent, and time, of {trials:,} trainings of {mean:.3g} s "
        f"in the mean, in generations of p"
    )
    return Table(title, [*head, "p = 16 x workers", f"p = {SMALL}"], rows, names=1), curves


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _bytes(options: Options, trials: int) -> Table:
    """Return what travels: features once a node, a job and a measurement a trial."""
    from ray import cloudpickle

    assembly = Assembly(options.experiment)
    views = len(standard_views(options.experiment.features.jitters))
    values = sum(math.prod(assembly.backbone.taps[tap]) for tap in assembly.taps())
    features = 2 * values * views * len(assembly.dataset)
    architecture = assembly.space.decode([0.5] * assembly.space.dim)
    job = Job(0, architecture, 0, options.experiment.training, "generation 1000 #100")
    answer = Measurement("ok", dict.fromkeys(("mae", "yaw", "pitch", "roll", "epoch"), 1 / 3))
    sent, back = (len(cloudpickle.dumps(thing)) for thing in (job, answer))
    rows = [
        [
            *(f"{workers:,}", f"{math.ceil(workers / NODE):,}"),
            f"{math.ceil(workers / NODE) * features / 1e6:,.0f}",
            f"{trials * (sent + back) / 1e6:,.1f}",
        ]
        for workers in WORKERS
        if workers >= NODE
    ]
    note = (
        f"Features: {len(assembly.dataset):,} images in {views} views, "
        f"{features / 1e6:,.0f} MB in half precision. A job has {sent:,} bytes, a measurement "
        f"{back:,} (pickled; Ray's own envelope comes on top)."
    )
    title = f"Bytes moved for {trials:,} trainings of the experiment {options.experiment.name}"
    head = ["workers", "nodes", "features, MB", "jobs and measurements, MB"]
    return Table(title, head, rows, [note])


def _verdicts(
    runs: Runs,
    latency: float,
    driver: float,
    durations: list[float],
    factors: tuple[int, ...],
    trials: int,
    seed: int,
) -> list[Verdict]:
    verdicts = []
    for workers in (1, 2):
        share = statistics.median(d.utilisation for d in runs[workers, 4 * workers, PREDICTED])
        target = f"{workers} worker(s), population {4 * workers}, for real: >= {TARGET:.0%}"
        verdicts.append(Verdict(target, f"{share:.1%}", share >= TARGET))
    for factor in factors:
        shares = []
        scaled = [factor * seconds for seconds in durations]
        for workers in WORKERS:
            args = (PREDICTED, trials, latency, driver, seed)
            shares.append(_simulate(scaled, workers, 4 * workers, *args).utilisation)
        good = [n for n, share in zip(WORKERS, shares, strict=True) if share >= TARGET]
        target = (
            f"Simulated, trainings of {statistics.mean(scaled):.3g} s, population 4 x workers: "
            f">= {TARGET:.0%} on up to {WORKERS[-1]:,} workers"
        )
        said = f"at least that on {', '.join(f'{n:,}' for n in good) or 'none'}; "
        said += f"{shares[-1]:.1%} on {WORKERS[-1]:,}"
        verdicts.append(Verdict(target, said, len(good) == len(WORKERS)))
    return verdicts

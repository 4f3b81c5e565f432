"""Part d: how much of the workers' time is training; for real on two, simulated on many."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from throughput_durations import (
    RANGE,
    SHORTEST,
    Idle,
    Sleeper,
    predictions,
    spread_out,
    step_seconds,
    without_features,
)
from throughput_overhead import ray_cluster
from throughput_picture import draw
from throughput_problem import Nothing, Recorder
from throughput_report import Options, Section, Verdict, in_turns, spread
from throughput_simulation import Pair, drawn, rank_correlation, simulate

from evonas.core.experiment import changed
from evonas.core.settings import TrainingSettings
from evonas.errors import InputError
from evonas.estimation.estimator import Job, TrainingContext
from evonas.estimation.execution.base import Executor, MakeEstimator
from evonas.estimation.features.views import standard_views
from evonas.estimation.measurement import Measurement
from evonas.report.tables import Table
from evonas.runs.run_store import RunStore, Trial, read_journal
from evonas.space import Architecture
from evonas.workflows.components import Components
from evonas.workflows.loop import Search, SearchComponents

NEEDS = ("ray",)
TARGET = 0.95
AS_ASKED, BY_MACS, BY_FORECAST, KNOWN = (
    "as asked",
    "by multiply-adds",
    "as predicted",
    "as they will be",
)
WORKERS = tuple(2**n for n in range(11))
BUDGET = 10_000
NODE = 8  # workers of one node, which fetches the features once
SMALL = 16  # the population that does not grow with the workers
REAL = 5.0  # mean seconds of a training, about that of a head for real faces


@dataclass(frozen=True)
class Done:
    """A real search: its wall time, workers and trials."""

    wall: float
    workers: int
    trials: tuple[Trial, ...]

    @property
    def busy(self) -> float:
        """Seconds of all trainings."""
        return sum(trial.seconds for trial in self.trials)

    @property
    def utilisation(self) -> float:
        """Share of the workers' time in which they trained."""
        return self.busy / (self.workers * self.wall)

    def generations(self) -> list[list[float]]:
        """Return the seconds of each training, in the order in which they began."""
        found: dict[int, list[Trial]] = {}
        for trial in self.trials:
            found.setdefault(trial.generation, []).append(trial)
        in_turn = [sorted(found[n], key=lambda trial: trial.metrics["begin"]) for n in found]
        return [[trial.seconds for trial in generation] for generation in in_turn]


@dataclass(frozen=True)
class Scene:
    """Searches of one experiment in which nothing is trained.

    Attributes:
        components: its random search.
        setting: what workers get.
    """

    components: Components
    setting: TrainingContext

    def search(
        self, executor: Executor, folder: Path, population: int | None, ordered: bool = True
    ) -> Done:
        """Run a search on an executor that is ready; return what it took."""
        words = [f"optimizer.population_size={population}"] if population else []
        components = Components(changed(self.components.experiment, words))
        cost = components.cost if ordered else lambda architecture: 1
        with RunStore(folder) as store:
            parts = (components.space, components.optimizer(), executor, components.objective)
            work = Search(SearchComponents(*parts, TrainingSettings(epochs=1), cost), store)
            start = time.perf_counter()
            work.run(components.experiment.seed)
            wall = time.perf_counter() - start
            trials = tuple(trial for trial in store.trials() if trial.trained)
        return Done(wall, executor.workers, trials)

    def asked(self, folder: Path, population: int | None) -> list[Architecture]:
        """Return the networks that the search trains."""
        recorder = Recorder(self.setting, Nothing(self.components.task.metric)(self.setting))
        self.search(recorder, folder, population)
        return [job.architecture for job in recorder.jobs]


def measure(options: Options) -> Section:
    """Return the section of part d."""
    trials = 24 if options.quick else 64
    seed, numbers = options.experiment.seed, count()
    words = ["optimizer=random", f"budget={trials}", "finals.networks=0"]
    components = Components(changed(options.experiment, words))
    scene = Scene(components, without_features(components))
    with tempfile.TemporaryDirectory(prefix="throughput-") as place, ray_cluster():

        def next_folder() -> Path:
            return Path(place) / str(next(numbers))

        populations = (4, 8, 32, None)
        asked = {a.digest: a for p in populations for a in scene.asked(next_folder(), p)}
        steps = {digest: step_seconds(scene.setting, a) for digest, a in asked.items()}
        seconds = spread_out(steps)

        def run(
            make: MakeEstimator, workers: int, population: int | None, ordered: bool = True
        ) -> Done:
            folder = next_folder()
            with _ready(scene, make, workers, folder.name) as executor:
                return scene.search(executor, folder, population, ordered)

        idle = {n: run(Idle, n, 32) for n in (1, 2)}
        orders = {
            AS_ASKED: (Sleeper(seconds, counted=False), False),
            BY_MACS: (Sleeper(seconds, counted=False), True),
            BY_FORECAST: (Sleeper(seconds, counted=True), True),
        }
        contenders = {
            (workers, population, order): partial(
                run, orders[order][0], workers, population, orders[order][1]
            )
            for workers, population, names in (
                (1, 4, (BY_FORECAST,)),
                *((2, population, tuple(orders)) for population in (8, None)),
            )
            for order in names
        }
        found = in_turns(contenders, options.repeats)
    latency, driver = _overheads(idle, trials)
    networks = list(asked.values())
    predicted = predictions(scene.setting, networks, seconds)
    pairs = [
        Pair(seconds[a.digest], guess, float(components.cost(a)))
        for a, guess in zip(networks, predicted, strict=True)
    ]
    if options.journal:
        pairs = _journal(options.journal)
    tables, curves, simulated = [_real_table(found, latency, driver)], {}, {}
    budget = 500 if options.quick else BUDGET
    mean = statistics.mean(pair.seconds for pair in pairs)
    for factor in (1.0,) if options.journal else (1.0, REAL / mean):
        scaled = [pair.times(factor) for pair in pairs]
        table, lines, shares = _simulated(scaled, budget, latency, driver, seed)
        tables.append(table)
        curves |= lines
        simulated[factor * mean] = shares
    picture = options.out.with_name("throughput_utilisation.png")
    draw(picture, WORKERS, curves)
    tables.append(_bytes(options, budget))
    ratio = max(steps.values()) / min(steps.values())
    said = [_correlation(pairs, name) for name in ("macs", "predicted")]
    lines = [
        "Utilisation = seconds inside the trainings / (workers x wall time of the search). The "
        "real searches run `Search`, the journal and `RayExecutor` on random networks of the "
        "experiment's space; a training sleeps. What one step of each network takes was measured "
        f"here ({1e3 * min(steps.values()):.2g} to {1e3 * max(steps.values()):.2g} ms, "
        f"{ratio:.0f}-fold); their logarithms are stretched so that trainings take "
        f"{1e3 * SHORTEST:.0f} to {1e3 * SHORTEST * RANGE:.0f} ms, {RANGE:.0f}-fold. The order in "
        "which a generation is handed out is evonas's own (the longest first, as predicted from "
        "the trainings that are done), or, for comparison, by multiply-adds, or as asked. The "
        f"rank correlation of the durations with multiply-adds is {said[0]:.2f}, with predictions "
        f"from the other half of the networks {said[1]:.2f}.",
        "The simulation hands out generations event by event; measured with a function that does "
        f"nothing: {1e3 * driver:.2f} ms for the searching process to take an answer and hand out "
        f"the next (serial, from 2 workers), and {1e3 * latency:.2f} ms more until a training "
        "begins (from 1 worker). Durations, with what was predicted of each, are drawn from "
        + (f"the {len(pairs)} of a journal" if options.journal else "the networks of the real runs")
        + ". Every generation is a full one, so there are a few trainings more than said where p "
        "does not divide their number. Bytes: every node of 8 workers fetches the features once.",
    ]
    verdicts = _verdicts(found, simulated)
    pictures = {picture.name: "Simulated utilisation against workers"}
    return Section("Utilisation of the workers", lines, tables, verdicts, pictures)


def _overheads(idle: Mapping[int, Done], trials: int) -> tuple[float, float]:
    """Return latency and driver's time of a trial, in seconds; see ``simulate``."""
    driver = idle[2].wall / trials
    return max(0.0, idle[1].wall / trials - driver), driver


def _ready(scene: Scene, make: MakeEstimator, workers: int, name: str) -> Executor:
    """Return the Ray executor with workers that have answered."""
    from evonas.estimation.execution.ray import RayExecutor

    executor = RayExecutor(scene.setting, workers, f"bench{name}", make)
    while len(executor._pool.alive) < workers:
        executor._pool.wait([])
    return executor


def _journal(folder: Path) -> list[Pair]:
    """Return the durations of a journal, with multiply-adds in the place of predictions."""
    trials = [trial for trial in read_journal(folder) if trial.status == "ok"]
    if not trials or not min(trial.seconds for trial in trials) > 0:
        raise InputError(f"{folder}: expected timed trainings, got {len(trials)} trainings")
    return [Pair(trial.seconds, float(trial.macs), float(trial.macs)) for trial in trials]


def _correlation(pairs: list[Pair], name: str) -> float:
    return rank_correlation([getattr(p, name) for p in pairs], [p.seconds for p in pairs])


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
    head = ["workers", "population", "longest first", "utilisation, %", "wall, s"]
    title = f"{len(next(iter(runs.values()))[0].trials)} trainings, for real"
    return Table(title, [*head, "simulated wall against it, %"], rows, names=3)


def _simulated(
    pairs: list[Pair], trials: int, latency: float, driver: float, seed: int
) -> tuple[Table, dict[str, list[float]], list[float]]:
    """Return the table, the curves, and the shares of evonas's own order at p = 4 x workers."""
    mean = statistics.mean(pair.seconds for pair in pairs)
    orders = {AS_ASKED: None, BY_MACS: "macs", BY_FORECAST: "predicted", KNOWN: "seconds"}
    columns = [(4, order) for order in (BY_FORECAST, KNOWN, BY_MACS, AS_ASKED)]
    columns += [(16, BY_FORECAST), (0, BY_FORECAST)]
    rows, shares = [], {}
    for workers in WORKERS:
        cells = [f"{workers:,}"]
        for times, order in columns:
            population = times * workers or SMALL
            generations = drawn(pairs, trials, population, orders[order], seed)
            done = simulate(generations, workers, latency, driver)
            cells.append(f"{100 * done.utilisation:.1f}, {_time(done.wall)}")
            shares.setdefault((times, order), []).append(done.utilisation)
        rows.append(cells)
    head = ["workers", f"p = 4 x workers, {BY_FORECAST}", KNOWN, BY_MACS, AS_ASKED]
    head += [f"p = 16 x workers, {BY_FORECAST}", f"p = {SMALL}, {BY_FORECAST}"]
    title = (
        f"Simulated: utilisation in percent, and time, of {trials:,} trainings of {mean:.3g} s "
        f"in the mean, in generations of p"
    )
    kind = f"trainings of {mean:.2g} s"
    curves = {
        f"p = 4 x workers, {kind}": shares[4, BY_FORECAST],
        f"p = {SMALL}, {kind}": shares[0, BY_FORECAST],
    }
    return Table(title, head, rows, names=1), curves, shares[4, BY_FORECAST]


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _bytes(options: Options, trials: int) -> Table:
    """Return what travels: features once a node, a job and a measurement a trial."""
    from ray import cloudpickle

    components = Components(options.experiment)
    views = len(standard_views(options.experiment.features.jitters))
    values = sum(math.prod(components.backbone.taps[tap]) for tap in components.taps())
    features = 2 * values * views * len(components.dataset)
    architecture = components.space.decode([0.5] * components.space.dim)
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
        f"Features: {len(components.dataset):,} images in {views} views, "
        f"{features / 1e6:,.0f} MB in half precision. A job has {sent:,} bytes, a measurement "
        f"{back:,} (pickled; Ray's own envelope comes on top)."
    )
    title = f"Bytes moved for {trials:,} trainings of the experiment {options.experiment.name}"
    head = ["workers", "nodes", "features, MB", "jobs and measurements, MB"]
    return Table(title, head, rows, [note])


def _verdicts(runs: Runs, simulated: Mapping[float, list[float]]) -> list[Verdict]:
    verdicts = []
    for workers in (1, 2):
        share = statistics.median(d.utilisation for d in runs[workers, 4 * workers, BY_FORECAST])
        target = f"{workers} worker(s), population {4 * workers}, for real: >= {TARGET:.0%}"
        verdicts.append(Verdict(target, f"{share:.1%}", share >= TARGET))
    for mean, shares in simulated.items():
        good = [n for n, share in zip(WORKERS, shares, strict=True) if share >= TARGET]
        target = (
            f"Simulated, trainings of {mean:.3g} s, population 4 x workers: "
            f">= {TARGET:.0%} on up to {WORKERS[-1]:,} workers"
        )
        said = f"at least that on {', '.join(f'{n:,}' for n in good) or 'none'}; "
        said += f"{shares[-1]:.1%} on {WORKERS[-1]:,}"
        verdicts.append(Verdict(target, said, len(good) == len(WORKERS)))
    return verdicts

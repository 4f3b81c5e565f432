"""Part e: what grows, and how, when histories, candidates or images grow tenfold."""

from __future__ import annotations

import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace
from searches import results
from throughput_problem import Nothing
from throughput_report import Options, Section, Verdict, in_turns, spread

from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.settings import ObjectiveSettings, TrainingSettings
from evonas.estimation.objective import Objective
from evonas.report.tables import Table
from evonas.runs.run_store import RunStore, Trial
from evonas.space import Architecture, SearchSpace

OPEN, ASK = 2.0, 0.05  # seconds, at the longest history
#: Optimizers whose answers take long with a long history are not given the longest.
MOST = {"surrogate": 1_000}
FLAT = 1.5  # ms a trial at 100 times the trials, against the least
LINEAR = 1.1  # seconds an epoch at 10 times the images, against 10 times


def measure(options: Options) -> Section:
    """Return the section of part e."""
    sizes = [100, 1_000] if options.quick else [1_000, 10_000, 100_000]
    counts = [20, 100] if options.quick else [100, 1_000, 10_000]
    images = 300 if options.quick else 1_500
    space = SearchSpace.from_file(config.find("search_spaces", "master_module"))
    with tempfile.TemporaryDirectory(prefix="throughput-") as place:
        folder = Path(place)
        history, opened = _history(space, folder, sizes, options.repeats)
        asks, asked = _asks(space, sizes, options)
        candidates, shares = _candidates(space, folder, counts, options)
        epochs, growth = _images(options, folder, images)
    last, most = sizes[-1], counts[-1]
    verdicts = [
        Verdict(f"A journal of {last:,} opens in < {OPEN:g} s", f"{opened:.2f} s", opened < OPEN),
        Verdict(
            f"cma asks in < {1e3 * ASK:.0f} ms after {last:,}", f"{1e3 * asked:.0f} ms", asked < ASK
        ),
        Verdict(
            f"Milliseconds a trial are flat from {counts[0]:,} to {most:,} trials (<= {FLAT} x)",
            f"{shares:.2f} x the least",
            shares <= FLAT,
        ),
        Verdict(
            f"An epoch on 10 times the images takes <= 10 times as long (x {LINEAR})",
            f"{growth:.1f} x",
            growth <= 10 * LINEAR,
        ),
    ]
    lines = [
        "Histories are made-up, valid trials in the space master_module. A journal is opened in a "
        "process of its own (`RunStore(resume=True)`); memory is the growth of that process's "
        "highest resident set. Optimizers get a history by `learn`, which enters the same books "
        "as `ask` and `tell` do; their second ask and tell after it are timed, since the first "
        "only hands out favourites. A search that is resumed asks everything again, so its time "
        "to resume is the sum over all its asks and tells.",
    ]
    return Section("Growth", lines, [history, asks, candidates, epochs], verdicts)


def write_journal(space: SearchSpace, folder: Path, count: int, seed: int) -> None:
    """Write a journal of made-up valid trials, ten a generation, at once."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    with (folder / "journal.jsonl").open("w", encoding="utf-8") as stream:
        for number in range(count):
            genome = rng.random(space.dim)
            architecture = space.decode(genome)
            trial = Trial(
                *(number // 10, number % 10, tuple(genome.tolist()), architecture.digest),
                *(architecture.to_dict(), "ok", 10 + float(rng.random()), 100_000 + number, 9_999),
                *(1.25, {name: float(rng.random()) for name in ("mae", "yaw", "pitch", "epoch")}),
            )
            stream.write(json.dumps(trial.row()) + "\n")
        stream.flush()
        os.fsync(stream.fileno())  # as a journal is; else its way to the disk is timed with reading


def open_journal(folder: Path) -> tuple[float, float, float, float]:
    """Return seconds to open, MB that it takes, seconds to append one, seconds to list all."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with RunStore(folder, resume=True) as store:
        opened = time.perf_counter() - start
        memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / 1e6
        start = time.perf_counter()
        trials = store.trials()
        listed = time.perf_counter() - start
        times = []
        for number in range(5):
            start = time.perf_counter()
            store.append(replace(trials[-1], generation=trials[-1].generation + 1 + number))
            times.append(time.perf_counter() - start)
    return opened, memory, statistics.median(times), listed


def _history(
    space: SearchSpace, folder: Path, sizes: Sequence[int], repeats: int
) -> tuple[Table, float]:
    folders = {size: folder / f"history{size}" for size in sizes}
    for size, place in folders.items():
        write_journal(space, place, size, seed=size)

    def fresh(place: Path) -> tuple[float, float, float, float]:
        ((_, found),) = results(open_journal, [place], 1)
        return found

    found = in_turns({str(size): partial(fresh, folders[size]) for size in sizes}, repeats)
    rows = []
    for size in sizes:
        opened, memory, append, listed = zip(*found[str(size)], strict=True)
        megabytes = (folders[size] / "journal.jsonl").stat().st_size / 1e6
        cells = [f"{size:,}", f"{megabytes:.1f}", spread(opened, 3), spread(memory, 0)]
        rows.append([*cells, spread(append, 2, 1e3), spread(listed, 1, 1e3)])
    head = ["trials", "journal, MB", "open, s", "memory, MB", "append, ms", "trials(), ms"]
    slowest = statistics.median(row[0] for row in found[str(sizes[-1])])
    return Table("Histories", head, rows, names=1), slowest


def ask_after(space: SearchSpace, name: str, size: int, seed: int) -> tuple[float, float, float]:
    """Return the seconds of learning a history, and of the second ask and tell after it."""
    rng = np.random.default_rng(seed)
    genomes, fitness = rng.random((size, space.dim)), rng.random(size)
    axes = np.stack([fitness, rng.random(size)], axis=1)
    optimizer = registry.create(
        "optimizer", name, {}, space, budget=10 * size + 1_000, seed=seed, macs=_cost
    )
    start = time.perf_counter()
    optimizer.add_observations(genomes, fitness, axes)
    learned = time.perf_counter() - start
    asked = told = 0.0
    for _ in range(2):
        start = time.perf_counter()
        genomes = optimizer.ask()
        asked = time.perf_counter() - start
        answers = rng.random(len(genomes))
        start = time.perf_counter()
        optimizer.tell(answers, np.stack([answers, rng.random(len(genomes))], axis=1))
        told = time.perf_counter() - start
    optimizer.stop_reason or optimizer._close()
    return learned, asked, told


def _cost(architecture: Architecture) -> int:
    return 1_000 + int(architecture.digest[:6], 16)


def _asks(space: SearchSpace, sizes: Sequence[int], options: Options) -> tuple[Table, float]:
    cases: dict[tuple[str, int], Callable[[], tuple[float, float, float]]] = {}
    for name in ["cma", *(n for n in registry.names("optimizer") if n != "cma")]:
        for size in sorted({200, *sizes}) if name in MOST else sizes:
            if size <= (sizes[-1] if name == "cma" else MOST.get(name, 10_000)):
                cases[name, size] = partial(ask_after, space, name, size, options.experiment.seed)
    found = {}
    for (name, size), times in in_turns(cases, options.repeats).items():
        found[name, size] = times
    rows = []
    for (name, size), times in found.items():
        learned, asked, told = zip(*times, strict=True)
        cells = [name, f"{size:,}", spread(asked, 1, 1e3), spread(told, 1, 1e3)]
        rows.append([*cells, spread(learned, 2)])
    head = ["optimizer", "history", "ask, ms", "tell, ms", "learning the history, s"]
    notes = [f"{name}: not beyond {most:,}: it may take long there" for name, most in MOST.items()]
    slowest = statistics.median(row[1] for row in found["cma", sizes[-1]])
    return Table("One generation after a history", head, rows, notes), slowest


def _candidates(
    space: SearchSpace, folder: Path, counts: Sequence[int], options: Options
) -> tuple[Table, float]:
    def run(count: int) -> float:
        from evonas.estimation.execution.local import LocalExecutor
        from evonas.workflows.loop import Search, SearchComponents

        seed = options.experiment.seed
        optimizer = registry.create("optimizer", "random", {}, space, budget=count, seed=seed)
        executor: Any = LocalExecutor(None, estimator=Nothing("error"))  # type: ignore[arg-type]
        objective = Objective("error", ObjectiveSettings())
        with RunStore(Path(tempfile.mkdtemp(dir=folder)) / "run") as store:
            components = SearchComponents(
                space, optimizer, executor, objective, TrainingSettings(), _cost
            )
            work = Search(components, store)
            start = time.perf_counter()
            work.run(seed)
            return (time.perf_counter() - start) / count

    found = in_turns({str(count): partial(run, count) for count in counts}, options.repeats)
    rows = [[f"{count:,}", spread(found[str(count)], 2, 1e3)] for count in counts]
    middles = [statistics.median(found[str(count)]) for count in counts]
    table = Table(
        "A search with trainings that take no time", ["trials", "ms a trial"], rows, names=1
    )
    return table, middles[-1] / min(middles)


def _images(options: Options, folder: Path, count: int) -> tuple[Table, float]:
    import torch

    from evonas.estimation.training.training import TrainingData, train
    from evonas.models.networks.residual_head import ResidualHead
    from evonas.tasks.head_pose import HeadPose

    labels = {"yaw": (), "pitch": (), "roll": ()}
    task, shape, rng = HeadPose(labels), (32, 8, 8), np.random.default_rng(0)
    architecture = Architecture("residual_head", {"width": 8})

    def epoch(size: int) -> float:
        path = folder / f"images{size}.npy"
        if not path.exists():
            maps = np.lib.format.open_memmap(path, "w+", np.float16, (size, *shape))
            maps[:] = rng.standard_normal(maps.shape, np.float32)
            maps.flush()
        targets = rng.uniform(-30, 30, (1, size, 3)).astype(np.float32)
        train_rows, validation = np.split(np.arange(size), [size * 4 // 5])
        data = TrainingData([np.load(path, mmap_mode="r")], targets, train_rows, validation)
        torch.manual_seed(0)
        module = ResidualHead().build(architecture, shape, task.n_outputs)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        start = time.perf_counter()
        train(module, data, task, TrainingSettings(epochs=1), seed=0)
        seconds = time.perf_counter() - start
        torch.set_num_threads(threads)
        return seconds

    epoch(64)  # torch's first steps are slower
    found = in_turns({n: partial(epoch, count * int(n)) for n in ("1", "10")}, options.repeats)
    rows = [[f"{count * int(n):,}", spread(found[n], 2)] for n in found]
    growth = statistics.median(found["10"]) / statistics.median(found["1"])
    head = ["images", "s an epoch"]
    return Table(
        "One epoch of a fixed head, with validation on a fifth", head, rows, names=1
    ), growth

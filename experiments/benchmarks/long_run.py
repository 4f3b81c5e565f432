"""Long runs: what 100,000 networks cost beside their trainings, and what resuming them costs.

python experiments/benchmarks/long_run.py --strategies random evolution --marks 1000 10000 100000

The real ``evonas search`` of networks that need no training: the command, the loop, the journal
with its fsync, best.json, front.json and the log are those of every search; only what answers
the jobs is arithmetic. One network in 97 fails. At each mark stand the means over the (at most
1,000) trainings before it: of one ask with its tell, of one training, and of the fsync therein;
and the resident memory. The journal, cut at each mark, is then resumed in a process of its own,
which ends at the first network that is new. A row of the CSV is a mark; what it holds is not
measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from searches import append, at_least, finished, one_thread_each

from evonas.api import search as library
from evonas.api.live_view import LiveView
from evonas.api.resuming import stored
from evonas.api.search import search
from evonas.core import experiment as config
from evonas.core import registry
from evonas.errors import EvonasError
from evonas.estimation.estimator import Job
from evonas.estimation.execution.base import Executor
from evonas.estimation.execution.common.utilisation import Usage
from evonas.estimation.features.feature_cache import Progress
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.optimizers.base import Optimizer
from evonas.report.tables import Table, markdown
from evonas.space import Architecture, SearchSpace
from evonas.workflows.base_components import Ready, make_optimizer
from evonas.workflows.tabular_benchmark import TabularBenchmark

HERE = Path(__file__).parent
WINDOW = 1_000  # trainings before a mark over which times are averaged, at most
WORDS = ("finals.networks=0", "baselines=[]", "report=false")
FIELDS = (
    *("strategy", "seed", "trainings", "rss_mb", "grown_mb", "ask_tell_ms", "training_ms"),
    *("fsync_ms", "journal_mb", "log_kb", "other_kb", "read_s", "replay_s", "resume_s"),
    *("resume_cpu_s", "process_s", "resume_mb"),
)
RESUMED = ("read", "replay", "resume", "resume_cpu")
SPACE = SearchSpace.from_file(config.find("search_spaces", "master_module"))


def cost(architecture: Architecture) -> int:
    """The multiply-adds that a network is said to have."""
    told = architecture.settings
    return int(900 * told["stem"] * 2 ** told["n"] * (1 + told["stages"]) + told["hidden"])


class Arithmetic(Executor):
    """Answers at once; of two networks the dearer one is mostly better."""

    def __init__(self) -> None:
        self.workers, self.name, self.usage = 1, "nothing", Usage(1)

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        for job in jobs:
            number, macs = int(job.architecture.digest, 16), cost(job.architecture)
            if number % 97 == 0:
                yield job.index, Measurement.failure("diverged", "it did", macs=macs, epochs=1)
                continue
            error = 4 + (number >> 8) % 9973 / 9973 + 40 / np.sqrt(macs / 1000)
            error += len(str(job.architecture.settings["block1"])) / 20
            yield job.index, Measurement("ok", {"error": float(error)}, macs=macs, epochs=1)


@dataclass(frozen=True)
class Plan(TabularBenchmark):
    """A plan of a search whose trainings take no time."""

    executor: Executor = field(default_factory=Arithmetic)

    @property
    def space(self) -> SearchSpace:
        """The space."""
        return SPACE

    @property
    def objective(self) -> Objective:  # type: ignore[override]
        """What is minimised."""
        return Objective("error", self.experiment.objective)

    def cost(self, architecture: Architecture) -> int:
        """Return the multiply-adds that a network is said to have."""
        return cost(architecture)

    def optimizer(self) -> Optimizer:
        """Return a new optimizer."""
        return make_optimizer(self.experiment, SPACE, cost, self.experiment.objective.max_macs)

    def device_description(self) -> tuple[str, ...]:
        """Return where the answers come from."""
        return ("nowhere",)

    def fingerprints(self) -> dict[str, str]:
        """Return what they follow from."""
        return {"data": "none", "backbone": "none"}

    def ready(self, progress: Progress) -> Ready:
        """Return the executor."""
        return Ready(lambda: self.executor, {**self.fingerprints(), "space": SPACE.to_dict()})


class Clock:
    """Counts the seconds of asks, tells and fsyncs, and notes them when a mark is near."""

    def __init__(self, marks: Sequence[int], folder: Path) -> None:
        self._folder = folder
        self._at = sorted({n for m in marks for n in (m - min(WINDOW, m // 2), m)})
        self.spent = {"ask_tell": 0.0, "fsync": 0.0}
        self.asks = 0
        self.stamps: dict[int, dict[str, float]] = {}
        self._first = 0.0

    def install(self) -> None:
        """Time what is called from now on."""
        ask, tell, fsync = Optimizer.ask, Optimizer.tell, os.fsync

        def timed(what: str, call: Any, *args: Any) -> Any:
            start = time.perf_counter()
            found = call(*args)
            self.spent[what] += time.perf_counter() - start
            return found

        def asked(optimizer: Optimizer) -> Any:
            self._first = self._first or memory()  # all is imported
            while self._at and optimizer.trained >= self._at[0]:
                self._stamp(self._at.pop(0), optimizer.trained)
            self.asks += 1
            return timed("ask_tell", ask, optimizer)

        Optimizer.ask = asked  # type: ignore[method-assign]
        Optimizer.tell = lambda *args: timed("ask_tell", tell, *args)  # type: ignore
        os.fsync = lambda number: timed("fsync", fsync, number)

    def _stamp(self, mark: int, trained: int) -> None:
        sizes = {path.name: path.stat().st_size for path in self._folder.iterdir()}
        journal = sizes.pop("journal.jsonl")
        log = sum(sizes.pop(name, 0) for name in ("log.txt", "log.old.txt"))
        now = {"clock": time.perf_counter(), "trained": trained, "asks": self.asks}
        files = {"journal": journal, "log": log, "other": sum(sizes.values())}
        self.stamps[mark] = {**now, **files, **self.spent, "rss": memory(), "first": self._first}


def memory() -> float:
    """Return the resident megabytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def searched(folder: str, name: str, seed: int, marks: Sequence[int]) -> dict[str, Any]:
    """Search up to the last mark; return what the clock noted."""
    clock = Clock(marks, Path(folder))
    words = [f"budget={max(marks)}", f"optimizer={{name: {name}}}", f"seed={seed}", *WORDS]
    experiment = config.load("quickstart", words)
    library.components_of = lambda experiment: Plan(experiment)  # type: ignore[assignment]
    clock.install()
    with Path(os.devnull).open("w") as nowhere:
        search(experiment, run_dir=folder, callbacks=[LiveView(Console(file=nowhere))])
    return {str(mark): stamp for mark, stamp in clock.stamps.items()}


class New(Exception):
    """The first network that the journal does not know."""


def resumed(folder: str, budget: int) -> dict[str, float]:
    """Resume a run up to its first new network; return seconds."""
    moments: list[tuple[float, float]] = []

    class Ends(Arithmetic):
        def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
            moments.append((time.perf_counter(), time.process_time()))
            raise New
            yield

    store, opened = library.RunStore, []

    def open_store(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        found = store(*args, **options)
        opened.append(time.perf_counter() - start)
        return found

    library.components_of = lambda experiment: Plan(experiment, executor=Ends())  # type: ignore[assignment]
    library.RunStore = open_store  # type: ignore[misc, assignment]
    start, cpu = time.perf_counter(), time.process_time()
    experiment = stored(Path(folder), [f"budget={budget}"])
    with Path(os.devnull).open("w") as nowhere, suppress(New):
        view = LiveView(Console(file=nowhere))
        search(experiment, run_dir=folder, resume=True, callbacks=[view])
    taken, cpu = moments[0][0] - start, moments[0][1] - cpu
    parts = {"read": opened[0], "replay": taken - opened[0], "resume": taken}
    return {**parts, "resume_cpu": cpu, "rss": memory()}


def measure(name: str, seed: int, marks: Sequence[int], place: Path) -> Iterator[dict[str, str]]:
    """Yield a row for each mark."""
    whole = place / f"{name}-{seed}"
    stamps, _ = _apart("searched", str(whole), name, seed, list(marks))
    for mark in marks:
        one, two = stamps[str(mark - min(WINDOW, mark // 2))], stamps[str(mark)]
        cut = place / "cut"
        shutil.copytree(whole, cut, ignore=shutil.ignore_patterns("journal.jsonl"))
        with (whole / "journal.jsonl").open() as lines, (cut / "journal.jsonl").open("w") as kept:
            kept.writelines(islice(lines, int(two["trained"])))
        again, process = _apart("resumed", str(cut), max(marks) + 100)
        shutil.rmtree(cut)
        trained, asks = two["trained"] - one["trained"], two["asks"] - one["asks"]
        grown = two["rss"] - two["first"]
        yield {
            **{"strategy": name, "seed": str(seed), "trainings": str(mark)},
            **{"rss_mb": f"{two['rss']:.0f}", "grown_mb": f"{grown:.0f}"},
            "ask_tell_ms": f"{1e3 * (two['ask_tell'] - one['ask_tell']) / asks:.2f}",
            "training_ms": f"{1e3 * (two['clock'] - one['clock']) / trained:.3f}",
            "fsync_ms": f"{1e3 * (two['fsync'] - one['fsync']) / trained:.3f}",
            **{"journal_mb": f"{two['journal'] / 1e6:.2f}", "log_kb": f"{two['log'] / 1e3:.0f}"},
            "other_kb": f"{two['other'] / 1e3:.0f}",
            **{f"{what}_s": f"{again[what]:.2f}" for what in RESUMED},
            **{"process_s": f"{process:.2f}", "resume_mb": f"{again['rss']:.0f}"},
        }


def _apart(what: str, *args: Any) -> tuple[Mapping[str, Any], float]:
    """Do something in a process of its own; return what it tells, and the seconds it took."""
    start = time.perf_counter()
    command = [sys.executable, __file__, "--apart", what, json.dumps(args)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout), time.perf_counter() - start


def report(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the rows as a table."""
    return markdown(Table("Long runs", list(FIELDS), [[r[f] for f in FIELDS] for r in rows]))


def main() -> None:
    """Measure what the file lacks, and print its table."""
    one_thread_each()
    if sys.argv[1:2] == ["--apart"]:
        told = {"searched": searched, "resumed": resumed}[sys.argv[2]](*json.loads(sys.argv[3]))
        print(json.dumps(told))
        return
    args = arguments()
    try:
        done = {(row["strategy"], row["seed"]) for row in finished(args.out, FIELDS)}
        for seed in args.seeds:
            for name in args.strategies:
                if (name, str(seed)) in done:
                    continue
                with tempfile.TemporaryDirectory(prefix="long-run-", dir=args.place) as place:
                    for row in measure(name, seed, args.marks, Path(place)):
                        append(args.out, row)
        print(report(finished(args.out, FIELDS)))
    except (EvonasError, OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(f"long_run: {' '.join(str(error).split())}") from error
    except KeyboardInterrupt:
        raise SystemExit(f"interrupted: {args.out} has what is done; start again") from None


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = registry.names("optimizer")
    parser.add_argument("--strategies", nargs="+", choices=names, default=["random"])
    parser.add_argument("--marks", nargs="+", type=int, default=[1_000, 10_000, 30_000, 60_000])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--place", type=Path, help="where runs lie meanwhile; else as is usual")
    parser.add_argument("--out", type=Path, default=HERE / "long_run.csv")
    args = parser.parse_args()
    at_least(parser, args, {"marks": 2, "seeds": 0})
    args.marks = sorted(set(args.marks))
    return args


if __name__ == "__main__":
    main()

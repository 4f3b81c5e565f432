"""The real ``evonas search``, of networks that need no training, in processes that may die.

Reads one order a line (JSON) and does each in a child of its own, forked after all imports, so
that a try takes a fraction of a second. What a child was, its end and its output go back as a
line. Only the plan of the search is a toy: the command, the loop, the journal, racing,
inheritance, finals and all files are the real ones.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.arithmetic import TRAININGS, begun, cost, measured
from faults.injection import Faults

from evonas.api import resuming  # noqa: F401  all imports come before forks
from evonas.api import search as library
from evonas.cli import app as cli
from evonas.cli import printing  # noqa: F401  as above
from evonas.core import registry
from evonas.core.experiment import Experiment
from evonas.estimation.estimator import Job
from evonas.estimation.execution.base import Executor
from evonas.estimation.execution.common.utilisation import Usage
from evonas.estimation.features.feature_cache import Progress
from evonas.estimation.measurement import Measurement
from evonas.estimation.objective import Objective
from evonas.optimizers.base import Optimizer
from evonas.report.page import writer  # noqa: F401  as above
from evonas.space import Architecture, SearchSpace
from evonas.workflows.base_components import Ready, make_optimizer
from evonas.workflows.tabular_benchmark import TabularBenchmark

GENES = [
    {"name": "width", "kind": "ordinal", "choices": [1, 2, 4, 8]},
    {"name": "depth", "kind": "integer", "low": 1, "high": 4},
    {"name": "block", "kind": "choice", "choices": ["a", "b", "c"]},
]
SPACE = SearchSpace.from_dict({"name": "toy", "network": "toy", "genes": GENES})


class Arithmetic(Executor):
    """Answers from the digest, the seed, and the parent's weights, which lie in a file."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        self.workers, self.name, self.usage = 1, "toy", Usage(1)
        self._trainings, self._faults = folder.parent / TRAININGS, faults

    def _evaluate(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Measurement]]:
        for job in jobs:
            begun(self._trainings, job)
            self._faults.passing("train")
            measurement = measured(job)
            self._faults.passing("trained")
            yield job.index, measurement


@dataclass(frozen=True)
class Toy(TabularBenchmark):
    """A plan of a search that is over in a moment."""

    folder: Path = Path()
    faults: Faults | None = None

    @property
    def space(self) -> SearchSpace:
        return SPACE

    @property
    def objective(self) -> Objective:  # type: ignore[override]
        return Objective("error", self.experiment.objective)

    def cost(self, architecture: Architecture) -> int:
        return cost(architecture)

    def optimizer(self) -> Optimizer:
        limit = self.experiment.objective.max_macs
        return make_optimizer(self.experiment, self.space, cost, limit)

    def tensors(self, architecture: Architecture) -> dict[str, tuple[int, ...]]:
        width = int(architecture.settings["width"])
        return {f"{n}.weight": (width, width) for n in range(int(architecture.settings["depth"]))}

    def device_description(self) -> tuple[str, ...]:
        return ("nowhere",)

    def fingerprints(self) -> dict[str, str]:
        return {"data": "none", "backbone": "none"}

    def ready(self, progress: Progress) -> Ready:
        assert self.faults is not None
        told: Mapping[str, Any] = {**self.fingerprints(), "space": self.space.to_dict()}
        faults = self.faults
        return Ready(lambda: Arithmetic(self.folder, faults), dict(told))


def child(order: Mapping[str, Any], toy: Callable[..., Toy] = Toy) -> int:
    """Do one order; return the exit status."""
    folder = Path(order["folder"])
    if "uid" in order:  # as somebody else, who has no rights of root's
        os.setgroups([])
        os.setgid(order["uid"])
        os.setuid(order["uid"])
    faults = Faults(folder, **order.get("fault", {}))
    if "limit" in order:  # bytes of a file: beyond, the system itself refuses
        resource.setrlimit(resource.RLIMIT_FSIZE, (order["limit"], order["limit"]))
    tell = Optimizer.tell

    def told(self: Optimizer, *args: Any) -> None:
        faults.passing("tell")
        tell(self, *args)

    def planned(experiment: Experiment) -> Toy:
        return toy(experiment, folder=folder, faults=faults)

    Optimizer.tell, library.components_of = told, planned  # type: ignore[method-assign, assignment]
    return command(["search", *order["words"], "--run-dir", str(folder)], faults)


def command(words: Sequence[str], faults: Faults) -> int:
    """Give a command; return the exit status. Without a fault the moments are written down."""
    sys.argv = ["evonas", *words]
    faults.install()
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    if not faults.kind:
        (faults.folder.parent / "moments.json").write_text(json.dumps(faults.moments))
    return code


def main() -> None:
    """Do searches until there are no more orders."""
    for name in registry.names("optimizer"):  # their libraries are imported when first asked
        asked = registry.load("optimizer", name)(SPACE, budget=12, seed=0)
        while len(genomes := asked.ask()):
            asked.tell(genomes[:, 0])
    serve(child)


def serve(child: Callable[[Mapping[str, Any]], int]) -> None:
    """Do orders until there are no more, each in a child of its own."""
    gc.freeze()
    for line in sys.stdin:
        order = json.loads(line)
        place = Path(order["folder"]).parent / "output.txt"
        number = os.fork()
        if number == 0:
            code = 70  # an exception that nobody caught
            try:
                target = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                os.dup2(target, 1)
                os.dup2(target, 2)
                code = child(order)
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        status = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
        print(json.dumps({"status": status, "output": place.read_text()}), flush=True)


if __name__ == "__main__":
    main()

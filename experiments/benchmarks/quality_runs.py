"""Search and retraining of a shipped experiment, by the commands of the README."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from evonas.core.files import read_json
from evonas.errors import RunError
from evonas.runs.run_store import read_journal

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class ExportedNetwork:
    """A shipped experiment, and the hand-made network in it that the winner is held against."""

    name: str
    metric: str
    hand_made: str

    @property
    def file(self) -> Path:
        """The experiment's YAML."""
        return Path("experiments") / f"{self.name}.yaml"


SHIPPED = (ExportedNetwork("quickstart", "test_mae", "author's default module"),)


@dataclass(frozen=True)
class Outcome:
    """What one search and the retraining of its winner gave.

    Attributes:
        trainings: measure -> value, of each retraining.
        search: measure -> value, of those that retrainings have in common.
        winner: the architecture.
        limits: measure -> hard limit in the experiment.
        data, backbone: fingerprints of what was learned from.
        seconds: of search and retraining.
    """

    trainings: list[dict[str, float]]
    search: dict[str, float]
    winner: dict[str, Any]
    limits: dict[str, float]
    data: str
    backbone: str
    seconds: dict[str, float]

    def values(self, repeats: int) -> dict[str, float]:
        """Return all measures, means over the first retrainings."""
        first = self.trainings[:repeats]
        return {name: fmean(one[name] for one in first) for name in first[0]} | self.search


def measure(
    shipped: ExportedNetwork, seed: int, repeats: int, folder: Path, workers: int | None
) -> Outcome:
    """Search and retrain as a user does, in a new folder.

    Args:
        shipped: the experiment.
        seed: of the search.
        repeats: trainings of each network.
        folder: for the run and the features.
        workers: candidates trained at once; None: as the experiment says.

    Raises:
        RunError: a command failed, or a training of a retrained network did.
    """
    run, seconds = folder / f"{shipped.name}-{seed}", {}
    changes = [f"features.cache={folder / 'cache'}"]
    if seed:  # 0 is what the experiment says
        changes.append(f"seed={seed}")
    if workers is not None:
        changes.append(f"execution.workers={workers}")
    search = ["search", str(shipped.file), *changes, "--run-dir", str(run)]
    # On equal terms with the hand-made head: both learn from the training images alone. No other
    # network is held against a bound.
    retrain = ["retrain", str(run / "best.json"), "--repeats", str(repeats), "--no-refit"]
    retrain.append("standard_baselines=false")
    for command in (search, retrain):
        begun = time.monotonic()
        run_evonas(command)
        seconds[command[0]] = round(time.monotonic() - begun, 1)
    best = read_json(run / "best.json")
    comparison = read_json(run / "retrained" / "comparison.json")
    winner = next(one for one in comparison["contenders"] if one["name"] == "winner")
    most = best["experiment"]["objective"]["max_macs"]
    return Outcome(
        trainings=trainings(comparison, shipped),
        search={"macs": winner["head"]["macs"], "failed": failures(run)},
        winner=best["architecture"],
        limits={"lead": 0.0} | ({} if most is None else {"macs": most}),
        data=best["data"],
        backbone=best["backbone"],
        seconds=seconds,
    )


def trainings(comparison: Mapping[str, Any], shipped: ExportedNetwork) -> list[dict[str, float]]:
    """Return the errors of each retraining, and the winner's lead.

    Args:
        comparison: content of a comparison.json.
        shipped: the experiment that it belongs to.

    Raises:
        RunError: a network is not there, or one of its trainings failed.
    """
    networks = {one["name"]: one for one in comparison["contenders"]}
    errors = []
    for name in ("winner", shipped.hand_made):
        network = networks.get(name, {"results": [], "failures": ["no such network"]})
        if len(network["results"]) != comparison["repeats"]:
            raise RunError(
                f"{shipped.name}: {name}: expected {comparison['repeats']} trainings, got "
                f"{len(network['results'])}: {network['failures'][0]}"
            )
        errors.append([result[shipped.metric] for result in network["results"]])
    return [
        {"error": own, "hand_made": other, "lead": other - own}
        for own, other in zip(*errors, strict=True)
    ]


def failures(run: Path) -> int:
    """Return how many trainings of a search failed, finals included."""
    trials = read_journal(run)
    return sum(trial.status in ("failed", "final") and bool(trial.error) for trial in trials)


def run_evonas(words: Sequence[str], folder: Path = ROOT, code: str = "") -> None:
    """Run an ``evonas`` command on one thread a process; what it prints is seen.

    Args:
        words: the command.
        folder: working directory.
        code: folder of modules that an experiment names.

    Raises:
        RunError: it failed.
    """
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    path = os.pathsep.join(filter(None, (str(ROOT), code, os.environ.get("PYTHONPATH", ""))))
    command = [sys.executable, "-m", "evonas", *words]
    print(f"quality: evonas {shlex.join(words)}", flush=True)
    environment = {**os.environ, **one_thread, "PYTHONPATH": path}
    status = subprocess.run(command, env=environment, cwd=folder).returncode
    if status:
        raise RunError(f"evonas {words[0]}: expected exit status 0, got {status}: see above")

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

from evonas.errors import RunError
from evonas.files import read_json
from evonas.store import read_journal

ROOT = Path(__file__).parents[2]
REPEATS = 3  # trainings of each network; their mean counts


@dataclass(frozen=True)
class Shipped:
    """A shipped experiment, and the hand-made network in it that the winner is held against."""

    name: str
    metric: str
    hand_made: str

    @property
    def file(self) -> Path:
        """The experiment's YAML."""
        return Path("experiments") / f"{self.name}.yaml"


SHIPPED = (Shipped("quickstart", "test_mae", "author's default module"),)


@dataclass(frozen=True)
class Outcome:
    """What one search and the retraining of its winner gave.

    Attributes:
        values: measure -> value.
        winner: the architecture.
        limits: measure -> hard limit in the experiment.
        data, backbone: fingerprints of what was learned from.
        seconds: of search and retraining.
    """

    values: dict[str, float]
    winner: dict[str, Any]
    limits: dict[str, float]
    data: str
    backbone: str
    seconds: dict[str, float]


def measure(shipped: Shipped, seed: int, folder: Path, workers: int) -> Outcome:
    """Search and retrain as a user does, in a new folder.

    Raises:
        RunError: a command failed, or a training of a retrained network did.
    """
    run, seconds = folder / f"{shipped.name}-{seed}", {}
    changes = [f"features.cache={folder / 'cache'}"]
    if seed:
        changes.append(f"seed={seed}")
    if workers:
        changes.append(f"execution.workers={workers}")
    search = ["search", str(shipped.file), *changes, "--run-dir", str(run)]
    retrain = ["retrain", str(run / "best.json"), "--repeats", str(REPEATS)]
    for command in (search, retrain):
        begun = time.monotonic()
        _evonas(command)
        seconds[command[0]] = round(time.monotonic() - begun, 1)
    best = read_json(run / "best.json")
    most = best["experiment"]["objective"]["max_macs"]
    comparison = read_json(run / "retrained" / "comparison.json")
    return Outcome(
        {**values(comparison, shipped), "failed": failures(run)},
        best["architecture"],
        {} if most is None else {"macs": most},
        best["data"],
        best["backbone"],
        seconds,
    )


def values(comparison: Mapping[str, Any], shipped: Shipped) -> dict[str, float]:
    """Return the value of each measure of a retraining.

    Args:
        comparison: content of a comparison.json.
        shipped: the experiment that it belongs to.

    Raises:
        RunError: a network is not there, or one of its trainings failed.
    """
    networks = {one["name"]: one for one in comparison["contenders"]}
    errors = {}
    for name in ("winner", shipped.hand_made):
        results = networks.get(name, {}).get("results", [])
        if len(results) != comparison["repeats"]:
            failures = networks.get(name, {}).get("failures", [])
            raise RunError(
                f"{shipped.name}: {name}: expected {comparison['repeats']} trainings, got "
                f"{len(results)}: {failures[0] if failures else 'no such network'}"
            )
        errors[name] = fmean(result[shipped.metric] for result in results)
    return {
        "error": errors["winner"],
        "hand_made": errors[shipped.hand_made],
        "lead": errors[shipped.hand_made] - errors["winner"],
        "macs": networks["winner"]["head"]["macs"],
    }


def failures(run: Path) -> int:
    """Return how many trainings of a search failed, finals included."""
    trials = read_journal(run)
    return sum(trial.status in ("failed", "final") and bool(trial.error) for trial in trials)


def _evonas(words: Sequence[str]) -> None:
    """Run an ``evonas`` command on one thread a process; what it prints is seen.

    Raises:
        RunError: it failed.
    """
    one_thread = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    command = [sys.executable, "-m", "evonas", *words]
    print(f"quality: evonas {shlex.join(words)}", flush=True)
    environment = {**os.environ, **one_thread, "PYTHONPATH": path}
    status = subprocess.run(command, env=environment, cwd=ROOT).returncode
    if status:
        raise RunError(f"evonas {words[0]}: expected exit status 0, got {status}: see above")

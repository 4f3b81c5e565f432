"""The contenders of part a, each as the processes that a user would start, clocked from outside."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import throughput_published
import yaml
from throughput_plain import Plain
from throughput_published import Candidate
from throughput_training import cores, setting_of

import evonas
from evonas.core.experiment import Experiment
from evonas.errors import InputError
from evonas.estimation.estimator import Estimator, Job, Split
from evonas.runs.run_store import Trial
from evonas.space import Architecture
from evonas.workflows.components import Components
from evonas.workflows.loop import candidate_seed


@dataclass(frozen=True)
class Process:
    """A candidate's process.

    Attributes:
        seconds: from its start to its end.
        found: what it trained.
    """

    seconds: float
    found: Plain

    @property
    def epoch(self) -> float:
        """Seconds of the mean epoch, validation included."""
        return self._epochs / len(self.found.history)

    @property
    def around(self) -> float:
        """Seconds of everything else: interpreter, imports, data set, backbone."""
        return self.seconds - self._epochs

    @property
    def _epochs(self) -> float:
        return sum(self.found.training) + sum(self.found.validation)


@dataclass(frozen=True)
class Agreement:
    """Errors of one candidate on the same few images, by both ways.

    Attributes:
        images: that train, and that validate.
        published, ours: error after each epoch.
        seeds: errors of evonas from other seeds, at the end.
        tap: of the candidate.
    """

    images: tuple[int, int]
    published: list[float]
    ours: list[float]
    seeds: list[float]
    tap: str

    @property
    def differences(self) -> list[float]:
        """Of the errors after each epoch."""
        return [abs(a - b) for a, b in zip(self.published, self.ours, strict=True)]

    @property
    def noise(self) -> float:
        """Standard deviation of the last error over the seeds."""
        return statistics.stdev([self.ours[-1], *self.seeds])


def search(experiment: Experiment, folder: Path) -> float:
    """Run `evonas search` in a process; return its seconds."""
    file = folder.with_suffix(".yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(experiment.model_dump(mode="json")), encoding="utf-8")
    return _clocked(["-m", "evonas", "search", str(file), "--run-dir", str(folder)])


def published(candidate: Candidate, file: Path) -> Process:
    """Train a candidate the published way.

    Args:
        candidate: what to train.
        file: where that is written down; the result comes beside it.
    """
    file.write_text(json.dumps(asdict(candidate)), encoding="utf-8")
    seconds = _clocked([throughput_published.__file__, str(file)])
    result = json.loads(file.with_suffix(".result.json").read_text(encoding="utf-8"))
    return Process(seconds, Plain(**result))


def candidate(
    experiment: Experiment, trial: Trial, split: Split, loaders: int, epochs: int = 0
) -> Candidate:
    """Return what a published process needs to train what a trial trained.

    Args:
        experiment: of the search.
        trial: the training that it did.
        split: images to use.
        loaders: processes that decode images.
        epochs: to stop after; 0: at the end.
    """
    return Candidate(
        experiment=experiment.model_dump(mode="json"),
        architecture=dict(trial.architecture),
        seed=candidate_seed(experiment.seed, trial.digest, experiment.training.epochs),
        training=experiment.training.model_dump(mode="json"),
        train=split.train.tolist(),
        validation=split.validation.tolist(),
        threads=cores(),
        loaders=loaders,
        epochs=epochs,
    )


def agreement(
    experiment: Experiment, trial: Trial, split: Split, loaders: int, folder: Path
) -> Agreement:
    """Train a candidate on the same images by both ways, to the end, and from other seeds."""
    components = Components(experiment)
    metric = components.task.metric
    wanted = candidate(experiment, trial, split, loaders)
    theirs = published(wanted, folder / "same.json")
    setting = setting_of(components, split)
    estimate = Estimator(setting)
    architecture = Architecture.from_dict(trial.architecture)
    job = Job(0, architecture, wanted.seed, experiment.training, history=True)
    histories = []
    for shift in range(4):
        measurement = estimate(replace(job, seed=wanted.seed + shift))
        if measurement.status != "ok":
            raise InputError(f"a training failed: {measurement.error}")
        histories.append([metrics[metric] for metrics in measurement.history])
    return Agreement(
        (len(split.train), len(split.validation)),
        [metrics[metric] for metrics in theirs.found.history],
        histories[0],
        [errors[-1] for errors in histories[1:]],
        setting.tap_of(architecture),
    )


def tap_of(experiment: Experiment, trial: Trial) -> str:
    """Return the tap that a trial's network stands on."""
    return str(trial.architecture["settings"].get("tap", experiment.tap))


def medians(experiment: Experiment, trials: Sequence[Trial]) -> dict[str, Trial]:
    """Return, for each tap that occurs, its trial of median cost."""
    found: dict[str, list[Trial]] = {}
    for trial in sorted(trials, key=lambda trial: (trial.macs, trial.digest)):
        found.setdefault(tap_of(experiment, trial), []).append(trial)
    return {tap: group[len(group) // 2] for tap, group in sorted(found.items())}


def _clocked(words: Sequence[str]) -> float:
    """Run Python with these words, threads as a user has them; return the seconds.

    Raises:
        InputError: it ended with an error, whose last line is told.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    home = str(Path(evonas.__file__).parents[1])
    paths = [home, *filter(None, [os.environ.get("PYTHONPATH")])]
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words],
        env={**inherited, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise InputError(f"{Path(words[0]).name} ended with status {done.returncode}: {last}")
    return seconds

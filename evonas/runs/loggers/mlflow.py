"""MLflow: a run with the experiment's values, metrics over the trainings, and best.json.

M. Zaharia et al. (2018), "Accelerating the Machine Learning Lifecycle with MLflow", IEEE Data
Eng. Bull. 41(4). Without MLFLOW_TRACKING_URI the log stays in RUN/mlflow, in files; nothing is
sent anywhere.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from evonas.core.files import read_json
from evonas.runs.loggers.base import Logger
from evonas.runs.run_store import Trial
from evonas.runs.training_curves import epochs

#: How mlflow behaves, unless the person says otherwise: it reports to nobody, writes plain
#: files, and gives a server that is gone up within seconds, since a search waits for it.
_HABITS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_BATCH = 100  # parameters that a server takes at once
_METRICS = 1000  # metrics that a server takes at once
_LONGEST = 500  # characters of a parameter, which every version of a server takes


class MLflow(Logger):
    """One MLflow run for a search; RUN/mlflow.json says which.

    Args:
        folder: of the run.
    """

    needs: ClassVar[tuple[str, str]] = ("mlflow", "evonas[mlflow]")

    def __init__(self, folder: Path) -> None:
        for name, value in _HABITS.items():
            os.environ.setdefault(name, value)  # mlflow reads some of them when it is imported
        super().__init__(folder)
        self._client: Any = None
        self._run, self._over = "", False

    def begin(self, experiment: Mapping[str, Any]) -> int:
        """Make a run, or go on with the one that the folder names; see ``Logger.begin``."""
        from mlflow.tracking import MlflowClient

        place = (self.folder / "mlflow").absolute()
        where = os.environ.get("MLFLOW_TRACKING_URI") or place.as_uri()
        self._client = MlflowClient(tracking_uri=where)
        note = self.folder / "mlflow.json"
        known = read_json(note) if note.exists() else {}
        if known.get("tracking_uri") == where:
            self._run = known["run_id"]
            self._client.update_run(self._run, status="RUNNING")
            history = self._client.get_metric_history(self._run, "seconds")
            return max((int(metric.step) for metric in history), default=0)
        name = str(experiment["name"])
        found = self._client.get_experiment_by_name(name)
        group = found.experiment_id if found else self._client.create_experiment(name)
        made = self._client.create_run(group, run_name=self.folder.absolute().name)
        self._run = made.info.run_id
        self._describe(experiment)
        note.write_text(json.dumps({"tracking_uri": where, "run_id": self._run}) + "\n", "utf-8")
        return 0

    def trial(self, step: int, trial: Trial, values: Mapping[str, float]) -> None:
        """Send values of the training and of its epochs in one batch; see ``Logger.trial``."""
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [
            Metric(f"epoch/{name}/{trial.digest}", value, now, epoch)
            for epoch, row in epochs(trial)
            for name, value in row.items()
        ]
        # those by which a resumed search knows the training come last
        metrics += [Metric(name, value, now, step) for name, value in values.items()]
        for first in range(0, len(metrics), _METRICS):
            self._client.log_batch(self._run, metrics=metrics[first : first + _METRICS])

    def finish(self, step: int, winner: Mapping[str, Any], file: Path) -> None:
        """Keep best.json beside the metrics and end the run; see ``Logger.finish``."""
        self._client.set_tag(self._run, "winner", winner["digest"])
        self._client.set_tag(self._run, "winner.fitness", f"{winner['fitness']:.6g}")
        self._client.log_artifact(self._run, str(file))
        self._client.set_terminated(self._run, "FINISHED")
        self._over = True

    def close(self) -> None:
        """Mark a run that was stopped as such."""
        if self._run and not self._over:
            self._client.set_terminated(self._run, "KILLED")

    def _describe(self, experiment: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        params = [Param(key, text[:_LONGEST]) for key, text in _flat(experiment)]
        for first in range(0, len(params), _BATCH):
            self._client.log_batch(self._run, params=params[first : first + _BATCH])


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, text) of all that has a value."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value not in (None, "", [], ()):
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)

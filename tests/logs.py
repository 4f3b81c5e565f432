"""Reading logs back, with the tools that they are for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Of a metric: (step, value) in the order of the steps.
Curves = dict[str, list[tuple[int, float]]]


def tensorboard(folder: Path) -> Curves:
    found = accumulated(folder / "tensorboard")
    return {
        tag: sorted((event.step, event.value) for event in found.Scalars(tag))
        for tag in found.Tags()["scalars"]
    }


def accumulated(folder: Path) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    made = EventAccumulator(str(folder), {"scalars": 0, "tensors": 0})
    made.Reload()
    return made


def texts(folder: Path, tag: str) -> list[tuple[int, str]]:
    events = accumulated(folder / "tensorboard").Tensors(tag)
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in events]


def mlflow(folder: Path) -> Curves:
    client, run = client_of(folder)
    return {
        name: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def client_of(folder: Path) -> tuple[Any, Any]:
    from mlflow.tracking import MlflowClient

    note = json.loads((folder / "mlflow.json").read_text())
    client = MlflowClient(tracking_uri=note["tracking_uri"])
    return client, client.get_run(note["run_id"])


READ: dict[str, Callable[[Path], Curves]] = {"tensorboard": tensorboard, "mlflow": mlflow}

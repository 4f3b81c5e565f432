"""A search's side of a cluster of several nodes on this machine; run by test_cluster.

A process of its own, since one process is in one Ray cluster. Prints what it saw as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from evonas.cli import app as cli
from evonas.core.experiment import check
from evonas.core.settings import TrainingSettings
from evonas.errors import InputError
from evonas.estimation.estimator import Estimator, Job, Split, TrainingContext
from evonas.estimation.execution.local import LocalExecutor
from evonas.estimation.execution.ray import RayExecutor
from evonas.estimation.execution.ray_cluster import join_cluster as _cluster
from evonas.estimation.execution.ray_cluster import machines as _machines
from evonas.estimation.measurement import Measurement
from evonas.space import Architecture
from evonas.workflows.components import Components

WIDTHS = (4, 6, 8, 10)


class Holding(Estimator):
    """Never comes to an end on the second node while the folder ``gate`` is there."""

    def __call__(self, job: Job) -> Measurement:
        gate = Path(os.environ.get("EVONAS_TEST_GATE", "nowhere"))
        for _ in range(600):
            if not gate.exists():
                break
            time.sleep(0.1)
        return super().__call__(job)


def jobs(tap: str, count: int, weights: str = "") -> list[Job]:
    once = TrainingSettings(epochs=1)
    heads = [Architecture("residual_head", {"width": w, "tap": tap}) for w in WIDTHS[:count]]
    return [Job(i, head, seed=i, training=once, weights=weights) for i, head in enumerate(heads)]


def seen(found: Sequence[tuple[int, Measurement]]) -> list[Any]:
    plain = sorted((i, repr(replace(m, seconds=0.0))) for i, m in found)
    return [list(pair) for pair in plain]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.npy"))


def all_ready(executor: RayExecutor) -> None:
    while len(executor._pool.alive) < executor.workers:
        executor._pool.wait([])


def refused(call: Any) -> str:
    try:
        call()
    except InputError as error:
        return str(error)
    return ""


def main(experiment: dict[str, Any], place: Path) -> dict[str, Any]:
    report: dict[str, Any] = {}
    components = Components(check(experiment, "tests"))
    features = components.features(components.backbone, components.taps(), lambda *progress: None)
    sides = components.dataset.splits
    split = Split(sides["train"], sides["validation"])
    setting: TrainingContext = components.context({"backbone": features}, {"search": split})
    local = LocalExecutor(setting)
    report["local"] = seen(list(local.evaluate(jobs("block4", 4))))
    report["taps"] = {tap: sorted(p.name for p in paths) for tap, paths in features.files.items()}

    quiet = {"num_cpus": 1, "include_dashboard": False}
    # A node that is killed is given up after seconds, not after Ray's minute.
    soon = {"health_check_period_ms": 1000, "health_check_timeout_ms": 5000}
    soon |= {"health_check_failure_threshold": 3}
    cluster = Cluster(initialize_head=True, head_node_args={**quiet, "_system_config": soon})
    second, third, gate = place / "second", place / "third", place / "gate"
    hold = {"EVONAS_CACHE": str(second), "EVONAS_TEST_GATE": str(gate)}
    node = cluster.add_node(num_cpus=1, env_vars=hold)

    token = os.environ["RAY_AUTH_TOKEN"]
    os.environ["RAY_AUTH_TOKEN"] = "another" * 6
    report["other token"] = refused(lambda: _cluster._knock("it", cluster.address))
    os.environ["RAY_AUTH_TOKEN"] = token

    with RayExecutor(setting, 2, "nodes", Holding, address=cluster.address) as executor:
        report["notes"] = executor.notes()
        report["address"] = cluster.address
        report["machines"] = [[m.cpus, m.gpus, m.kind("cpu")] for m in _machines.machines()]
        report["elsewhere"] = refused(lambda: _cluster.join("127.0.0.1:1"))
        report["crowd"] = refused(lambda: RayExecutor(setting, 5, address=cluster.address))
        all_ready(executor)
        kept = place / "weights.safetensors"
        report["both"] = seen(list(executor.evaluate(jobs("block4", 2))))
        report["fetched"] = names(second)
        # The second node's own work alone: what it trained is kept on this one.
        home = ray.get_runtime_context().get_node_id()
        (away,) = (actor for actor, where in executor._pool.alive.items() if where.node != home)
        answer = ray.get(away.estimate.remote(jobs("block4", 1, str(kept))[0]))
        report["weights"] = len(answer.weights)
        kept.write_bytes(answer.weights)
        children = [replace(job, parent=str(kept)) for job in jobs("block4", 2)]
        report["children"] = seen(list(executor.evaluate(children)))
        report["local children"] = seen(list(local.evaluate(children)))
        # The nodes of this test share a disk; to a worker elsewhere this file is nowhere.
        far = replace(children[1], parent=str(place / "nowhere"))
        answer = ray.get(away.estimate.remote(far, kept.read_bytes()))
        report["far child"] = seen([(1, answer.measurement)])
        twice = replace(jobs("block4", 1)[0], training=TrainingSettings(epochs=2), history=True)
        rung = replace(twice, until=1, paused=str(place / "nowhere" / "rung"))
        paused = ray.get(away.estimate.remote(rung)).paused
        answer = ray.get(away.estimate.remote(replace(rung, until=0), b"", paused))
        report["far rung"] = [len(paused), (place / "nowhere").exists()]
        report["far race"] = seen([(0, answer.measurement)])
        report["local race"] = seen(list(local.evaluate([twice])))

        gate.mkdir()
        found = []
        for answer in executor.evaluate(jobs("block4", 4)):
            if not found:  # the second node has a job that does not end
                cluster.remove_node(node, allow_graceful=False)
            found.append(answer)
        report["one node gone"] = seen(found)
        gate.rmdir()

        cluster.add_node(num_cpus=1, env_vars={"EVONAS_CACHE": str(third)})
        all_ready(executor)  # the actor that had nowhere to run
        report["node came"] = seen(list(executor.evaluate(jobs("block4", 2))))
        report["fetched later"] = names(third)
    report["left"] = not ray.is_initialized()

    (place / "tiny.yaml").write_text(json.dumps(experiment), encoding="utf-8")
    words = ["search", str(place / "tiny.yaml"), "--run-dir", str(place / "run"), "--json"]
    sys.argv = ["evonas", *words, "--address", cluster.address, "--workers", "2"]
    try:
        cli.main()
    except SystemExit as stop:
        report["status"] = stop.code
    _cluster.join(cluster.address)  # the cluster goes on
    cluster.wait_for_nodes(timeout=120)  # until Ray, too, knows of the node that is gone
    again = _cluster.joined()
    report["afterwards"] = [again.nodes, again.cpus, ray.util.list_named_actors()]
    _cluster.leave(None)
    cluster.shutdown()
    return report


if __name__ == "__main__":
    told = main(json.loads(sys.argv[1]), Path(sys.argv[2]))
    print("\n" + json.dumps(told))

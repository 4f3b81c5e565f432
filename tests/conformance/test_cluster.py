"""The same search on a Ray cluster: several nodes on this machine, of which one goes, one comes."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from evonas.core.experiment import changed
from evonas.estimation.cost.latency import processor
from evonas.runs.run_store import read_journal

pytestmark = [pytest.mark.slow, pytest.mark.ray]

DRIVER = Path(__file__).with_name("cluster_driver.py")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@pytest.fixture(scope="module")
def report(components: Any, features: Any, place: Path) -> dict[str, Any]:
    """What the search's side saw, behind token authentication with a token of its own."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
    env["PYTHONPATH"] = str(Path(__file__).parents[2])  # the nodes' workers import evonas too
    experiment = changed(
        components.experiment, ["finals.networks=2", "finals.seeds=2"]
    )  # as source
    words = [json.dumps(experiment.model_dump(mode="json")), str(place)]
    # Ray notes the newest cluster of a machine in its folder, and sockets need a short path.
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        done = subprocess.run(
            [sys.executable, str(DRIVER), *words],
            env=env | {"RAY_TMPDIR": folder},
            capture_output=True,
            text=True,
            timeout=400,
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_nodes_give_the_same_bits_from_features_that_they_fetched(report: dict[str, Any]) -> None:
    assert report["both"] == report["local"][:2]
    assert "status='ok'" in report["both"][0][1]
    assert report["fetched"] == report["taps"]["block4"], "only the tap that was needed"


def test_weights_that_are_trained_on_another_node_come_back(report: dict[str, Any]) -> None:
    assert report["weights"] > 1000


def test_weights_of_a_parent_go_along(report: dict[str, Any]) -> None:
    assert report["children"] == report["local children"]
    assert "inherited=1.0" in report["children"][0][1]
    assert report["far child"] == report["children"][1:]


def test_a_paused_training_comes_back_and_goes_along(report: dict[str, Any]) -> None:
    assert report["far rung"][0] > 1000
    assert not report["far rung"][1], "a path of the search's node was used on another"
    assert report["far race"] == report["local race"]


def test_jobs_of_a_node_that_goes_are_done_by_others(report: dict[str, Any]) -> None:
    assert report["one node gone"] == report["local"]


def test_a_node_that_comes_gets_work(report: dict[str, Any]) -> None:
    assert report["node came"] == report["local"][:2]
    assert report["fetched later"] == report["taps"]["block4"]


def test_a_joined_cluster_is_named_and_left_as_it_was(report: dict[str, Any]) -> None:
    assert report["notes"][0] == f"Ray cluster {report['address']}: 2 node(s), 2 CPUs, 0 GPUs"
    assert report["left"]
    assert report["afterwards"] == [2, 2, []]


def test_nodes_say_what_they_are_while_all_of_them_are_busy(report: dict[str, Any]) -> None:
    assert report["machines"] == [[1, 0, processor()]] * 2


def test_what_does_not_fit_a_cluster_is_refused(report: dict[str, Any]) -> None:
    assert report["crowd"].startswith("execution.workers=5: ")
    assert "2 CPUs on 2 node(s)" in report["crowd"]
    assert "RAY_AUTH_MODE=token" in report["other token"]
    assert "this process is in the Ray cluster at" in report["elsewhere"]


def test_a_search_by_address_writes_the_same_journal(
    report: dict[str, Any], place: Path, source: tuple[Path, str]
) -> None:
    def rows(folder: Path) -> list[str]:
        trials = sorted(read_journal(folder), key=lambda t: (t.generation, t.index, t.repeat))
        return [str({**t.row(), "seconds": 0, "at": 0}) for t in trials]

    assert not report["status"]
    assert len(rows(source[0])) == 6 + 2 * 2
    assert rows(place / "run") == rows(source[0])


def test_the_launchers_file_is_what_ray_takes() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    path = Path(__file__).parents[2] / "docs" / "cluster.yaml"
    text = path.read_text(encoding="utf-8")
    own = yaml.safe_load(text)
    assert {"cluster_name", "provider"} <= own.keys()
    # The commented variant takes the place of the provider.
    lines = text.splitlines()
    first = lines.index("# provider:")
    last = lines.index("# head_node_type: head")
    variant = yaml.safe_load("\n".join(line[2:] for line in lines[first : last + 1]))
    for config in (own, {**own, **variant}):
        validate_config(prepare_config(config))
        for part in ("head", "worker"):
            commands = " ".join(config[f"{part}_start_ray_commands"])
            assert "RAY_AUTH_MODE=token" in commands
    assert "--dashboard-host=127.0.0.1" in " ".join(own["head_start_ray_commands"])

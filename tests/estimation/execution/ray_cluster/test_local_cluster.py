"""What a cluster of a search's own leaves on the machine."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.node import Node

from evonas.errors import RunError
from evonas.estimation.execution.ray_cluster import local_cluster as _own_cluster

GONE = 2**22 + 1  # above all numbers of processes


def session(folder: Path, name: str, owner: int | None, days: float) -> Path:
    made = folder / f"session_{name}"
    (made / "logs").mkdir(parents=True)
    (made / "logs" / "worker.out").write_text("words")
    if owner is not None:
        (made / "evonas").write_text(str(owner))
        then = time.time() - 86400 * days
        os.utime(made / "evonas", (then, then))
    return made


def test_old_sessions_of_killed_searches_go_and_all_others_stay(tmp_path: Path) -> None:
    old = session(tmp_path, "old", GONE, 8)
    others = [
        session(tmp_path, "recent", GONE, 6),
        session(tmp_path, "alive", os.getpid(), 8),
        session(tmp_path, "of another program", None, 8),
    ]
    odd = session(tmp_path, "odd", GONE, 8)
    (odd / "evonas").write_text("no number")
    (tmp_path / "session_latest").symlink_to(old)
    _own_cluster.clear(tmp_path)
    assert not old.exists()
    assert not os.path.lexists(tmp_path / "session_latest")
    assert all((other / "logs" / "worker.out").exists() for other in [*others, odd])


def test_a_ray_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = []

    def late(**given: object) -> None:
        assert os.environ["RAY_ROTATION_BACKUP_COUNT"] == "1"
        starts.append(given)
        raise Exception("The current node timed out\nduring startup.")

    monkeypatch.setattr(ray, "init", late)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with pytest.raises(RunError, match=r"Ray does not start \(Exception: The current node .*too"):
        _own_cluster.start(2, "cpu")
    assert "RAY_ROTATION_BACKUP_COUNT" not in os.environ
    assert len(starts) == 3


def test_a_start_that_came_too_late_is_ended_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A node gives up when its servers have been started: these would be left."""
    half = session(tmp_path, "half", None, 0)
    nodes: list[Node] = []
    killed: list[Node] = []

    class Late(Node):
        def __init__(self) -> None:
            nodes.append(self)
            if len(nodes) == 1:
                raise Exception("The current node timed out during startup.")

        def get_session_dir_path(self) -> str:
            return str(half)

        def kill_all_processes(self, *given: object, **named: object) -> None:
            killed.append(self)

    monkeypatch.setattr(ray, "init", lambda **given: Late())
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(_own_cluster, "_session", lambda: tmp_path / "session_new")
    _own_cluster.start(2, "cpu")
    assert len(nodes) == 2
    assert killed == nodes[:1]
    assert not half.exists()


class Killed:
    def poll(self) -> int:
        return -9


def test_what_a_person_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ROTATION_MAX_BYTES", "7")
    with _own_cluster._environment({"RAY_ROTATION_MAX_BYTES": "9"}):
        assert os.environ["RAY_ROTATION_MAX_BYTES"] == "7"
    assert os.environ["RAY_ROTATION_MAX_BYTES"] == "7"


def test_a_server_of_ray_that_is_gone_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    other = ("log_monitor", Killed())  # nobody needs it

    class Node:
        dead = (other,)

        def dead_processes(self) -> list[tuple[str, Any]]:
            return [*self.dead]

    node = Node()
    monkeypatch.setattr(ray._private.worker, "_global_node", node)
    _own_cluster.check()
    for name in ("raylet", "gcs_server"):
        node.dead = (other, (name, Killed()))
        with pytest.raises(RunError, match=rf"Ray's {name} ended \(status -9\)"):
            _own_cluster.check()


def test_ctrl_c_while_ray_ends_leaves_no_session_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = session(tmp_path, "new", None, 0)
    monkeypatch.setattr(_own_cluster, "_session", lambda: made)
    monkeypatch.setattr(ray, "shutdown", lambda: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    try:
        with pytest.raises(KeyboardInterrupt), _own_cluster.uninterrupted():
            _own_cluster.stop(keep=False)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert not made.exists()

"""Starts, checks and stops a Ray cluster on this machine for one search."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from traceback import walk_tb
from typing import Any

import ray
from ray._private.node import Node
from ray._private.ray_constants import PROCESS_TYPE_GCS_SERVER, PROCESS_TYPE_RAYLET

from evonas.errors import RunError, one_line

_log = logging.getLogger("evonas")

_STARTS = 3  # attempts: on a busy machine Ray's servers may miss their half minute
_MARK = "evonas"  # file in a session's folder that holds the id of its process
_OLD = 7 * 86400.0  # seconds after which the logs of a killed search are removed
#: Rotation of Ray's logs, where the output of candidates goes: size of a file, and old files.
_LOGS = {"RAY_ROTATION_MAX_BYTES": str(2**24), "RAY_ROTATION_BACKUP_COUNT": "1"}


def start(cpus: int, device: str) -> None:
    """Start Ray on this machine, reachable from this machine only.

    Args:
        cpus: number that Ray may schedule; it need not be that of the machine.
        device: ``cuda:N`` makes only that GPU visible to Ray.

    Raises:
        RunError: Ray does not start.
    """
    for trial in range(_STARTS):
        try:
            with _environment(_LOGS), _only(device):
                ray.init(
                    address="local",  # whatever cluster runs here or RAY_ADDRESS names
                    num_cpus=cpus,
                    include_dashboard=True,
                    dashboard_host="127.0.0.1",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            break
        except Exception as error:  # Ray raises a dozen kinds, Exception itself among them
            _end_half_started(error)
            if trial + 1 == _STARTS:
                raise RunError(
                    f"Ray does not start ({one_line(error)}): the machine may be too busy, or its "
                    f"temporary folder full: mend this, or train without Ray: "
                    f"execution.executor=local execution.workers=1"
                ) from error
            _log.warning("Ray did not start (%s); it is tried again", one_line(error))
    with suppress(OSError):
        session = _session()
        (session / _MARK).write_text(str(os.getpid()), encoding="ascii")
        clear(session.parent)


def _end_half_started(error: Exception) -> None:
    """End the processes of a failed start, which Ray would keep until this process ends."""
    ray.shutdown()
    for frame, _ in walk_tb(error.__traceback__):
        node = frame.f_locals.get("self")
        if isinstance(node, Node):
            with suppress(AttributeError):  # the start failed earlier
                node.kill_all_processes(check_alive=False)
                _remove(Path(node.get_session_dir_path()))


def check() -> None:
    """Check that Ray's servers are alive; without them Ray ends this process without a message.

    Raises:
        RunError: a server has ended.
    """
    for name, process in ray._private.worker._global_node.dead_processes():
        if name in (PROCESS_TYPE_RAYLET, PROCESS_TYPE_GCS_SERVER):
            raise RunError(f"Ray's {name} ended (status {process.poll()})")


def stop(keep: bool) -> None:
    """Stop Ray.

    Args:
        keep: whether to keep its logs.
    """
    session = _session()
    ray.shutdown()
    if not keep:
        _remove(session)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C until the block is done.

    A second Ctrl-C while Ray ends would leave its processes and its session folder behind.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed within the block.
    """
    main = threading.current_thread() is threading.main_thread()  # only that one is interrupted
    if not main or signal.getsignal(signal.SIGINT) is None:  # None: a handler that is not Python's
        yield
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed and before is not signal.SIG_IGN:
        raise KeyboardInterrupt


def clear(folder: Path) -> None:
    """Remove old session folders of killed searches from Ray's temporary folder."""
    for mark in folder.glob(f"session_*/{_MARK}"):
        with suppress(OSError, ValueError):
            owner = int(mark.read_text(encoding="ascii"))
            if time.time() - mark.stat().st_mtime > _OLD and not Path(f"/proc/{owner}").exists():
                _remove(mark.parent)


def _remove(session: Path) -> None:
    shutil.rmtree(session, ignore_errors=True)
    latest = session.with_name("session_latest")
    with suppress(OSError):
        if Path(os.readlink(latest)) == session:
            latest.unlink()


def context() -> Any:
    """Return Ray's description of the cluster that this process is connected to."""
    return ray.init(ignore_reinit_error=True, configure_logging=False)


def _session() -> Path:
    return Path(context().address_info["session_dir"])


@contextmanager
def _environment(wanted: dict[str, str]) -> Iterator[None]:
    """Set environment variables inside a ``with`` block, except those that are set."""
    new = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


@contextmanager
def _only(device: str) -> Iterator[None]:
    """Make only the GPU of a device ``cuda:N`` visible to processes started in the block."""
    number = device.partition(":")[2]
    name = "CUDA_VISIBLE_DEVICES"
    before = os.environ.get(name)
    if number:
        os.environ[name] = before.split(",")[int(number)] if before else number
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before
        elif number:
            del os.environ[name]

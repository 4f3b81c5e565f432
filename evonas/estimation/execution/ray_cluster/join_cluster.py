"""Joins a running Ray cluster by address, and leaves it running."""

from __future__ import annotations

import logging
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import grpc
import ray
from ray._private.services import canonicalize_bootstrap_address

from evonas.errors import InputError

_PATIENCE = 10.0  # seconds in which a cluster has to answer
_QUESTION = "/ray.rpc.NodeInfoGcsService/GetClusterId"
_here: list[str] = []  # the cluster that this process joined through ``join``
_users: list[object] = []  # executors that work in it


@dataclass(frozen=True)
class Cluster:
    """Resources of a Ray cluster.

    Attributes:
        address: of its head, ``host:port``.
        nodes: machines that are alive.
        cpus, gpus: sums over the nodes.
    """

    address: str
    nodes: int
    cpus: int
    gpus: int

    def __str__(self) -> str:
        return f"{self.address}: {self.nodes} node(s), {self.cpus} CPUs, {self.gpus} GPUs"


def join(address: str) -> Cluster:
    """Connect this process to the cluster at an address and return its resources.

    Args:
        address: ``auto`` or ``host:port``.

    Raises:
        InputError: no cluster answers there, or it refuses this process.
    """
    where = _resolved(address)
    if not ray.is_initialized():
        _knock(address, where)
        try:
            ray.init(
                address="auto" if address == "auto" else where,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # Ray raises a dozen kinds, RuntimeError among them
            raise _refused(
                address,
                f"cannot be joined: {' '.join(str(error).split())[:300]}: run evonas on a machine "
                f"of the cluster, with its version of Python and Ray",
            ) from error
        _here.append(where)
    there = joined()
    if there.address != where:
        raise _refused(address, f"this process is in the Ray cluster at {there.address} already")
    return there


def joined() -> Cluster:
    """Return the resources of the cluster that this process is connected to."""
    total = ray.cluster_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    gcs = str(ray.get_runtime_context().gcs_address)
    return Cluster(gcs, nodes, int(total.get("CPU", 0)), int(total.get("GPU", 0)))


def use(user: object) -> None:
    """Register an executor as a user of the joined cluster."""
    _users.append(user)


def leave(user: object) -> None:
    """Disconnect from the joined cluster after its last user; the cluster stays up."""
    if user in _users:
        _users.remove(user)
    if _here and not _users:
        if ray.is_initialized():
            ray.shutdown()  # ends the connection, not the joined cluster
        _here.clear()


def _resolved(address: str) -> str:
    """Return ``host:port`` as Ray names the cluster, without loopback addresses.

    Raises:
        InputError: no cluster runs on this machine, or the address is malformed.
    """
    where = None
    try:
        where = canonicalize_bootstrap_address(address)
    except ConnectionError:
        pass  # with ``auto``: there is none
    except Exception as error:
        raise _refused(address, f"expected auto or host:port ({error})") from error
    if where is None:
        raise _refused(
            address,
            "no Ray cluster runs on this machine: start one with `ray start --head`, or join one "
            "with `ray start --address=HOST:PORT`",
        )
    return str(where)


def _knock(address: str, where: str) -> None:
    """Check that a Ray cluster answers at an address, within ``_PATIENCE`` seconds.

    ``ray.init`` and Ray's own client log to standard error and give up after minutes.

    Raises:
        InputError: there is no answer, none of Ray, or another token is needed.
    """
    start = time.monotonic()
    host, _, port = where.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
    except (OSError, OverflowError) as error:
        spent = time.monotonic() - start
        raise _refused(
            address,
            f"no Ray cluster answers there after {spent:.0f} s ({error}): start its head with "
            f"`ray start --head`, or check the address and what a firewall lets through",
        ) from error
    if os.environ.get("RAY_USE_TLS", "0") == "1":
        return  # Ray handles the certificates
    left = max(0.1, _PATIENCE - (time.monotonic() - start))
    token = _token() if "token" in (os.environ.get("RAY_AUTH_MODE"), _implied(address)) else ""
    headers = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(where, [("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary(_QUESTION)(b"", timeout=left, metadata=headers)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                raise _refused(
                    address,
                    "the cluster wants its token: copy ~/.ray/auth_token of its head to this "
                    "machine and set RAY_AUTH_MODE=token",
                ) from error
            spent = time.monotonic() - start
            raise _refused(
                address,
                f"no Ray cluster answers there after {spent:.0f} s ({error.code().name}): "
                f"expected the port of `ray start --head`, 6379 unless it was told another",
            ) from error


def _implied(address: str) -> str:
    """Return Ray's default authentication mode: ``token``, for ``auto`` only."""
    return "token" if address == "auto" and "RAY_AUTH_MODE" not in os.environ else ""


def _token() -> str:
    """Return the token, looked up in the places and order of Ray; empty if there is none."""
    if "RAY_AUTH_TOKEN" in os.environ:
        return os.environ["RAY_AUTH_TOKEN"]
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _refused(address: str, reason: str) -> InputError:
    return InputError(f"execution.address={address}: {reason}")

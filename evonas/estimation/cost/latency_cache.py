"""Cache of latencies: each is measured once, one at a time on a machine, and kept on disk.

A latency depends on the network and the machine, not on the training. ``features.cache``/latency
stores it under a hash of everything that it depends on.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from evonas.core.files import write_file
from evonas.core.version import __version__
from evonas.errors import RunError
from evonas.estimation.cost.latency import REPEATS, WARM_UP, Latency, latency, processor, threads
from evonas.models.backbones.base import Shape
from evonas.space import Architecture

#: Measurements of a network at most, and the noise below which none is repeated. The measurement
#: of least noise counts.
TRIES, STEADY = 5, 0.05
#: Lock file of the process that measures.
LOCK = "measuring.lock"


@dataclass(frozen=True)
class Timing:
    """Measures latencies, or reads them from the cache; plain data, sent to workers.

    Attributes:
        folder: of the cache and its lock; None: no cache and no lock.
        threads: CPU threads of a network while its latency is measured.
    """

    folder: Path | None = None
    threads: int = 1

    def __call__(
        self,
        architecture: Architecture,
        module: torch.nn.Module,
        shape: Shape,
        outputs: int,
        device: str,
    ) -> Latency:
        """Return the latency of a network, from the cache if it was measured before.

        Args:
            architecture: of the network.
            module: the network, on the device; left in evaluation mode if it is measured.
            shape: (channels, height, width) of its input.
            outputs: number of outputs.
            device: ``cpu``, ``cuda`` or ``cuda:N``.

        Raises:
            RunError: the folder cannot be written.
        """
        if self.folder is None:
            return self._measured(module, shape, device)
        key = {
            "digest": architecture.digest,
            "shape": list(shape),
            "outputs": outputs,
            "on": machine(device, self.threads),
            "torch": torch.__version__,
            "evonas": __version__,
            "passes": [WARM_UP, REPEATS],
        }
        name = hashlib.blake2b(json.dumps(key).encode(), digest_size=12).hexdigest()
        path = self.folder / f"{name}.json"
        known = _read(path, key)
        if known is not None:
            return known
        with _alone(self.folder):
            known = _read(path, key)  # whoever measured before us may have measured this one
            if known is None:
                known = self._measured(module, shape, device)
                _write(path, {**key, **asdict(known)})
        return known

    def _measured(self, module: torch.nn.Module, shape: Shape, device: str) -> Latency:
        found: list[Latency] = []
        with threads(self.threads):
            while len(found) < TRIES and not (found and found[-1].noise <= STEADY):
                found.append(latency(module, shape, device))
        return min(found, key=lambda one: one.noise)


def machine(device: str, count: int) -> str:
    """Return the hardware of a measurement, such as ``Some CPU @ 2 GHz, 1 thread(s)``.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        count: threads, which matter on a CPU.
    """
    if device != "cpu":
        return torch.cuda.get_device_name(device)
    return f"{processor()}, {count} thread(s)"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of the cache; the kernel frees it when the process dies."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        stream = (folder / LOCK).open("a")
    except OSError as error:
        raise RunError(
            f"{folder}: latencies cannot be kept there ({error.strerror}): choose another "
            f"features.cache"
        ) from error
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _read(path: Path, key: Mapping[str, Any]) -> Latency | None:
    """Return the latency in a file; None if the file is missing, damaged or of another key."""
    try:
        content = json.loads(path.read_text("utf-8"))
        whole = content.pop("crc32") == _checksum(content)
        found = Latency(float(content.pop("ms")), float(content.pop("noise")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    sound = 0 < found.ms < math.inf and 0 <= found.noise < math.inf
    return found if whole and sound and content == key else None


def _checksum(content: Mapping[str, Any]) -> int:
    """Return the CRC-32 of a content: a flipped bit in a digit would be another latency."""
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _write(path: Path, content: Mapping[str, Any]) -> None:
    # a full disk costs the next run a measurement, not this one a training
    with suppress(OSError):
        write_file(path, json.dumps({**content, "crc32": _checksum(content)}) + "\n")

"""Files of the feature cache: whole and checked, or not there.

Beside ``NAME.npy`` lies ``NAME.json`` with its checksum, its size and which images
could not be decoded. Both are moved into place when they are complete. A process that uses
a file holds a shared lock on it (``Lease``), so that ``evonas cache --clear`` leaves it.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from evonas.core.files import write_file
from evonas.errors import InputError


def check_space(folder: Path, needed: int, advice: str) -> None:
    """Refuse to begin what the disk cannot hold.

    Args:
        folder: of the cache; need not exist yet.
        needed: bytes that are going to be written.
        advice: what a person can do beside freeing some space.

    Raises:
        InputError: fewer bytes are free.
    """
    there = next(
        place for place in (folder.absolute(), *folder.absolute().parents) if place.exists()
    )
    total, _, free = shutil.disk_usage(there)
    if total and free < needed:  # of no size is what is no disk, such as /proc
        raise InputError(
            f"feature cache {folder}: needs {needed / 1e9:.3g} GB, {free / 1e9:.3g} GB are free: "
            f"free some space or {advice}"
        )


def allocate(path: Path, shape: tuple[int, ...]) -> np.memmap[Any, np.dtype[np.float16]]:
    """Return a new file of fp16 numbers, mapped into memory, whose room on the disk is taken.

    A map of a file without its room would end the process by SIGBUS on a full disk.

    Raises:
        OSError: there is no room, or the file cannot be written.
    """
    kind = np.lib.format.dtype_to_descr(np.dtype(np.float16))
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        stream.flush()
        os.posix_fallocate(stream.fileno(), 0, stream.tell() + 2 * math.prod(shape))
    return np.lib.format.open_memmap(path, "r+")


def commit(
    made: Path, path: Path, unreadable: dict[int, str], origin: Mapping[str, str] | None = None
) -> None:
    """Move a finished file into place, its checksum first, so that none is seen half.

    Args:
        made: the finished file.
        path: where it belongs.
        unreadable: index of each image that could not be decoded, and why.
        origin: backbone, data, tap and view, for listings: the file's name is a hash of them.

    Raises:
        InputError: it holds infinities or nan.
    """
    if not np.isfinite(np.load(made, mmap_mode="r")).all():
        raise InputError(
            f"features of {path.stem}: the backbone gave values beyond 16-bit floats: "
            f"check its weights or choose another tap"
        )
    reasons = {str(index): reason for index, reason in unreadable.items()}
    known = dict(origin or {})
    value = _checksum(made, reasons, known)
    note = {"crc32": value, "bytes": made.stat().st_size, "unreadable": reasons}
    if known:
        note["origin"] = known
    write_file(path.with_suffix(".json"), json.dumps(note))
    os.replace(made, path)


def sidecar(path: Path) -> dict[str, dict[str, str]]:
    """Return what is noted beside a cached file."""
    note: dict[str, dict[str, str]] = json.loads(path.with_suffix(".json").read_text("utf-8"))
    return note


def origin_of(path: Path) -> dict[str, str]:
    """Return backbone, data, tap and view of a cached file; nothing where no note says them."""
    try:
        origin = json.loads(path.with_suffix(".json").read_text("utf-8"))["origin"]
        return {key: str(value) for key, value in origin.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def intact(path: Path) -> bool:
    """Whether a cached file is there and is what was written."""
    try:
        note = json.loads(path.with_suffix(".json").read_text("utf-8"))
        return bool(
            path.stat().st_size == note["bytes"]
            and isinstance(note["unreadable"], dict)
            and _checksum(path, note["unreadable"], note.get("origin", {})) == note["crc32"]
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def _checksum(path: Path, unreadable: dict[str, str], origin: dict[str, str]) -> int:
    """Return the CRC-32 of a file and of the entries beside it; empty ones count as absent."""
    value = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            value = zlib.crc32(block, value)
    for entry in (unreadable, origin):
        if entry:
            value = zlib.crc32(json.dumps(entry, sort_keys=True).encode(), value)
    return value


class Lease:
    """Shared locks on cached files, which mark them as used; they end with this object.

    Args:
        paths: of the files; the time of the last use of each becomes now.

    Raises:
        FileNotFoundError: a file was removed.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._streams: list[IO[bytes]] = []
        for path in paths:
            stream = path.open("rb")
            self._streams.append(stream)
            with suppress(OSError):  # a file system without locks, or the file of another user
                fcntl.flock(stream, fcntl.LOCK_SH)  # waits for a removal, which takes a moment
                os.utime(stream.fileno())
            if os.fstat(stream.fileno()).st_nlink == 0:
                raise FileNotFoundError(path)

    def __del__(self) -> None:
        for stream in self._streams:
            stream.close()


def remove_unused(path: Path) -> bool:
    """Remove a cached file and its note, unless a process of this machine uses it.

    Returns:
        Whether it was removed.

    Raises:
        OSError: it cannot be removed.
    """
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        path.unlink()
        path.with_suffix(".json").unlink(missing_ok=True)
    return True


def in_use(path: Path) -> bool:
    """Whether a process of this machine holds a lease on a cached file."""
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks here
        return False
    return False

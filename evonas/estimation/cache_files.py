"""Files of the feature cache: whole and checked, or not there.

Beside ``NAME.npy`` lies ``NAME.json`` with its checksum, its size and which images
could not be decoded. Both are moved into place when they are complete.
"""

from __future__ import annotations

import json
import os
import shutil
import zlib
from pathlib import Path

import numpy as np

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


def commit(made: Path, path: Path, unreadable: dict[int, str]) -> None:
    """Move a finished file into place, its checksum first, so that none is seen half.

    Args:
        made: the finished file.
        path: where it belongs.
        unreadable: index of each image that could not be decoded, and why.

    Raises:
        InputError: it holds infinities or nan.
    """
    if not np.isfinite(np.load(made, mmap_mode="r")).all():
        raise InputError(
            f"features of {path.stem}: the backbone gave values beyond 16-bit floats: "
            f"check its weights or choose another tap"
        )
    note = {"crc32": checksum(made), "bytes": made.stat().st_size, "unreadable": unreadable}
    draft = made.with_suffix(".json")
    draft.write_text(json.dumps(note), encoding="utf-8")
    os.replace(draft, path.with_suffix(".json"))
    os.replace(made, path)


def sidecar(path: Path) -> dict[str, dict[str, str]]:
    """Return what is noted beside a cached file."""
    note: dict[str, dict[str, str]] = json.loads(path.with_suffix(".json").read_text("utf-8"))
    return note


def intact(path: Path) -> bool:
    """Whether a cached file is there and is what was written."""
    try:
        note = json.loads(path.with_suffix(".json").read_text("utf-8"))
        return bool(
            path.stat().st_size == note["bytes"]
            and isinstance(note["unreadable"], dict)
            and checksum(path) == note["crc32"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file."""
    value = 0
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            value = zlib.crc32(block, value)
    return value

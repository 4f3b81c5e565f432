"""Read and write safetensors files with a checksum, and check torch's archives.

safetensors have no checksum of their own, so evonas writes a CRC-32 of the whole file into the
metadata of the header. The archives of torch (.pt, .pth, .pt2) have a CRC-32 for each record,
which torch does not check: of 500 files with one flipped bit each, torch loaded 158 with wrong
weights and without an error.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors import torch as safetensors_torch
from torch import Tensor

# CRC-32, as in the feature cache: 1.2 GB/s, blake2b 0.26; it detects any burst of 32 bits.
_KEY = "crc32"
_BLANK = "0" * 8
_CHECKSUM = re.compile(rb'"crc32":"([^"]*)"')
_LARGEST_HEADER = 100_000_000  # bytes, the limit of safetensors
_BLOCK = 1 << 22


def save_file(
    tensors: Mapping[str, Tensor], path: str | Path, notes: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors, with a checksum in the metadata.

    Args:
        tensors: name -> tensor, contiguous, on the CPU.
        path: file; an existing file is overwritten.
        notes: additional metadata of the header, name -> string.

    Raises:
        OSError: the file cannot be written.
        SafetensorError: a tensor cannot be stored.
    """
    Path(path).write_bytes(packed(tensors, notes))


def packed(tensors: Mapping[str, Tensor], notes: Mapping[str, str] | None = None) -> bytes:
    """Return the content of a safetensors file with a checksum; see ``save_file``."""
    content = bytearray(safetensors_torch.save(dict(tensors), {**(notes or {}), _KEY: _BLANK}))
    start = content.index(f'"{_KEY}":"{_BLANK}"'.encode()) + len(_KEY) + 4
    content[start : start + len(_BLANK)] = f"{zlib.crc32(content):08x}".encode()
    return bytes(content)


def load_file(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, after checking its checksum, if it has one.

    Raises:
        OSError: the file cannot be read.
        SafetensorError: the file is damaged.
    """
    check(path)
    return safetensors_torch.load_file(path)


def load_notes(path: str | Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; checks and errors are those of ``load_file``."""
    check(path)
    with safe_open(path, "pt") as stream:
        return dict(stream.metadata() or {})


def check(path: str | Path) -> None:
    """Compare a safetensors file with its checksum; files without a checksum pass.

    Raises:
        OSError: the file cannot be read.
        SafetensorError: the content does not have its checksum.
    """
    with Path(path).open("rb") as stream:
        size = stream.read(8)
        header = stream.read(min(int.from_bytes(size, "little"), _LARGEST_HEADER))
        checksum = _CHECKSUM.search(header)
        if checksum is None:
            return
        start, end = checksum.span(1)
        value = zlib.crc32(header[:start] + b"0" * (end - start) + header[end:], zlib.crc32(size))
        while block := stream.read(_BLOCK):
            value = zlib.crc32(block, value)
    if checksum[1] != f"{value:08x}".encode():
        raise SafetensorError("it is not what was written: its checksum is another")


def intact(path: str | Path) -> bool:
    """Whether a safetensors file exists, can be read, and has its checksum."""
    try:
        check(path)
        with safe_open(path, "pt"):
            return True
    except (OSError, SafetensorError):
        return False


def check_archive(path: str | Path) -> None:
    """Compare every record of a zip archive with its checksum; other files pass.

    Archives that torch wrote without checksums (``set_crc32_options(False)``) pass as well.

    Raises:
        OSError: the file cannot be read.
        ValueError: a record does not have its checksum, or the archive is damaged.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.CRC for entry in archive.infolist()):
                wrong = archive.testzip()
            else:
                return
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise ValueError(f"a damaged archive: {error}") from error
    if wrong is not None:
        raise ValueError(f"its record {wrong!r} is not what was written: its checksum is another")

"""Reader of TensorFlow.js weights: a JSON manifest and a binary, in a folder or tarball.

The manifest lists groups of tensors in their order in the binary. A tensor is stored as
little-endian float32, or as unsigned 8 or 16 bit integers q with value = q * scale + min.
"""

from __future__ import annotations

import json
import math
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.core.files import reading
from evonas.errors import InputError

_HINT = "give the folder that holds both files, or the tarball of `npm pack @vladmandic/face-api`"


def read_weights(path: Path, manifest: str, binary: str) -> dict[str, NDArray[np.float32]]:
    """Return the tensors of a manifest and its binary: name -> float32 array.

    Args:
        path: a folder (searched to two levels) or a .tgz package.
        manifest, binary: names of the two files.

    Raises:
        InputError: a file is missing or damaged, or the sizes do not agree.
    """
    listing, data = _read_both(path, manifest, binary)
    try:
        specs = [weight for group in json.loads(listing) for weight in group["weights"]]
        tensors, offset = {}, 0
        for spec in specs:
            tensor, offset = _tensor(spec, data, offset)
            tensors[spec["name"]] = tensor
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise InputError(
            f"{path}: {manifest} and {binary} do not fit together ({error}): {_HINT}"
        ) from error
    if offset != len(data):
        raise InputError(
            f"{path}: {binary} has {len(data)} bytes, its manifest describes {offset}: {_HINT}"
        )
    return tensors


def _tensor(spec: dict[str, Any], data: bytes, offset: int) -> tuple[NDArray[np.float32], int]:
    quantised = spec.get("quantization")
    kind = np.dtype(quantised["dtype"] if quantised else spec["dtype"]).newbyteorder("<")
    if kind.kind not in "uf" or kind.itemsize > 4:
        raise ValueError(f"{spec['name']} has type {kind}")
    count = math.prod(int(n) for n in spec["shape"])
    values = np.frombuffer(data, kind, count, offset).reshape(spec["shape"]).astype(np.float32)
    if quantised:
        values = values * np.float32(quantised["scale"]) + np.float32(quantised["min"])
    if not np.isfinite(values).all():
        raise ValueError(f"{spec['name']} is not finite")
    return values, offset + count * kind.itemsize


def _read_both(path: Path, manifest: str, binary: str) -> tuple[bytes, bytes]:
    if not path.exists():
        raise InputError(f"backbone.weights={path}: no such file or folder: {_HINT}")
    with reading(path, _HINT, tarfile.TarError, EOFError, zlib.error):
        if path.is_dir():
            return _find(path, manifest).read_bytes(), _find(path, binary).read_bytes()
        with tarfile.open(path) as archive:
            members = {Path(m.name).name: m for m in archive.getmembers() if m.isfile()}
            contents = []
            for name in (manifest, binary):
                stream = archive.extractfile(members[name]) if name in members else None
                if stream is None:
                    raise InputError(f"{path}: holds no {name}: {_HINT}")
                contents.append(stream.read())
            while archive.fileobj and archive.fileobj.read(1 << 20):
                pass  # gzip checks its checksum at the end of the stream only
            return contents[0], contents[1]


def _find(folder: Path, name: str) -> Path:
    for pattern in (name, f"*/{name}", f"*/*/{name}"):
        for path in sorted(folder.glob(pattern)):
            return path
    raise InputError(f"{folder}: holds no {name}: {_HINT}")

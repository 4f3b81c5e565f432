"""Identity of a training: everything that its result depends on, as plain JSON values.

A training resumes only from a checkpoint of the same identity, which gives the same bits as a
training without a pause.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evonas.core.version import __version__
from evonas.estimation.features.cache_files import sidecar

if TYPE_CHECKING:
    from evonas.estimation.training.training import Training

FORMAT = 2  # of a checkpoint; 1 had no identity
_SHOWN = 24  # longest values that a message repeats: not hashes and lists


def identity(training: Training) -> dict[str, Any]:
    """Return everything that a training's result depends on.

    File names are without folders, so that a run directory or a feature cache may move.
    """
    data, task, device = training.data, training.task, training.device.partition(":")[0]
    facts = {
        "format": FORMAT,
        "evonas": __version__,
        "torch": torch.__version__,
        "device": device,
        "threads": torch.get_num_threads() if device == "cpu" else None,
        "seed": training.seed,
        "training": training.settings.model_dump(mode="json"),
        "loss": [type(task).__module__, type(task).__qualname__, task.n_outputs, task.metric],
        "layers": _layers(training.module),
        "split": {"train": _hash([data.train]), "validation": _hash([data.validation])},
        "targets": _hash([data.targets]),
        "features": [_maps(view) for view in data.maps],
        **training.facts,
    }
    plain: dict[str, Any] = json.loads(json.dumps(facts, default=_plain))
    return plain


def weights_hash(module: nn.Module) -> str:
    """Return a hash of a module's weights, independent of device and memory layout."""
    return _hash(_tensor(value) for value in module.state_dict().values())


def differences(stored: Mapping[str, Any], own: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Return the entries in which two identities differ, with their values if short.

    Args:
        stored: identity in a file.
        own: identity of the training at hand.
        prefix: of the names, for nested entries.
    """
    found = []
    for name in sorted({*stored, *own}):
        one, other = stored.get(name), own.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            found += differences(one, other, f"{prefix}{name}.")
        elif one != other:
            short = len(f"{one}{other}") <= _SHOWN
            found.append(f"{prefix}{name}" + (f" ({one}, here {other})" if short else ""))
    return found


def _layers(module: nn.Module) -> str:
    """Return a hash of the names and types of a network's layers and of its tensors' shapes.

    The tensors alone would not distinguish networks that differ in their activations.
    """
    types = [(name, type(part).__qualname__) for name, part in module.named_modules()]
    shapes = [(name, tuple(value.shape)) for name, value in module.state_dict().items()]
    return hashlib.blake2b(repr((types, shapes)).encode(), digest_size=16).hexdigest()


def _maps(view: NDArray[Any]) -> list[Any]:
    """Return the identity of the features of a view.

    The name of a cached file is a hash of backbone, data set, tap and view, and the checksum of
    its content is stored beside it, so the file itself is not read.
    """
    shape = list(view.shape)
    if isinstance(view, np.memmap) and view.filename is not None:
        path = Path(view.filename)
        try:
            return [path.name, sidecar(path)["crc32"], shape]
        except (OSError, ValueError, KeyError, TypeError):  # not a file of the cache
            pass
    return [_hash([view]), shape]


def _plain(value: object) -> object:
    """Return a JSON value in the place of one that JSON cannot hold."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return str(value)


def _tensor(value: Tensor) -> NDArray[Any]:
    flat = value.detach().cpu().contiguous().reshape(-1)
    found: NDArray[Any] = flat.view(torch.uint8).numpy()
    return found


def _hash(arrays: Iterable[NDArray[Any]]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return digest.hexdigest()

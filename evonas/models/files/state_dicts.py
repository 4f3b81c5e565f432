"""Reading state dictionaries of modules: safetensors and torch files, never unpickled into code."""

from __future__ import annotations

import hashlib
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from evonas.core.files import reading
from evonas.errors import InputError, one_line
from evonas.models.files.safetensors_files import check_archive, load_file

_NESTINGS = ("state_dict", "model_state_dict", "model")
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_CONVERT = (
    "where the file is trusted, load it there and save model.state_dict() with "
    "safetensors.torch.save_file"
)
_SHOWN = 3


def read_state(path: str | Path, key: str = "backbone.weights") -> dict[str, Tensor]:
    """Return parameter name -> tensor, on the CPU.

    One nesting (``state_dict``, ``model_state_dict`` or ``model``) is unwrapped, and a
    ``module.`` in front of every name (left by data-parallel training) is taken off. Where
    ``FILE.sha256`` lies beside the file, as ``sha256sum FILE`` writes it, it must be right.

    Args:
        path: .safetensors, or .pt, .pth or .bin as ``torch.save`` writes them. The latter
            are read with ``weights_only``: tensors and plain values, no code.
        key: that the user gave the path under, for messages.

    Raises:
        InputError: the file is missing, damaged, of another kind, needs code to be
            opened, or holds no tensors.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"{key}={path}: no such file: give a file of weights")
    if path.suffix not in _SUFFIXES:
        raise InputError(
            f"{key}={path}: expected a file named {', '.join(_SUFFIXES)}, "
            f"got {path.suffix or 'no suffix'!r}"
        )
    _as_noted(path, key)
    stored = _safetensors(path, key) if path.suffix == ".safetensors" else _torch(path, key)
    nested = [key for key in _NESTINGS if isinstance(stored.get(key), Mapping)]
    state = dict(stored[nested[0]]) if nested else dict(stored)
    odd = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if odd or not state:
        what = f"{odd[0]!r} is no tensor" if odd else "it is empty"
        raise InputError(
            f"{key}={path}: expected names and tensors, but {what}: save model.state_dict() alone"
        )
    if all(str(key).startswith("module.") for key in state):
        state = {str(key).removeprefix("module."): value for key, value in state.items()}
    return {str(key): value for key, value in state.items()}


def _as_noted(path: Path, key: str) -> None:
    """Hold a file against ``FILE.sha256`` beside it, if that is there.

    Raises:
        InputError: it is another file than the one whose sum was taken.
    """
    note = path.with_name(f"{path.name}.sha256")
    if not note.is_file():
        return
    with reading(f"{key}={path}"):
        expected = note.read_bytes()[:64].decode("ascii", "replace").lower()
        with path.open("rb") as stream:
            got = hashlib.file_digest(stream, "sha256").hexdigest()
    if got != expected:
        raise InputError(
            f"{key}={path}: its sha256 is {got[:12]}..., expected {expected[:12]!r}... as "
            f"{note.name} says: get the file again, or remove {note.name}"
        )


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    where: str,
    ignore_missing_prefixes: Sequence[str] = (),
) -> None:
    """Copy a state into a module; every name and every shape must fit.

    Args:
        module: is changed.
        state: parameter or buffer name -> tensor.
        where: the state came from, for messages.
        ignore_missing_prefixes: names that start so (say, of a classifier that no
            tap needs) may be missing, and then stay as they are.

    Raises:
        InputError: names are missing or unexpected, or shapes differ; the first three
            of each and how many there are. Nothing was changed.
    """
    own = module.state_dict()
    passed = tuple(ignore_missing_prefixes)
    missing = [k for k in own if k not in state and not (passed and k.startswith(passed))]
    unexpected = [k for k in state if k not in own]
    shapes = [
        f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    complaints = [
        f"{len(names)} {what}: {', '.join(names[:_SHOWN])}{', ...' if names[_SHOWN:] else ''}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of shape", shapes))
        if names
    ]
    if complaints:
        raise InputError(
            f"{where}: the tensors are not this network's ({'; '.join(complaints)}): "
            "give the file of this model and these arguments"
        )
    module.load_state_dict(dict(state), strict=False)


def _safetensors(path: Path, key: str) -> Mapping[str, Any]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{key}={path}: cannot be read as safetensors ({one_line(error)}): get the file again"
        ) from error


def _torch(path: Path, key: str) -> Mapping[str, Any]:
    try:
        check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a pickle is of an unusual protocol, say
            stored = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        # torch says both with this error: that a file asks for code, and that it is none of its
        # own. Only a file that can be a pickle at all is told how to get rid of its code.
        if _is_pickle(path):
            raise InputError(
                f"{key}={path}: holds more than tensors, and opening it would run code: {_CONVERT}"
            ) from error
        raise _damaged(path, key, error) from error
    except Exception as error:  # damaged bytes end in errors of any kind inside torch
        raise _damaged(path, key, error) from error
    if not isinstance(stored, Mapping):
        raise InputError(
            f"{key}={path}: expected names and tensors, got {type(stored).__name__}: "
            "save model.state_dict()"
        )
    return stored


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as stream:
        start = stream.read(2)
    return zipfile.is_zipfile(path) or start[:1] == b"\x80"


def _damaged(path: Path, key: str, error: Exception) -> InputError:
    reason = one_line(error).split(". ", 1)[0]
    return InputError(f"{key}={path}: cannot be read ({reason}): get the file again, or {_CONVERT}")

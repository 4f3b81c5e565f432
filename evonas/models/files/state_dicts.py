"""Read state dictionaries from safetensors and torch files without running code."""

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
    "if you trust the file, load it with the library that wrote it and save model.state_dict() "
    "with safetensors.torch.save_file"
)
_SHOWN = 3


def read_state(path: str | Path, key: str = "backbone.weights") -> dict[str, Tensor]:
    """Return the state dictionary in a file: parameter name -> tensor, on the CPU.

    A dictionary nested under ``state_dict``, ``model_state_dict`` or ``model`` is extracted, and
    a prefix ``module.`` of all names, which data-parallel training adds, is removed. If a file
    ``FILE.sha256``, as ``sha256sum FILE`` writes it, lies beside the file, the SHA-256 must
    agree.

    Args:
        path: .safetensors file, or .pt, .pth or .bin file of ``torch.save``. The latter are
            read with ``weights_only``: tensors and plain values, no code.
        key: option of which ``path`` is the value, for messages.

    Raises:
        InputError: the file is missing, damaged, of another kind, contains code, or contains
            no tensors.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"{key}={path}: no such file: give a file of weights")
    if path.suffix not in _SUFFIXES:
        raise InputError(
            f"{key}={path}: expected a file named {', '.join(_SUFFIXES)}, "
            f"got {path.suffix or 'no suffix'!r}"
        )
    _check_sha256(path, key)
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


def _check_sha256(path: Path, key: str) -> None:
    """Compare a file with the SHA-256 in ``FILE.sha256`` beside it, if that exists.

    Raises:
        InputError: the SHA-256 differs.
    """
    checksum_file = path.with_name(f"{path.name}.sha256")
    if not checksum_file.is_file():
        return
    with reading(f"{key}={path}"):
        expected = checksum_file.read_bytes()[:64].decode("ascii", "replace").lower()
        with path.open("rb") as stream:
            got = hashlib.file_digest(stream, "sha256").hexdigest()
    if got != expected:
        raise InputError(
            f"{key}={path}: its sha256 is {got[:12]}..., expected {expected[:12]!r}... as in "
            f"{checksum_file.name}: get the file again, or remove {checksum_file.name}"
        )


def load_into(
    module: nn.Module,
    state: Mapping[str, Tensor],
    where: str,
    ignore_missing_prefixes: Sequence[str] = (),
) -> None:
    """Load a state dictionary into a module; all names and shapes must agree.

    Args:
        module: changed in place.
        state: parameter or buffer name -> tensor.
        where: source of ``state``, for messages.
        ignore_missing_prefixes: prefixes of names that ``state`` may lack, such as those of a
            classifier that no tap needs; these tensors keep their values.

    Raises:
        InputError: names are missing or unexpected, or shapes differ; the message has the
            number of each and the first three. The module was not changed.
    """
    own = module.state_dict()
    optional = tuple(ignore_missing_prefixes)
    missing = [k for k in own if k not in state and not (optional and k.startswith(optional))]
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
            warnings.simplefilter("ignore")  # such as that of an unusual pickle protocol
            stored = torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        # torch raises this error for files with code as well as for files of other formats; the
        # advice on code is useful only for files that can be pickles.
        if _is_pickle(path):
            raise InputError(
                f"{key}={path}: holds more than tensors, and opening it would run code: {_CONVERT}"
            ) from error
        raise _damaged(path, key, error) from error
    except Exception as error:  # damaged files raise many kinds of errors in torch
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

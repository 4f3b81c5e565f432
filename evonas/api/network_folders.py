"""Which retrained networks a path means: their folder, the run above it, or a file of weights."""

from __future__ import annotations

from pathlib import Path

from evonas.errors import InputError
from evonas.runs import file_schemas
from evonas.runs.comparison_schemas import Comparison

_RESULT = "comparison.json"


def network_folder(place: Path) -> Path:
    """Return the folder of the retrained networks that a path means.

    Args:
        place: folder that a retraining, fine-tuning, pruning or quantisation wrote; or a run
            directory with ``retrained`` in it, or its best.json.

    Raises:
        InputError: no retrained network is there.
    """
    if place.name == "best.json":
        place = place.parent
    for folder in (place, place / "retrained"):
        if (folder / _RESULT).is_file():
            return folder
    if (place / "best.json").is_file():
        raise InputError(
            f"{place}: expected a retrained network, got a search: run `evonas retrain "
            f"{place / 'best.json'}` first"
        )
    if place.is_file():
        raise InputError(f"{place}: expected the folder that `evonas retrain` wrote, got a file")
    if not place.is_dir():
        raise InputError(f"{place}: there is no such folder or file: give that of a retraining")
    raise InputError(
        f"{place}: expected a folder that `evonas retrain`, `prune` or `quantize` wrote, it holds "
        f"no {_RESULT}"
    )


def refuse_own_folder(target: Path, folder: Path) -> None:
    """Refuse to write results into the folder of the network that they are made from.

    Raises:
        InputError: both folders are one.
    """
    if target.resolve() == folder.resolve():
        raise InputError(f"--out {target}: holds the network itself: choose another folder")


def located(model: Path, network: str, repeat: int | None) -> tuple[Path, str, int | None]:
    """Return the folder of a network, its name and the number of its training.

    Args:
        model: as ``network_folder``; or a file of weights in such a folder.
        network: name of the network; empty where a file of weights says it.
        repeat: number of its training; None where a file of weights says it.

    Raises:
        InputError: no retrained network is there.
    """
    if not model.is_file() or model.name == "best.json":
        return network_folder(model), network, repeat
    if model.suffix != ".safetensors":
        raise InputError(
            f"{model}: expected weights that `evonas retrain` wrote (.safetensors), or a folder, "
            f"got {model.suffix or 'no suffix'!r}"
        )
    if network or repeat is not None:
        raise InputError(f"{model}: says which network is meant: leave out --network and --repeat")
    return (model.parent, *_owner(model))


def _owner(weights: Path) -> tuple[str, int]:
    """Return whose weights a file holds: the network, and the number of its training."""
    file = weights.parent / _RESULT
    content = file_schemas.read(file, Comparison, "the result of `evonas retrain`", ["contenders"])
    for one in content["contenders"]:
        if weights.name in one["weights"]:
            return f"{one['name']} on {one['tap']}", one["weights"].index(weights.name)
    raise InputError(
        f"{weights}: {file} lists no network with these weights: give the file as `evonas retrain` "
        "named it"
    )

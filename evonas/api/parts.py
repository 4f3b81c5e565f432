"""What there is to choose from, of evonas itself and of other packages; data sets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from evonas.core import registry
from evonas.errors import InputError, nearest

if TYPE_CHECKING:
    from evonas.data.base import Dataset

#: Kinds that are files of an experiment or a search space, and their folders.
FILES: Mapping[str, str] = MappingProxyType({"experiment": "experiments", "space": "search_spaces"})


def list_parts(kind: str | None = None) -> dict[str, dict[str, str]]:
    """Return all parts with a line about each, by kind.

    Args:
        kind: ``optimizer``, ``network``, ``block``, ``backbone``, ``data``, ``task``,
            ``executor``, ``logger``, ``experiment`` or ``space``; None: all of them.

    Returns:
        Kind -> name -> what it is, in one line. Of evonas's own parts none is imported; those
        of other packages are, and the line of one that cannot be loaded says why.

    Raises:
        InputError: there is no such kind.

    Examples:
        >>> list(evonas.list_parts("task")["task"])
        ['classification', 'head_pose', 'key_points', 'regression']
    """
    kinds = [*registry.KINDS, *FILES]
    if kind is not None and kind not in kinds:
        raise InputError(f"unknown kind {kind!r}: {nearest(str(kind), kinds)}")
    return {name: _described(name) for name in kinds if kind in (None, name)}


def list_optimizers() -> list[str]:
    """Return the names of the search strategies, sorted; see ``create_optimizer``.

    Examples:
        >>> "cma" in evonas.list_optimizers()
        True
    """
    return registry.names("optimizer")


def list_networks() -> list[str]:
    """Return the names of the network families that a search space may describe, sorted."""
    return registry.names("network")


def list_backbones() -> list[str]:
    """Return the names of the frozen feature extractors, sorted."""
    return registry.names("backbone")


def list_datasets() -> list[str]:
    """Return the names of the readers of data sets, sorted."""
    return registry.names("data")


def list_tasks() -> list[str]:
    """Return the names of the learning problems, sorted."""
    return registry.names("task")


def list_executors() -> list[str]:
    """Return the names of what trains candidates, in this process or on workers, sorted."""
    return registry.names("executor")


def list_loggers() -> list[str]:
    """Return the names of the loggers of a search, sorted."""
    return registry.names("logger")


def list_experiments() -> list[str]:
    """Return the names of the experiments that ``Experiment.load`` finds here, sorted."""
    return sorted(_described("experiment"))


def list_search_spaces() -> list[str]:
    """Return the names of the search spaces that an experiment may name here, sorted."""
    return sorted(_described("space"))


def load_dataset(name: str, **options: Any) -> Dataset:
    """Return a data set: its images, labels, groups and splits.

    Args:
        name: of the reader; see ``list_datasets``.
        options: of the reader, such as ``root="300W_LP"``.

    Returns:
        A ``Dataset``: ``image(i)`` is the (height, width, 3) uint8 RGB of image i, ``labels`` a
        name -> (n, ...) array, ``groups`` (n,) names of persons or source photos, ``splits`` a
        name -> the numbers of its images.

    Raises:
        InputError: there is no such reader or option, or the files are not as they should be.

    Examples:
        >>> faces = evonas.load_dataset("synthetic_faces", identities=10, images_per_identity=1)
        >>> len(faces), faces.image(0).shape
        (10, (64, 64, 3))
    """
    from evonas.core.overrides import as_data

    made: Dataset = registry.create("data", name, as_data(options))
    return made


def _described(kind: str) -> dict[str, str]:
    if kind in registry.KINDS:
        return {name: _summary(kind, name) for name in registry.names(kind)}
    from evonas.core.experiment import places  # of pydantic, which the other lists do without

    files = [path for place in places() for path in sorted((place / FILES[kind]).glob("*.yaml"))]
    return {path.stem: _comment(path.read_text(encoding="utf-8")) for path in reversed(files)}


def _summary(kind: str, name: str) -> str:
    try:
        return registry.summary(kind, name)
    except InputError as error:  # one broken package does not hide the others
        return f"Cannot be loaded: {error}"


def _comment(text: str) -> str:
    first = text.split("\n", 1)[0]
    return first.removeprefix("# ") if first.startswith("#") else ""

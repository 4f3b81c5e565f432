"""Labels of several data sets as those of one: renamed, with equal classes, nan where missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evonas.data.base import Dataset
from evonas.errors import InputError, nearest

_VISIBLE, _UNLABELLED = 2.0, 0.0  # values of ``NAME.v``, see ``Dataset.labels``


@dataclass(frozen=True)
class Columns:
    """Labels of a data set.

    Attributes:
        labels: label name -> (n,) values.
        classes: label name -> names of its classes.
        missing: label name -> message on the first image without it.
    """

    labels: Mapping[str, NDArray[np.float32]]
    classes: Mapping[str, Sequence[str]]
    missing: Mapping[str, str]


def renamed(dataset: Dataset, names: Mapping[str, str]) -> Columns:
    """Return the labels of a data set by other names.

    Args:
        dataset: the data set.
        names: old -> new name of a label, or of a key point, whose labels are renamed together.

    Raises:
        InputError: a label is unknown, or two get the same name.
    """
    points = {label.rpartition(".")[0] for label in dataset.labels} - {""}
    for old in names:
        if old not in dataset.labels and old not in points:
            raise InputError(
                f"data.rename: no label {old!r}: {nearest(old, {*dataset.labels, *points})}"
            )

    def name(label: str) -> str:
        point, dot, part = label.rpartition(".")
        return names.get(label) or (f"{names[point]}{dot}{part}" if point in names else label)

    new = [name(label) for label in dataset.labels]
    for label in new:
        if new.count(label) > 1:
            raise InputError(f"data.rename: expected each label once, got {label!r} twice")
    return Columns(
        {name(label): values for label, values in dataset.labels.items()},
        {name(label): tuple(values) for label, values in dataset.classes.items()},
        {name(label): message for label, message in dataset.missing.items()},
    )


def joined(
    sets: Mapping[str, Columns], sizes: Sequence[int]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, Sequence[str]], dict[str, str]]:
    """Return labels, classes and missing labels of data sets one after the other.

    Args:
        sets: name -> labels of a data set.
        sizes: number of images of each.

    Raises:
        InputError: a label has other classes in one set than in another.
    """
    labels: dict[str, NDArray[np.float32]] = {}
    missing: dict[str, str] = {}
    first = {  # label -> first set that has it
        label: name for name, one in reversed([*sets.items()]) for label in one.labels
    }
    names = dict.fromkeys(label for one in sets.values() for label in one.labels)
    classes = {
        label: sets[first[label]].classes[label]
        for label in names
        if sets[first[label]].classes.get(label)
    }
    for label in names:
        parts = []
        for (name, one), size in zip(sets.items(), sizes, strict=True):
            if label in one.labels:
                known = _indices(label, classes.get(label, ()), first[label], name, one)
                if label in one.missing:
                    missing.setdefault(label, one.missing[label])
            else:
                value = _absent(label, one, {*names})
                known = np.full(size, value, np.float32)
                if np.isnan(value):
                    missing.setdefault(
                        label,
                        f"data: expected the label {label!r} of every image, data set {name!r} "
                        f"has none: learn it beside others in tasks: {{...}}, where labels may be "
                        f"missing, or leave the data set out",
                    )
            parts.append(known)
        labels[label] = np.concatenate(parts)
    return labels, classes, missing


def _absent(label: str, one: Columns, every: set[str]) -> float:
    """Return the value of a label that a data set does not have: nan, except of key points."""
    point, _, part = label.rpartition(".")
    if f"{point}.v" not in every or part not in ("x", "y", "v"):
        return float("nan")
    return _VISIBLE if f"{point}.x" in one.labels else _UNLABELLED


def _indices(
    label: str, classes: Sequence[str], owner: str, name: str, one: Columns
) -> NDArray[np.float32]:
    """Return the values of a label, with the class indices of the first set that has it.

    Raises:
        InputError: the classes are others.
    """
    own = one.classes.get(label, ())
    if sorted(own) != sorted(classes):
        here, there = (", ".join(names) or "quantity" for names in (own, classes))
        raise InputError(
            f"data.datasets.{name}: expected {label!r} to be what it is in {owner!r} ({there}), "
            f"got {here}: write rename: {{{label}: NEW_NAME}} beside the options of {name!r} if it "
            f"is another label, else give both the same classes"
        )
    values = one.labels[label]
    if tuple(own) == tuple(classes):
        return values
    order = np.array([classes.index(value) for value in own], np.float32)
    known = np.isfinite(values)
    changed = values.copy()
    changed[known] = order[values[known].astype(np.intp)]
    return changed

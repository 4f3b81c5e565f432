"""Several data sets as one, for tasks whose labels no single one has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.core import registry
from evonas.data.base import Dataset
from evonas.data.images.cropping import Framing
from evonas.data.readers.union_labels import Columns, joined, renamed
from evonas.errors import InputError, placed

_FORM = "such as {heads: {name: pointing04, root: DIR}, people: {name: image_table, root: DIR}}"
_RENAME = "rename"  # key beside the options of a data set


class Union(Dataset):
    """The images of several data sets, one set after the other, each in its own order.

    Splits, groups and crops are those of each set. A label that a set does not have is missing for
    its images, so tasks that share a network learn from the images that have their labels
    (``Several``). Labels of one name are one label: classes have to be the same, in any order, and
    quantities have to mean the same in the same unit, which is not checked.

    New photos are cropped as those of the first set. An image that is in two sets is refused in
    training: rows of one photo could otherwise be in different splits.

    Args:
        datasets: name -> data set with its options, as in ``{heads: {name: pointing04, root: DIR},
            people: {name: image_table, root: DIR}}``; or a list of them, in which their names are
            those of the readers. ``rename: {OLD: NEW}`` among the options gives labels of the set
            other names.

    Attributes:
        sets: name -> data set.

    Raises:
        InputError: there are fewer than two sets, two of one name, an option is wrong, or a label
            has other classes in one set than in another.
    """

    def __init__(self, *, datasets: dict[str, Any] | tuple[Any, ...]) -> None:
        specs = _named(datasets)
        self.sets: dict[str, Dataset] = {}
        columns: dict[str, Columns] = {}
        for name, spec in specs.items():
            options = {key: value for key, value in spec.items() if key not in ("name", _RENAME)}
            with placed("data", f"data.datasets.{name}"):
                made: Dataset = registry.create("data", spec["name"], options)
                columns[name] = renamed(made, spec.get(_RENAME) or {})
            self.sets[name] = made
        sets, first = self.sets, next(iter(self.sets.values()))
        sizes = [len(one) for one in sets.values()]
        self._starts = np.cumsum([0, *sizes], dtype=np.intp)
        self.labels, self.classes, self.missing = joined(columns, sizes)
        self.groups = np.concatenate(
            [np.array([f"{name}/{group}" for group in one.groups]) for name, one in sets.items()]
        )
        sides = dict.fromkeys(side for one in sets.values() for side in one.splits)
        self.splits = {
            side: np.concatenate(
                [
                    one.splits[side] + start
                    for one, start in zip(sets.values(), self._starts, strict=False)
                    if side in one.splits
                ]
            )
            for side in sides
        }
        self.margin, self.framing = first.margin, first.framing
        self.protocol, self.leaky = (
            "; ".join(f"{name}: {text}" for name, text in texts if text)
            for texts in (
                [(name, one.protocol or specs[name]["name"]) for name, one in sets.items()],
                [(name, one.leaky) for name, one in sets.items()],
            )
        )
        if len({one.framing or Framing(margin=one.margin) for one in sets.values()}) > 1:
            self.protocol += f"; new photos are cropped as those of {next(iter(sets))}"
        self.dropped = {
            f"{name}: {reason}": images
            for name, one in sets.items()
            for reason, images in one.dropped.items()
        }
        content = [
            [name, one.fingerprint, specs[name].get(_RENAME) or {}] for name, one in sets.items()
        ]
        text = "Union" + json.dumps(content, sort_keys=True)
        self.fingerprint = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        self.check()

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return an image as its own data set has it."""
        _, dataset, row = self._place(index)
        return dataset.image(row)

    def margin_of(self, index: int) -> float:
        """Return the margin of an image in its own data set."""
        _, dataset, row = self._place(index)
        return dataset.margin_of(row)

    def describe(self, index: int) -> str:
        """Return the name of an image, after that of its data set."""
        name, dataset, row = self._place(index)
        return f"{name}: {dataset.describe(row)}"

    def image_hashes(self) -> NDArray[np.str_]:
        """Return the hashes of all data sets, (n,)."""
        return self._hashes

    @cached_property
    def _hashes(self) -> NDArray[np.str_]:
        return np.concatenate([one.image_hashes() for one in self.sets.values()])

    def recorded_groups(self) -> NDArray[np.str_]:
        """Return the groups by which each data set recognises its own, (n,)."""
        return np.concatenate([one.recorded_groups() for one in self.sets.values()])

    def sides(self) -> Mapping[str, NDArray[np.intp]]:
        """Return the splits; check that no image is in two data sets.

        Raises:
            InputError: one is, or there is no training or no validation split.
        """
        if self._repeated is not None:
            one, other = map(self.describe, self._repeated)
            raise InputError(
                f"data.datasets: expected each photo in one data set, got {one} as {other} again: "
                f"leave it out of one, or give it all its labels in one table"
            )
        return super().sides()

    @cached_property
    def _repeated(self) -> tuple[int, int] | None:
        """The first two images of one photo that are in different data sets."""
        owners: dict[str, int] = {}
        starts = np.repeat(self._starts[:-1], np.diff(self._starts)).tolist()
        for row, (start, value) in enumerate(zip(starts, self._hashes.tolist(), strict=True)):
            first = owners.setdefault(value, row)
            if first < start:
                return first, row
        return None

    def _place(self, index: int) -> tuple[str, Dataset, int]:
        """Return the data set of an image, with its name, and the image's index there."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        name = [*self.sets][number]
        return name, self.sets[name], index - int(self._starts[number])


def _named(datasets: Mapping[str, Any] | Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Return name -> options of each data set, the reader's name among them.

    Raises:
        InputError: there are fewer than two, two of one name, or one is not of this form.
    """
    if isinstance(datasets, Mapping):
        given = [(str(name), _spec(str(name), value)) for name, value in datasets.items()]
    else:
        specs = [_spec(str(number), value) for number, value in enumerate(datasets)]
        given = [(str(spec["name"]), spec) for spec in specs]
    names = [name for name, _ in given]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"data.datasets: expected each name once, got {name!r} twice: give them names, "
                f"{_FORM}"
            )
        if not name.isidentifier():
            raise InputError(
                f"data.datasets: expected names of letters, digits and _, got {name!r}: rename it"
            )
    if len(names) < 2:
        raise InputError(
            f"data.datasets: expected two or more data sets, {_FORM}, got "
            f"{', '.join(names) or 'none'}: name a single one in data.name"
        )
    return dict(given)


def _spec(name: str, given: Any) -> dict[str, Any]:
    spec = {"name": given} if isinstance(given, str) else given
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        raise InputError(
            f"data.datasets.{name}: expected a data set with its name, {_FORM}, got {given!r}"
        )
    names = spec.get(_RENAME) or {}
    if not isinstance(names, Mapping) or not all(isinstance(new, str) for new in names.values()):
        raise InputError(
            f"data.datasets.{name}.{_RENAME}: expected {{OLD: NEW}} names of labels, got {names!r}"
        )
    return {str(key): value for key, value in spec.items()}

"""Parts of the training images, each held out once: whole groups, wherever that can work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evonas.deployment.probing.targets import Target
from evonas.errors import InputError

Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Folds:
    """Who is held out when.

    Attributes:
        owner: (n,) number of the fold that holds an image out.
        count: of folds.
        note: why images were dealt and not groups; empty where groups were.
    """

    owner: Indices
    count: int
    note: str = ""

    def __iter__(self) -> Iterator[tuple[Indices, Indices]]:
        """Yield indices of the images to fit to and of those held out, a pair a fold."""
        for fold in range(self.count):
            held_out = self.owner == fold
            yield np.flatnonzero(~held_out), np.flatnonzero(held_out)


def deal(groups: NDArray[np.str_], target: Target, folds: int) -> Folds:
    """Deal groups to folds, the largest first, each to the fold with the fewest images.

    Images are dealt instead where there are fewer groups than folds, and where every class
    stands in a group of its own (the identity), so that who is held out would be unknown.

    Args:
        groups: (n,) the person, or source photo, of each image.
        target: of the same images.
        folds: how many, at least 2.

    Raises:
        InputError: there are fewer images than folds.
    """
    if len(groups) < folds:
        raise InputError(
            f"probe.folds={folds}: {target.name!r} has only {len(groups)} training images: "
            f"use fewer folds, or leave the label out"
        )
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    own = target.classes and len(set(zip(target.numbers, inverse, strict=True))) == len(
        set(target.numbers.tolist())
    )
    if own or len(names) < folds:
        reason = "each class is in one group" if own else f"only {len(names)} group(s)"
        owner = np.empty(len(groups), np.intp)
        owner[np.argsort(inverse, kind="stable")] = np.arange(len(groups)) % folds
        note = f"folds over images, not groups ({reason}): the error flatters"
        return Folds(owner, folds, note)
    sizes, dealt = np.zeros(folds, np.intp), np.empty(len(names), np.intp)
    for group in np.argsort(-counts, kind="stable"):
        dealt[group] = sizes.argmin()
        sizes[dealt[group]] += counts[group]
    return Folds(dealt[inverse], folds)

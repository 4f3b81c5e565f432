"""Folds of the training images for cross-validation, by groups (persons) if possible."""

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
    """An assignment of images to folds.

    Attributes:
        owner: (n,) number of the fold in which each image is held out.
        count: number of folds.
        note: why single images were assigned; empty if groups were.
    """

    owner: Indices
    count: int
    note: str = ""

    def __iter__(self) -> Iterator[tuple[Indices, Indices]]:
        """Yield (indices of the images to fit, indices of those held out) for each fold."""
        for fold in range(self.count):
            held_out = self.owner == fold
            yield np.flatnonzero(~held_out), np.flatnonzero(held_out)


def deal(groups: NDArray[np.str_], target: Target, folds: int) -> Folds:
    """Assign groups to folds, the largest first, each to the fold with the fewest images.

    Single images are assigned instead if there are fewer groups than folds, or if every class
    occurs in one group only (such as the identity), since a held-out class cannot be learnt.

    Args:
        groups: (n,) person, or source photo, of each image.
        target: label of the same images.
        folds: number of folds, at least 2.

    Raises:
        InputError: there are fewer images than folds.
    """
    if len(groups) < folds:
        raise InputError(
            f"probe.folds={folds}: {target.name!r} has only {len(groups)} training images: "
            f"use fewer folds, or leave the label out"
        )
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    one_group_each = target.classes and len(set(zip(target.numbers, inverse, strict=True))) == len(
        set(target.numbers.tolist())
    )
    if one_group_each or len(names) < folds:
        reason = "each class is in one group" if one_group_each else f"only {len(names)} group(s)"
        owner = np.empty(len(groups), np.intp)
        owner[np.argsort(inverse, kind="stable")] = np.arange(len(groups)) % folds
        note = f"folds over images, not groups ({reason}): the error is too low"
        return Folds(owner, folds, note)
    sizes, fold_of = np.zeros(folds, np.intp), np.empty(len(names), np.intp)
    for group in np.argsort(-counts, kind="stable"):
        fold_of[group] = sizes.argmin()
        sizes[fold_of[group]] += counts[group]
    return Folds(fold_of[inverse], folds)

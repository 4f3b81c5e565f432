"""Folds of a cross-validation: of groups, of images, or one for each group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from evonas.data.base import Dataset
from evonas.errors import InputError, nearest
from evonas.estimation.estimator import Split

#: What folds consist of: ``group``, whole groups dealt to the folds in sorted order; ``image``,
#: images drawn at random; ``each-group``, one fold for each group (leave one out).
PROTOCOLS = ("group", "image", "each-group")


@dataclass(frozen=True)
class Folds:
    """Folds of a cross-validation.

    Attributes:
        by: what they consist of, one of ``PROTOCOLS``.
        splits: ``fold 1``, ``fold 2``, ... -> split; every image is held out once.
        warning: why errors flatter; empty unless images of one group train and judge.
    """

    by: str
    splits: dict[str, Split]
    warning: str = ""

    @property
    def count(self) -> int:
        """Number of folds."""
        return len(self.splits)

    @property
    def images(self) -> int:
        """Number of images, of all folds."""
        return sum(len(split.validation) for split in self.splits.values())

    @property
    def folder(self) -> str:
        """Name of the folder of results, its own for each protocol."""
        return "cross-validation" if self.by == "group" else f"cross-validation-{self.by}"


def check_protocol(folds: int, fold_by: str) -> None:
    """Refuse an unknown protocol, and one that lacks the number of folds.

    Args:
        folds: number of folds; 0: not given.
        fold_by: one of ``PROTOCOLS``; empty: not given.

    Raises:
        InputError: as above.
    """
    if fold_by and fold_by not in PROTOCOLS:
        raise InputError(f"unknown --fold-by {fold_by!r}: {nearest(fold_by, PROTOCOLS)}")
    if fold_by in ("group", "image") and not folds:
        raise InputError(f"--fold-by {fold_by}: expected --folds N beside it, got none")


def make_folds(dataset: Dataset, folds: int, fold_by: str, seed: int) -> Folds:
    """Return the folds of a cross-validation over training and validation images.

    Args:
        dataset: a test split of it is left out.
        folds: number of folds; 0 where every group is one.
        fold_by: one of ``PROTOCOLS``; empty: ``group``, also where every image is its own group.
        seed: of the draw by image; the other protocols draw nothing.

    Raises:
        InputError: the protocol is unknown, the data set has no groups, or not so many groups or
            images.
    """
    check_protocol(folds, fold_by)
    sides = dataset.sides()
    seen = np.union1d(sides["train"], sides["validation"])
    groups = np.unique(dataset.groups[seen])
    if fold_by in ("group", "each-group") and len(groups) == len(seen):
        raise InputError(
            f"--fold-by {fold_by}: expected a data set with groups, in this one every image is its "
            f"own: take --fold-by image"
        )
    if fold_by == "each-group" and folds not in (0, len(groups)):
        raise InputError(
            f"--folds {folds} with --fold-by each-group: expected {len(groups)}, the number of "
            f"groups, or no --folds"
        )
    folds = len(groups) if fold_by == "each-group" else folds
    units, what = (len(seen), "images") if fold_by == "image" else (len(groups), "groups")
    if not 2 <= folds <= units:
        raise InputError(f"--folds {folds}: expected 2 to {units}, the number of {what}")
    if fold_by == "image":
        parts = np.array_split(np.random.default_rng(seed).permutation(seen), folds)
    else:
        parts = [
            seen[np.isin(dataset.groups[seen], part)] for part in np.array_split(groups, folds)
        ]
    splits = {
        f"fold {number}": Split(np.setdiff1d(seen, part), np.sort(part))
        for number, part in enumerate(parts, start=1)
    }
    return Folds(fold_by or "group", splits, _warning(dataset, splits))


def final_fold(number: int) -> str:
    """Return the name of the split of a fold of the finals, from 1."""
    return f"final fold {number}"


def finals_folds(dataset: Dataset, most: int, seed: int) -> list[Split]:
    """Return the folds on which the finals of a search judge their networks.

    The training images are dealt to folds of about as many images as the validation split, whole
    groups together. All other images of training and validation train.

    Args:
        dataset: a test split of it is left out.
        most: number of folds that are needed.
        seed: of the deal.

    Returns:
        Disjoint validation images, none of them in the validation split of the search; the first
        folds are the same for any ``most``. Empty: the images do not make two folds.
    """
    sides = dataset.sides()
    train, validation = sides["train"], sides["validation"]
    groups, sizes = np.unique(dataset.groups[train], return_counts=True)
    count = min(round(len(train) / len(validation)), len(groups))
    if count < 2:
        return []
    order = np.random.default_rng(seed).permutation(len(groups))
    filled, fold_of = np.zeros(count, np.intp), np.empty(len(groups), np.intp)
    for place in order[np.argsort(-sizes[order], kind="stable")]:  # the largest first
        fold_of[place] = np.argmin(filled)
        filled[fold_of[place]] += sizes[place]
    fold_of_image = fold_of[np.searchsorted(groups, dataset.groups[train])]
    parts = [train[fold_of_image == number] for number in range(min(count, most))]
    return [Split(np.setdiff1d(np.union1d(train, validation), part), part) for part in parts]


def _warning(dataset: Dataset, splits: Mapping[str, Split]) -> str:
    """Return a warning if images of one group train and judge; empty if none do."""
    groups = dataset.groups
    if not any(np.isin(groups[s.validation], groups[s.train]).any() for s in splits.values()):
        return ""
    return (
        "persons are shared between folds (images of one group train and judge): these errors say "
        "nothing about persons that training did not see"
    )

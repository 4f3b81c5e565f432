"""Random splits of images into training, validation and test, by group or by image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError

Splits = dict[str, NDArray[np.intp]]


def by_group(groups: NDArray[np.str_], shares: Mapping[str, float], seed: int = 0) -> Splits:
    """Assign whole groups to the splits so that each has about its share of the images.

    Args:
        groups: (n,) name of each image's group.
        shares: split -> share of the images; they sum to 1.
        seed: seed of the random order of the groups.

    Returns:
        split -> sorted indices; no group is in two splits.

    Raises:
        InputError: there are fewer groups than splits.
    """
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < len(shares):
        raise InputError(
            f"data: expected at least {len(shares)} groups for {', '.join(shares)}, got "
            f"{len(names)}: add groups, or give the split of each image"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    middles = np.cumsum(counts[order]) - counts[order] / 2  # the middle of a group decides
    limits = np.cumsum(list(shares.values())) * len(groups)
    assigned = np.minimum(np.searchsorted(limits, middles, side="right"), len(shares) - 1)
    for split in range(len(shares)):  # a split left empty by rounding takes the nearest group
        if not (assigned == split).any():
            spare = [i for i in range(len(names)) if (assigned == assigned[i]).sum() > 1]
            assigned[min(spare, key=lambda i: abs(int(assigned[i]) - split))] = split
    owner = np.empty(len(names), np.intp)
    owner[order] = assigned
    return {split: np.flatnonzero(owner[inverse] == k) for k, split in enumerate(shares)}


def at_random(n: int, shares: Mapping[str, float], seed: int = 0) -> Splits:
    """Assign single images to the splits; leaky if images share a person or photo."""
    return by_group(np.arange(n).astype(str), shares, seed)

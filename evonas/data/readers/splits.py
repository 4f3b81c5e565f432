"""Ways to divide images into training, validation and test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError

Splits = dict[str, NDArray[np.intp]]


def by_group(groups: NDArray[np.str_], shares: Mapping[str, float], seed: int = 0) -> Splits:
    """Deal whole groups to the sides until each has its share of the images.

    Args:
        groups: (n,) name of each image's group.
        shares: side -> share of the images; they sum to 1.
        seed: of the order in which groups are dealt.

    Returns:
        side -> sorted indices; no group is on two sides.

    Raises:
        InputError: there are fewer groups than sides.
    """
    names, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    if len(names) < len(shares):
        raise InputError(
            f"data: {len(names)} group(s) cannot be split into {', '.join(shares)}: "
            f"give more groups, or say which image belongs to which split"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    ends = np.cumsum(counts[order]) - counts[order] / 2  # a group goes where its middle falls
    limits = np.cumsum(list(shares.values())) * len(groups)
    dealt = np.minimum(np.searchsorted(limits, ends, side="right"), len(shares) - 1)
    for side in range(len(shares)):  # a side that rounding left empty takes the nearest group
        if not (dealt == side).any():
            spare = [i for i in range(len(names)) if (dealt == dealt[i]).sum() > 1]
            dealt[min(spare, key=lambda i: abs(int(dealt[i]) - side))] = side
    owner = np.empty(len(names), np.intp)
    owner[order] = dealt
    return {side: np.flatnonzero(owner[inverse] == k) for k, side in enumerate(shares)}


def at_random(n: int, shares: Mapping[str, float], seed: int = 0) -> Splits:
    """Deal single images: leaky wherever two images show the same person or photo."""
    return by_group(np.arange(n).astype(str), shares, seed)

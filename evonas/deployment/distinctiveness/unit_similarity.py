"""Distinctiveness: find units of a layer with similar or opposite functions, and merge them.

T. D. Gedeon and D. Harris (1991), Network reduction techniques: the vector of a hidden unit is
its output over the pattern set, scaled to 0..1, minus one half. Two units whose vectors are
less than 15 degrees apart are similar: one is removed, and its weights are added to those of
the other. Above 165 degrees they are complementary, and both are removed. A unit whose vector
has length 0 is constant, and is removed. Singhi ("Facial recognition with neural network and
transfer learning") uses rows of weights as vectors instead.

A unit j is an input of a linear layer y = b + sum_j a_j w_j: a_j is its activation for a
pattern, w_j its column of weights. Pairs are formed greedily in the order of units, and each
unit is in at most one pair. This module works on arrays; ``linear_layers`` applies it to
networks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Vectors = Literal["weights", "activations"]
Merge = Literal["literal", "exact"]
Matrix = NDArray[np.floating[Any]]

VECTORS: tuple[Vectors, ...] = get_args(Vectors)
MERGES: tuple[Merge, ...] = get_args(Merge)
#: Degrees below which units are similar, and above which they are complementary.
SIMILAR, COMPLEMENTARY = 15.0, 165.0

_NOTHING = 1e-6  # length of a vector, relative size of a column, or range that counts as zero
_ROWS = 256  # number of rows of the matrix of angles in memory at once


@dataclass(frozen=True)
class Relations:
    """Related units of a layer.

    Attributes:
        similar, complementary: disjoint pairs (i, j), i < j.
        zero: units whose vectors have length 0.
        similar_pairs, complementary_pairs: numbers of all pairs, including those that share
            units.
    """

    similar: tuple[tuple[int, int], ...]
    complementary: tuple[tuple[int, int], ...]
    zero: tuple[int, ...]
    similar_pairs: int
    complementary_pairs: int

    def removed(self, how: Merge) -> int:
        """Return the number of units that a merge removes (an exact merge may remove more)."""
        of_complementary = 2 if how == "literal" else 1
        return len(self.similar) + of_complementary * len(self.complementary) + len(self.zero)


@dataclass(frozen=True)
class Merged:
    """The weights of a linear layer without the removed units.

    Attributes:
        kept: (k,) indices of the kept units, rising.
        weight: (n_out, k) weight.
        bias: (n_out,) bias.
    """

    kept: NDArray[np.intp]
    weight: Matrix
    bias: Matrix


def vectors(kind: Vectors, weight: Matrix, activations: Matrix) -> Matrix:
    """Return the vectors of a layer's units, (n_units, d), within -0.5..0.5.

    Weights are scaled to 0..1 as one matrix, as in Singhi. Activations are scaled for each unit:
    the sigmoid units of Gedeon and Harris have the same range, but other units do not, and one
    unit with large outputs would make all others appear equal. Constant units become 0.

    Args:
        kind: ``weights`` or ``activations``.
        weight: (n_out, n_units) weight of the layer.
        activations: (patterns, n_units) inputs of the layer.
    """
    raw = (weight if kind == "weights" else activations).T.astype(np.float64)
    axis = None if kind == "weights" else 1
    low, high = raw.min(axis=axis, keepdims=True), raw.max(axis=axis, keepdims=True)
    span = high - low
    flat = span <= _NOTHING * np.maximum(np.abs(low), np.abs(high))
    scaled: Matrix = np.where(flat, 0.0, (raw - low) / np.where(flat, 1.0, span) - 0.5)
    return scaled


def relations(
    vectors: Matrix, similar: float = SIMILAR, complementary: float = COMPLEMENTARY
) -> Relations:
    """Return the similar, complementary and constant units of a layer.

    Args:
        vectors: (n_units, d) vectors of the units.
        similar, complementary: limits of the angles, in degrees.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    zero = lengths <= _NOTHING
    unit = vectors / np.where(zero, 1.0, lengths)[:, None]
    unit[zero] = 0.0  # an angle of 90 degrees to all vectors
    free = ~zero
    pairs: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    counts = [0, 0]
    for i, cosines in _angles(unit.astype(np.float32)):
        alike = cosines > np.cos(np.radians(similar))
        opposed = cosines < np.cos(np.radians(complementary))
        counts[0] += int(alike.sum())
        counts[1] += int(opposed.sum())
        candidates = (alike | opposed) & free[i + 1 :]
        if free[i] and candidates.any():
            first = int(candidates.argmax())
            pairs[bool(alike[first])].append((i, i + 1 + first))
            free[[i, i + 1 + first]] = False
    constant = tuple(int(unit) for unit in np.flatnonzero(zero))
    return Relations(tuple(pairs[True]), tuple(pairs[False]), constant, counts[0], counts[1])


def merge(
    how: Merge, weight: Matrix, bias: Matrix, activations: Matrix, related: Relations
) -> Merged:
    """Return a layer without the units that related units make superfluous.

    ``literal``, as published: for similar units w_i += w_j, and j is removed; both complementary
    units and all constant units are removed. The outputs change unless a_j = a_i, or
    a_i w_i + a_j w_j = 0.

    ``exact``: for similar and complementary units, a_j is replaced by its linear regression
    c a_i + k over the patterns, c = cov(a_i, a_j) / var(a_i), k = mean(a_j) - c mean(a_i);
    so w_i += c w_j, b += k w_j, and j is removed. The outputs change by (a_j - c a_i - k) w_j,
    which is 0 if the regression is exact, that is, if vectors of activations are at 0 or 180
    degrees. A scaled copy, a_j = c a_i, is the case k = 0 (and c = <a_j, a_i> / <a_i, a_i>); a
    constant sum, a_i + a_j = k, is the case c = -1, in which i is removed as well if the new w_i
    is 0. Constant units are added to the bias: b += mean(a) w.

    Args:
        how: ``literal`` or ``exact``.
        weight: (n_out, n_units) weight of the layer.
        bias: (n_out,) bias of the layer.
        activations: (patterns, n_units) inputs of the layer.
        related: related units of the layer.

    Returns:
        The layer; if all units would be removed, the first unit is kept with weights of 0.
    """
    columns, offset = weight.T.astype(np.float64), bias.astype(np.float64)
    keep = np.ones(len(columns), bool)
    keep[list(related.zero)] = False
    if how == "literal":
        for i, j in related.similar:
            columns[i] += columns[j]
            keep[j] = False
        for pair in related.complementary:
            keep[list(pair)] = False
    else:
        means = activations.mean(0, dtype=np.float64)
        for unit in related.zero:
            offset += means[unit] * columns[unit]
        for i, j in (*related.similar, *related.complementary):
            a_i, a_j = (activations[:, unit] - means[unit] for unit in (i, j))
            if a_i @ a_i <= (_NOTHING * means[i]) ** 2 * len(a_i):  # unit i is constant: remove it
                i, j, a_i, a_j = j, i, a_j, a_i
            square = float(a_i @ a_i)
            slope = float(a_i @ a_j) / square if square else 0.0
            before = np.linalg.norm(columns[i])
            columns[i] += slope * columns[j]
            offset += (means[j] - slope * means[i]) * columns[j]
            keep[j] = False
            if np.linalg.norm(columns[i]) <= _NOTHING * before:
                keep[i] = False
    if not keep.any():
        keep[0] = True
        columns[0] = 0.0
    kept = np.flatnonzero(keep)
    return Merged(kept, columns[kept].T.astype(weight.dtype), offset.astype(bias.dtype))


def _angles(unit: Matrix) -> Iterator[tuple[int, Matrix]]:
    """Yield i and the cosines of the angles between unit i and all later units."""
    for start in range(0, len(unit), _ROWS):
        block = unit[start : start + _ROWS] @ unit[start:].T
        for row in range(len(block)):
            yield start + row, block[row, row + 1 :]

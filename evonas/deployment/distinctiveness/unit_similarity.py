"""Distinctiveness: units of a layer that do what others do, or the opposite, and their removal.

T. D. Gedeon and D. Harris (1991), Network reduction techniques: the vector of a hidden unit is
its output over the pattern set, scaled to 0..1, minus one half. Two units whose vectors are
less than 15 degrees apart are similar: one is removed, and its weights are added to those of
the other. Beyond 165 degrees they are complementary: both are removed. A vector of no length
says nothing: the unit is removed. Singhi ("Facial recognition with neural network and transfer
learning") takes rows of weights for these vectors instead.

A unit j is an input of a linear layer y = b + sum_j a_j w_j: a_j is what it gives for a
pattern, w_j its column of weights. Pairs are found greedily in the order of units, each unit
in one pair at most. Everything here is of plain arrays; ``linear_units`` applies it to modules.
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
#: Degrees below which units are similar, and beyond which complementary.
SIMILAR, COMPLEMENTARY = 15.0, 165.0

_NOTHING = 1e-6  # length of a vector, relative size of a column, or range that counts as zero
_ROWS = 256  # of the matrix of angles that are held at once


@dataclass(frozen=True)
class Relations:
    """How the units of a layer are related.

    Attributes:
        similar, complementary: pairs (i, j), i < j, each unit in one at most.
        zero: units whose vectors have no length.
        similar_pairs, complementary_pairs: how many pairs there are, whatever they share.
    """

    similar: tuple[tuple[int, int], ...]
    complementary: tuple[tuple[int, int], ...]
    zero: tuple[int, ...]
    similar_pairs: int
    complementary_pairs: int

    def removed(self, how: Merge) -> int:
        """Return how many units a merge removes (an exact one may remove more)."""
        both = 2 if how == "literal" else 1
        return len(self.similar) + both * len(self.complementary) + len(self.zero)


@dataclass(frozen=True)
class Merged:
    """A linear layer without the units that were removed.

    Attributes:
        kept: (k,) numbers of the units that are left, rising.
        weight: (n_out, k).
        bias: (n_out,).
    """

    kept: NDArray[np.intp]
    weight: Matrix
    bias: Matrix


def vectors(kind: Vectors, weight: Matrix, activations: Matrix) -> Matrix:
    """Return the vectors of a layer's units, (n_units, d), within -0.5..0.5.

    Weights are scaled to 0..1 as one matrix, as Singhi has it. Activations are scaled unit
    by unit: sigmoid units, which Gedeon and Harris had, share a range, others do not, and one
    unit with large outputs would make all others look the same. What never changes has no
    range, and becomes zero.

    Args:
        kind: what they are made of.
        weight: of the layer, (n_out, n_units).
        activations: what enters the layer, (patterns, n_units).
    """
    raw = (weight if kind == "weights" else activations).T.astype(np.float64)
    axis = None if kind == "weights" else 1
    low, high = raw.min(axis=axis, keepdims=True), raw.max(axis=axis, keepdims=True)
    span = high - low
    flat = span <= _NOTHING * np.maximum(np.abs(low), np.abs(high))
    found: Matrix = np.where(flat, 0.0, (raw - low) / np.where(flat, 1.0, span) - 0.5)
    return found


def relations(
    vectors: Matrix, similar: float = SIMILAR, complementary: float = COMPLEMENTARY
) -> Relations:
    """Return which units are similar, complementary, or zero.

    Args:
        vectors: (n_units, d).
        similar, complementary: angles, degrees.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    zero = lengths <= _NOTHING
    unit = vectors / np.where(zero, 1.0, lengths)[:, None]
    unit[zero] = 0.0  # at 90 degrees to everything
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
            place = int(candidates.argmax())
            pairs[bool(alike[place])].append((i, i + 1 + place))
            free[[i, i + 1 + place]] = False
    gone = tuple(int(unit) for unit in np.flatnonzero(zero))
    return Relations(tuple(pairs[True]), tuple(pairs[False]), gone, counts[0], counts[1])


def merge(
    how: Merge, weight: Matrix, bias: Matrix, activations: Matrix, related: Relations
) -> Merged:
    """Return a layer without the units that their relations make superfluous.

    ``literal``, as published: w_i += w_j of similar units, j goes; both complementary units
    go; so do zero ones. It changes the outputs unless a_j = a_i, or a_i w_i + a_j w_j = 0.

    ``exact``: a_j is replaced by the line c a_i + k that fits it best over the patterns,
    c = cov(a_i, a_j) / var(a_i), k = mean(a_j) - c mean(a_i); so w_i += c w_j, b += k w_j, and
    j goes, for similar and for complementary units alike. Outputs change by
    (a_j - c a_i - k) w_j: by nothing where a_j is such a line, which vectors of activations at 0
    or 180 degrees say, and vectors of weights do not. A scaled copy, a_j = c a_i, is the case
    k = 0 (and c = <a_j, a_i> / <a_i, a_i>); a constant sum, a_i + a_j = k, the case c = -1, in
    which i goes as well if nothing is left of w_i. Zero units are constants: b += mean(a) w.

    Args:
        how: one of the two.
        weight: (n_out, n_units), and
        bias: (n_out,) of the layer.
        activations: what enters it, (patterns, n_units).
        related: its units.

    Returns:
        The layer; if no unit were left, the first, with weights of zero.
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
            one, other = (activations[:, unit] - means[unit] for unit in (i, j))
            if one @ one <= (_NOTHING * means[i]) ** 2 * len(one):  # i never changes: it goes
                i, j, one, other = j, i, other, one
            square = float(one @ one)
            slope = float(one @ other) / square if square else 0.0
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
    """Yield i and the cosines of the angles from unit i to those behind it."""
    for start in range(0, len(unit), _ROWS):
        block = unit[start : start + _ROWS] @ unit[start:].T
        for row in range(len(block)):
            yield start + row, block[row, row + 1 :]

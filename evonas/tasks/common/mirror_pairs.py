"""Pairs of key points or classes, by name, that are exchanged in a mirrored image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError

_PREFIXES = (("left_", "right_"), ("right_", "left_"), ("l_", "r_"), ("r_", "l_"))
_SUFFIXES = (("_left", "_right"), ("_right", "_left"))
_WORDS = {"left": "right", "right": "left"}


def named_pairs(points: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of left and right points, recognised by their names.

    Raises:
        InputError: a point's name has a side, but the point of the other side is missing.
    """
    pairs: list[tuple[str, str]] = []
    for point in points:
        partner = partner_of(point)
        if partner not in points:
            raise InputError(
                f"task.points: {point!r} needs {partner!r} for mirrored images, got "
                f"{', '.join(points)}: learn both, or name the pairs in task.pairs"
            )
        if partner != point and (partner, point) not in pairs:
            pairs.append((point, partner))
    return tuple(pairs)


def partner_of(point: str) -> str:
    """Return a name with left and right exchanged; the name itself if it has no side.

    Examples: ``left_eye`` and ``right_eye``, ``r_hip`` and ``l_hip``, ``eye_left`` and
    ``eye_right``, ``left`` and ``right``.
    """
    if point in _WORDS:
        return _WORDS[point]
    for own, other in _PREFIXES:
        if point.startswith(own):
            point = other + point.removeprefix(own)
            break
    for own, other in _SUFFIXES:
        if point.endswith(own):
            return point.removesuffix(own) + other
    return point


def mirrored_places(
    names: Sequence[str], pairs: tuple[tuple[str, str], ...] | None
) -> NDArray[np.intp]:
    """Return the index of the class, or label, that each becomes in a mirrored image.

    Args:
        names: of the classes or labels.
        pairs: those that are exchanged; None: those that differ in left and right alone.

    Raises:
        InputError: see ``checked_pairs``.
    """
    partners = {name: partner_of(name) for name in names if partner_of(name) in names}
    if pairs is not None:
        checked = checked_pairs(pairs, names)
        partners = {left: right for pair in checked for left, right in (pair, pair[::-1])}
    return np.array([names.index(partners.get(name, name)) for name in names], np.intp)


def checked_pairs(
    pairs: Sequence[tuple[str, str]], names: Sequence[str]
) -> tuple[tuple[str, str], ...]:
    """Return the pairs of the option ``task.pairs``.

    Raises:
        InputError: a member of a pair is not among ``names``, or occurs twice.
    """
    members = [name for pair in pairs for name in pair]
    if len(set(members)) != len(members) or not set(members) <= set(names):
        raise InputError(
            f"task.pairs: expected pairs of {', '.join(names)}, each name once at most, "
            f"got {[list(pair) for pair in pairs]}"
        )
    return tuple((left, right) for left, right in pairs)

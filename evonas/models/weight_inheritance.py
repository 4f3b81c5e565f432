"""Weights of one network as the start of another of the same family, as far as they overlap.

McNally et al. (2021, arXiv 2011.08446) start children of an evolutionary search from their
parents. Tensors meet by name; where shapes differ, the common part is copied: kernels from
centre to centre, channels from the first on. All else stays as it was initialised. It does
not preserve the function, as network morphisms do (Chen et al. 2016, arXiv 1511.05641).

Three things differ from the published code: a kernel that changes its size alone is copied as
well, where that code leaves it at random; an added repeat takes after the last one of its own
stage, not of the network; and added entries of vectors (norms, biases) stay fresh, where that code
writes the mean of the parent's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from evonas.errors import InputError
from evonas.models.files.safetensors_files import load_file

Shape = tuple[int, ...]

#: A repeat: the name of its stage, its number, and the part of it; see ``networks.Network``.
_REPEAT = re.compile(r"((?:.*\.)?stage\d+(?:_\w+)?)\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Inherited:
    """How much of a network came from its parent.

    Attributes:
        copied: numbers.
        total: numbers of its parameters and statistics.
    """

    copied: int
    total: int

    @property
    def share(self) -> float:
        """Copied numbers as a share of all, 0..1."""
        return self.copied / self.total if self.total else 0.0


def inherit(child: nn.Module, parent: Mapping[str, Tensor]) -> Inherited:
    """Copy what a child has in common with its parent.

    A repeat that the parent has not takes after the last one that it has of the same stage.

    Args:
        child: with fresh weights; changed in place, batch-norm statistics too.
        parent: its state, name -> tensor.
    """
    own = child.state_dict()
    copied = 0
    with torch.no_grad():
        for name, origin in _pairs(own, parent):
            copied += _copied(own[name], parent[origin])
    return Inherited(copied, sum(tensor.numel() for tensor in own.values()))


def heritable(child: Mapping[str, Shape], parent: Mapping[str, Shape]) -> Inherited:
    """Return what ``inherit`` would copy, from the shapes of both states alone."""
    copied = sum(
        math.prod(map(min, child[name], parent[origin]))
        for name, origin in _pairs(child, parent)
        if len(child[name]) == len(parent[origin])
    )
    return Inherited(copied, sum(map(math.prod, child.values())))


def shapes(state: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Return the shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _copied(own: Tensor, other: Tensor) -> int:
    """Copy the part that two tensors have in common into the first; return how many numbers.

    Of kernels (dimensions from the third on) the centres meet, else the first places: with
    O and I common channels and side k of the smaller kernel, O I k^2 numbers are copied.
    Tensors of different dimensions have nothing in common.
    """
    if own.ndim != other.ndim:
        return 0
    into, source = [], []
    for dim, (mine, theirs) in enumerate(zip(own.shape, other.shape, strict=True)):
        size = min(mine, theirs)
        first = ((mine - size) // 2, (theirs - size) // 2) if dim >= 2 else (0, 0)
        into.append(slice(first[0], first[0] + size))
        source.append(slice(first[1], first[1] + size))
    part = own[tuple(into)]
    part.copy_(other[tuple(source)])
    return part.numel()


def read_parent(file: str | Path) -> dict[str, Tensor]:
    """Return the state of a parent, on the CPU.

    Raises:
        InputError: the file is missing, or damaged.
    """
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        reason = str(error).split("\n", 1)[0]
        raise InputError(
            f"{file}: expected the weights of a parent, got none ({reason})"
        ) from error


def _pairs(child: Iterable[str], parent: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each name of the child that has an origin in the parent, and the origin."""
    last = _last_repeats(parent)
    for name in child:
        origin = name
        if name not in parent and (found := _REPEAT.fullmatch(name)):
            stage, _, part = found.groups()
            origin = f"{stage}.{last.get((stage, part))}.{part}"
        if origin in parent:
            yield name, origin


def _last_repeats(parent: Iterable[str]) -> dict[tuple[str, str], int]:
    """Return, for each part of each stage, the number of the last repeat that has it."""
    found: dict[tuple[str, str], int] = {}
    for name in parent:
        if match := _REPEAT.fullmatch(name):
            stage, number, part = match.groups()
            found[stage, part] = max(int(number), found.get((stage, part), 0))
    return found

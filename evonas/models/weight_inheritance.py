"""Copy the weights of a parent network to a child of the same family, as far as they overlap.

McNally et al. (2021, arXiv 2011.08446) initialise the children of an evolutionary search with
the weights of their parents. Tensors are matched by name; if their shapes differ, the common
part is copied: kernels aligned at their centres, channels from the first on. All other values
keep their initialisation. Unlike network morphisms (Chen et al. 2016, arXiv 1511.05641), this
does not preserve the function of the parent.

There are three differences from the published code. A kernel of another size is copied even if
nothing else changed; that code leaves it random. An added block of a stage inherits from the
last block of the same stage, not of the network. Added entries of vectors (norms, biases) keep
their initialisation; that code sets them to the mean of the parent's entries.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from evonas.errors import InputError
from evonas.models.files.safetensors_files import load_file
from evonas.space import Architecture

Shape = tuple[int, ...]

#: Weight of a block: name of the stage, number of the block, name within the block; see
#: ``models.networks.base.Network``.
_BLOCK_WEIGHT = re.compile(r"((?:.*\.)?stage\d+(?:_\w+)?)\.(\d+)\.(.+)")


@dataclass(frozen=True)
class Inherited:
    """The number of values that a network inherited from its parent.

    Attributes:
        copied: values that were copied.
        total: values of the network's parameters and batch-norm statistics.
    """

    copied: int
    total: int

    @property
    def share(self) -> float:
        """Copied values as a fraction of all, 0..1."""
        return self.copied / self.total if self.total else 0.0


def inherit(child: nn.Module, parent: Mapping[str, Tensor]) -> Inherited:
    """Copy a parent's weights into a child, as far as names and shapes overlap.

    A block that the parent lacks inherits from the parent's last block of the same stage.

    Args:
        child: network with initial weights; changed in place, including batch-norm statistics.
        parent: state dictionary of the parent, name -> tensor.
    """
    own = child.state_dict()
    copied = 0
    with torch.no_grad():
        for name, origin in _pairs(own, parent):
            copied += _copy_overlap(own[name], parent[origin])
    return Inherited(copied, sum(tensor.numel() for tensor in own.values()))


def heritable(child: Mapping[str, Shape], parent: Mapping[str, Shape]) -> Inherited:
    """Return what ``inherit`` would copy, computed from the shapes of both state dictionaries."""
    copied = sum(
        math.prod(map(min, child[name], parent[origin]))
        for name, origin in _pairs(child, parent)
        if len(child[name]) == len(parent[origin])
    )
    return Inherited(copied, sum(map(math.prod, child.values())))


def shapes(state: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Return the shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def of_the_outputs(
    build: Callable[[Architecture, tuple[int, int, int], int], nn.Module],
    architecture: Architecture,
    in_shape: tuple[int, int, int],
    n_outputs: int,
) -> frozenset[str]:
    """Return the names of the tensors whose shape follows from the number of outputs.

    Args:
        build: of the network family.
        architecture: of the network.
        in_shape: (channels, height, width) of its input.
        n_outputs: number of its outputs.
    """
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        own, wider = (
            shapes(build(architecture, in_shape, number).state_dict())
            for number in (n_outputs, n_outputs + 1)
        )
    return frozenset(name for name, shape in own.items() if wider[name] != shape)


def _copy_overlap(child: Tensor, parent: Tensor) -> int:
    """Copy the overlap of two tensors into the first; return the number of copied values.

    Kernels (dimensions from the third on) are aligned at their centres, other dimensions at
    their first entries: with O and I common channels and side k of the smaller kernel, O I k^2
    values are copied. Tensors with different numbers of dimensions do not overlap.
    """
    if child.ndim != parent.ndim:
        return 0
    into, source = [], []
    for dim, (child_size, parent_size) in enumerate(zip(child.shape, parent.shape, strict=True)):
        size = min(child_size, parent_size)
        starts = ((child_size - size) // 2, (parent_size - size) // 2) if dim >= 2 else (0, 0)
        into.append(slice(starts[0], starts[0] + size))
        source.append(slice(starts[1], starts[1] + size))
    overlap = child[tuple(into)]
    overlap.copy_(parent[tuple(source)])
    return overlap.numel()


def read_parent(file: str | Path) -> dict[str, Tensor]:
    """Return the state dictionary of a parent from its safetensors file, on the CPU.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        reason = str(error).split("\n", 1)[0]
        raise InputError(
            f"{file}: expected the weights of a parent network, cannot read the file ({reason})"
        ) from error


def _pairs(child: Iterable[str], parent: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield (name in the child, name in the parent) of each tensor that is inherited."""
    last = _last_blocks(parent)
    for name in child:
        origin = name
        if name not in parent and (match := _BLOCK_WEIGHT.fullmatch(name)):
            stage, _, part = match.groups()
            origin = f"{stage}.{last.get((stage, part))}.{part}"
        if origin in parent:
            yield name, origin


def _last_blocks(parent: Iterable[str]) -> dict[tuple[str, str], int]:
    """Return (stage, name within the block) -> number of the last block with that weight."""
    last: dict[tuple[str, str], int] = {}
    for name in parent:
        if match := _BLOCK_WEIGHT.fullmatch(name):
            stage, number, part = match.groups()
            last[stage, part] = max(int(number), last.get((stage, part), 0))
    return last

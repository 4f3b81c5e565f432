"""Building blocks of head networks, one file each: a file's name is the block's name.

A block is a module (feature map in, feature map out) with its multiply-adds
written beside it. Adding a block means adding one file; a search space offers it
by naming it among a gene's choices.
"""

from __future__ import annotations

from evonas.core import registry
from evonas.models.networks.blocks.base import Block, BlockSpec

__all__ = ["Block", "BlockSpec", "load", "names"]


def names() -> list[str]:
    """Return the names of all blocks, sorted."""
    return registry.names("block")


def load(name: str) -> type[Block]:
    """Return the class of a block.

    Raises:
        InputError: no block has the name.
    """
    found: type[Block] = registry.load("block", name)
    return found

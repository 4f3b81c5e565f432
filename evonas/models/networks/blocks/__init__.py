"""Building blocks of head networks, one file each: a file's name is the block's name.

A block is a module (feature map in, feature map out) with its multiply-adds
written beside it. Adding a block means adding one file; a search space offers it
by naming it among a gene's choices.
"""

from __future__ import annotations

import importlib
import inspect
from functools import cache
from pathlib import Path

from evonas.errors import InputError, nearest
from evonas.models.networks.blocks.base import Block, BlockSpec

__all__ = ["Block", "BlockSpec", "load", "names"]


def names() -> list[str]:
    """Return the names of all blocks, sorted."""
    stems = (path.stem for path in Path(__file__).parent.glob("*.py"))
    return sorted(stem for stem in stems if not stem.startswith("_") and stem != "base")


@cache
def load(name: str) -> type[Block]:
    """Return the class of a block.

    Raises:
        InputError: no block has the name.
    """
    path = Path(__file__).parent / f"{name}.py"
    if not name.isidentifier() or name.startswith("_") or name == "base" or not path.exists():
        raise InputError(f"unknown block {name!r}: {nearest(name, names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Block)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define exactly one Block, has {found}")
    return found[0]

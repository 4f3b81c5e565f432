"""A backbone of which only what a task needs is left: what ``evonas prune`` wrote.

Its file is a program of ``torch.export`` that turns images into one feature map. It is checked
before it is opened, as every program is (``_exported_file``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from evonas.errors import InputError
from evonas.models.backbones.base import Backbone
from evonas.models.files.exported_programs import load_program
from evonas.models.files.program_runner import Program


class Pruned(Backbone):
    """A network that ends with one tap; normalisation is part of it.

    There is no option ``random``: the file does not say how its weights were drawn.

    Args:
        path: .pt2 file.
        tap: what its output is called, as in the network that it was made of.

    Raises:
        InputError: the file is missing, damaged or unsafe, or no program from one batch of
            square RGB images to one feature map.
    """

    def __init__(self, *, path: str, tap: str) -> None:
        super().__init__()
        file, where = Path(path).expanduser(), f"backbone 'pruned', {path}"
        if not file.is_file():
            raise InputError(
                f"backbone.path={path}: no such file: give the pruned.pt2 that `evonas prune` wrote"
            )
        self.net = Program(load_program(file), where)
        batch, *rest = self.net.shape
        if batch is not None or len(rest) != 3 or rest[0] != 3 or rest[1] != rest[2] or not rest[1]:
            raise InputError(
                f"{where}: expected a program of (any, 3, side, side), got one of "
                f"{self.net.shape}: give the pruned.pt2 that `evonas prune` wrote, or use "
                "backbone=exported"
            )
        self.input_size = int(rest[1])
        self.freeze()
        with torch.no_grad():
            found = self.net(torch.zeros(2, 3, self.input_size, self.input_size), {self.net.last})
        shape = tuple(found[self.net.last].shape)
        if len(shape) != 4:
            raise InputError(
                f"{where}: expected an output (n, channels, height, width), got {shape}: use "
                "backbone=exported"
            )
        self.taps = {tap: (shape[1], shape[2], shape[3])}

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the map; see ``Backbone.forward``."""
        wanted = self.known(taps)
        found = self.net(images, {self.net.last}) if wanted else {}
        return {tap: found[self.net.last].float() for tap in wanted}

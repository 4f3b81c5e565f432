"""A pruned backbone in a file that ``evonas prune`` wrote.

The file is a program of ``torch.export`` that computes one feature map of images. It is
checked before it is opened, as every such file is (``models.files.exported_programs``).
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
    """A pruned network that computes one tap, including the normalisation of images.

    There is no option ``random``, as the file does not contain the initialisation.

    Args:
        path: .pt2 file.
        tap: name of its output, the tap of the network before pruning.

    Raises:
        InputError: the file is missing, damaged or unsafe, or its input is not a batch of square
            RGB images, or its output not one feature map.
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
                f"{where}: expected a program with input (any, 3, side, side), got input "
                f"{self.net.shape}: give the pruned.pt2 that `evonas prune` wrote, or use "
                "backbone=exported"
            )
        self.input_size = int(rest[1])
        self.freeze()
        with torch.no_grad():
            outputs = self.net(torch.zeros(2, 3, self.input_size, self.input_size), {self.net.last})
        shape = tuple(outputs[self.net.last].shape)
        if len(shape) != 4:
            raise InputError(
                f"{where}: expected an output (n, channels, height, width), got {shape}: use "
                "backbone=exported"
            )
        self.taps = {tap: (shape[1], shape[2], shape[3])}

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the feature map; see ``Backbone.forward``."""
        wanted = self.check_taps(taps)
        outputs = self.net(images, {self.net.last}) if wanted else {}
        return {tap: outputs[self.net.last].float() for tap in wanted}

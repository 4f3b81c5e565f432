"""A network in a file of its own: a torch.export program (.pt2) or TorchScript; no code needed.

Both kinds hold operators and weights, not Python. A program is checked before it is
opened: a file with pickled objects, compiled libraries or operators that are not torch's
own is refused (``_exported_file``). TorchScript is opened by torch's interpreter, which
runs no Python and unpickles nothing but tensors, yet its operators can read and write
files: **take TorchScript only from where you would take a program**.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from evonas.errors import InputError, one_line
from evonas.models.backbones.base import NetworkCost
from evonas.models.backbones.common.operation_count import counted
from evonas.models.backbones.common.taps import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Channels,
    Tapped,
    Triple,
    first_tensor,
)
from evonas.models.files.exported_programs import load_program
from evonas.models.files.program_runner import Program
from evonas.models.files.torchscript import Script

_DYNAMIC = (
    "torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim('batch')},)) "
    "with an example of two images"
)


class Exported(Tapped):
    """A network from a file that ``torch.export.save`` or ``torch.jit.save`` wrote, frozen.

    Taps of a program: the path of a module (``layer2.1``; ``relu:1`` for its second run) is
    what it computed last, and other steps go by their name in the graph (``add_3``). Of
    TorchScript, whose parts cannot be watched, only ``output``.

    A program that was exported for one image at a time is run so; exported with a dynamic
    batch it is several times faster. There is no option ``random``: the file does not say
    how its weights were drawn.

    Args:
        path: .pt2 file, or TorchScript file of another name.
        input_size: side of the square input in pixels; None: as the program was exported.
        mean, std: of each channel, in the network's order, for images in 0..1; those of
            ImageNet unless given.
        channels: the order in which the network takes them.
        taps: names to offer; None: all, in the order of execution.
        prefix_tokens: tokens in front of a grid of tokens; None: as many as are too many
            for the largest square.

    Raises:
        InputError: the file is missing, damaged or unsafe, takes other inputs than one batch
            of RGB images, was exported in training mode, fails, or has no usable tap.
    """

    def __init__(
        self,
        *,
        path: str,
        input_size: int | None = None,
        mean: Triple = IMAGENET_MEAN,
        std: Triple = IMAGENET_STD,
        channels: Channels = "rgb",
        taps: tuple[str, ...] | None = None,
        prefix_tokens: int | None = None,
    ) -> None:
        file = Path(path).expanduser()
        if not file.is_file():
            raise InputError(f"backbone.path={path}: no such file: give a .pt2 or TorchScript file")
        where = f"backbone 'exported', {path}"
        net: Program | Script
        if file.suffix == ".pt2":
            net = Program(load_program(file), where)
            input_size, batch = _sizes(net.shape, input_size, where)
        else:
            net, batch = Script(file), None
        if input_size is None:
            raise InputError(
                f"{where}: the file does not say its input size: give backbone.input_size"
            )
        super().__init__(
            where,
            identity={"file": hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest()},
            input_size=input_size,
            mean=mean,
            std=std,
            channels=channels,
            prefix_tokens=prefix_tokens,
        )
        self.net = net
        self._one_by_one = batch is not None
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        self.eval()
        examples = batch or 2
        try:
            found = self._pass(self._empty(examples), None)
            if isinstance(net, Script):
                with torch.no_grad():
                    net.unroll(self._empty(1))
        except Exception as error:
            raise InputError(
                f"{where}: it fails on {examples} empty image(s) of {input_size}x{input_size} "
                f"pixels ({_reason(error)}): check backbone.input_size"
            ) from error
        self._settle(found, examples, taps)

    def whole(self) -> NetworkCost:
        """Return the cost of the program in the file; see ``Backbone.whole``."""
        return counted(
            lambda images: self._pass(self._normalised(images), None),
            self.input_size,
            self.parameters(),
        )

    def _run(self, images: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        if not self._one_by_one:
            return self._pass(images, wanted)
        runs = [self._pass(image, wanted) for image in torch.split(images, 1)]
        if len(runs) == 1:
            return runs[0]
        return {name: torch.cat([run[name] for run in runs]) for name in runs[0]}

    def _pass(self, images: Tensor, wanted: set[str] | None) -> dict[str, Tensor]:
        with torch.no_grad():
            if isinstance(self.net, Program):
                found: dict[str, Tensor] = self.net(images, wanted)
                return found
            values = first_tensor(self.net(images))
            return {} if values is None else {"output": values}


def _sizes(
    shape: tuple[int | None, ...], input_size: int | None, where: str
) -> tuple[int | None, int | None]:
    """Return (side, fixed batch or None) of a program's input, whose free sizes are None."""
    batch, *rest = shape
    sides = {side for side in rest[1:] if side is not None}
    if len(rest) != 3 or rest[0] not in (3, None) or len(sides) > 1:
        raise InputError(
            f"{where}: expected a program of one input (n, 3, side, side), got one of "
            f"{_shown(shape)}: export the network for square RGB images"
        )
    if batch not in (1, None):
        raise InputError(
            f"{where}: was exported for exactly {batch} images at once: export it with a dynamic "
            f"batch, {_DYNAMIC}"
        )
    side = next(iter(sides), None)
    if side is not None and input_size not in (side, None):
        raise InputError(
            f"{where}: was exported for images of {side} pixels, got "
            f"backbone.input_size={input_size}: leave it out"
        )
    return side or input_size, batch


def _shown(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"


def _reason(error: Exception) -> str:
    """Return what went wrong; TorchScript says it behind all the code that led there."""
    return one_line(error) if len(str(error)) < 300 else str(error).strip().rsplit("\n", 1)[-1]

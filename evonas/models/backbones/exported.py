"""A network in a file: a torch.export program (.pt2) or TorchScript, without its Python code.

Both kinds contain operators and weights. A program is checked before it is opened: a file
with pickled objects, compiled libraries or operators other than torch's own is refused
(``models.files.exported_programs``). TorchScript is opened by torch's interpreter, which runs
no Python and unpickles only tensors, but its operators can read and write files: **use
TorchScript only from sources whose programs you would run**.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from evonas.errors import InputError, one_line
from evonas.models.backbones.base import NetworkCost, count_cost
from evonas.models.backbones.common.taps import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    AutoTapBackbone,
    Channels,
    Triple,
    first_tensor,
)
from evonas.models.files.exported_programs import load_program
from evonas.models.files.program_runner import Program, Script

_DYNAMIC = (
    "torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim('batch')},)) "
    "with an example of two images"
)


class Exported(AutoTapBackbone):
    """A network from a file of ``torch.export.save`` or ``torch.jit.save``, frozen.

    Taps of a program are the outputs of its modules, named by the module's path (``layer2.1``;
    ``relu:1`` for its second call), and of operators outside modules, named as in the graph
    (``add_3``). TorchScript, whose submodules are not accessible, has only the tap ``output``.

    A program that was exported for single images is run image by image; a program with a
    dynamic batch is several times faster. There is no option ``random``, as the file does not
    contain the initialisation.

    Args:
        path: .pt2 file, or a TorchScript file with another suffix.
        input_size: side of the square input in pixels; None: as in the exported program.
        mean, std: mean and standard deviation of each channel, in the network's order of
            channels, for images in 0..1; the default are those of ImageNet.
        channels: order of the channels in the network's input.
        taps: names of the taps to offer; None: all, in the order of execution.
        prefix_tokens: number of tokens before a grid of tokens; None: the tokens that do not fit
            into the largest square.

    Raises:
        InputError: the file is missing, damaged or unsafe, its input is not one batch of RGB
            images, it was exported in training mode, it fails, or has no usable tap.
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
                f"{where}: the file does not contain its input size: give backbone.input_size"
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
        self._single_images = batch is not None
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        self.eval()
        examples = batch or 2
        try:
            outputs = self._pass(self._empty(examples), None)
            if isinstance(net, Script):
                with torch.no_grad():
                    net.unroll(self._empty(1))
        except Exception as error:
            raise InputError(
                f"{where}: it fails on {examples} empty image(s) of {input_size}x{input_size} "
                f"pixels ({_reason(error)}): check backbone.input_size"
            ) from error
        self._set_taps(outputs, examples, taps)

    def full_cost(self) -> NetworkCost:
        """Return the cost of the program in the file; see ``Backbone.full_cost``."""
        return count_cost(
            lambda images: self._pass(self._normalised(images), None),
            self.input_size,
            self.parameters(),
        )

    def _run(self, images: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        if not self._single_images:
            return self._pass(images, wanted)
        runs = [self._pass(image, wanted) for image in torch.split(images, 1)]
        if len(runs) == 1:
            return runs[0]
        return {name: torch.cat([run[name] for run in runs]) for name in runs[0]}

    def _pass(self, images: Tensor, wanted: set[str] | None) -> dict[str, Tensor]:
        """Return the wanted outputs for normalised images; all outputs if ``wanted`` is None."""
        with torch.no_grad():
            if isinstance(self.net, Program):
                outputs: dict[str, Tensor] = self.net(images, wanted)
                return outputs
            values = first_tensor(self.net(images))
            return {} if values is None else {"output": values}


def _sizes(
    shape: tuple[int | None, ...], input_size: int | None, where: str
) -> tuple[int | None, int | None]:
    """Return (side, batch) of a program's input; the batch is None if it is dynamic.

    Dynamic sizes in ``shape`` are None.
    """
    batch, *rest = shape
    sides = {side for side in rest[1:] if side is not None}
    if len(rest) != 3 or rest[0] not in (3, None) or len(sides) > 1:
        raise InputError(
            f"{where}: expected a program with one input (n, 3, side, side), got "
            f"{_shown(shape)}: export the network for square RGB images"
        )
    if batch not in (1, None):
        raise InputError(
            f"{where}: was exported for batches of exactly {batch} images: export it with a "
            f"dynamic batch, {_DYNAMIC}"
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
    """Return an error's message; TorchScript appends it to a long listing of code."""
    return one_line(error) if len(str(error)) < 300 else str(error).strip().rsplit("\n", 1)[-1]

"""A network in an .onnx file, run by ONNX Runtime: any tensor inside it is a tap."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evonas.errors import InputError
from evonas.models.backbones.base import NetworkCost, TapCost
from evonas.models.backbones.common.taps import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    AutoTapBackbone,
    Channels,
    Layout,
    Triple,
)
from evonas.models.backbones.onnx_graphs import rewriting
from evonas.models.backbones.onnx_graphs.cost import Sizes, cost, is_counted
from evonas.models.backbones.onnx_graphs.image_input import (
    Axes,
    ImageInput,
    image_input,
    stated_preprocessing,
)
from evonas.models.backbones.onnx_graphs.probing import probed
from evonas.models.backbones.onnx_graphs.reading import CONTROL_FLOW, read_graph, whole_graph
from evonas.models.backbones.onnx_graphs.tap_names import layer_ends, short_list, tap_names


class Onnx(AutoTapBackbone):
    """A network from an .onnx file, frozen, on the CPU.

    Taps are the tensors behind the first convolution that are feature maps or grids of tokens;
    see ``onnx_graphs.tap_names`` for their names. The name of a tensor in the file is accepted in
    place of a tap's. Quantised tensors are dequantised. Only what a tap needs is run.

    A fixed batch size is replaced by any; a network that then computes other values is run in
    batches of the fixed size. 16-bit floats are computed in float32. There is no option
    ``random``, as the file does not contain the initialisation.

    Args:
        file: .onnx file; weights in other files have to lie beside it.
        input_size: side of the square input in pixels; None: as in the file.
        mean, std: mean and standard deviation of each channel, in the network's order of
            channels, for images in 0..1; None: as the file's metadata or first operators say,
            otherwise those of ImageNet.
        channels: order of the channels in the network's input; None: as the metadata say,
            otherwise ``rgb``.
        axes: order of the axes of the network's input; None: as its sizes say.
        taps: names of the taps to offer; None: all, in the order of computation.
        prefix_tokens: number of tokens before a grid of tokens; None: the tokens that do not fit
            into the largest square.

    Raises:
        InputError: onnx or onnxruntime is missing, the file is damaged or lacks its weights, its
            input is no image, ONNX Runtime cannot run it, or it has no usable tap.
    """

    has_tensor_names = True

    def __init__(
        self,
        *,
        file: str,
        input_size: int | None = None,
        mean: Triple | None = None,
        std: Triple | None = None,
        channels: Channels | None = None,
        axes: Axes | None = None,
        taps: tuple[str, ...] | None = None,
        prefix_tokens: int | None = None,
    ) -> None:
        where = f"backbone 'onnx', {file}"
        if (mean is None) != (std is None):
            raise InputError(f"{where}: expected both backbone.mean and backbone.std, or neither")
        with whole_graph(where):
            model, digest = read_graph(Path(file).expanduser(), where)
            given = image_input(model, axes, where)
            rewriting.with_constants_inside(model)
            stated = stated_preprocessing(model, given)
        source = stated.source
        if mean is None or std is None:
            mean, std = stated.normalisation or (IMAGENET_MEAN, IMAGENET_STD)
        else:
            source = "the options"
        channels = channels or stated.channels or "rgb"
        side = _side(given, stated.side, input_size, where)
        super().__init__(
            where,
            identity={"file": digest, "axes": given.axes},
            input_size=side,
            mean=mean,
            std=std,
            channels=channels,
            prefix_tokens=prefix_tokens,
        )
        self._source = source
        with whole_graph(where):
            given = rewriting.with_single_precision(model, given)
            found = probed(model, given, side, (mean, std), channels, where)
            self.sessions, self.graph = found.sessions, found.sessions.graph
            self._sizes, self._examples = found.sizes, found.batch
            self._tensors = tap_names(self.graph)
            self._names = {tensor: tap for tap, tensor in self._tensors.items()}
            self._ends = layer_ends(self.graph)
            self._branched = self.graph.behind(lambda node: node.op_type in CONTROL_FLOW)
            self._offer(found.outputs, taps)
        self.freeze()

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the named feature maps; see ``Backbone.forward``.

        Raises:
            InputError: there is no such tap, or torch traces the pass, which runs outside torch.
        """
        if torch._C._get_tracing_state() or torch.compiler.is_exporting():
            self.require_torch("a trace of the network")
        order = {tap: place for place, tap in enumerate(self.taps)}
        names = sorted(self.check_taps(taps), key=lambda name: order[self.tap_name(name)])
        tensors = [self.tensor_name(name) for name in names]
        pixels = np.ascontiguousarray(images.detach().float().cpu().numpy())
        # ONNX Runtime fuses operators around a tensor only if that is no output, which changes
        # last bits: so only ends of layers share a pass.
        passes = [tuple(tensor for tensor in tensors if tensor in self._ends)]
        passes += [(tensor,) for tensor in tensors if tensor not in self._ends]
        values: dict[str, Any] = {}
        for group in passes:
            if group:
                values |= zip(group, self.sessions.run(pixels, group), strict=True)
        return {
            name: self.layout_of(name).apply(torch.from_numpy(values[tensor])).to(images.device)
            for name, tensor in zip(names, tensors, strict=True)
        }

    def layout_of(self, tap: str) -> Layout:
        """Return how the values of a tap's tensor become its feature map."""
        return self._layouts[self.tap_name(tap)]

    def sizes_of(self, tensor: str) -> Sizes:
        """Return the sizes of a tensor in ``graph``, in a pass over a few images."""
        return self._sizes.get(tensor, ())

    def tensor_name(self, tap: str) -> str:
        """Return the name of a tap's tensor in ``graph``."""
        return self._tensors[self.tap_name(tap)]

    def tap_name(self, name: str) -> str:
        """Return the tap of a name, which may be that of its tensor in the file."""
        return name if name in self.taps else self._names.get(name, name)

    def no_tap(self, name: str) -> str:
        """Return why a name is no tap; see ``Backbone.no_tap``."""
        tensor = self._tensors.get(name, name)
        if tensor in self._branched:
            flow = ", ".join(sorted(CONTROL_FLOW))
            return f"no tap {name!r}: control flow ({flow}) is before it: take an earlier tensor"
        if tensor in self.graph.producers and tensor not in self._usable:
            return f"no tap {name!r}: this tensor is no feature map behind a convolution"
        return super().no_tap(name)

    def informative_taps(self, few: int) -> list[str]:
        """Return the taps at the ends of stages; see ``onnx_graphs.tap_names.short_list``."""
        return short_list(self.graph, {tap: self._tensors[tap] for tap in self.taps}, self.taps)

    def cost_up_to(self, tap: str) -> TapCost:
        """Return the cost of the operators that a tap needs."""
        nodes = self.graph.needed([self.tensor_name(tap)])
        return cost(self.graph, nodes, self._sizes, self._examples)

    def full_cost(self) -> NetworkCost:
        """Return the cost up to the file's own outputs; see ``Backbone.full_cost``."""
        names = [value.name for value in self.graph.model.graph.output]
        found = cost(self.graph, self.graph.needed(names), self._sizes, self._examples)
        return NetworkCost(found.macs, found.params)

    def remarks(self) -> list[str]:
        """Return which normalisation is used, and why; see ``Backbone.remarks``."""
        mean, std = ([round(float(v), 4) for v in t.flatten()] for t in (self.mean, self.std))
        text = f"normalisation of images in 0..1: mean {mean}, deviation {std}"
        if self._source:
            return [f"{text}, from {self._source}"]
        return [
            f"{text}: ImageNet's, as the file does not say: if it was trained with another, give "
            "backbone.mean and backbone.std, such as [0.5,0.5,0.5] for both"
        ]

    @classmethod
    def require_torch(cls, what: str) -> None:
        """Refuse what needs a backbone in PyTorch; see ``Backbone.require_torch``."""
        raise InputError(
            f"{what} needs a backbone in PyTorch, got backbone 'onnx', which ONNX Runtime runs: "
            "take torch_module, exported, timm or torchvision for it"
        )

    def _run(self, images: Tensor, wanted: set[str]) -> dict[str, Tensor]:
        raise NotImplementedError  # ``forward`` does not normalise, as the graph does

    def _offer(self, outputs: dict[str, Tensor], taps: Sequence[str] | None) -> None:
        """Set the taps; see ``AutoTapBackbone._set_taps``."""
        layers = self.graph.behind(is_counted) - self._branched
        usable = {
            tap: outputs[tensor]
            for tap, tensor in self._tensors.items()
            if tensor in outputs and tensor in layers
        }
        self._set_taps(usable, self._examples, None)
        self._usable = {self._tensors[tap] for tap in self.taps}
        if taps is not None:
            self.check_taps(taps)
            self._set_taps(usable, self._examples, [self.tap_name(tap) for tap in taps])


def _side(given: ImageInput, stated: int | None, wanted: int | None, where: str) -> int:
    """Return the side of the input, in pixels.

    Raises:
        InputError: it is not known, or another than the file's is wanted.
    """
    if given.side is not None and wanted not in (given.side, None):
        raise InputError(
            f"{where}: takes images of {given.side} pixels, got backbone.input_size={wanted}: "
            "leave it out"
        )
    side = wanted or given.side or stated
    if side is None:
        raise InputError(
            f"{where}: the file does not contain its input size: give backbone.input_size"
        )
    return side

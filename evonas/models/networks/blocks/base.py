"""Base class of building blocks: a body, attention and a shortcut, and their cost."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal

from torch import Tensor, nn

from evonas.models.built_weights import weights_when_built
from evonas.models.networks.common.attention import (
    attention_macs,
    attention_weights,
    make_attention,
)
from evonas.models.networks.common.layers import conv_macs, conv_norm, out_side
from evonas.models.weight_count import WeightCount, conv_norm_weights

#: Initial scale of a body that is added to an identity shortcut. Goyal et al. (2017, arXiv
#: 1706.02677, section 5.1) use 0; for trainings of five epochs 0.2 gave lower errors, and 1
#: higher errors in stages of many blocks. Other bodies start at scale 1.
_IDENTITY_SCALE = 0.2


@dataclass(frozen=True)
class BlockSpec:
    """Shape and options of a block.

    Attributes:
        c_in, c_out: channels of its input and output.
        kernel: side of the spatial convolutions, odd.
        stride: 1, or 2 to halve height and width, rounded up.
        attention: ``none``, ``se`` or ``cbam``.
        act: name of the activation, see ``common.layers.activation``.
    """

    c_in: int
    c_out: int
    kernel: int = 3
    stride: int = 1
    attention: str = "none"
    act: str = "relu"

    @property
    def keeps_shape(self) -> bool:
        """Whether the output has the shape of the input."""
        return self.stride == 1 and self.c_in == self.c_out

    def out_size(self, h: int, w: int) -> tuple[int, int]:
        """Return height and width of the output."""
        return out_side(h, self.stride), out_side(w, self.stride)


class Block(nn.Module, ABC):
    """A building block: (n, c_in, h, w) -> (n, c_out, ceil(h / stride), ceil(w / stride)).

    The output is attention(body(x)) plus the shortcut: attention comes before the residual
    addition (Hu et al. 2018, arXiv 1709.01507; Woo et al. 2018, arXiv 1807.06521). No
    activation follows the addition, as in He et al. (2016, arXiv 1603.05027): a SiLU would
    halve small values in every block, and the signal of a stage of many blocks would vanish.
    A subclass defines the body and its multiply-adds.

    Attributes:
        shortcut: ``none``; ``identity``: the input is added if input and output have the same
            shape; ``projection``: as ``identity``, and otherwise a strided 1 x 1 convolution
            of the input is added.
        linear_end: True if no activation follows the last convolution; the network then adds
            batch norm and activation after its last block.
    """

    shortcut: ClassVar[Literal["none", "identity", "projection"]] = "none"
    linear_end: ClassVar[bool] = True

    def __init__(self, spec: BlockSpec) -> None:
        super().__init__()
        self.body = self.make_body(spec)
        self.attention = make_attention(spec.attention, spec.c_out)
        self.skip: nn.Module | None = None
        if self.shortcut != "none" and spec.keeps_shape:
            self.skip = nn.Identity()
        elif self.shortcut == "projection":
            self.skip = conv_norm(spec.c_in, spec.c_out, 1, stride=spec.stride)
        if spec.keeps_shape and self.skip is not None:
            for norm in self.closing_norms(self.body):
                nn.init.constant_(norm.weight, _IDENTITY_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output map."""
        y: Tensor = self.attention(self.body(x))
        return y if self.skip is None else y + self.skip(x)

    @classmethod
    def macs(cls, spec: BlockSpec, h: int, w: int) -> int:
        """Return the multiply-adds of one forward pass at batch 1 on an h x w input."""
        h_out, w_out = spec.out_size(h, w)
        total = cls.body_macs(spec, h, w) + attention_macs(spec.attention, spec.c_out, h_out, w_out)
        if cls.shortcut == "projection" and not spec.keeps_shape:
            total += conv_macs(spec.c_in, spec.c_out, 1, h_out, w_out)
        return total

    @classmethod
    def weights(cls, spec: BlockSpec) -> WeightCount:
        """Return the number of values in the weights of a block."""
        total = cls.body_weights(spec) + attention_weights(spec.attention, spec.c_out)
        if cls.shortcut == "projection" and not spec.keeps_shape:
            total += conv_norm_weights(spec.c_in, spec.c_out, 1)
        return total

    @staticmethod
    def closing_norms(body: nn.Module) -> list[nn.BatchNorm2d]:
        """Return the batch norms whose scales determine the scale of the body's output."""
        return [m for m in body.modules() if isinstance(m, nn.BatchNorm2d)][-1:]

    @staticmethod
    @abstractmethod
    def make_body(spec: BlockSpec) -> nn.Module:
        """Return the body: (n, c_in, h, w) -> (n, c_out, h_out, w_out)."""

    @staticmethod
    @abstractmethod
    def body_macs(spec: BlockSpec, h: int, w: int) -> int:
        """Return the body's multiply-adds on an h x w input."""

    @classmethod
    def body_weights(cls, spec: BlockSpec) -> WeightCount:
        """Return the number of values in the weights of the body; by default it is built."""
        return _body_weights(cls, spec)


@lru_cache(maxsize=8192)
def _body_weights(block: type[Block], spec: BlockSpec) -> WeightCount:
    return weights_when_built(lambda: block.make_body(spec))

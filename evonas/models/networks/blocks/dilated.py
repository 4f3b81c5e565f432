"""Dilated convolution block: a convolution of dilation 2, batch norm, activation."""

from __future__ import annotations

from torch import nn

from evonas.models.networks.blocks.base import BlockSpec
from evonas.models.networks.blocks.conv import Conv
from evonas.models.networks.common.layers import conv_norm


class Dilated(Conv):
    """One convolution of dilation 2: a larger receptive field at the cost of a plain one."""

    @staticmethod
    def make_body(spec: BlockSpec) -> nn.Module:
        """Return the convolution, batch norm and activation; see ``Block.make_body``."""
        return conv_norm(
            spec.c_in, spec.c_out, spec.kernel, stride=spec.stride, dilation=2, act=spec.act
        )

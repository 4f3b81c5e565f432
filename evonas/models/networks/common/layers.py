"""Small layers that blocks share, and the multiply-adds of a convolution."""

from __future__ import annotations

from torch import nn

from evonas.errors import InputError, nearest

ACTIVATIONS = ("relu", "prelu", "silu", "hardswish")


def activation(name: str, channels: int) -> nn.Module:
    """Return an activation for ``channels`` channels.

    Raises:
        InputError: the name is unknown.
    """
    if name == "relu":
        return nn.ReLU()
    if name == "prelu":
        # A slope of 0.1 at the start, as Matak (2020, HeadPoseNAS) has it.
        return nn.PReLU(channels, init=0.1)
    if name == "silu":
        return nn.SiLU()
    if name == "hardswish":
        return nn.Hardswish()
    raise InputError(f"unknown activation {name!r}: {nearest(name, ACTIVATIONS)}")


def out_side(side: int, stride: int) -> int:
    """Return the side of a feature map behind a stride, rounding up."""
    return -(-side // stride)


def conv_macs(c_in: int, c_out: int, kernel: int, h: int, w: int, groups: int = 1) -> int:
    """Return the multiply-adds of a k x k convolution with an h x w output."""
    return c_in // groups * c_out * kernel * kernel * h * w


def conv(
    c_in: int,
    c_out: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
) -> nn.Conv2d:
    """Return a convolution whose output is ``ceil(side / stride)`` for odd kernels."""
    layer = nn.Conv2d(
        c_in,
        c_out,
        kernel,
        stride,
        padding=dilation * (kernel // 2),
        dilation=dilation,
        groups=groups,
        bias=bias,
    )
    # Fan-in, because torch's fan-out ignores groups.
    nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def conv_norm(
    c_in: int,
    c_out: int,
    kernel: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    act: str | None = None,
) -> nn.Sequential:
    """Return convolution, batch norm and, where ``act`` names one, an activation."""
    layers: list[nn.Module] = [
        conv(c_in, c_out, kernel, stride=stride, dilation=dilation, groups=groups),
        nn.BatchNorm2d(c_out),
    ]
    if act is not None:
        layers.append(activation(act, c_out))
    return nn.Sequential(*layers)


def norm_act(channels: int, act: str) -> tuple[nn.Module, nn.Module]:
    """Return batch norm and activation: the close of a trunk of residual blocks."""
    return nn.BatchNorm2d(channels), activation(act, channels)

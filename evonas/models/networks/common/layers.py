"""Layers shared by blocks and network families, and the multiply-adds of a convolution."""

from __future__ import annotations

from torch import nn

from evonas.errors import InputError, nearest

ACTIVATIONS = ("relu", "prelu", "silu", "hardswish")

#: Kernel of a transposed convolution -> (padding, output padding) with which stride 2 doubles
#: the map exactly. Xiao et al. (2018) use 4, which is symmetric; 3 costs 9 / 16 of it.
UPSAMPLING = {2: (0, 0), 3: (1, 1), 4: (1, 0)}


def activation(name: str, channels: int) -> nn.Module:
    """Return a new activation layer for a map of ``channels`` channels.

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
    """Return the side of a feature map after a layer with this stride, rounded up."""
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
    """Return a convolution, He-normal; its output has the side ``ceil(side / stride)``.

    The kernel must be odd; He et al. (2015), with the fan-in of one group.
    """
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
    # Fan-in, because torch's fan-out does not divide by the number of groups.
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
    """Return convolution and batch norm, followed by the activation ``act`` unless it is None."""
    layers: list[nn.Module] = [
        conv(c_in, c_out, kernel, stride=stride, dilation=dilation, groups=groups),
        nn.BatchNorm2d(c_out),
    ]
    if act is not None:
        layers.append(activation(act, c_out))
    return nn.Sequential(*layers)


def norm_act(channels: int, act: str) -> tuple[nn.Module, nn.Module]:
    """Return batch norm and activation, which follow the last of several residual blocks."""
    return nn.BatchNorm2d(channels), activation(act, channels)


def upsampling_conv(c_in: int, c_out: int, kernel: int) -> nn.ConvTranspose2d:
    """Return a transposed convolution of stride 2: (n, c_in, h, w) -> (n, c_out, 2 h, 2 w).

    Args:
        c_in, c_out: channels of the input and the output.
        kernel: side of the kernel, a key of ``UPSAMPLING``.
    """
    padding, output_padding = UPSAMPLING[kernel]
    layer = nn.ConvTranspose2d(c_in, c_out, kernel, 2, padding, output_padding, bias=False)
    # He-normal: with stride 2, an output position receives a quarter of the kernel's weights.
    nn.init.normal_(layer.weight, std=(2.0 / (c_in * kernel * kernel / 4)) ** 0.5)
    return layer


def heatmap_conv(c_in: int, n_outputs: int) -> nn.Conv2d:
    """Return the 1 x 1 convolution that computes heat maps, with outputs near 0 at first.

    Heat maps are 0 nearly everywhere, so a network that starts near 0 has less to unlearn.
    """
    layer = nn.Conv2d(c_in, n_outputs, 1)
    nn.init.normal_(layer.weight, std=0.001)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def output_linear(c_in: int, n_outputs: int) -> nn.Linear:
    """Return the last linear layer of a regression network, with small outputs at first.

    Targets are centred and of order one, and few epochs follow in a search.
    """
    layer = nn.Linear(c_in, n_outputs)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)
    return layer

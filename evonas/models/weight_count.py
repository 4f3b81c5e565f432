"""Number of values in the weights of layers, without building them, and without torch."""

from __future__ import annotations

from dataclasses import dataclass

_BYTES = 4  # of a 32-bit float


@dataclass(frozen=True)
class WeightCount:
    """Number of 32-bit floats that the weights of a network hold.

    Attributes:
        params: parameters, which are trained.
        statistics: floating point buffers: running means and variances of batch norms.
    """

    params: int = 0
    statistics: int = 0

    def __add__(self, other: WeightCount) -> WeightCount:
        return WeightCount(self.params + other.params, self.statistics + other.statistics)

    def __mul__(self, times: int) -> WeightCount:
        return WeightCount(self.params * times, self.statistics * times)

    @property
    def megabytes(self) -> float:
        """Size of parameters and statistics as 32-bit floats, in 10^6 bytes."""
        return (self.params + self.statistics) * _BYTES / 1e6


def conv_weights(
    c_in: int, c_out: int, kernel: int, groups: int = 1, *, bias: bool = False
) -> WeightCount:
    """Return the weights of a convolution."""
    return WeightCount(c_in // groups * c_out * kernel * kernel + (c_out if bias else 0))


def norm_weights(channels: int) -> WeightCount:
    """Return the weights of a batch norm: scale and shift, running mean and variance."""
    return WeightCount(2 * channels, 2 * channels)


def activation_weights(act: str | None, channels: int) -> WeightCount:
    """Return the weights of ``layers.activation``: PReLU has a slope for each channel."""
    return WeightCount(channels if act == "prelu" else 0)


def norm_act_weights(channels: int, act: str | None) -> WeightCount:
    """Return the weights of batch norm and activation; see ``layers.norm_act``."""
    return norm_weights(channels) + activation_weights(act, channels)


def conv_norm_weights(
    c_in: int, c_out: int, kernel: int, *, groups: int = 1, act: str | None = None
) -> WeightCount:
    """Return the weights of ``layers.conv_norm``."""
    return conv_weights(c_in, c_out, kernel, groups) + norm_act_weights(c_out, act)


def linear_weights(c_in: int, c_out: int) -> WeightCount:
    """Return the weights of a linear layer."""
    return WeightCount(c_in * c_out + c_out)

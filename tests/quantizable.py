"""Networks of a few thousand weights with what has to survive 8 bits, and images for them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from evonas.deployment.quantization.backends import FILES, quantize
from evonas.deployment.quantization.capture import capture
from evonas.models.files.quantized_network import load_quantized

SIDE = 32


def images(n: int, seed: int = 0, side: int = SIDE) -> Tensor:
    """Smooth pictures of whole numbers, (n, 3, side, side)."""
    coarse = torch.rand(n, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(coarse, size=(side, side), mode="bilinear").mul(255).round()


def signal_to_noise(expected: Tensor, found: Tensor) -> float:
    """What varies from image to image over what quantising changed, in dB."""
    signal = (expected - expected.mean(0)).square().mean()
    return float(10 * torch.log10(signal / (expected - found).square().mean()))


class Norm(nn.BatchNorm2d):
    """A batch norm that has seen something."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        for value, low, high in (
            (self.weight, 0.5, 1.5),
            (self.bias, -0.5, 0.5),
            (self.running_mean, -0.5, 0.5),
            (self.running_var, 0.5, 1.5),
        ):
            assert value is not None
            nn.init.uniform_(value, low, high)


class Stem(nn.Sequential):
    """(n, 3, 32, 32) in 0..255 -> (n, 8, 16, 16)."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3, 2, 1), Norm(8), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = super().forward(x / 64 - 2)
        return found


class Net(nn.Module):
    """A stem, a body that keeps 8 channels, and three outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.end = Stem(), nn.Linear(8 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.stem(x))
        found: Tensor = self.end(functional.avg_pool2d(x, x.shape[-1] // 4).flatten(1))
        return found

    def body(self, x: Tensor) -> Tensor:
        return x


class Residual(Net):
    """A shortcut, padded with channels in one of two, and a batch norm behind the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.narrow = nn.Conv2d(8, 8, 3, 1, 1), Norm(8), nn.Conv2d(8, 4, 1)

    def body(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.conv(x) + x))
        return x + functional.pad(self.narrow(x), (0, 0, 0, 0, 0, 4))


class Halves(Net):
    """The larger half of the channels, as LightCNN has it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 16, 3, 1, 1)

    def body(self, x: Tensor) -> Tensor:
        first, second = self.conv(x).chunk(2, 1)
        return torch.maximum(first, second)


class Excited(Net):
    """Channels scaled by a sigmoid of their means, and hardswish."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.up = nn.Conv2d(8, 8, 3, 1, 1), nn.Linear(8, 4), nn.Linear(4, 8)

    def body(self, x: Tensor) -> Tensor:
        x = functional.hardswish(self.conv(x))
        scale = torch.sigmoid(self.up(functional.relu(self.down(x.mean((2, 3))))))
        return x * scale[:, :, None, None]


class Sloped(Net):
    """PReLU, depthwise convolution, and a pool of either kind."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.slope = nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.PReLU(8, init=0.1)

    def body(self, x: Tensor) -> Tensor:
        return functional.avg_pool2d(functional.max_pool2d(self.slope(self.conv(x)), 2), 2)


class Wide(nn.Sequential):
    """200 kB of weights: enough for the graph to weigh little."""

    def __init__(self) -> None:
        layers = [nn.Conv2d(3, 48, 3, 4, 1), nn.ReLU(), nn.Conv2d(48, 96, 3, 2, 1), nn.ReLU()]
        layers += [nn.Conv2d(96, 96, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(96 * 4, 3)]
        super().__init__(*layers)


class Shadowed(nn.Module):
    """Its first weights share their scale with large ones that meet nothing but zeros.

    So they round to almost nothing, and training with rounding has something to mend.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.end = nn.Linear(8, 3)
        with torch.no_grad():
            self.first.weight[:, 2] = 5.0

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.second(functional.relu(self.first(x / 128))))
        found: Tensor = self.end(x.mean((2, 3)))
        return found


def made(kind: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A network with weights from a seed, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind().eval()


def quantised(
    net: nn.Module, road: str, folder: Path, shown: Tensor, floats: Path | None = None
) -> tuple[Tensor, Path]:
    """Quantise on a road with ranges from some images; outputs for others, and the file."""
    path = folder / FILES[road]
    quantize(capture(net, SIDE), road, [shown], path, floats=floats)
    return torch.from_numpy(load_quantized(path).outputs(images(24, seed=1).numpy())), path

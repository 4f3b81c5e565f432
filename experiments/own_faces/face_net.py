"""A face network as a team would bring it: a plain PyTorch module, knowing nothing of evonas."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn


class Stage(nn.Module):
    """Halve the resolution, then refine with a shortcut."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.reduce_norm = nn.BatchNorm2d(outputs)
        self.refine = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.refine_norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, outputs, height / 2, width / 2)."""
        x = self.reduce_norm(self.reduce(x)).relu()
        return (x + self.refine_norm(self.refine(x))).relu()


class FaceNet(nn.Module):
    """(n, 3, 64, 64) -> (n, 128) descriptors of faces."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 16, 32, 64, 128)
        self.stages = nn.Sequential(*(Stage(i, o) for i, o in pairwise(widths)))
        self.descriptor = nn.Linear(128 * 16, 128, bias=False)
        self.descriptor_norm = nn.BatchNorm1d(128)

    def forward(self, x: Tensor) -> Tensor:
        """Return descriptors."""
        found: Tensor = self.descriptor_norm(self.descriptor(self.stages(x).flatten(1)))
        return found


def build() -> FaceNet:
    """Return the network with fresh weights; the file of weights is evonas' to load."""
    return FaceNet()

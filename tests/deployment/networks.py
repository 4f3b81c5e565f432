"""Networks to take filters out of: every way in which channels hang together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Halves(nn.Module):
    """Max-feature-map, twice, with sizes written into the code (Wu et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1)
        self.second = nn.Conv2d(6, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        one, other = torch.split(self.first(x), 6, 1)
        x = functional.max_pool2d(torch.max(one, other), 2, ceil_mode=True)
        one, other = self.second(x).chunk(2, 1)
        return torch.max(one, other)


class Residual(nn.Module):
    """A stage with two sums, norms, and a shortcut that is padded with zeros to be wider."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.inner = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(4))
        self.wide = nn.Conv2d(8, 12, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu_(self.norm(self.stem(x)))
        for i in (0, 2):
            x = functional.relu(x + self.inner[i + 1](functional.relu(self.inner[i](x))))
        y = self.wide(x)
        shortcut = functional.avg_pool2d(x, 2)
        y += functional.pad(shortcut, (0, 0, 0, 0, 0, y.shape[1] - x.shape[1]))
        return y.relu_()


class Gated(nn.Module):
    """Squeeze and excitation, a depthwise convolution that widens, PReLU, and a hard swish."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.prelu = nn.PReLU(6)
        self.squeeze, self.excite = nn.Linear(6, 4), nn.Linear(4, 6)
        self.depthwise = nn.Conv2d(6, 12, 3, padding=1, groups=6)
        self.point = nn.Conv2d(12, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.prelu(self.stem(x))
        gate = torch.sigmoid(self.excite(functional.relu(self.squeeze(x.mean((2, 3))))))
        x = functional.hardswish(self.depthwise(x * gate[:, :, None, None]))
        return self.point(functional.dropout(x, 0.5, self.training))


class Joined(nn.Module):
    """Two branches side by side, of which a part is sliced away, then a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 6, 1), nn.Conv2d(3, 4, 3, padding=1)
        self.both = nn.Conv2d(8, 6, 1)
        self.linear = nn.Linear(6 * 16, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.left(x)[:, :4] * 2, self.right(x)], 1)
        x = functional.adaptive_avg_pool2d(functional.gelu(self.both(x)), 4)
        return self.linear(torch.flatten(x, 1))


class Shuffled(nn.Module):
    """A step that moves channels about, which nobody follows, between two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.second(x)


class Forked(nn.Module):
    """Channels that a layer sees, and a step that nobody follows as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.plain, self.sorted = (nn.Conv2d(i, 6, 1) for i in (3, 6, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.plain(functional.relu(x)) + self.sorted(x.sort(1).values)


class Ending(nn.Module):
    """Ends in a step that nobody follows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(functional.relu(self.first(x))).sort(1).values


class Seen(nn.Module):
    """An output that is part of what a layer saw before, beside what that one made."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        gate = torch.sigmoid(self.second(x).mean((1, 2, 3), keepdim=True))
        return torch.cat([x[:, 1:4], x], 1) * gate


class Grouped(nn.Module):
    """A convolution in groups, and one whose weights are used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.grouped = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.twice = nn.Conv2d(6, 6, 1)
        self.last = nn.Conv2d(6, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.grouped(self.first(x)))
        return self.last(functional.relu(self.twice(functional.relu(self.twice(x)))))


class Branching(nn.Module):
    """Cannot be traced: what runs depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return x if float(x.sum()) > 0 else -x


KINDS = (Halves, Residual, Gated, Joined, Shuffled, Forked, Ending, Seen, Grouped)


def made(kind: type[nn.Module], seed: int = 0) -> nn.Module:
    """Return a network with random weights and random statistics of its norms."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = kind()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias)
    return network.eval()

"""Networks of a few thousand weights, as users bring them, and bad ones."""

from __future__ import annotations

import types
from collections import OrderedDict
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions and a shortcut; one ReLU, in place, that runs twice."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(inputs, outputs, 3, 2, 1)
        self.norm = nn.BatchNorm2d(outputs)
        self.same = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.norm(self.down(x)))
        y = self.same(x)
        y += x
        return self.relu(y)


class ConvNet(nn.Module):
    """Maps of 16, 8 and 4 pixels from 32, then a classifier."""

    def __init__(self, width: int = 4, classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 2, 1)
        self.layers = nn.Sequential(Block(width, 2 * width), Block(2 * width, 4 * width))
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layers(self.stem(x)).mean((2, 3)))


class Mixer(nn.Module):
    """One block of a transformer, attention and then a perceptron."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Transformer(nn.Module):
    """16 tokens of a 4x4 grid behind ``prefix`` others, of 32x32 pixels."""

    def __init__(self, width: int = 12, depth: int = 2, prefix: int = 1) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 8, 8)
        self.prefix = nn.Parameter(torch.randn(1, prefix, width))
        self.blocks = nn.Sequential(*(Mixer(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.prefix.expand(x.shape[0], -1, -1), x], 1)
        return self.norm(self.blocks(x))[:, 0]


class Bundle(nn.Module):
    """Parts that return a tuple, a dictionary, channels last, and nothing of use."""

    class _Both(nn.Module):
        def forward(self, x: Tensor) -> tuple[str, Tensor]:
            return "first", x

    class _Named(nn.Module):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"map": x * 2}

    class _Last(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.permute(0, 2, 3, 1)

    class _Scalar(nn.Module):
        def forward(self, x: Tensor) -> float:
            return 1.5

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, 2, 1)
        self.both, self.named = self._Both(), self._Named()
        self.last, self.scalar = self._Last(), self._Scalar()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.named(self.both(self.conv(x))[1])["map"]
        return {"pooled": self.last(x).mean((1, 2)) * self.scalar(x)}


def convnet(width: int = 4) -> nn.Module:
    """A convnet with random weights."""
    return ConvNet(width)


def loaded_convnet() -> nn.Module:
    """A convnet that brings its own weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)
        return ConvNet()


def pooled() -> nn.Module:
    """No part of it returns a map."""
    return nn.Sequential(OrderedDict(flat=nn.Flatten(), fc=nn.Linear(3 * 32 * 32, 4)))


def raises() -> nn.Module:
    """A function that fails, with two lines of reasons."""
    raise ValueError("no such\nwidth")


def number() -> int:
    """A function that returns no module."""
    return 3


class Stubborn(nn.Module):
    """Swallows every exception of its parts."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.then = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)
        self.swallowed = 0

    def forward(self, x: Tensor) -> Tensor:
        try:
            return functional.relu(self.then(self.conv(x)))
        except Exception:
            self.swallowed += 1
            return x


NOT_CALLABLE = 7
A_MODULE = nn.Identity()


def libraries() -> dict[str, types.ModuleType]:
    """Stand-ins for timm, torchvision and facenet-pytorch: the calls that evonas makes.

    Signatures and results are those of timm 1.0, torchvision 0.29 and facenet-pytorch 2.6.
    """
    return {**_timm(), **_torchvision(), "facenet_pytorch": _facenet()}


def _fill(net: nn.Module, value: float) -> None:
    with torch.no_grad():
        for number, parameter in enumerate(net.parameters()):
            parameter += value * (1 + number % 3)


def _timm() -> dict[str, types.ModuleType]:
    timm, data = types.ModuleType("timm"), types.ModuleType("timm.data")
    makers = {"tiny_conv": ConvNet, "tiny_vit": Transformer, "tiny_grey": ConvNet}

    def create_model(model_name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
        name = model_name.partition(".")[0]
        net = makers[name](**{k: v for k, v in kwargs.items() if v is not None})
        if pretrained:
            _fill(net, 0.01)
        net.pretrained_cfg = {
            "input_size": (1 if name == "tiny_grey" else 3, 32, 32),
            "mean": (0.5, 0.4, 0.3),
            "std": (0.3, 0.2, 0.1),
            "classifier": "fc" if name == "tiny_conv" else (),
        }
        if name == "tiny_vit":
            net.num_prefix_tokens = net.prefix.shape[1]
        return net

    def resolve_model_data_config(model: nn.Module, args: Any = None) -> dict[str, Any]:
        cfg = model.pretrained_cfg
        return {"interpolation": "bicubic", **{k: cfg[k] for k in ("input_size", "mean", "std")}}

    timm.create_model, timm.list_models, timm.data = create_model, lambda: list(makers), data
    data.resolve_model_data_config = resolve_model_data_config
    return {"timm": timm, "timm.data": data}


class _Preset:
    def __init__(self) -> None:
        self.crop_size, self.mean, self.std = [32], [0.4, 0.4, 0.4], [0.2, 0.2, 0.2]


class _Weights(Enum):
    V1 = "file"
    DEFAULT = "file"

    def transforms(self) -> _Preset:
        return _Preset()


class _None(Enum):
    """Of a model for which no weights were published."""


def _torchvision() -> dict[str, types.ModuleType]:
    torchvision, models = types.ModuleType("torchvision"), types.ModuleType("torchvision.models")

    def get_model(name: str, **config: Any) -> nn.Module:
        weights = config.pop("weights")
        net = ConvNet(**config)
        if weights is not None:
            assert weights is _Weights.DEFAULT
            _fill(net, 0.02)
        return net

    def list_models(module: types.ModuleType | None = None) -> list[str]:
        return ["tiny18", "unpublished"] + ([] if module is models else ["tiny_detector"])

    models.get_model, models.list_models = get_model, list_models
    models.get_model_weights = lambda name: _Weights if name == "tiny18" else _None
    torchvision.models = models
    return {"torchvision": torchvision, "torchvision.models": models}


def _facenet() -> types.ModuleType:
    facenet = types.ModuleType("facenet_pytorch")

    class InceptionResnetV1(ConvNet):
        def __init__(self, pretrained: str | None = None, classify: bool = False) -> None:
            super().__init__()
            if pretrained is not None:
                self.logits = nn.Linear(4, {"vggface2": 9, "casia-webface": 7}[pretrained])
                _fill(self, 0.03)

    facenet.InceptionResnetV1 = InceptionResnetV1
    return facenet


def export(net: nn.Module, path: Path, *, dynamic: bool = True, side: int = 32) -> Path:
    """Write a program of torch.export, for any number of images or for one at a time."""
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    example = (torch.zeros(2 if dynamic else 1, 3, side, side),)
    torch.export.save(torch.export.export(net.eval(), example, dynamic_shapes=shapes), path)
    return path

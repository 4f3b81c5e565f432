"""Axes, size, channels and normalisation of the input of a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from onnx_backbones import PLAIN, assert_same, convolved, make, refused, small_graph
from torch import Tensor


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255


def test_channels_last_and_bgr(tmp_path: Path, images: Tensor) -> None:
    turn = [helper.make_node("Transpose", ["input"], ["t"], perm=[0, 3, 1, 2])]
    path, kernel = small_graph(tmp_path / "n.onnx", ["n", 32, 32, 3], turn, "t")
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    made = make(path, mean=mean, std=std, channels="bgr")
    assert made.taps == {"out": (4, 30, 30)}
    pixels = images.flip(1) / 255 - torch.tensor(mean).view(1, 3, 1, 1)
    assert_same(
        made(images, ["out"]), convolved(pixels / torch.tensor(std).view(1, 3, 1, 1), kernel)
    )
    expected = [255 * value for value in mean[::-1]]
    assert made.normalisation[0] == pytest.approx(expected)
    assert made.fingerprint != make(path, mean=mean, std=std).fingerprint


@pytest.mark.parametrize(
    ("operators", "pixels"),
    [
        ([("Sub", 127.5), ("Mul", 1 / 128)], True),
        ([("Div", 255.0), ("Sub", 0.5)], True),
        ([("Sub", [0.485, 0.456, 0.406]), ("Div", [0.229, 0.224, 0.225])], False),
        ([("Add", -1.0), ("Mul", 2.0)], False),
        ([("Sub", [104.0, 117.0, 123.0])], True),
    ],
)
def test_normalisation_in_the_first_operators(
    tmp_path: Path, images: Tensor, operators: list[Any], pixels: bool
) -> None:
    name, nodes, weights = "input", [], {}
    expected = images if pixels else images / 255
    for number, (operator, value) in enumerate(operators):
        array = np.array(value, np.float32)
        weights[f"c{number}"] = array.reshape(3, 1, 1) if array.ndim else array
        nodes.append(helper.make_node(operator, [name, f"c{number}"], [f"x{number}"]))
        name, constant = f"x{number}", torch.from_numpy(weights[f"c{number}"])
        rule = {"Sub": torch.sub, "Add": torch.add, "Mul": torch.mul, "Div": torch.div}[operator]
        expected = rule(expected, constant)
    path, kernel = small_graph(tmp_path / "n.onnx", ["n", 3, 32, 32], nodes, name, weights=weights)
    made = make(path)
    assert_same(made(images, ["out"]), convolved(expected, kernel))
    assert list(made.taps) == ["out"], "what is before the first convolution is an image"
    assert "from its first operators" in made.remarks()[0]


@pytest.mark.parametrize(
    ("metadata", "mean", "std", "bgr"),
    [
        ({"Image.NominalPixelRange": "NominalRange_0_255"}, 0.0, 1 / 255, False),
        ({"Image.NominalPixelRange": "Normalized_0_1"}, 0.0, 1.0, False),
        (
            {"Image.NominalPixelRange": "Normalized_1_1", "Image.BitmapPixelFormat": "Bgr8"},
            0.5,
            0.5,
            True,
        ),
        ({"mean": "[0.1, 0.1, 0.1]", "std": "[0.2, 0.2, 0.2]", "channels": "bgr"}, 0.1, 0.2, True),
    ],
)
def test_normalisation_in_the_metadata(
    tmp_path: Path, images: Tensor, metadata: dict[str, str], mean: float, std: float, bgr: bool
) -> None:
    path, kernel = small_graph(tmp_path / "n.onnx", ["n", 3, 32, 32], metadata=metadata)
    made = make(path)
    pixels = images.flip(1) if bgr else images
    assert_same(made(images, ["out"]), convolved((pixels / 255 - mean) / std, kernel))
    assert "from its metadata" in made.remarks()[0]
    assert "from the options" in make(path, **PLAIN).remarks()[0]


def test_nothing_is_known_of_the_normalisation(tmp_path: Path) -> None:
    path, _ = small_graph(tmp_path / "n.onnx", ["n", 3, 32, 32])
    (line,) = make(path).remarks()
    assert "ImageNet's, as the file does not say" in line
    assert make(path).normalisation[0] == pytest.approx([123.675, 116.28, 103.53])


def test_an_input_of_bytes(tmp_path: Path) -> None:
    cast = [helper.make_node("Cast", ["input"], ["x"], to=TensorProto.FLOAT)]
    path, kernel = small_graph(
        tmp_path / "n.onnx", ["n", 3, 32, 32], cast, "x", kind=TensorProto.UINT8
    )
    images = torch.randint(0, 256, (2, 3, 32, 32)).float()
    assert_same(make(path)(images, ["out"]), convolved(images, kernel))


def test_the_size_of_the_input(tmp_path: Path, images: Tensor) -> None:
    path, _ = small_graph(tmp_path / "any.onnx", ["n", 3, "h", "w"])
    assert "give backbone.input_size" in refused(path)
    assert make(path, input_size=20).taps == {"out": (4, 18, 18)}
    noted, _ = small_graph(
        tmp_path / "noted.onnx", ["n", 3, "h", "w"], metadata={"input_size": "24"}
    )
    assert make(noted).input_size == 24
    fixed, _ = small_graph(tmp_path / "fixed.onnx", ["n", 3, 32, 32])
    assert "takes images of 32 pixels, got backbone.input_size=20" in refused(fixed, input_size=20)
    open_axes, _ = small_graph(tmp_path / "open.onnx", ["n", None, None, None])
    assert "give backbone.axes=nchw or backbone.axes=nhwc" in refused(open_axes, input_size=32)
    assert make(open_axes, axes="nchw", input_size=32).taps == {"out": (4, 30, 30)}

"""LightCNN-9: published counts, the published file's names, max-feature-map activations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.backbones.light_cnn import LightCNN
from evonas.models.full_network import TruncatedBackbone

#: Layer of the published file -> (channels in, channels out, kernel), 0: a linear layer.
FILE = {
    "features.0": (1, 96, 5),
    "features.2.conv_a": (48, 96, 1),
    "features.2.conv": (48, 192, 3),
    "features.4.conv_a": (96, 192, 1),
    "features.4.conv": (96, 384, 3),
    "features.6.conv_a": (192, 384, 1),
    "features.6.conv": (192, 256, 3),
    "features.7.conv_a": (128, 256, 1),
    "features.7.conv": (128, 256, 3),
    "fc1": (8192, 512, 0),
}


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """Tensors as the authors' file has them, drawn at random, fc2 for fewer people."""
    generator = torch.Generator().manual_seed(4)
    found = {}
    for name, (c_in, c_out, kernel) in FILE.items():
        shape = (c_out, c_in, kernel, kernel) if kernel else (c_out, c_in)
        fan_in = c_in * max(kernel, 1) ** 2
        found[f"{name}.filter.weight"] = torch.randn(shape, generator=generator) / fan_in**0.5
        found[f"{name}.filter.bias"] = torch.randn(c_out, generator=generator) / 10
    return found | {"fc2.weight": torch.zeros(7, 256), "fc2.bias": torch.zeros(7)}


def by_hand(state: dict[str, Tensor], grey: Tensor) -> tuple[list[Tensor], Tensor]:
    """The maps behind each group, and the descriptor, one equation after another."""

    def mfm(x: Tensor, name: str) -> Tensor:
        weight, bias = state[f"{name}.filter.weight"], state[f"{name}.filter.bias"]
        if weight.dim() == 2:
            y = x @ weight.t() + bias
        else:
            y = nn.functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
        half = y.shape[1] // 2
        return torch.where(y[:, :half] > y[:, half:], y[:, :half], y[:, half:])

    def pool(x: Tensor) -> Tensor:
        return x.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))

    maps = [mfm(grey, "features.0")]
    for number in (2, 4, 6, 7):
        x = maps[-1] if number == 7 else pool(maps[-1])
        maps.append(mfm(mfm(x, f"features.{number}.conv_a"), f"features.{number}.conv"))
    return maps, mfm(pool(maps[-1]).flatten(1), "fc1")


def test_published_counts() -> None:
    """1,286,048 parameters of convolutions, 5.48 M with fc1, 25.80 M in all."""
    made = LightCNN(random=1)
    last = count(TruncatedBackbone(made, "mfm5"), (3, 128, 128))
    assert (last.macs, last.params) == (972_554_240, 1_286_048)
    assert sum(p.numel() for p in made.parameters()) == 1_286_048 + 4_194_816
    assert made.full_cost() == (972_554_240 + 8192 * 512 + 256 * 79077, 25_803_653)
    assert "maximum" not in dict(last.uncounted)  # nothing is hidden from a tracer either
    assert set(made.taps.values()) == {
        (48, 128, 128),
        (96, 64, 64),
        (192, 32, 32),
        (128, 16, 16),
    }


def test_the_published_file_is_read_and_computes_the_same(
    published: dict[str, Tensor], tmp_path: Path
) -> None:
    nested = {"state_dict": {f"module.{k}": v for k, v in published.items()}, "epoch": 3}
    torch.save(nested, tmp_path / "light.pth")
    made = LightCNN(weights=str(tmp_path / "light.pth"))
    images = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(1)) * 255
    red, green, blue = images.unbind(1)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue) / 255
    with torch.no_grad():
        maps, descriptor = by_hand(published, grey[:, None])
    found = made(images, list(made.taps))
    for tap, expected in zip(made.taps, maps, strict=True):
        torch.testing.assert_close(found[tap], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(made.describe(images), descriptor, rtol=1e-4, atol=1e-4)


def test_random_maps_keep_their_size() -> None:
    made = LightCNN(random=1)
    image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(2)) * 255
    sizes = [float(x.square().mean().sqrt()) for x in made(image, list(made.taps)).values()]
    assert 0.2 < min(sizes) < max(sizes) < 1.2


def test_grey_alone_is_seen() -> None:
    made = LightCNN(random=1)
    dark = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1) * 100
    same = dark.sum().expand(1, 3, 1, 1)
    maps = [made(x.expand(1, 3, 128, 128), ["mfm1"])["mfm1"] for x in (dark, same, same + 5)]
    grey = [float((x * made.grey).sum()) for x in (dark, same)]
    assert grey[0] != pytest.approx(grey[1])
    assert not torch.allclose(maps[1], maps[2])
    bright = same.clone()
    bright[:, 0] += 0.587
    bright[:, 1] -= 0.299  # another colour of the same grey
    torch.testing.assert_close(made(bright.expand(1, 3, 128, 128), ["mfm1"])["mfm1"], maps[1])


def test_one_place_of_weights_and_the_right_network(
    published: dict[str, Tensor], tmp_path: Path
) -> None:
    for options in ({}, {"weights": "x", "random": 1}):
        with pytest.raises(InputError, match=r"expected either backbone\.weights=FILE"):
            LightCNN(**options)
    torch.save({k: v for k, v in published.items() if "7.conv_a" not in k}, tmp_path / "cut.pth")
    with pytest.raises(InputError, match=r"2 missing: mfm5\.conv_a\.filter\.weight"):
        LightCNN(weights=str(tmp_path / "cut.pth"))

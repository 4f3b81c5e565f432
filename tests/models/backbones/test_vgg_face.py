"""VGG-Face: published counts, published names of weights, and the order of channels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.backbones import vgg_face
from evonas.models.backbones.vgg_face import VGGFace
from evonas.models.full_network import TruncatedBackbone

#: Convolutions in torchvision's VGG-16, `features`: their places among ReLUs and pools.
PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


@pytest.fixture(scope="module")
def made() -> VGGFace:
    return VGGFace(random=3, input_size=32)


@pytest.fixture(scope="module")
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 32, 32), generator=generator).float()


def plain(weights: dict[str, Tensor]) -> nn.Sequential:
    """VGG-16 up to its last ReLU, written down as its paper has it (table 1, column D)."""
    layers: list[nn.Module] = []
    c_in = 3
    for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
        if width:
            layers += [nn.Conv2d(c_in, width, 3, padding=1), nn.ReLU()]
            c_in = width
        else:
            layers.append(nn.MaxPool2d(2, 2))
    net = nn.Sequential(*layers)
    convs = [name.removesuffix(".weight") for name in weights if name.endswith(".weight")]
    for place, name in zip(PLACES, convs, strict=True):
        net[place].load_state_dict({k: weights[f"{name}.{k}"] for k in ("weight", "bias")})
    return net


def renamed(made: VGGFace, names: str) -> dict[str, Tensor]:
    """The weights as a published conversion names them, with a fully connected part."""
    found = {}
    for place, (name, layer) in zip(PLACES, made.layers.items(), strict=True):
        theirs = {
            "matconvnet": name,
            "torch7": name.replace("conv", "conv_"),
            "torchvision": f"features.{place}",
        }[names]
        found |= {f"{theirs}.{k}": v.clone() for k, v in layer.state_dict().items()}
    last = "classifier.6" if names == "torchvision" else "fc8"
    return found | {f"{last}.weight": torch.zeros(10, 4), f"{last}.bias": torch.zeros(10)}


def test_published_counts() -> None:
    """145 M parameters and 15.5 G multiply-adds; 14.7 M and 15.3 G in convolutions."""
    full = VGGFace(random=1)
    assert full.full_cost() == (15_476_908_032, 145_002_878)
    last = count(TruncatedBackbone(full, "conv5_3"), (3, 224, 224))
    assert (last.macs, last.params) == (15_346_630_656, 14_714_688)
    assert list(full.taps) == vgg_face._CONVS
    assert len(full.taps) == 13
    assert full.taps["conv1_1"] == (64, 224, 224)
    assert full.taps["conv5_3"] == (512, 14, 14)


def test_it_computes_what_the_plain_network_does(made: VGGFace, images: Tensor) -> None:
    net = plain(made.layers.state_dict())
    mean = torch.tensor([129.1863, 104.7624, 93.5940]).view(1, 3, 1, 1)
    for tap, depth in (("conv1_2", 4), ("conv3_1", 12), ("conv5_3", 30)):
        with torch.no_grad():
            expected = net[:depth](images - mean)
        torch.testing.assert_close(made(images, [tap])[tap], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("names", ["matconvnet", "torch7", "torchvision"])
def test_published_names_of_weights_and_their_order_of_channels(
    made: VGGFace, images: Tensor, tmp_path: Path, names: str
) -> None:
    torch.save({"state_dict": renamed(made, names)}, tmp_path / "vgg.pth")
    read = VGGFace(weights=str(tmp_path / "vgg.pth"), input_size=32)
    flipped = VGGFace(weights=str(tmp_path / "vgg.pth"), input_size=32, channels="bgr")
    for one, other in zip(read.layers.parameters(), made.layers.parameters(), strict=True):
        assert torch.equal(one, other)
    bgr = names == "torch7"
    assert (read.fingerprint == made.fingerprint) is not bgr
    assert (read.fingerprint == flipped.fingerprint) is bgr
    # the blue channel comes first, less the mean of blue
    red, blue = (made.layers["conv1_1"].weight[:, [k]] for k in (0, 2))
    swapped = VGGFace(random=3, input_size=32, channels="bgr")
    swapped.layers["conv1_1"].weight.data[:, [0, 2]] = torch.cat([blue, red], 1)
    for tap in ("conv1_1", "conv5_3"):
        found, expected = (one(images, [tap])[tap] for one in (swapped, made))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)


def test_a_descriptor_takes_the_fully_connected_part(
    made: VGGFace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"backbone\.fully_connected=true"):
        made.describe(torch.zeros(1, 3, 32, 32))
    monkeypatch.setattr(vgg_face, "_FULL", {"fc6": (25088, 6), "fc7": (6, 5), "fc8": (5, 4)})
    full = VGGFace(random=3, fully_connected=True)
    image = torch.rand(1, 3, 224, 224) * 255
    x = torch.max_pool2d(full(image, ["conv5_3"])["conv5_3"], 2).flatten(1)
    x = (full.layers["fc6"](x)).relu()
    assert torch.allclose(full.describe(image), full.layers["fc7"](x).relu())
    save_file(dict(made.layers.state_dict()), tmp_path / "cut.safetensors")
    with pytest.raises(InputError, match=r"6 missing: fc6\.weight"):
        VGGFace(weights=str(tmp_path / "cut.safetensors"), fully_connected=True)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "expected either backbone.weights=FILE"),
        ({"weights": "x", "random": 1}, "expected either backbone.weights=FILE"),
        ({"random": 1, "input_size": 100}, "expected a multiple of 16"),
        ({"random": 1, "input_size": 32, "fully_connected": True}, "expected a multiple of 16"),
    ],
)
def test_wrong_options_are_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError) as caught:
        VGGFace(**options)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(made: VGGFace, tmp_path: Path) -> None:
    state = renamed(made, "torch7")
    state["conv_5_3.weight"] = torch.zeros(512, 256, 3, 3)
    del state["conv_1_2.bias"]
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(InputError, match=r"1 missing: conv1_2\.bias; 1 of shape: conv5_3"):
        VGGFace(weights=str(tmp_path / "other.pth"))

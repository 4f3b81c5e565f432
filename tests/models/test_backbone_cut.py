"""Backbones cut at a tap: both parts together compute what the whole backbone does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import small_modules
import torch
from torch import Tensor, nn

from evonas.core import registry
from evonas.core.settings import TrainingSettings
from evonas.errors import InputError
from evonas.estimation.training.training_step import Step, placed
from evonas.models.backbone_cut import IMAGE, BackboneCut
from evonas.models.backbones.base import Backbone
from evonas.models.full_network import FineTunedNetwork
from evonas.tasks.head_pose import HeadPose

_MODULE = {"random": 1, "input_size": 32}


class Reminded(nn.Module):
    """Two layers, the second of which sees the image as well."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3, 1, 1), nn.Conv2d(7, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.cat([self.first(x), x], 1))


class Branches(nn.Module):
    """Two branches on one stem, and a layer on one of them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.left, self.right = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
        self.last = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.last(self.left(x)) + self.right(x).mean()


class Undecided(Branches):
    """Which branch runs depends on values."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.left(x) if float(x.sum()) > 0 else self.right(x)


#: name -> (backbone, options, head's tap, lower tap, what the layers read, their parameters)
CASES: dict[str, tuple[str, dict[str, Any], str, str, str, int]] = {
    "synthetic_face": (
        *("synthetic_face", {}, "block3", "block2", "block2"),
        32 * 64 * 9 + 64 * 64 * 9 + 4 * 64,
    ),
    "synthetic_face, all": (
        *("synthetic_face", {}, "block1", IMAGE, IMAGE),
        3 * 16 * 9 + 16 * 16 * 9 + 4 * 16,
    ),
    "face_recognition": (
        *("face_recognition", {"random": 1}, "conv128_2", "conv128_down", "conv128_down"),
        4 * (128 * 128 * 9 + 128),
    ),
    "vgg_face": (
        *("vgg_face", {"random": 1, "input_size": 32}, "conv4_3", "conv4_1", "conv4_1"),
        2 * (512 * 512 * 9 + 512),
    ),
    "light_cnn": ("light_cnn", {"random": 1}, "mfm5", "mfm4", "mfm4", 328192),
    "hooked": (
        *("torch_module", {"callable": "small_modules:ConvNet", **_MODULE}),
        *("layers.1", "layers.0", "layers.0", 8 * 16 * 9 + 16 + 2 * 16 + 16 * 16 * 9 + 16),
    ),
    # the shortcut around the last convolution is another map
    "hooked, inside a block": (
        *("torch_module", {"callable": "small_modules:ConvNet", **_MODULE}),
        *("layers.1", "layers.0.same", IMAGE, 8 * 16 * 9 + 16 + 2 * 16 + 16 * 16 * 9 + 16),
    ),
    # and so is the image here
    "reminded": (
        *("torch_module", {"callable": "small_modules:Reminded", **_MODULE}),
        *("second", "first", IMAGE, 7 * 4 + 4),
    ),
    # the tap is the grid of tokens, without those before it
    "transformer": (
        *("torch_module", {"callable": "small_modules:Transformer", **_MODULE}),
        *("blocks.1", "blocks.0", IMAGE, 1284),
    ),
    "timm": (
        *("timm", {"model": "tiny_conv", "pretrained": True}, "layers.1", "stem", "stem"),
        4 * 8 * 9 + 8 + 2 * 8 + 8 * 8 * 9 + 8 + 8 * 16 * 9 + 16 + 2 * 16 + 16 * 16 * 9 + 16,
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _libraries() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, module in small_modules.libraries().items():
            patch.setitem(sys.modules, name, module)
        for kind in (Reminded, Branches, Undecided):
            patch.setattr(small_modules, kind.__name__, kind, raising=False)
        yield


def made(name: str, options: dict[str, Any]) -> Backbone:
    backbone: Backbone = registry.create("backbone", name, options)
    return backbone


def images(backbone: Backbone, n: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (n, 3, backbone.input_size, backbone.input_size)
    return torch.randint(0, 256, shape, generator=generator).float()


def read(backbone: Backbone, reads: str, some: Tensor) -> Tensor:
    found: Tensor = some if reads == IMAGE else backbone(some, [reads])[reads]
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_layers_on_the_lower_map_give_the_upper_map(case: str) -> None:
    name, options, tap, lower, reads, params = CASES[case]
    backbone = made(name, options)
    cut = BackboneCut(backbone, tap)
    layers = cut.above(lower)
    assert layers.reads == reads
    some = images(backbone)
    with torch.inference_mode():
        whole = backbone(some, [tap])[tap]
        for n in (1, 3):  # no size of a batch is built in
            found = layers.graph(read(backbone, reads, some[:n]))
            assert float((found - whole[:n]).abs().max()) <= 1e-4 * float(whole.abs().max())
    assert sum(parameter.numel() for parameter in layers.graph.parameters()) == params
    assert set(layers.intervals) == {name for name, _ in layers.graph.named_parameters()}


@pytest.mark.parametrize("case", ["synthetic_face", "hooked, inside a block", "transformer"])
def test_what_is_frozen_stays_bit_for_bit_and_all_else_moves(case: str) -> None:
    """Batch norms of the backbone keep their statistics; those of the head do not."""
    name, options, tap, lower, reads, _ = CASES[case]
    backbone = made(name, options)
    channels = backbone.taps[tap][0]
    head = nn.Sequential(
        nn.BatchNorm2d(channels), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3)
    )
    network = placed(FineTunedNetwork(BackboneCut(backbone, tap).above(lower), head), "cpu")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    print_before = backbone.fingerprint
    settings = TrainingSettings(learning_rate=0.01)
    step = Step(network, HeadPose(("yaw", "pitch", "roll")), settings, "cpu", network.rates(0.5))
    network.train()
    for _ in range(2):
        step(read(backbone, reads, images(backbone, 4)).half(), torch.full((4, 3), 20.0))
    step.verify()
    changed = {n for n, value in network.state_dict().items() if not torch.equal(value, before[n])}
    assert not changed & network.frozen
    assert changed == before.keys() - network.frozen
    assert {n for n, _ in network.named_parameters()} <= changed
    assert "head.0.running_mean" in changed
    assert backbone.fingerprint == print_before


def test_a_state_without_the_frozen_tensors_is_enough() -> None:
    name, options, tap, lower, _, _ = CASES["hooked, inside a block"]
    backbone = made(name, options)
    layers = BackboneCut(backbone, tap).above(lower)
    network = FineTunedNetwork(layers, nn.Identity())
    state = {n: v + 1 for n, v in network.state_dict().items() if n not in network.frozen}
    assert 0 < len(state) < len(network.state_dict())
    network.load_state_dict(state)
    for n, value in network.state_dict().items():
        assert torch.equal(value, state.get(n, value))
    state.popitem()
    with pytest.raises(RuntimeError, match="Missing key"):
        network.load_state_dict(state)


def test_rates_fall_with_every_interval_downwards() -> None:
    backbone = made("synthetic_face", {})
    network = FineTunedNetwork(BackboneCut(backbone, "block4").above("block1"), nn.Identity())
    rates = network.rates(0.5)
    assert rates.keys() == {name for name, _ in network.named_parameters()}
    for name, rate in rates.items():
        assert rate == {"block4": 0.5, "block3": 0.25, "block2": 0.125}[name.split(".")[3]], name
    assert set(network.rates(1.0).values()) == {1.0}


def test_intervals_of_many_taps_are_those_between_outer_modules() -> None:
    backbone = made("torch_module", {"callable": "small_modules:Transformer", **_MODULE})
    assert len(backbone.taps) > 16
    intervals = BackboneCut(backbone, "blocks.1").above(IMAGE).intervals
    inside: dict[str, set[int]] = {}
    for name, number in intervals.items():
        inside.setdefault(name.removeprefix("backbone.net.")[: len("blocks.0")], set()).add(number)
    # six layers of weights are one interval
    assert len(inside["blocks.0"]) == 1
    assert min(inside["blocks.0"]) > max(inside["blocks.1"]) >= 1 == min(inside["blocks.1"])


def test_the_default_is_the_tap_right_below() -> None:
    assert BackboneCut(made("synthetic_face", {}), "block4").default == "block3"
    assert BackboneCut(made("synthetic_face", {}), "block1").default == IMAGE
    hooked = made("torch_module", {"callable": "small_modules:ConvNet", **_MODULE})
    # a ReLU and a sum lie between, but no weights
    assert BackboneCut(hooked, "layers.1").default == "layers.1.relu"


@pytest.mark.parametrize(
    ("tap", "lower", "message"),
    [
        ("block3", "block9", "the backbone has no tap 'block9': expected one of image, block1, "),
        ("block3", "block4", "the tap 'block4' is above the head's tap 'block3': expected one of"),
        ("block3", "block3", "'block3' is the head's own tap, so there is nothing to train but"),
        ("block9", "block3", "the backbone has no tap 'block9'"),
    ],
)
def test_a_tap_that_will_not_do_is_refused_with_those_that_do(
    tap: str, lower: str, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        BackboneCut(made("synthetic_face", {}), tap).above(lower)
    assert message in str(caught.value)


def test_a_tap_without_weights_behind_it_or_on_another_branch_is_refused() -> None:
    hooked = made("torch_module", {"callable": "small_modules:ConvNet", **_MODULE})
    with pytest.raises(InputError, match=r"no layer between the taps 'layers\.1\.same' and"):
        BackboneCut(hooked, "layers.1").above("layers.1.same")
    forked = made("torch_module", {"callable": "small_modules:Branches", **_MODULE})
    with pytest.raises(
        InputError, match=r"'left' is on another branch .* 'right': expected one of"
    ):
        BackboneCut(forked, "right").above("left")


def test_what_has_no_layers_or_cannot_be_traced_is_refused() -> None:
    bare = BackboneCut(made("none", {"input_size": 16}), "image")
    for use in (lambda: bare.default, lambda: bare.above(IMAGE)):
        with pytest.raises(InputError, match="no layer of the backbone up to 'image' has weights"):
            use()

    backbone = made("torch_module", {"callable": "small_modules:Undecided", **_MODULE})
    with pytest.raises(InputError, match=r"cannot be traced .* such a backbone cannot be cut"):
        BackboneCut(backbone, "output")

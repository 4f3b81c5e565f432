"""A user's own module as a backbone: where it comes from, its taps, and what is refused."""

from __future__ import annotations

import copy
import sys
from pathlib import Path
from typing import Any

import pytest
import small_modules
import torch
from refusals import refusal_of
from safetensors.torch import save_file

from evonas.core import registry
from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.backbones.base import Backbone
from evonas.models.backbones.common.hooked_module import Hooked
from evonas.models.full_network import TruncatedBackbone


def make(function: str = "small_modules:ConvNet", **options: Any) -> Backbone:
    options = {"input_size": 32, "callable": function, **options}
    if not {"random", "weights"} & set(options):
        options["random"] = 1
    made: Backbone = registry.create("backbone", "torch_module", options)
    return made


def refused(function: str = "small_modules:ConvNet", **options: Any) -> str:
    return refusal_of(lambda: make(function, **options))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255


def wrapped(net: torch.nn.Module, **options: Any) -> Hooked:
    plain = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "input_size": 32}
    return Hooked(net, "test", identity={}, **{**plain, **options})


def test_taps_are_the_parts_in_the_order_of_execution() -> None:
    assert list(make().taps)[:8] == [
        "stem",
        "layers.0.down",
        "layers.0.norm",
        "layers.0.relu",
        "layers.0.same",
        "layers.0.relu:1",
        "layers.0",
        "layers.1.down",
    ]
    assert make().taps["layers.1"] == (16, 4, 4)
    assert not {"fc", "output"} & set(make().taps), "(n, classes) is no map"


def test_the_values_are_those_of_the_module(images: torch.Tensor) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = small_modules.ConvNet().eval()
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    made = make(mean=mean.tolist(), std=std.tolist())
    x = (images / 255 - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    with torch.no_grad():
        stem = net.stem(x)
        layer = net.layers[0](stem.clone())
    torch.testing.assert_close(made(images, ["stem"])["stem"], stem)
    torch.testing.assert_close(made(images, ["layers.0"])["layers.0"], layer)


def test_blue_comes_first_where_that_is_said(images: torch.Tensor) -> None:
    mean = [0.1, 0.2, 0.3]
    there = make(channels="bgr", mean=mean)(images, ["stem"])["stem"]
    torch.testing.assert_close(there, make(mean=mean)(images.flip(1), ["stem"])["stem"])
    assert make(channels="bgr").fingerprint != make().fingerprint


def test_what_later_layers_write_in_place_does_not_reach_a_tap(images: torch.Tensor) -> None:
    """The ReLU behind ``norm`` overwrites its output."""
    made = make()
    alone = made(images, ["layers.0.norm"])["layers.0.norm"]
    assert float(alone.min()) < 0
    both = made(images, ["layers.0.norm", "layers.1"])["layers.0.norm"]
    assert torch.equal(both, alone)


def test_a_part_that_runs_twice_has_two_taps(images: torch.Tensor) -> None:
    found = make()(images, ["layers.0.relu", "layers.0.relu:1", "layers.0"])
    assert not torch.equal(found["layers.0.relu"], found["layers.0.relu:1"])
    assert torch.equal(found["layers.0.relu:1"], found["layers.0"])


@pytest.mark.parametrize(("prefix", "given"), [(1, None), (5, None), (1, 1), (5, 5), (0, 0)])
def test_tokens_become_a_grid(images: torch.Tensor, prefix: int, given: int | None) -> None:
    net = small_modules.Transformer(prefix=prefix).eval()
    made = wrapped(net, prefix_tokens=given)
    assert made.taps["patches"] == made.taps["blocks.0"] == made.taps["norm"] == (12, 4, 4)
    got = made(images, ["blocks.0.norm1"])["blocks.0.norm1"]
    with torch.no_grad():
        x = net.patches(images / 255).flatten(2).transpose(1, 2)
        expected = net.blocks[0].norm1(x)
    assert got.shape == (3, 12, 4, 4)
    torch.testing.assert_close(got[:, :, 1, 2], expected[:, 4 * 1 + 2])


def test_more_tokens_in_front_than_a_square_needs_are_said() -> None:
    """16 + 10 tokens look like 25 + 1."""
    net = small_modules.Transformer(prefix=10)
    assert wrapped(copy.deepcopy(net)).taps["norm"] == (12, 5, 5)
    assert wrapped(copy.deepcopy(net), prefix_tokens=10).taps["norm"] == (12, 4, 4)
    assert "norm" not in wrapped(net, prefix_tokens=3).taps


def test_tuples_dictionaries_and_channels_last(images: torch.Tensor) -> None:
    made = wrapped(small_modules.Bundle())
    assert made.taps == dict.fromkeys(["conv", "both", "named", "last"], (5, 16, 16))
    found = made(images, list(made.taps))
    assert torch.equal(found["both"], found["conv"])
    assert torch.equal(found["named"], 2 * found["conv"])
    assert torch.equal(found["last"], found["named"])


def test_a_whole_module_that_ends_in_a_map_has_the_tap_output(images: torch.Tensor) -> None:
    made = wrapped(small_modules.Stubborn())
    assert list(made.taps) == ["conv", "then", "output"]
    assert float(made(images, ["output"])["output"].min()) == 0
    assert made(images, ["conv"])["conv"].shape == (3, 4, 16, 16)
    assert made.net.swallowed == 0, "the stop must pass a module that catches exceptions"


def test_chosen_taps_are_offered_in_the_order_of_execution() -> None:
    made = make(taps=["layers.1", "stem"])
    assert list(made.taps) == ["stem", "layers.1"]
    message = refused(taps=["layers.2"])
    assert "it has no tap 'layers.2': did you mean 'layers.1'? (known: " in message
    assert "backbone.taps is empty" in refused(taps=[])
    with pytest.raises(InputError, match=r"no tap 'layers\.0': did you mean 'layers\.1'"):
        made(torch.zeros(1, 3, 32, 32), ["layers.0"])


def test_it_can_be_counted_and_copied(images: torch.Tensor) -> None:
    made = make()
    assert count(TruncatedBackbone(made, "stem"), (3, 32, 32)).macs == 16 * 16 * 4 * 27
    attention = make("small_modules:Transformer")
    cost = count(TruncatedBackbone(attention, "blocks.0.attention"), (3, 32, 32))
    projections, products = 17 * 12 * 12 * 4, 2 * 17 * 17 * 12
    assert cost.macs == 16 * 12 * 192 + projections + products, "fused or not"
    other = copy.deepcopy(made)
    assert torch.equal(
        other(images, ["layers.0"])["layers.0"], made(images, ["layers.0"])["layers.0"]
    )
    with torch.no_grad():
        other.net.stem.weight += 1
    assert other.fingerprint != made.fingerprint
    assert not torch.equal(other(images, ["stem"])["stem"], made(images, ["stem"])["stem"])


def test_half_precision_runs_in_32_bits(images: torch.Tensor) -> None:
    made = wrapped(small_modules.ConvNet().to(torch.bfloat16))
    assert made(images, ["stem"])["stem"].dtype == torch.float32
    assert len(made.fingerprint) == 32


def test_weights_come_from_a_file(tmp_path: Path, images: torch.Tensor) -> None:
    net = small_modules.ConvNet().eval()
    path = tmp_path / "w.safetensors"
    save_file(net.state_dict(), path)
    made = make(weights=str(path))
    assert torch.equal(made.net.stem.weight, net.stem.weight)
    assert made.fingerprint == make(weights=str(path)).fingerprint
    assert "1 unexpected" not in refused(weights=str(path), arguments={"width": 8})
    assert "exclude each other" in refused(weights=str(path), random=1)
    assert "no such file" in refused(weights=str(tmp_path / "absent.pt"))


def test_a_function_may_bring_its_weights() -> None:
    made = registry.create(
        "backbone", "torch_module", {"callable": "small_modules:loaded_convnet", "input_size": 32}
    )
    assert torch.equal(made.net.stem.weight, small_modules.loaded_convnet().stem.weight)
    assert "makes the same weights from every seed" in refused("small_modules:loaded_convnet")


def test_random_weights_are_used_only_where_they_are_asked_for() -> None:
    with pytest.raises(InputError, match=r"makes random weights: give backbone\.weights=FILE"):
        registry.create(
            "backbone", "torch_module", {"callable": "small_modules:convnet", "input_size": 32}
        )
    before = torch.random.get_rng_state()
    assert make(random=1).fingerprint == make(random=1).fingerprint != make(random=2).fingerprint
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_fingerprint_tells_all_that_values_follow_from() -> None:
    others = [
        make(mean=[0.5, 0.5, 0.5]),
        make(std=[0.5, 0.5, 0.5]),
        make(prefix_tokens=1),
        make("small_modules:convnet"),
        make(arguments={"classes": 5}),
    ]
    assert len({made.fingerprint for made in [make(), *others]}) == 6
    assert make().fingerprint == make().fingerprint == make(taps=["stem"]).fingerprint


def test_a_module_beside_the_experiment_is_found_and_its_code_is_in_the_fingerprint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "from torch import nn\n\nclass Net(nn.Conv2d):\n    pass\n"
    path, before = list(sys.path), {}
    for scale in ("", "    def forward(self, x):\n        return 2 * super().forward(x)\n"):
        (tmp_path / "beside_me.py").write_text(text + scale, encoding="utf-8")
        monkeypatch.delitem(sys.modules, "beside_me", raising=False)
        arguments = {"in_channels": 3, "out_channels": 4, "kernel_size": 3}
        made = make("beside_me:Net", arguments=arguments, taps=["output"])
        before[made.fingerprint] = made
    monkeypatch.delitem(sys.modules, "beside_me")
    assert len(before) == 2, "an edited forward gives other values from equal weights"
    assert sys.path == path


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("small_modules", "expected package.module:function, such as torchvision.models:resnet18"),
        ("small modules:ConvNet", "expected package.module:function"),
        ("small_modulez:ConvNet", "there is no module 'small_modulez' among what is installed"),
        ("torch.nnn:Linear", "no module 'torch.nnn'"),
        ("small_modules:ConvNets", "has no 'ConvNets': did you mean 'ConvNet'"),
        ("small_modules:Bundle.forwards", "has no 'forwards': did you mean 'forward'"),
        ("small_modules:NOT_CALLABLE", "expected a function that returns an nn.Module, got a int"),
        ("small_modules:A_MODULE", "expected a function that returns an nn.Module, got a Identity"),
        ("small_modules:raises", "with arguments [] fails (ValueError: no such width)"),
        ("small_modules:number", "expected it to return an nn.Module, got a int"),
        ("small_modules:pooled", "none of its 3 outputs is a feature map"),
    ],
)
def test_a_function_that_will_not_do_is_refused(function: str, said: str) -> None:
    assert said in refused(function)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import no_such_library\n",
            "importing 'broken_one' needs 'no_such_library', which is not",
        ),
        ("1 / 0\n", "importing 'broken_one' fails (ZeroDivisionError: division by zero)"),
        ("def (\n", "importing 'broken_one' fails (SyntaxError: "),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_one", raising=False)
    (tmp_path / "broken_one.py").write_text(text, encoding="utf-8")
    assert said in refused("broken_one:net")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"arguments": {"depth": 3}}, "with arguments ['depth'] fails (TypeError: "),
        ({"mean": [123.7, 116.3, 103.5]}, "divide values of 0..255 by 255"),
        ({"std": [0, 1, 1]}, "std above 0"),
        ({"mean": [0.5]}, "backbone.mean"),
        ({"channels": "gbr"}, "backbone.channels"),
        ({"input_size": 0}, "expected input_size of at least 1"),
        ({"prefix_tokens": -1}, "prefix_tokens of at least 0"),
        ({"width": 8}, "unknown key backbone.width"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, Any], said: str) -> None:
    assert said in refused(**options)


def test_an_input_that_does_not_fit_is_refused() -> None:
    message = refused("small_modules:Transformer", input_size=4)
    assert "it fails on two empty images of 4x4 pixels (RuntimeError: " in message
    assert message.endswith("check the model, its arguments and backbone.input_size")


def test_torchscript_is_sent_elsewhere() -> None:
    script = torch.jit.script(small_modules.ConvNet())
    with pytest.raises(InputError, match="it is TorchScript: save it and use backbone=exported"):
        wrapped(script)
    with pytest.raises(InputError, match="its submodule '0' is TorchScript"):
        wrapped(torch.nn.Sequential(script))

"""What every registered backbone must do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx_files
import pytest
import small_modules
import torch
from safetensors.torch import save_file

from evonas.core import registry
from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.backbones.base import Backbone
from evonas.models.backbones.onnx import Onnx
from evonas.models.full_network import TruncatedBackbone
from evonas.models.tracing import save
from evonas.testing import BackboneConformance

NAMES = registry.names("backbone")
_CONV = {"taps": ["stem", "layers.0", "layers.1"]}
_ATTENTION = {"taps": ["patches", "blocks.0", "blocks.1", "norm"]}
_ONNX_CONV = ["stem.Conv", "layers.0.relu_1.Relu", "layers.1.relu_1.Relu"]
_ONNX_ATTENTION = ["patches.Conv", "blocks.0.Add_1", "blocks.1.Add_1", "norm.LayerNormalization"]

#: case -> (backbone, options to be made with trained weights)
CASES: dict[str, tuple[str, dict[str, object]]] = {
    "none": ("none", {"input_size": 32}),
    "synthetic_face": ("synthetic_face", {}),
    "face_recognition": ("face_recognition", {"weights": "RECOGNITION"}),
    "vgg_face": ("vgg_face", {"weights": "VGG", "input_size": 32}),
    "light_cnn": ("light_cnn", {"weights": "LIGHT"}),
    "torch_module convnet": (
        "torch_module",
        {"callable": "small_modules:ConvNet", "weights": "CONVNET", "input_size": 32, **_CONV},
    ),
    "torch_module transformer": (
        "torch_module",
        {
            "callable": "small_modules:Transformer",
            "weights": "TRANSFORMER",
            "input_size": 32,
            **_ATTENTION,
        },
    ),
    "exported convnet": ("exported", {"path": "PROGRAM", **_CONV}),
    "exported transformer": ("exported", {"path": "PROGRAM 1", **_ATTENTION}),
    "pruned": ("pruned", {"path": "PRUNED", "tap": "layers"}),
    "onnx convnet": ("onnx", {"file": "ONNX CONVNET", "taps": _ONNX_CONV}),
    "onnx transformer": ("onnx", {"file": "ONNX TRANSFORMER", "taps": _ONNX_ATTENTION}),
    "exported script": ("exported", {"path": "SCRIPT", "input_size": 32}),
    "timm": ("timm", {"model": "tiny_conv", "pretrained": True, **_CONV}),
    "timm transformer": ("timm", {"model": "tiny_vit", "pretrained": True, **_ATTENTION}),
    "torchvision": ("torchvision", {"model": "tiny18", "pretrained": True, **_CONV}),
    "facenet": ("facenet", {"pretrained": True, "input_size": 32, **_CONV}),
}
#: Without a seed of fresh weights: nothing to draw, or nobody knows how they were drawn.
NO_RANDOM = {"none", "exported", "onnx", "pruned"}
#: Users may offer taps between which nothing is computed; of these every tap costs more.
DISTINCT = {"synthetic_face", "face_recognition", "vgg_face", "light_cnn"}
#: Multiply-adds behind the last tap: linear layers, which are no maps.
BEHIND = {
    "synthetic_face": 128 * 4 * 4 * 128,
    "face_recognition": 256 * 128,
    "light_cnn": 128 * 8 * 8 * 512 + 256 * 79077,
    **dict.fromkeys(
        [
            *("torch_module convnet", "exported convnet", "onnx convnet"),
            *("timm", "torchvision", "facenet"),
        ],
        16 * 5,
    ),
}


@pytest.fixture(scope="module", autouse=True)
def _libraries() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, module in small_modules.libraries().items():
            patch.setitem(sys.modules, name, module)
        yield


def options(case: str, request: pytest.FixtureRequest) -> dict[str, object]:
    """The options of a case, with the files that they name made or found."""
    found = dict(CASES[case][1])
    for key, value in found.items():
        if isinstance(value, str) and value.isupper():
            found[key] = str(request.getfixturevalue("files")(value))
    return found


@pytest.fixture(scope="module")
def files(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """Make (or find) the file that a case needs."""
    folder = tmp_path_factory.mktemp("backbones")

    def make(what: str) -> Path:
        if what == "RECOGNITION":
            found: Path = request.getfixturevalue("recognition_weights")
            return found
        path = folder / what.replace(" ", "")
        if what in ("VGG", "LIGHT"):
            name = {"VGG": "vgg_face", "LIGHT": "light_cnn"}[what]
            own = registry.create("backbone", name, {"random": 7}).layers.state_dict()
            save_file(own, path.with_suffix(".safetensors"))
            return path.with_suffix(".safetensors")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            convnet, transformer = small_modules.ConvNet(), small_modules.Transformer()
        if what in ("CONVNET", "TRANSFORMER"):
            path = path.with_suffix(".safetensors")
            save_file((convnet if what == "CONVNET" else transformer).state_dict(), path)
        elif what.startswith("ONNX"):
            net = convnet if what == "ONNX CONVNET" else transformer
            path = onnx_files.exported(net, path.with_suffix(".onnx"))
        elif what == "PRUNED":
            path = path.with_suffix(".pt2")
            save(torch.nn.Sequential(convnet.stem, convnet.layers), torch.zeros(2, 3, 32, 32), path)
        elif what == "SCRIPT":
            torch.jit.script(torch.nn.Sequential(convnet.stem, convnet.layers[0].down)).save(path)
        else:
            net = convnet if what == "PROGRAM" else transformer
            path = small_modules.export(net, path.with_suffix(".pt2"), dynamic=what == "PROGRAM")
        return path

    return make


class TestBackbones(BackboneConformance):
    """The names are those of the cases."""

    names = tuple(CASES)
    drawable = tuple(case for case, (name, _) in CASES.items() if name not in NO_RANDOM)
    free = weightless = ("none",)
    distinct = ("synthetic_face", "face_recognition", "vgg_face", "light_cnn")

    @classmethod
    def make(cls, name: str, request: pytest.FixtureRequest, **changes: Any) -> Backbone:
        given = options(name, request)
        if "random" in changes:
            given = {k: v for k, v in given.items() if k not in ("weights", "pretrained")}
        made: Backbone = registry.create("backbone", CASES[name][0], {**given, **changes})
        return made

    @classmethod
    def work(cls, backbone: Backbone, images: torch.Tensor, taps: list[str]) -> int:
        if not isinstance(backbone, Onnx):
            return super().work(backbone, images, taps)
        return onnx_files.layers_run(backbone, images, taps)

    def test_there_is_something_to_test(self) -> None:
        assert {name for name, _ in CASES.values()} == set(NAMES)

    def test_random_weights_are_not_the_trained_ones(
        self, drawable: str, request: pytest.FixtureRequest
    ) -> None:
        drawn, trained = self.make(drawable, request, random=1), self.make(drawable, request)
        assert drawn.fingerprint != trained.fingerprint
        assert drawn.taps == trained.taps

    def test_the_whole_network_has_the_layers_behind_the_last_tap_too(
        self, name: str, backbone: Backbone
    ) -> None:
        whole = backbone.full_cost()
        if name in (
            "none",
            "vgg_face",
            "pruned",
        ):  # none, none for images of this size, or all of it
            assert whole is None
            return
        last = count(
            TruncatedBackbone(backbone, list(backbone.taps)[-1]),
            (3, backbone.input_size, backbone.input_size),
        )
        assert whole is not None
        assert whole.params >= last.params
        assert whole.macs - last.macs == BEHIND.get(name, 0)


@pytest.mark.parametrize("name", sorted(NO_RANDOM))
def test_where_there_is_no_random_option_it_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"unknown key backbone\.random"):
        registry.create("backbone", name, {"random": 1})

"""Backbones of timm, torchvision and facenet-pytorch, on stand-ins that follow their calls."""

from __future__ import annotations

import importlib.abc
import sys
from pathlib import Path
from typing import Any

import pytest
import small_modules
import torch
from refusals import refusal_of
from safetensors.torch import save_file

from evonas.core import registry
from evonas.models.backbones.base import Backbone

MODELS = {
    "timm": {"model": "tiny_conv"},
    "torchvision": {"model": "tiny18"},
    "facenet": {"input_size": 32},
}
PACKAGES = {"timm": "timm", "torchvision": "torchvision", "facenet": "facenet_pytorch"}


@pytest.fixture(params=MODELS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def _libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for library, module in small_modules.libraries().items():
        monkeypatch.setitem(sys.modules, library, module)


def make(name: str, **options: Any) -> Backbone:
    made: Backbone = registry.create("backbone", name, {**MODELS[name], **options})
    return made


def refused(name: str, **options: Any) -> str:
    return refusal_of(lambda: make(name, **options))


@pytest.mark.usefixtures("_libraries")
def test_weights_come_from_exactly_one_place(name: str) -> None:
    assert "expected exactly one of backbone.weights=FILE" in refused(name)
    assert "got weights=None, pretrained=True, random=1" in refused(name, pretrained=True, random=1)
    assert "expected exactly one" in refused(name, pretrained=True, weights="x.pt")


@pytest.mark.usefixtures("_libraries")
def test_size_and_normalisation_are_the_librarys() -> None:
    found = {
        name: (made.input_size, made.mean.flatten().tolist(), made.std.flatten().tolist())
        for name in MODELS
        for made in [make(name, random=1)]
    }
    expected = {
        "timm": (32, [0.5, 0.4, 0.3], [0.3, 0.2, 0.1]),
        "torchvision": (32, [0.4, 0.4, 0.4], [0.2, 0.2, 0.2]),
        "facenet": (32, [127.5 / 255] * 3, [128 / 255] * 3),
    }
    for name, (size, mean, std) in expected.items():
        assert found[name][0] == size
        assert found[name][1] == pytest.approx(mean)
        assert found[name][2] == pytest.approx(std)
    del MODELS["facenet"]["input_size"]
    try:
        assert make("facenet", random=1).input_size == 160
    finally:
        MODELS["facenet"]["input_size"] = 32


@pytest.mark.usefixtures("_libraries")
def test_facenet_sees_what_the_library_feeds_it() -> None:
    made = make("facenet", random=1)
    images = torch.rand(2, 3, 32, 32) * 255
    with torch.no_grad():
        expected = made.net.stem((images - 127.5) / 128)
    torch.testing.assert_close(made(images, ["stem"])["stem"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("_libraries")
def test_the_library_loads_its_weights_where_that_is_asked_for(name: str) -> None:
    loaded = make(name, pretrained=True)
    assert loaded.fingerprint == make(name, pretrained=True).fingerprint
    assert loaded.fingerprint != make(name, random=0).fingerprint


@pytest.mark.usefixtures("_libraries")
def test_weights_from_a_file(name: str, tmp_path: Path) -> None:
    net, path = small_modules.ConvNet(), tmp_path / "w.safetensors"
    state = net.state_dict()
    save_file(state, path)
    made = make(name, weights=str(path))
    assert torch.equal(made.net.layers[1].same.weight, net.layers[1].same.weight)
    save_file({k: v for k, v in state.items() if not k.startswith("stem")}, path)
    assert "2 missing: stem.weight, stem.bias" in refused(name, weights=str(path))


@pytest.mark.usefixtures("_libraries")
def test_a_classifier_that_no_tap_needs_may_differ(tmp_path: Path) -> None:
    state, path = small_modules.ConvNet().state_dict(), tmp_path / "w.safetensors"
    save_file({k: v for k, v in state.items() if not k.startswith("fc.")}, path)
    first = make("timm", weights=str(path))
    torch.manual_seed(8)
    assert first.fingerprint == make("timm", weights=str(path)).fingerprint
    save_file({**state, "logits.weight": torch.ones(9, 4), "logits.bias": torch.ones(9)}, path)
    make("facenet", weights=str(path))
    assert "2 unexpected: logits.bias, logits.weight" in refused("torchvision", weights=str(path))


@pytest.mark.usefixtures("_libraries")
def test_arguments_reach_the_library() -> None:
    for name in ("timm", "torchvision"):
        made = make(name, random=1, arguments={"width": 8}, taps=["stem"])
        assert made.taps == {"stem": (8, 16, 16)}
        message = refused(name, random=1, arguments={"wide": 8})
        assert "the library cannot make it (TypeError: " in message
    assert make("timm", random=1, input_size=64).taps["stem"] == (4, 32, 32)


@pytest.mark.usefixtures("_libraries")
def test_timm_says_how_many_tokens_lie_in_front() -> None:
    vit = {"model": "tiny_vit", "random": 1, "arguments": {"prefix": 10}}
    made = make("timm", **vit)
    assert made.taps["patches"] == made.taps["norm"] == (12, 4, 4)
    assert make("timm", **vit, prefix_tokens=1).taps["norm"] == (12, 5, 5)


@pytest.mark.usefixtures("_libraries")
def test_an_unknown_model_is_answered_with_the_nearest() -> None:
    assert "has no model 'tiny_con': did you mean 'tiny_conv'" in refused(
        "timm", model="tiny_con", random=1
    )
    make("timm", model="tiny_conv.some_tag", random=1)
    assert "did you mean 'tiny18'? (2 are known)" in refused(
        "torchvision", model="tiny81", random=1
    )
    assert "has no model 'tiny_detector'" in refused("torchvision", model="tiny_detector", random=1)
    assert "backbone.model" in refused("facenet", model="casia", random=1)


@pytest.mark.usefixtures("_libraries")
def test_models_that_will_not_do_are_refused() -> None:
    assert "1 channels and 32x32 pixels" in refused("timm", model="tiny_grey", random=1)
    assert "does not say its input size: give backbone.input_size" in refused(
        "torchvision", model="unpublished", random=1
    )
    made = make("torchvision", model="unpublished", random=1, input_size=32)
    assert made.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


class _Broken(importlib.abc.MetaPathFinder):
    """Finds libraries and fails to import them, as one that was built for another torch does."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in PACKAGES.values():
            raise self.error
        return None


@pytest.fixture
def absent(monkeypatch: pytest.MonkeyPatch) -> Any:
    for key in [k for k in sys.modules if k.partition(".")[0] in PACKAGES.values()]:
        monkeypatch.delitem(sys.modules, key)

    def fail(error: Exception) -> None:
        monkeypatch.setattr(sys, "meta_path", [_Broken(error), *sys.meta_path])

    return fail


def test_a_library_that_is_not_installed(name: str, absent: Any) -> None:
    package = PACKAGES[name]
    absent(ModuleNotFoundError(f"No module named {package!r}", name=package))
    message = refused(name, random=1)
    assert f"needs the package {package!r}, which is not installed" in message
    assert f"pip install 'evonas[{name}]'" in message


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("operator torchvision::nms does not exist"),
        OSError("libcudart.so: cannot open shared object file"),
        ModuleNotFoundError("No module named 'requests'", name="requests"),
    ],
)
def test_a_library_that_does_not_fit_the_torch_here(
    name: str, absent: Any, error: Exception
) -> None:
    absent(error)
    message = refused(name, random=1)
    assert f"is installed but cannot be imported ({type(error).__name__}: {error})" in message
    assert f"a torchvision that was built for torch {torch.__version__}" in message

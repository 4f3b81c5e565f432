"""What every backbone must do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import small_modules
import torch
from safetensors.torch import save_file
from torch.utils._python_dispatch import TorchDispatchMode

from evonas.core import registry
from evonas.deployment.pruning.tracing import save
from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.backbones.base import Backbone
from evonas.models.full_network import TruncatedBackbone

NAMES = registry.names("backbone")
_CONV = {"taps": ["stem", "layers.0", "layers.1"]}
_ATTENTION = {"taps": ["patches", "blocks.0", "blocks.1", "norm"]}

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
    "exported script": ("exported", {"path": "SCRIPT", "input_size": 32}),
    "timm": ("timm", {"model": "tiny_conv", "pretrained": True, **_CONV}),
    "timm transformer": ("timm", {"model": "tiny_vit", "pretrained": True, **_ATTENTION}),
    "torchvision": ("torchvision", {"model": "tiny18", "pretrained": True, **_CONV}),
    "facenet": ("facenet", {"pretrained": True, "input_size": 32, **_CONV}),
}
#: Without a seed of fresh weights: nothing to draw, or nobody knows how they were drawn.
NO_RANDOM = {"none", "exported", "pruned"}
#: Users may offer taps between which nothing is computed; of these every tap costs more.
DISTINCT = {"synthetic_face", "face_recognition", "vgg_face", "light_cnn"}
#: Multiply-adds behind the last tap: linear layers, which are no maps.
BEHIND = {
    "synthetic_face": 128 * 4 * 4 * 128,
    "face_recognition": 256 * 128,
    "light_cnn": 128 * 8 * 8 * 512 + 256 * 79077,
    **dict.fromkeys(
        ["torch_module convnet", "exported convnet", "timm", "torchvision", "facenet"], 16 * 5
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


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, case: str) -> Backbone:
    backbone: Backbone = registry.create("backbone", CASES[case][0], options(case, request))
    return backbone


@pytest.fixture
def images(made: Backbone) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, made.input_size, made.input_size)
    return torch.randint(0, 256, shape, generator=generator).float()


def test_there_is_something_to_test() -> None:
    assert {name for name, _ in CASES.values()} == set(NAMES)


def test_taps_have_the_declared_shapes_in_the_declared_order(
    made: Backbone, images: torch.Tensor
) -> None:
    found = made(images, list(made.taps))
    assert list(found) == list(made.taps)
    for tap, values in found.items():
        assert tuple(values.shape) == (2, *made.taps[tap]), tap
        assert values.dtype == torch.float32
        assert bool(torch.isfinite(values.half()).all()), f"{tap} does not fit the cache"
        assert float(values.std()) > 0
    sides = [shape[1] for shape in made.taps.values()]
    assert sides == sorted(sides, reverse=True)


def test_it_is_frozen(made: Backbone, images: torch.Tensor) -> None:
    assert not any(module.training for module in made.modules())
    assert not any(parameter.requires_grad for parameter in made.parameters())
    before = made.fingerprint
    found = made(images, list(made.taps)[-1:])
    assert not any(values.requires_grad for values in found.values())
    assert made.fingerprint == before


def test_it_is_deterministic_and_images_do_not_mix(made: Backbone, images: torch.Tensor) -> None:
    last = list(made.taps)[-1]
    first = made(images, [last])[last]
    assert torch.equal(made(images, [last])[last], first)
    torch.testing.assert_close(made(images[1:], [last])[last], first[1:], rtol=1e-3, atol=1e-3)
    assert not torch.allclose(first[0], first[1])


def test_a_tap_does_not_depend_on_which_others_are_wanted(
    made: Backbone, images: torch.Tensor
) -> None:
    everything = made(images, list(made.taps))
    for tap in made.taps:
        (alone,) = made(images, [tap]).values()
        assert torch.equal(alone, everything[tap])
    backwards = made(images, list(made.taps)[::-1])
    assert {tap: values.shape for tap, values in backwards.items()} == {
        tap: values.shape for tap, values in everything.items()
    }


class Watch(TorchDispatchMode):
    """Counts the convolutions and products that run."""

    ran = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        names = ("convolution", "addmm", "mm", "bmm", "attention")
        self.ran += any(part in str(func) for part in names)
        return func(*args, **(kwargs or {}))


def test_layers_behind_the_last_wanted_tap_are_not_run(
    case: str, made: Backbone, images: torch.Tensor
) -> None:
    taps = list(made.taps)
    ran = []
    for tap in taps:
        with Watch() as watch:
            made(images[:1], [tap])
        ran.append(watch.ran)
    assert ran == sorted(ran), "a later tap must not take fewer layers"
    if case in DISTINCT:
        assert len(set(ran)) == len(ran), "a later tap must take more layers"
    if len(taps) > 1:
        assert ran[0] < ran[-1]
        with Watch() as watch:
            made(images[:1], [taps[1], taps[0]])
        assert watch.ran == ran[1]


def test_the_cost_up_to_a_tap_rises(case: str, made: Backbone) -> None:
    costs = []
    for tap in list(made.taps)[:3]:
        upto = TruncatedBackbone(made, tap)
        costs.append(count(upto, tuple(upto.example().shape[1:])).macs)
    assert costs == sorted(set(costs))
    assert (costs[0] > 0) == (case != "none")


def test_the_parameters_up_to_a_tap_rise(case: str, made: Backbone) -> None:
    first, last = (
        count(TruncatedBackbone(made, tap), (3, made.input_size, made.input_size)).params
        for tap in (next(iter(made.taps)), list(made.taps)[-1])
    )
    everything = sum(parameter.numel() for parameter in made.parameters())
    assert first <= last <= everything
    assert (first > 0) == (case != "none")
    assert (first < last) == (len(made.taps) > 1)


def test_the_whole_network_has_the_layers_behind_the_last_tap_too(
    case: str, made: Backbone
) -> None:
    whole = made.full_cost()
    if case in ("none", "vgg_face", "pruned"):  # none, none for images of this size, or all of it
        assert whole is None
        return
    last = count(
        TruncatedBackbone(made, list(made.taps)[-1]), (3, made.input_size, made.input_size)
    )
    assert whole is not None
    assert whole.params >= last.params
    assert whole.macs - last.macs == BEHIND.get(case, 0)


def test_threads_may_share_it(made: Backbone, images: torch.Tensor) -> None:
    """The feature cache runs several batches at once."""
    taps = list(made.taps)
    wanted = [taps[:1], taps[-1:], taps] * 4
    with torch.inference_mode():
        expected = [made(images, names) for names in wanted]

    def work(names: list[str]) -> dict[str, torch.Tensor]:
        with torch.inference_mode():
            return made(images, names)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, wanted))
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(other)
        assert all(torch.equal(one[tap], other[tap]) for tap in one)


def test_an_unknown_tap_is_answered_with_the_nearest(made: Backbone, images: torch.Tensor) -> None:
    tap = list(made.taps)[-1]
    with pytest.raises(InputError, match=f"no tap '{tap}x': did you mean '{tap}'"):
        made(images, [f"{tap}x"])


@pytest.fixture
def restored(made: Backbone) -> Iterator[Backbone]:
    state = {key: value.clone() for key, value in made.state_dict().items()}
    yield made
    made.load_state_dict(state)


def test_the_fingerprint_changes_with_any_weight_or_buffer(restored: Backbone) -> None:
    original = restored.fingerprint
    assert restored.fingerprint == original
    assert len(original) == 32
    seen = {original}
    tensors = list(restored.state_dict().values())
    places = {0, len(tensors) // 2, len(tensors) - 1}
    for tensor in (tensors[place] for place in places):
        with torch.no_grad():
            flat = tensor.view(-1)
            before = flat[-1].clone()
            flat[-1] += 1
            seen.add(restored.fingerprint)
            flat[-1] = before
    assert len(seen) == 1 + len(places)
    assert restored.fingerprint == original


@pytest.fixture
def drawn(case: str, request: pytest.FixtureRequest) -> Callable[[int], Backbone]:
    """Make the case's backbone with fresh weights from a seed."""
    name, given = CASES[case][0], options(case, request)
    kept = {k: v for k, v in given.items() if k not in ("weights", "pretrained")}
    return lambda seed: registry.create("backbone", name, {**kept, "random": seed})


DRAWS = [case for case, (name, _) in CASES.items() if name not in NO_RANDOM]


@pytest.mark.parametrize("case", DRAWS, scope="module", indirect=True)
def test_random_weights_are_reproducible_and_differ_by_seed(
    drawn: Callable[[int], Backbone],
) -> None:
    first = drawn(1)
    torch.manual_seed(5)
    again, other, zero = drawn(1), drawn(2), drawn(0)
    prints = {b.fingerprint for b in (first, again, other, zero)}
    assert first.fingerprint == again.fingerprint
    assert len(prints) == 3
    tap = list(first.taps)[-1]
    x = torch.rand(1, 3, first.input_size, first.input_size) * 255
    values = first(x, [tap])[tap]
    assert bool(torch.isfinite(values).all())
    assert float(values.std()) > 1e-3
    assert not any(parameter.requires_grad for parameter in first.parameters())


@pytest.mark.parametrize("case", DRAWS, scope="module", indirect=True)
def test_random_weights_are_not_the_trained_ones(
    drawn: Callable[[int], Backbone], made: Backbone
) -> None:
    assert drawn(1).fingerprint != made.fingerprint
    assert drawn(1).taps == made.taps


@pytest.mark.parametrize("name", sorted(NO_RANDOM))
def test_where_there_is_no_random_option_it_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"unknown key backbone\.random"):
        registry.create("backbone", name, {"random": 1})

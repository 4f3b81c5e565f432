"""What every backbone must do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from evonas import registry
from evonas.backbones.base import Backbone, UpTo
from evonas.estimation.complexity import count

NAMES = registry.names("backbone")


def options(name: str, weights: Path | None) -> dict[str, object]:
    """What a backbone needs to be made with trained weights."""
    return {"weights": str(weights)} if name == "face_recognition" else {}


@pytest.fixture(scope="module", params=NAMES)
def made(request: pytest.FixtureRequest) -> Backbone:
    needs = request.param == "face_recognition"
    weights = request.getfixturevalue("recognition_weights") if needs else None
    backbone: Backbone = registry.create("backbone", request.param, options(request.param, weights))
    return backbone


@pytest.fixture
def images(made: Backbone) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 3, made.input_size, made.input_size)
    return torch.randint(0, 256, shape, generator=generator).float()


def test_there_is_something_to_test() -> None:
    assert {"synthetic_face", "face_recognition"} <= set(NAMES)


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


class Watch:
    """Counts the convolutions that run."""

    def __init__(self, backbone: nn.Module) -> None:
        self.ran = 0
        layers = [m for m in backbone.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        self._hooks = [layer.register_forward_hook(self._count) for layer in layers]

    def _count(self, *_: object) -> None:
        self.ran += 1

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()


def test_layers_behind_the_last_wanted_tap_are_not_run(
    made: Backbone, images: torch.Tensor
) -> None:
    taps = list(made.taps)
    ran = []
    for tap in taps:
        with Watch(made) as watch:
            made(images[:1], [tap])
        ran.append(watch.ran)
    assert ran == sorted(set(ran)), "a later tap must take more layers"
    with Watch(made) as watch:
        made(images[:1], [taps[1], taps[0]])
    assert watch.ran == ran[1]


def test_the_cost_up_to_a_tap_rises(made: Backbone) -> None:
    costs = []
    for tap in list(made.taps)[:3]:
        upto = UpTo(made, tap)
        costs.append(count(upto, tuple(upto.example().shape[1:])).macs)
    assert costs == sorted(set(costs))
    assert costs[0] > 0


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
    for tensor in (tensors[0], tensors[len(tensors) // 2], tensors[-1]):
        with torch.no_grad():
            flat = tensor.view(-1)
            before = flat[-1].clone()
            flat[-1] += 1
            seen.add(restored.fingerprint)
            flat[-1] = before
    assert len(seen) == 4
    assert restored.fingerprint == original


@pytest.mark.parametrize("name", NAMES)
def test_random_weights_are_reproducible_and_differ_by_seed(name: str) -> None:
    first = registry.create("backbone", name, {"random": 1})
    torch.manual_seed(5)
    again = registry.create("backbone", name, {"random": 1})
    other = registry.create("backbone", name, {"random": 2})
    zero = registry.create("backbone", name, {"random": 0})
    prints = {b.fingerprint for b in (first, again, other, zero)}
    assert first.fingerprint == again.fingerprint
    assert len(prints) == 3
    tap = list(first.taps)[-1]
    x = torch.rand(1, 3, first.input_size, first.input_size) * 255
    values = first(x, [tap])[tap]
    assert bool(torch.isfinite(values).all())
    assert float(values.std()) > 1e-3
    assert not any(parameter.requires_grad for parameter in first.parameters())


def test_random_weights_are_not_the_trained_ones(made: Backbone) -> None:
    name = type(made).__module__.rsplit(".", 1)[-1]
    assert registry.create("backbone", name, {"random": 1}).fingerprint != made.fingerprint

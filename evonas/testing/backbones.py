"""What every backbone must do."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from evonas.core import registry
from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.backbones.base import Backbone
from evonas.models.full_network import TruncatedBackbone
from evonas.testing.conformance import Conformance


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the convolutions and products that run."""

    ran = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        names = ("convolution", "addmm", "mm", "bmm", "attention")
        self.ran += any(part in str(func) for part in names)
        return func(*args, **(kwargs or {}))


class BackboneConformance(Conformance):
    """What every backbone must do.

    Attributes:
        options: of every backbone, as an experiment gives them.
        drawable: names of backbones that have an option ``random``, a seed of their weights.
        free: names of backbones that compute nothing.
        weightless: names of backbones without parameters.
        distinct: names of backbones of which every tap takes more layers than the one before.
    """

    options: ClassVar[Mapping[str, Any]] = {}
    drawable: ClassVar[Collection[str]] = ()
    free: ClassVar[Collection[str]] = ()
    weightless: ClassVar[Collection[str]] = ()
    distinct: ClassVar[Collection[str]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test that takes a ``drawable`` with every backbone that has ``random``."""
        super().pytest_generate_tests(metafunc)
        if "drawable" in metafunc.fixturenames:
            metafunc.parametrize("drawable", self.drawable, scope="class")

    @classmethod
    def make(cls, name: str, request: pytest.FixtureRequest, **changes: Any) -> Backbone:
        """Return a backbone.

        Args:
            name: of the backbone.
            request: for overriding methods, which may need fixtures.
            changes: of ``options``.
        """
        found: Backbone = registry.create("backbone", name, {**cls.options, **changes})
        return found

    @classmethod
    def work(cls, backbone: Backbone, images: torch.Tensor, taps: list[str]) -> int:
        """Return the number of convolutions and products that a pass runs.

        A suite of backbones that do not compute in torch overrides it.
        """
        watch = Watch()  # type: ignore[no-untyped-call]
        with watch:
            backbone(images, taps)
        return watch.ran

    @pytest.fixture(scope="class")
    @classmethod
    def backbone(cls, name: str, request: pytest.FixtureRequest) -> Backbone:
        """The backbone, made once."""
        return cls.make(name, request)

    @pytest.fixture
    def images(self, backbone: Backbone) -> torch.Tensor:
        """Two random images of the backbone's side, (2, 3, side, side) in 0..255."""
        generator = torch.Generator().manual_seed(0)
        shape = (2, 3, backbone.input_size, backbone.input_size)
        return torch.randint(0, 256, shape, generator=generator).float()

    def test_taps_have_the_declared_shapes_in_the_declared_order(
        self, backbone: Backbone, images: torch.Tensor
    ) -> None:
        """Maps are finite, vary, fit half precision, and shrink along the taps."""
        found = backbone(images, list(backbone.taps))
        assert list(found) == list(backbone.taps)
        for tap, values in found.items():
            assert tuple(values.shape) == (2, *backbone.taps[tap]), tap
            assert values.dtype == torch.float32
            assert bool(torch.isfinite(values.half()).all()), f"{tap} does not fit the cache"
            assert float(values.std()) > 0
        sides = [shape[1] for shape in backbone.taps.values()]
        assert sides == sorted(sides, reverse=True)

    def test_it_is_frozen(self, backbone: Backbone, images: torch.Tensor) -> None:
        """Nothing is trained, and a forward pass changes nothing."""
        assert not any(module.training for module in backbone.modules())
        assert not any(parameter.requires_grad for parameter in backbone.parameters())
        before = backbone.fingerprint
        found = backbone(images, list(backbone.taps)[-1:])
        assert not any(values.requires_grad for values in found.values())
        assert backbone.fingerprint == before

    def test_it_is_deterministic_and_images_do_not_mix(
        self, backbone: Backbone, images: torch.Tensor
    ) -> None:
        """An image's map does not depend on its batch."""
        last = list(backbone.taps)[-1]
        first = backbone(images, [last])[last]
        assert torch.equal(backbone(images, [last])[last], first)
        torch.testing.assert_close(
            backbone(images[1:], [last])[last], first[1:], rtol=1e-3, atol=1e-3
        )
        assert not torch.allclose(first[0], first[1])

    def test_a_tap_does_not_depend_on_which_others_are_wanted(
        self, backbone: Backbone, images: torch.Tensor
    ) -> None:
        """Taps come alone, together and in any order."""
        everything = backbone(images, list(backbone.taps))
        for tap in backbone.taps:
            (alone,) = backbone(images, [tap]).values()
            assert torch.equal(alone, everything[tap])
        backwards = backbone(images, list(backbone.taps)[::-1])
        assert {tap: values.shape for tap, values in backwards.items()} == {
            tap: values.shape for tap, values in everything.items()
        }

    def test_layers_behind_the_last_wanted_tap_are_not_run(
        self, name: str, backbone: Backbone, images: torch.Tensor
    ) -> None:
        """An earlier tap runs fewer layers."""
        taps = list(backbone.taps)
        ran = [self.work(backbone, images[:1], [tap]) for tap in taps]
        assert ran == sorted(ran), "a later tap must not take fewer layers"
        if name in self.distinct:
            assert len(set(ran)) == len(ran), "a later tap must take more layers"
        if len(taps) > 1:
            assert ran[0] < ran[-1]
            assert self.work(backbone, images[:1], [taps[1], taps[0]]) == ran[1]

    def test_the_cost_up_to_a_tap_rises(self, name: str, backbone: Backbone) -> None:
        """Multiply-adds rise along the taps."""
        costs = []
        for tap in list(backbone.taps)[:3]:
            upto = TruncatedBackbone(backbone, tap)
            costs.append(count(upto, tuple(upto.example().shape[1:])).macs)
        assert costs == sorted(set(costs))
        assert (costs[0] > 0) == (name not in self.free)

    def test_the_parameters_up_to_a_tap_rise(self, name: str, backbone: Backbone) -> None:
        """Parameters rise along the taps."""
        first, last = (
            count(
                TruncatedBackbone(backbone, tap), (3, backbone.input_size, backbone.input_size)
            ).params
            for tap in (next(iter(backbone.taps)), list(backbone.taps)[-1])
        )
        everything = sum(parameter.numel() for parameter in backbone.parameters())
        if backbone.cost_up_to(list(backbone.taps)[-1]) is not None:  # none are torch's
            whole = backbone.full_cost()
            assert whole is not None
            everything = whole.params
        assert first <= last <= everything
        weighs = name not in self.weightless
        assert (first > 0) == weighs
        assert (first < last) == (weighs and len(backbone.taps) > 1)

    def test_threads_may_share_it(self, backbone: Backbone, images: torch.Tensor) -> None:
        """The feature cache runs several batches at once."""
        taps = list(backbone.taps)
        wanted = [taps[:1], taps[-1:], taps] * 4
        with torch.inference_mode():
            expected = [backbone(images, names) for names in wanted]

        def work(names: list[str]) -> dict[str, torch.Tensor]:
            with torch.inference_mode():
                maps: dict[str, torch.Tensor] = backbone(images, names)
            return maps

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(work, wanted))
        for one, other in zip(found, expected, strict=True):
            assert list(one) == list(other)
            assert all(torch.equal(one[tap], other[tap]) for tap in one)

    def test_an_unknown_tap_is_answered_with_the_nearest(
        self, backbone: Backbone, images: torch.Tensor
    ) -> None:
        """The error names the nearest tap."""
        tap = list(backbone.taps)[-1]
        with pytest.raises(InputError, match=f"no tap '{tap}x': did you mean '{tap}'"):
            backbone(images, [f"{tap}x"])

    @pytest.fixture
    def restored(self, backbone: Backbone) -> Iterator[Backbone]:
        """The backbone, whose state is put back afterwards."""
        state = {key: value.clone() for key, value in backbone.state_dict().items()}
        yield backbone
        backbone.load_state_dict(state)

    def test_the_fingerprint_changes_with_any_weight_or_buffer(self, restored: Backbone) -> None:
        """The fingerprint names the feature cache."""
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

    def test_random_weights_are_reproducible_and_differ_by_seed(
        self, drawable: str, request: pytest.FixtureRequest
    ) -> None:
        """Option ``random`` is a seed."""
        first = self.make(drawable, request, random=1)
        torch.manual_seed(5)
        again, other, zero = (self.make(drawable, request, random=seed) for seed in (1, 2, 0))
        prints = {b.fingerprint for b in (first, again, other, zero)}
        assert first.fingerprint == again.fingerprint
        assert len(prints) == 3
        tap = list(first.taps)[-1]
        x = torch.rand(1, 3, first.input_size, first.input_size) * 255
        values = first(x, [tap])[tap]
        assert bool(torch.isfinite(values).all())
        assert float(values.std()) > 1e-3
        assert not any(parameter.requires_grad for parameter in first.parameters())

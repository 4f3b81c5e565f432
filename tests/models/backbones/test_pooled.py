"""A backbone whose maps are averaged."""

from __future__ import annotations

import pytest
import torch

from evonas.errors import InputError
from evonas.models.backbones.base import Pooled
from evonas.models.backbones.synthetic_face import SyntheticFace


def test_its_maps_are_the_averages_of_those_it_wraps() -> None:
    backbone = SyntheticFace()
    pooled = Pooled(backbone)
    assert pooled.input_size == backbone.input_size
    assert list(pooled.taps) == list(backbone.taps)
    images = torch.rand(3, 3, 64, 64) * 255
    taps = ["block4", "block1"]
    with torch.inference_mode():
        found, maps = pooled(images, taps), backbone(images, taps)
    for tap in taps:
        assert found[tap].shape == (3, *pooled.taps[tap])
        assert pooled.taps[tap] == (backbone.taps[tap][0], 1, 1)
        torch.testing.assert_close(found[tap][:, :, 0, 0], maps[tap].mean((2, 3)))


def test_its_fingerprint_is_its_own_and_follows_from_the_other() -> None:
    backbone, other = SyntheticFace(), SyntheticFace(random=1)
    prints = {backbone.fingerprint, Pooled(backbone).fingerprint, Pooled(other).fingerprint}
    assert len(prints) == 3
    assert Pooled(SyntheticFace()).fingerprint == Pooled(backbone).fingerprint
    assert Pooled(Pooled(backbone)).fingerprint not in prints


def test_an_unknown_tap_is_refused() -> None:
    with pytest.raises(InputError, match=r"did you mean 'block[1-4]'"):
        Pooled(SyntheticFace())(torch.zeros(1, 3, 64, 64), ["block"])


def test_few_taps_are_all_telling() -> None:
    backbone = SyntheticFace()
    backbone.taps = {"a": (1, 2, 2), "a.b.c": (1, 2, 2), "a.b.d": (1, 2, 2)}
    assert backbone.informative_taps(3) == ["a", "a.b.c", "a.b.d"]
    assert backbone.informative_taps(2) == ["a", "a.b.d"]

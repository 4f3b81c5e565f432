"""No backbone: its tap is the normalised image, costs nothing and is told apart by its numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evonas.core import registry
from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.backbones.none import NoBackbone
from evonas.models.full_network import TruncatedBackbone


def test_the_tap_is_the_image_normalised_as_for_imagenet() -> None:
    backbone = NoBackbone()
    assert backbone.input_size == 224
    assert backbone.taps == {"image": (3, 224, 224)}
    images = torch.randint(0, 256, (2, 3, 224, 224)).float()
    found = backbone(images, ["image"])
    assert list(found) == ["image"]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (images.permute(0, 2, 3, 1).numpy() / 255 - mean) / std
    np.testing.assert_allclose(found["image"].permute(0, 2, 3, 1), expected, atol=1e-5)
    assert found["image"].dtype == torch.float32
    assert found["image"].half().isfinite().all()


def test_a_colour_equal_to_the_mean_becomes_zero_and_a_deviation_one() -> None:
    backbone = NoBackbone(input_size=2, mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.5))
    colour = 255 * torch.tensor([0.2, 0.4, 0.6]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(backbone(colour, ["image"])["image"], torch.zeros(1, 3, 2, 2))
    higher = colour + 255 * torch.tensor([0.1, 0.2, 0.5]).view(1, 3, 1, 1)
    torch.testing.assert_close(backbone(higher, ["image"])["image"], torch.ones(1, 3, 2, 2))


def test_it_costs_nothing() -> None:
    upto = TruncatedBackbone(NoBackbone(input_size=32), "image")
    cost = count(upto, tuple(upto.example().shape[1:]))
    assert (cost.macs, cost.params, cost.megabytes) == (0, 0, 0.0)
    assert {name for name, _ in cost.uncounted} == {"div", "sub"}
    assert not list(upto.parameters())


def test_the_fingerprint_covers_mean_and_deviation() -> None:
    prints = {
        NoBackbone().fingerprint,
        NoBackbone(mean=(0.485, 0.456, 0.407)).fingerprint,
        NoBackbone(std=(0.229, 0.224, 0.226)).fingerprint,
        NoBackbone(mean=(0.456, 0.485, 0.406)).fingerprint,
    }
    assert len(prints) == 4
    assert NoBackbone().fingerprint == NoBackbone().fingerprint


def test_it_is_made_from_text_options_and_has_no_random_weights() -> None:
    options = {"input_size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    made = registry.create("backbone", "none", options)
    assert made.taps == {"image": (3, 64, 64)}
    white = made(torch.full((1, 3, 64, 64), 255.0), ["image"])["image"]
    torch.testing.assert_close(white, torch.ones(1, 3, 64, 64))
    with pytest.raises(InputError, match=r"unknown key backbone\.random of backbone 'none'"):
        registry.create("backbone", "none", {"random": 1})


def test_a_tap_that_is_not_there_is_told() -> None:
    with pytest.raises(InputError, match="did you mean 'image'"):
        NoBackbone(input_size=4)(torch.zeros(1, 3, 4, 4), ["imge"])
    assert NoBackbone(input_size=4)(torch.zeros(1, 3, 4, 4), []) == {}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input_size": 0}, r"backbone\.input_size: expected 1 to 2048 pixels, got 0"),
        ({"input_size": 2049}, r"backbone\.input_size: expected 1 to 2048"),
        ({"mean": [123.7, 116.3, 103.5]}, r"backbone\.mean: expected three numbers in 0\.\.1"),
        ({"mean": [float("nan"), 0.5, 0.5]}, r"backbone\.mean: expected three numbers"),
        ({"std": [0.2, 0.2, 0.0]}, r"backbone\.std: expected three numbers above 0"),
        ({"std": [58.4, 57.1, 57.4]}, r"backbone\.std: .* divide deviations of 0\.\.255 by 255"),
        ({"mean": [0.5, 0.5]}, r"backbone\.mean"),
        ({"std": 0.5}, r"backbone\.std"),
    ],
)
def test_wrong_options_are_told_in_one_line(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        registry.create("backbone", "none", options)
    assert "\n" not in str(caught.value)

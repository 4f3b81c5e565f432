"""Pruning the backbones that are there: exact, whatever they are made of."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evonas.core import registry
from evonas.deployment.pruning.filter_pruning import Prunable
from evonas.models.backbones.base import Backbone
from evonas.models.backbones.vgg_face import VGGFace
from evonas.models.full_network import TruncatedBackbone

#: (backbone, options, tap, maps up to it)
CASES = [
    ("synthetic_face", {}, "block4", 8),
    ("face_recognition", {"random": 1}, "conv256_2", 27),
    ("vgg_face", {"random": 1, "input_size": 32}, "conv5_3", 13),
    ("light_cnn", {"random": 1}, "mfm5", 9),
    (
        "torch_module",
        {"callable": "small_modules:ConvNet", "random": 1, "input_size": 32},
        "layers.1",
        5,
    ),
]
#: Filters of the convolutions that John et al. (2019, tables 3 to 6) leave of VGG-Face, and the
#: bytes of their kernels and biases, which the tables call parameters, in thousands.
PUBLISHED = {
    "head pose": ((23, 12, 121, 110, 234, 230, 227, 370, 348, 390, 362, 395, 409), 33_893),
    "age": ((60, 58, 79, 105, 201, 220, 240, 396, 449, 387, 332, 350, 275), 33_213),
    "emotion": ((53, 44, 80, 102, 181, 170, 203, 193, 286, 314, 218, 237, 225), 16_410),
}


@pytest.mark.parametrize(("name", "options", "tap", "maps"), CASES)
def test_a_pruned_backbone_is_the_whole_one_with_zeros(
    name: str, options: dict[str, object], tap: str, maps: int
) -> None:
    backbone: Backbone = registry.create("backbone", name, options)
    network = Prunable(
        TruncatedBackbone(backbone, tap), torch.zeros(2, 3, *[backbone.input_size] * 2)
    )
    assert len(network.maps) == maps
    assert network.maps[-1].shape == backbone.taps[tap]
    assert network.fixed == ()
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.uniform(0, 255, (2, 3, *[backbone.input_size] * 2))).float()
    for shared in ("union", "last"):
        chosen = {one.name: rng.random(one.shape[0]) < 0.5 for one in network.maps}
        plan = network.plan(chosen, shared)
        with torch.inference_mode():
            full, small = network.masked(plan)(images), network.pruned(plan)(images)
        kept = torch.from_numpy(plan.output)
        scale = float(full.abs().max())
        assert float((small - full[:, kept]).abs().max()) <= 1e-5 * scale
        assert scale > 0
        assert small.shape[1] == kept.sum() < backbone.taps[tap][0]


@pytest.mark.slow
@pytest.mark.parametrize("task", PUBLISHED)
def test_the_published_filter_counts_give_the_published_sizes(task: str) -> None:
    counts, kilobytes = PUBLISHED[task]
    network = Prunable(
        TruncatedBackbone(VGGFace(random=0, input_size=32), "conv5_3"), torch.zeros(2, 3, 32, 32)
    )
    chosen = {
        one.name: np.arange(one.shape[0]) < count
        for one, count in zip(network.maps, counts, strict=True)
    }
    small = network.pruned(network.plan(chosen))
    stored = 4 * sum(parameter.numel() for parameter in small.parameters())
    assert stored == 4 * sum(
        made * (9 * taken + 1) for taken, made in zip((3, *counts), counts, strict=False)
    )
    assert stored / 1000 == pytest.approx(kilobytes, rel=2e-3)

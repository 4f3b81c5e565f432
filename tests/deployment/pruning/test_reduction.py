"""Reductions, against architectures that were published with their sizes.

Source: Table of pruned VGG-Face networks in arXiv 1901.02675 (tables 3 to 6). Their column
"#param" holds bytes; the filter counts follow from them as the only whole numbers n_out with
bytes = 4 n_out (9 n_in + 1), and what the tables print is compared below.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from evonas.deployment.pruning.reduction import COLUMNS, Cost, Reduction, reduction
from evonas.estimation.cost.complexity import Complexity, count
from evonas.models.backbones.light_cnn import LightCNN
from evonas.models.backbones.none import NoBackbone
from evonas.models.backbones.vgg_face import VGGFace

WHOLE = Cost(15_476_908_032, 145_002_878)
CONVOLUTIONS = Cost(15_346_630_656, 14_714_688)

#: task -> (filters, outputs, printed kilobytes of each convolution)
PUBLISHED = {
    "head pose": (
        [[23, 12], [121, 110], [234, 230, 227], [370, 348, 390], [362, 395, 409]],
        9,
        "2.5 9.984 52.756 479.6 927.5 1938.4 1880.4 3025.1 4636.7 4887.4 5083.9 5149.2 5817.6",
    ),
    "age": (
        [[60, 58], [79, 105], [201, 220, 240], [396, 449, 387], [332, 350, 275]],
        10,
        "6.7 125.5 165.2 299 760.5 1592.8 1901.7 3423.0 6402.7 6257.0 4626.7 4184.6 3466.1",
    ),
    "emotion": (
        [[53, 44], [80, 102], [181, 170, 203], [193, 286, 314], [218, 237, 225]],
        7,
        "5.9 84.128 127.04 294.16 665.35 1108.4 1243.17 1411.2 1988.2 3234.2 2465.1 1860.9 1920.6",
    ),
    "gender": (
        [[58, 54], [109, 114], [216, 223, 232], [373, 373, 379], [302, 309]],
        2,
        "6.4 112.9 212.3 447.8 887.3 1734.9 1863.4 3116.8 5010.1 5090.7 4121.7 3360.6",
    ),
}


def stack(groups: list[list[int]], outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    c_in = 3
    for number, group in enumerate(groups):
        if number:
            layers.append(nn.MaxPool2d(2))
        for width in group:
            layers += [nn.Conv2d(c_in, width, 3, padding=1), nn.ReLU()]
            c_in = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c_in, outputs))


@pytest.fixture(scope="module")
def counted() -> dict[str, Complexity]:
    with torch.random.fork_rng(devices=[]):
        nets = {task: stack(groups, n) for task, (groups, n, _) in PUBLISHED.items()}
    return {task: count(net, (3, 224, 224)) for task, net in nets.items()}


@pytest.mark.parametrize("task", PUBLISHED)
def test_the_filters_give_the_printed_bytes(task: str) -> None:
    groups, _, printed = PUBLISHED[task]
    widths = [3, *(width for group in groups for width in group)]
    for n_in, n_out, text in zip(widths[:-1], widths[1:], printed.split(), strict=True):
        digits = len(text.partition(".")[2])
        # tables 3 to 6 round some entries and cut others off
        assert abs(4 * n_out * (9 * n_in + 1) / 1e3 - float(text)) < 10**-digits


@pytest.mark.parametrize(
    ("task", "gmacs", "params", "size", "macs"),
    [
        ("head pose", 8.79, 8_477_000, -94.15, -43.2),
        ("age", 10.19, 8_306_000, None, None),
        ("emotion", 6.41, 4_104_000, None, -58.6),
        ("gender", None, 6_492_000, -95.5, -35.2),
    ],
)
def test_reductions_of_published_networks(
    counted: dict[str, Complexity],
    task: str,
    gmacs: float | None,
    params: int,
    size: float | None,
    macs: float | None,
) -> None:
    found = Reduction(Cost(counted[task].macs, counted[task].params), CONVOLUTIONS, WHOLE)
    assert found.pruned.params == pytest.approx(params, abs=5000)
    if gmacs is not None:
        assert found.pruned.macs / 1e9 == pytest.approx(gmacs, abs=0.005)
    if size is not None:
        assert -found.percent("params") == pytest.approx(size, abs=0.05)
    if macs is not None:
        assert -found.percent("macs") == pytest.approx(macs, abs=0.05)
    # against convolutions alone the size falls by half or so, not by 95 percent
    against = found.percent("params", "convolutions")
    assert against == pytest.approx(100 * (1 - counted[task].params / 14_714_688))
    assert 40 < against < 75
    groups, outputs, _ = PUBLISHED[task]
    ends = 4 * outputs * (groups[-1][-1] + 1)
    widths = [3, *(width for group in groups for width in group)]
    convs = sum(4 * o * (9 * i + 1) for i, o in pairwise(widths))
    assert found.pruned.bytes == convs + ends


def test_the_head_pose_network_takes_33_9_megabytes(counted: dict[str, Complexity]) -> None:
    assert counted["head pose"].megabytes == pytest.approx(33.9, abs=0.05)


def test_most_of_a_published_size_is_the_fully_connected_part() -> None:
    alone = Reduction(CONVOLUTIONS, CONVOLUTIONS, WHOLE).unpruned
    assert alone.percent("params") == pytest.approx(89.85, abs=0.005)
    assert alone.percent("macs") == pytest.approx(0.84, abs=0.005)
    assert alone.percent("params", "convolutions") == 0


def test_backbones_bring_both_baselines(counted: dict[str, Complexity]) -> None:
    vgg = reduction(_cost(counted["emotion"]), VGGFace(random=0))
    assert (vgg.convolutions, vgg.whole) == (CONVOLUTIONS, WHOLE)
    light = reduction(_cost(count(nn.Conv2d(3, 1, 1), (3, 8, 8))), LightCNN(random=0))
    assert light.convolutions == (972_554_240, 1_286_048)
    assert light.whole is not None
    assert light.whole.params == 25_803_653
    assert light.pruned == (3 * 64, 4)


def _cost(complexity: Complexity) -> Cost:
    return Cost(complexity.macs, complexity.params)


def test_words_and_cells() -> None:
    found = Reduction(
        Cost(50_000_000, 400_000), Cost(80_000_000, 500_000), Cost(100_000_000, 10**6)
    )
    assert found.row() == [
        *("50.0", "0.400", "1.6"),
        *("-50.00 %", "-60.00 %", "-37.50 %", "-20.00 %"),
    ]
    assert len(found.row()) == len(COLUMNS)
    macs, params, alone = found.lines()
    assert macs.startswith("50.00 M multiply-adds: -50.00 % against the whole network, -37.50")
    assert params.startswith("0.40 M parameters: -60.00 %")
    assert alone.endswith("accounts for: -20.00 % multiply-adds, -50.00 % parameters")
    grown = Reduction(Cost(90, 600), Cost(80, 500))
    assert grown.row()[3:] == ["-", "-", "+12.50 %", "+20.00 %"]
    assert len(grown.lines()) == 2


def test_without_anything_to_prune_there_is_no_share() -> None:
    found = reduction(_cost(count(nn.Conv2d(3, 1, 1), (3, 8, 8))), NoBackbone(input_size=8))
    assert found.whole is None
    assert found.percent("macs", "convolutions") is None
    assert "no baseline" in found.lines()[0]

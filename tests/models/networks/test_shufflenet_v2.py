"""ShuffleNetV2: the published numbers, names and arithmetic, with its classifier and without."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.networks.base import Shape
from evonas.models.networks.blocks import BlockSpec
from evonas.models.networks.blocks.shufflenet_v2 import ShuffleNetV2 as Block
from evonas.models.networks.shufflenet_v2 import CLASSIFIERS, ShuffleNetV2, Unit
from evonas.space import Architecture

IMAGE: Shape = (3, 224, 224)
OUTPUTS = 198
ALL = list(itertools.product((0.5, 1.0, 1.5), CLASSIFIERS))
REPEATS = {2: 4, 3: 8, 4: 4}


def architecture(width: float = 1.0, classifier: str = "dropped") -> Architecture:
    return Architecture("shufflenet_v2", {"width": width, "classifier": classifier})


def built(
    width: float = 1.0, classifier: str = "dropped", shape: Shape = IMAGE, outputs: int = OUTPUTS
) -> nn.Module:
    torch.manual_seed(0)
    return ShuffleNetV2().build(architecture(width, classifier), shape, outputs)


@pytest.mark.parametrize(
    ("width", "classifier", "params", "macs"),
    [
        (0.5, "dropped", 544_742, 39_655_200),
        (0.5, "kept", 1_564_990, 40_674_448),
        (1.0, "dropped", 1_456_554, 144_086_744),
        (1.0, "kept", 2_476_802, 145_105_992),
        (1.5, "dropped", 2_681_574, 294_938_144),
        (1.5, "kept", 3_701_822, 295_957_392),
    ],
)
def test_parameters_and_multiply_adds(
    width: float, classifier: str, params: int, macs: int
) -> None:
    module = built(width, classifier)
    assert sum(p.numel() for p in module.parameters()) == params
    assert ShuffleNetV2().macs(architecture(width, classifier), IMAGE, OUTPUTS) == macs


@pytest.mark.parametrize(
    ("width", "params", "mega"),
    [(0.5, 1_366_792, 41), (1.0, 2_278_604, 146), (1.5, 3_503_624, 299)],
)
def test_as_a_classifier_it_has_the_published_size(width: float, params: int, mega: int) -> None:
    """Table 8 of the paper gives 41, 146 and 299 million multiply-adds, pooling included."""
    assert sum(p.numel() for p in built(width, outputs=1000).parameters()) == params
    macs = ShuffleNetV2().macs(architecture(width), IMAGE, 1000)
    assert macs == pytest.approx(mega * 1e6, rel=0.015)


@pytest.mark.parametrize(("width", "classifier"), ALL)
@pytest.mark.parametrize(
    "shape", [IMAGE, (3, 64, 64), (1, 33, 47), (5, 1, 1), (64, 17, 2)], ids=str
)
def test_the_formula_the_trace_and_torch_agree(width: float, classifier: str, shape: Shape) -> None:
    module = built(width, classifier, shape, 7).eval()
    macs = ShuffleNetV2().macs(architecture(width, classifier), shape, 7)
    counted = count(module, shape)
    assert counted.macs == macs
    assert counted.params == sum(p.numel() for p in module.parameters())
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        y = module(torch.zeros(1, *shape))
    assert counter.get_total_flops() == 2 * macs
    assert y.shape == (1, 7)


def test_names_are_the_common_ones() -> None:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    pairs = [("conv1.0", "conv1.1"), ("conv5.0", "conv5.1")]
    for stage, repeats in REPEATS.items():
        for unit in range(repeats):
            stem = f"stage{stage}.{unit}"
            layers = [("branch2", i) for i in (0, 3, 5)]
            layers += [("branch1", i) for i in (0, 2)] if unit == 0 else []
            pairs += [(f"{stem}.{branch}.{i}", f"{stem}.{branch}.{i + 1}") for branch, i in layers]
    expected = {f"{conv}.weight" for conv, _ in pairs}
    expected |= {f"{bn}.{part}" for _, bn in pairs for part in norm} | {"fc.weight", "fc.bias"}
    state = built().state_dict()
    assert set(state) == expected
    assert len(state) == 338
    assert state["stage2.0.branch1.0.weight"].shape == (24, 1, 3, 3)
    assert state["stage2.0.branch2.0.weight"].shape == (58, 24, 1, 1)
    assert state["stage4.3.branch2.5.weight"].shape == (232, 232, 1, 1)
    assert state["conv5.0.weight"].shape == (1024, 464, 1, 1)
    kept = built(classifier="kept").state_dict()
    assert set(kept) == expected | {"outputs.weight", "outputs.bias"}
    assert kept["fc.weight"].shape == (1000, 1024)


def reference(state: dict[str, Tensor], x: Tensor, kept: bool) -> Tensor:
    """The network as its figure has it, written with functions on named weights."""

    def conv_bn(x: Tensor, stem: str, i: int, stride: int = 1) -> Tensor:
        weight, bn = state[f"{stem}.{i}.weight"], f"{stem}.{i + 1}"
        groups = x.shape[1] if weight.shape[1] == 1 else 1
        x = functional.conv2d(x, weight, None, stride, weight.shape[2] // 2, 1, groups)
        mean, var = state[f"{bn}.running_mean"], state[f"{bn}.running_var"]
        return functional.batch_norm(x, mean, var, state[f"{bn}.weight"], state[f"{bn}.bias"])

    x = functional.max_pool2d(conv_bn(x, "conv1", 0, 2).relu(), 3, 2, 1)
    for stage, repeats in REPEATS.items():
        for unit in range(repeats):
            stem, stride = f"stage{stage}.{unit}", 1 if unit else 2
            left, right = x.split(x.shape[1] // 2, 1) if unit else (x, x)
            if not unit:
                left = conv_bn(conv_bn(left, f"{stem}.branch1", 0, 2), f"{stem}.branch1", 2).relu()
            right = conv_bn(right, f"{stem}.branch2", 0).relu()
            right = conv_bn(right, f"{stem}.branch2", 3, stride)
            right = conv_bn(right, f"{stem}.branch2", 5).relu()
            x = torch.cat([left, right], 1)
            n, c, h, w = x.shape
            x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
    x = conv_bn(x, "conv5", 0).relu().mean((2, 3))
    x = functional.linear(x, state["fc.weight"], state["fc.bias"])
    return functional.linear(x, state["outputs.weight"], state["outputs.bias"]) if kept else x


@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_a_state_dict_means_what_it_means_elsewhere(classifier: str) -> None:
    module = built(classifier=classifier)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                    assert tensor is not None
                    tensor.add_(torch.rand(tensor.shape, generator=generator), alpha=0.3)
        x = torch.randn(2, 3, 70, 91)
        y = module.eval()(x)
        expected = reference(module.state_dict(), x, classifier == "kept")
    assert expected.std() > 1e-3
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("c_in", "c_out", "stride"), [(12, 12, 1), (6, 14, 2)])
def test_the_unit_is_the_block_of_the_master_module(c_in: int, c_out: int, stride: int) -> None:
    unit, block = Unit(c_in, c_out, stride), Block(BlockSpec(c_in, c_out, stride=stride))
    body = block.body
    pairs = [(body.right, unit.branch2)] + ([(body.left, unit.branch1)] if stride == 2 else [])
    for source, target in pairs:
        for (_, one), (_, other) in zip(
            source.state_dict().items(), target.state_dict().items(), strict=True
        ):
            other.copy_(one)
    x = torch.randn(2, c_in, 7, 6)
    torch.testing.assert_close(unit(x), body(x))


def test_half_the_channels_pass_a_unit_unchanged() -> None:
    unit, x = Unit(8, 8, 1), torch.randn(2, 8, 5, 5)
    assert torch.equal(unit(x)[:, ::2], x[:, :4])


@pytest.mark.slow
@pytest.mark.parametrize(("width", "classifier"), ALL)
def test_a_few_steps_on_two_images_lower_the_loss(width: float, classifier: str) -> None:
    module = built(width, classifier, (3, 64, 64), 3)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    x, target, losses = torch.randn(2, 3, 64, 64), torch.tensor([[1.0, -1, 0], [-1, 1, 0.5]]), []
    for _ in range(6):
        loss = (module(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(p.isfinite().all() for p in module.parameters())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("width", [2.0, 0, True, "1.0", None])
def test_an_unknown_width_is_told(width: object) -> None:
    wrong = Architecture("shufflenet_v2", {"width": width})  # type: ignore[dict-item]
    for call in (ShuffleNetV2().build, ShuffleNetV2().macs):
        with pytest.raises(InputError, match=r"'width': expected one of 0\.5, 1\.0, 1\.5, got"):
            call(wrong, IMAGE, 3)


def test_settings_left_out_and_a_wrong_classifier() -> None:
    macs = ShuffleNetV2().macs(Architecture("shufflenet_v2", {}), IMAGE, OUTPUTS)
    assert macs == 144_086_744
    assert ShuffleNetV2().macs(architecture(1), IMAGE, OUTPUTS) == macs
    with pytest.raises(InputError, match="'classifier': unknown 'keep': did you mean 'kept'"):
        ShuffleNetV2().build(architecture(1.0, "keep"), IMAGE, 3)

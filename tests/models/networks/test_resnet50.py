"""ResNet-50: the published numbers, names and arithmetic, and where its attention stands."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from evonas.errors import InputError
from evonas.estimation.cost.complexity import count
from evonas.models.networks.base import Shape
from evonas.models.networks.resnet50 import ATTENTIONS, ResNet50
from evonas.space import Architecture

IMAGE: Shape = (3, 224, 224)
HOPENET_OUTPUTS = 198  # three angles of 66 bins
#: Ruiz et al. keep one more linear layer, of 2048 + 3 inputs and 3 outputs, that is never used.
VESTIGIAL = 3 * (2048 + 3) + 3
REPEATS, WIDTHS = (3, 4, 6, 3), (64, 128, 256, 512)


def architecture(attention: str = "none") -> Architecture:
    return Architecture("resnet50", {"attention": attention})


def built(
    attention: str = "none", shape: Shape = IMAGE, outputs: int = HOPENET_OUTPUTS
) -> nn.Module:
    torch.manual_seed(0)
    return ResNet50().build(architecture(attention), shape, outputs)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_parameters_are_the_published_ones() -> None:
    assert parameters(built()) == 23_913_734
    assert parameters(built(outputs=1000)) == 25_557_032
    assert parameters(built("cbam")) == 26_446_326 == 26_452_482 - VESTIGIAL


def test_multiply_adds_at_224() -> None:
    family = ResNet50()
    assert family.macs(architecture(), IMAGE, 1000) == 4_089_184_256
    assert family.macs(architecture(), IMAGE, HOPENET_OUTPUTS) == 4_087_541_760
    assert family.macs(architecture("cbam"), IMAGE, HOPENET_OUTPUTS) == 4_093_930_614


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize(
    "shape", [IMAGE, (3, 64, 64), (1, 33, 47), (5, 1, 1), (64, 17, 2)], ids=str
)
def test_the_formula_the_trace_and_torch_agree(attention: str, shape: Shape) -> None:
    module = built(attention, shape).eval()
    macs = ResNet50().macs(architecture(attention), shape, HOPENET_OUTPUTS)
    counted = count(module, shape)
    assert (counted.macs, counted.params) == (macs, parameters(module))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        y = module(torch.zeros(1, *shape))
    assert counter.get_total_flops() == 2 * macs
    assert y.shape == (1, HOPENET_OUTPUTS)


def test_names_are_the_common_ones() -> None:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"conv1.weight", *(f"bn1.{part}" for part in norm), "fc.weight", "fc.bias"}
    for layer, repeats in enumerate(REPEATS, start=1):
        for block in range(repeats):
            stem = f"layer{layer}.{block}"
            for i in (1, 2, 3):
                expected |= {f"{stem}.conv{i}.weight", *(f"{stem}.bn{i}.{part}" for part in norm)}
        expected.add(f"layer{layer}.0.downsample.0.weight")
        expected |= {f"layer{layer}.0.downsample.1.{part}" for part in norm}
    state = built().state_dict()
    assert set(state) == expected
    assert len(state) == 320
    assert state["layer2.0.conv1.weight"].shape == (128, 256, 1, 1)
    assert state["layer4.2.conv3.weight"].shape == (2048, 512, 1, 1)
    assert state["layer3.0.downsample.0.weight"].shape == (1024, 512, 1, 1)
    assert state["fc.weight"].shape == (HOPENET_OUTPUTS, 2048)
    assert set(state) < set(built("cbam").state_dict())


def reference(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network as its table has it, written with functions on named weights."""

    def conv_bn(x: Tensor, conv: str, bn: str, stride: int = 1) -> Tensor:
        weight = state[f"{conv}.weight"]
        x = functional.conv2d(x, weight, None, stride, weight.shape[2] // 2)
        mean, var = state[f"{bn}.running_mean"], state[f"{bn}.running_var"]
        return functional.batch_norm(x, mean, var, state[f"{bn}.weight"], state[f"{bn}.bias"])

    x = functional.max_pool2d(conv_bn(x, "conv1", "bn1", 2).relu(), 3, 2, 1)
    for layer, repeats in enumerate(REPEATS, start=1):
        for block in range(repeats):
            stem, stride = f"layer{layer}.{block}", 2 if block == 0 and layer > 1 else 1
            y = conv_bn(x, f"{stem}.conv1", f"{stem}.bn1").relu()
            y = conv_bn(y, f"{stem}.conv2", f"{stem}.bn2", stride).relu()
            y = conv_bn(y, f"{stem}.conv3", f"{stem}.bn3")
            if block == 0:
                x = conv_bn(x, f"{stem}.downsample.0", f"{stem}.downsample.1", stride)
            x = (x + y).relu()
    x = functional.adaptive_avg_pool2d(x, 1).flatten(1)
    return functional.linear(x, state["fc.weight"], state["fc.bias"])


def shaken(module: nn.Module) -> nn.Module:
    """Give every norm statistics, scales and offsets of its own, so that none can be swapped."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                for tensor in (part.weight, part.bias, part.running_mean, part.running_var):
                    assert tensor is not None
                    tensor.add_(torch.rand(tensor.shape, generator=generator), alpha=0.3)
    return module


def test_a_state_dict_means_what_it_means_elsewhere() -> None:
    module = shaken(built()).eval()
    x = torch.randn(2, 3, 70, 91)
    with torch.no_grad():
        y, expected = module(x), reference(module.state_dict(), x)
    assert expected.std() > 1e-2
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)


def test_attention_stands_before_the_addition_in_all_16_bottlenecks() -> None:
    module = built("cbam", outputs=3).eval()
    blocks = [block for i in range(1, 5) for block in module.get_submodule(f"layer{i}").children()]
    assert len(blocks) == 16
    assert [block.attention.channel[0].out_features for block in blocks] == [
        4 * width // 16
        for width, repeats in zip(WIDTHS, REPEATS, strict=True)
        for _ in range(repeats)
    ]
    block = blocks[1]
    for layer in block.attention.channel:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
    x, seen = torch.randn(2, 256, 9, 7), []
    block.bn3.register_forward_hook(lambda module, given, made: seen.append(made))
    with torch.no_grad():
        y = block(x)
    # Both gates are open by half: sigmoid(0) of the channels, and of the places.
    torch.testing.assert_close(y, torch.relu(x + seen[0] / 4))


def test_the_spatial_gate_starts_the_same_everywhere_and_can_learn() -> None:
    module = built("cbam", (3, 64, 64), 3)
    norms = [part for name, part in module.named_modules() if name.endswith("attention.spatial.1")]
    assert len(norms) == 16
    assert all((norm.weight == 0).all() and norm.momentum == 0.01 for norm in norms)
    module(torch.randn(2, 3, 64, 64)).square().sum().backward()
    assert all(float(norm.weight.grad.abs().max()) > 0 for norm in norms)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_few_steps_on_two_images_lower_the_loss(attention: str) -> None:
    module = built(attention, (3, 64, 64), 3)
    optimizer = torch.optim.Adam(module.parameters(), lr=3e-5)
    x, target, losses = torch.randn(2, 3, 64, 64), torch.tensor([[1.0, -1, 0], [-1, 1, 0.5]]), []
    for _ in range(4):
        loss = (module(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert all(p.isfinite().all() for p in module.parameters())
    assert losses[-1] < 0.5 * losses[0]


def test_an_unknown_attention_is_told() -> None:
    for call in (ResNet50().build, ResNet50().macs):
        with pytest.raises(InputError, match="'attention': unknown 'cbma': did you mean 'cbam'"):
            call(architecture("cbma"), IMAGE, 3)
    assert ResNet50().macs(Architecture("resnet50", {}), IMAGE, 1000) == 4_089_184_256

"""Networks as 8-bit integers: close to the floats, a quarter of the size, what stays a float."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
import torch
from quantizable import (
    SIDE,
    Excited,
    Halves,
    Residual,
    Shadowed,
    Sloped,
    Wide,
    images,
    made,
    quantised,
    signal_to_noise,
)
from small_modules import ConvNet, export
from torch import nn

from evonas.core import registry
from evonas.deployment.quantization import onnx_runtime as quantize_onnx
from evonas.deployment.quantization import pt2e as quantize_pt2e
from evonas.deployment.quantization.backends import check_extra, quantize
from evonas.deployment.quantization.capture import capture
from evonas.deployment.quantization.int8_coverage import Coverage
from evonas.deployment.quantization.qat import QATNetwork
from evonas.errors import InputError, RunError
from evonas.estimation.training.training_step import flattened
from evonas.models.backbones.base import Backbone
from evonas.models.files.exported_programs import load_program
from evonas.models.files.quantized_network import load_quantized
from evonas.models.full_network import FullNetwork, TruncatedBackbone

ROADS = ("pt2e", "onnx")
CLOSE = 27.0  # dB; ranges that fit give 29 to 37 here, such as do not 4 to 7


def outputs(net: nn.Module, shown: torch.Tensor | None = None) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = net(images(24, seed=1) if shown is None else shown)
    return found


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("kind", [Residual, Halves, Excited, Sloped])
def test_integers_are_close_to_floats(kind: type[nn.Module], road: str, tmp_path: Path) -> None:
    net = made(kind)
    found, _ = quantised(net, road, tmp_path, images(24))
    assert signal_to_noise(outputs(net), found) > CLOSE


@pytest.mark.parametrize("road", ROADS)
def test_ranges_come_from_the_images(road: str, tmp_path: Path) -> None:
    """Else the bound above would prove nothing."""
    net = made(Residual)
    found, _ = quantised(net, road, tmp_path, images(24) * 0.05)
    assert signal_to_noise(outputs(net), found) < CLOSE - 15


@pytest.mark.parametrize("road", ROADS)
def test_the_file_is_a_quarter_and_holds_nothing_twice(road: str, tmp_path: Path) -> None:
    net = made(Wide)
    _, path = quantised(net, road, tmp_path, images(4))
    floats = 4 * sum(p.numel() for p in net.parameters())
    assert capture(net, SIDE).size == floats
    assert floats / path.stat().st_size > 3.3
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_weights_are_stored_as_integers_and_no_path_of_this_machine(tmp_path: Path) -> None:
    _, path = quantised(made(Residual), "pt2e", tmp_path, images(4))
    program = load_program(path)
    stored = {**program.state_dict, **program.constants}
    kernels = [tensor.dtype for tensor in stored.values() if tensor.ndim in (2, 4)]
    assert kernels == [torch.int8] * 4
    assert program.example_inputs is None
    metas = [set(node.meta) - {"val"} for node in program.graph.nodes]
    assert not any("stack_trace" in meta for meta in metas)
    assert b"quantizable" not in path.read_bytes()


def test_every_channel_of_a_weight_has_its_own_scale(tmp_path: Path) -> None:
    net = made(Residual)
    widths = sorted(m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d))
    _, path = quantised(net, "onnx", tmp_path, images(4))
    graph = onnx.load(str(path)).graph
    sizes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    makers = {node.output[0]: node for node in graph.node}
    layers = [makers[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert sorted(sizes[made_by.input[1]][0] for made_by in layers) == widths
    _, path = quantised(net, "pt2e", tmp_path, images(4))
    names = [str(node.target) for node in load_program(path).graph.nodes]
    assert sum("dequantize_per_channel" in name for name in names) >= len(widths)


@pytest.mark.slow
def test_what_stays_a_float_is_listed(tmp_path: Path) -> None:
    found: dict[str, Coverage] = {}
    for road in ROADS:
        for kind in (Excited, Sloped):
            captured = capture(made(kind), SIDE)
            found[f"{road} {kind.__name__}"] = quantize(
                captured, road, [images(4)], tmp_path / f"net.{road}"
            )
    first, second = found["pt2e Excited"], found["pt2e Sloped"]
    assert (first.convolutions, first.linears) == ((2, 2), (3, 3))
    assert {"sigmoid", "mean"} <= set(first.left)
    assert not {"conv2d", "linear", "hardswish"} & set(first.left)
    assert second.left["prelu"] == 1
    assert found["onnx Sloped"].convolutions == (2, 2)
    assert found["onnx Excited"].linears == (3, 3)
    assert found["onnx Excited"].left["hardsigmoid"] == 1


@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("road", ROADS)
def test_a_program_from_a_file_is_quantised_as_a_module_is(
    road: str, dynamic: bool, tmp_path: Path
) -> None:
    """Its steps are bare operators; and one for single images stays one."""
    file = export(made(ConvNet), tmp_path / "net.pt2", dynamic=dynamic)
    backbone: Backbone = registry.create("backbone", "exported", {"path": str(file)})
    whole = FullNetwork(
        TruncatedBackbone(backbone, "layers.1"),
        made(lambda: nn.Sequential(nn.Flatten(), nn.Linear(256, 3))),
    )
    captured = capture(whole, SIDE)
    assert captured.any_batch == dynamic
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / ("net.pt2" if road == "pt2e" else "net.onnx")
    covered = quantize(captured, road, [images(8)], path)
    assert (covered.convolutions, covered.linears) == ((5, 5), (1, 1))
    found = load_quantized(path)(images(24, seed=1))
    assert signal_to_noise(outputs(whole), found) > CLOSE


@pytest.mark.slow
def test_aware_training_mends_what_rounding_broke(tmp_path: Path) -> None:
    net, shown = made(Shadowed), images(64)
    shown[:, 2] = 0
    expected, path = outputs(net, shown), tmp_path / "net.pt2"
    captured = capture(net, SIDE)
    quantize(captured, "pt2e", [shown], path)
    plain = signal_to_noise(expected, load_quantized(path)(shown))
    aware = QATNetwork(captured, [shown])
    before = {name: tensor.clone() for name, tensor in aware.named_parameters()}
    optimizer = torch.optim.Adam(aware.parameters(), lr=1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        (aware.train()(shown) - expected).square().mean().backward()
        optimizer.step()
    assert all(not torch.equal(p, before[name]) for name, p in aware.named_parameters())
    simulated = outputs(aware.eval(), shown)
    quantize(captured, "pt2e", [shown], path, aware)
    found = load_quantized(path)(shown)
    assert plain < 10
    assert signal_to_noise(expected, found) > plain + 5
    torch.testing.assert_close(found, simulated)  # training saw what is written
    torch.testing.assert_close(outputs(net, shown), expected)  # the network stays as it is


def test_ranges_are_observed_in_training_alone() -> None:
    aware = QATNetwork(capture(made(Shadowed), SIDE), [images(8)])
    calibrated = aware.state_dict()["graph.activation_post_process_0.scale"].clone()
    outputs(aware.eval(), images(8) * 3)
    assert torch.equal(aware.state_dict()["graph.activation_post_process_0.scale"], calibrated)
    outputs(aware.train(), images(8) * 3)
    assert bool((aware.state_dict()["graph.activation_post_process_0.scale"] > calibrated).all())


def test_a_trained_network_is_as_small(tmp_path: Path) -> None:
    """In training its parameters are parts of one row, which was once saved with each of them."""
    captured, sizes = capture(made(Wide), SIDE), []
    aware = QATNetwork(captured, [images(8)])
    flattened(aware)
    for trained in (None, aware):
        quantize(captured, "pt2e", [images(8)], tmp_path / "net.pt2", trained)
        sizes.append((tmp_path / "net.pt2").stat().st_size)
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)


def test_trained_weights_reach_the_road_onnx(tmp_path: Path) -> None:
    net = made(Wide)
    captured = capture(net, SIDE)
    aware = QATNetwork(captured, [images(8)])
    with torch.no_grad():
        dict(aware.named_parameters())["graph.t7"].fill_(100.0)  # the bias of the last layer
    quantize(captured, "onnx", [images(8)], tmp_path / "net.onnx", aware)
    found = load_quantized(tmp_path / "net.onnx")(images(4))
    assert bool((found > 90).all())
    assert not bool((captured.graph(images(4)) > 90).any())


class _Looks(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((1, 2, 3)) if float(x.detach().sum()) > 0 else x.sum((1, 2, 3))


class _Pair(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("net", "said"), [(_Looks(), "cannot be exported ("), (_Pair(), "got 2 outputs")]
)
def test_a_network_that_cannot_be_written_down_is_refused(net: nn.Module, said: str) -> None:
    with pytest.raises(InputError, match="the network cannot be exported") as caught:
        capture(net, SIDE)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_aware_training_needs_batches(tmp_path: Path) -> None:
    file = export(made(ConvNet), tmp_path / "net.pt2", dynamic=False)
    backbone: Backbone = registry.create("backbone", "exported", {"path": str(file)})
    captured = capture(TruncatedBackbone(backbone, "stem"), SIDE)
    with pytest.raises(InputError, match="takes one image at a time: export its backbone"):
        QATNetwork(captured, [images(2)])


def test_a_float_file_that_differs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = capture(made(Wide), SIDE)
    real = quantize_onnx.session
    monkeypatch.setattr(
        quantize_onnx, "session", lambda path: lambda values: real(path)(values) * 1.01
    )
    with pytest.raises(RunError, match="gives other outputs than torch"):
        quantize(captured, "onnx", [images(2)], tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("road", "aware", "package"),
    [("pt2e", False, "torchao"), ("onnx", True, "torchao")],
)
def test_a_missing_extra_is_one_line(
    monkeypatch: pytest.MonkeyPatch, road: str, aware: bool, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as caught:
        check_extra(road, aware)
    assert str(caught.value) == (
        f"quantising with the backend {road}{' and --qat' if aware else ''} needs the package "
        f"{package!r}, which is not installed: pip install 'evonas[quantize]'"
    )


def test_what_torchao_cannot_do_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise KeyError("aten.strange.default")

    captured = capture(made(Wide), SIDE)
    monkeypatch.setattr("torchao.quantization.pt2e.quantize_pt2e.prepare_pt2e", fail)
    with pytest.raises(InputError, match=r"aten\.strange\.default'\): try --backend onnx"):
        quantize_pt2e.prepare(captured)

"""Networks in .onnx files: their taps, and the maps there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from onnx_backbones import HALF, PLAIN, SAME, assert_same, make, small_graph, torch_maps
from onnx_files import exported, halved, quantised, save
from small_modules import ConvNet
from torch import Tensor, nn

from evonas.errors import InputError
from evonas.models.full_network import TruncatedBackbone


def test_maps_are_torchs_by_readable_names_and_by_those_of_the_file(
    nets: dict[str, nn.Module], conv: Path, images: Tensor
) -> None:
    made = make(conv, **HALF)
    expected = torch_maps(nets["conv"], images, **HALF)
    assert_same(made(images, list(SAME)), expected)
    (alone,) = made(images, ["/layers/layers.0/relu_1/Relu_output_0"]).values()
    assert torch.equal(alone, made(images, list(SAME))["layers.0.relu_1.Relu"])
    assert made.normalisation == ([127.5] * 3, [127.5] * 3)
    assert len(made.taps) == 11
    assert made.informative_taps(3) == list(SAME)


@pytest.mark.parametrize("name", ["conv", "tokens"])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_fixed_batch_becomes_free_or_is_kept(
    nets: dict[str, nn.Module], images: Tensor, tmp_path: Path, name: str, batch: int
) -> None:
    free = make(exported(nets[name], tmp_path / "free.onnx"))
    fixed = make(exported(nets[name], tmp_path / "fixed.onnx", batch=batch))
    # The transformer's class token was written for that many images.
    assert fixed.sessions.batch == (batch if name == "tokens" else None)
    ends = {"conv": SAME, "tokens": ["blocks.0.Add_1", "blocks.1.Add_1"]}[name]
    expected = free(images, list(ends))
    found = fixed(images, [tap for tap in fixed.taps if tap in ends])
    assert_same(found, expected, 1e-5)
    shapes = {tap: fixed.taps[tap] for tap in ends}
    assert shapes == {tap: free.taps[tap] for tap in ends}
    costs = [made.cost_up_to(tap) for made in (free, fixed) for tap in list(ends)[-1:]]
    assert costs[0].macs == costs[1].macs


def test_a_reshape_for_single_images_takes_any_number(tmp_path: Path, images: Tensor) -> None:
    """As networks with attention over channels have them, exported for one image."""
    weights = {
        "w": np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(np.float32),
        "flat": np.array([1, -1], np.int64),
        "back": np.array([1, 4, 30, 30], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["a"]),
        helper.make_node("Reshape", ["a", "flat"], ["b"]),
        helper.make_node("Reshape", ["b", "back"], ["c"]),
        helper.make_node("Relu", ["c"], ["out"]),
    ]
    made = make(save(tmp_path / "n.onnx", nodes, [1, 3, 32, 32], weights), **PLAIN)
    assert made.sessions.batch is None
    expected = nn.functional.conv2d(images / 255, torch.from_numpy(weights["w"])).relu()
    assert_same(made(images, ["out"]), {"out": expected})


def test_a_map_with_channels_last_is_turned(tmp_path: Path, images: Tensor) -> None:
    path, _ = small_graph(tmp_path / "n.onnx", ["n", 3, 32, 32])
    model = onnx.load(path)
    model.graph.node.append(helper.make_node("Transpose", ["out"], ["last"], perm=[0, 2, 3, 1]))
    model.graph.output[0].name = "last"
    onnx.save(model, path)
    made = make(path, **PLAIN)
    assert made.taps == {"out": (4, 30, 30), "last": (4, 30, 30)}
    found = made(images, ["out", "last"])
    assert torch.equal(found["out"], found["last"])


def test_sixteen_bits_are_computed_in_float32(
    nets: dict[str, nn.Module], conv: Path, images: Tensor, tmp_path: Path
) -> None:
    path = halved(conv, tmp_path / "half.onnx")
    assert path.stat().st_size < 0.7 * conv.stat().st_size
    half = make(path, **HALF)
    rounded = ConvNet()
    rounded.load_state_dict(nets["conv"].state_dict())
    found, expected = half(images, list(half.taps)), make(conv, **HALF)(images, list(half.taps))
    assert_same(found, expected, 5e-3)
    assert half.full_cost() == make(conv).full_cost()
    assert half.fingerprint != make(conv, **HALF).fingerprint


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
def test_integers(conv: Path, images: Tensor, tmp_path: Path, form: str) -> None:
    path = quantised(conv, tmp_path / "int8.onnx", form, (images / 255 - 0.5) / 0.5)
    small, floats = make(path, **HALF), make(conv, **HALF)
    kinds = {node.op_type for node in small.graph.nodes}
    assert kinds & {"QDQ": {"DequantizeLinear"}, "QOperator": {"QLinearConv"}}.get(
        form, {"ConvInteger"}
    )
    shapes = [small.taps[tap] for tap in small.informative_taps(3)]
    assert shapes == [floats.taps[tap] for tap in SAME]
    assert small.full_cost().macs == floats.full_cost().macs
    assert small.full_cost().params == floats.full_cost().params
    tap = small.informative_taps(3)[-1]
    (found,), (expected,) = (
        small(images, [tap]).values(),
        floats(images, [list(SAME)[-1]]).values(),
    )
    error = float((found - expected).norm() / expected.norm())
    assert 1e-4 < error < 0.1


def test_names_of_tensors_become_readable(tmp_path: Path) -> None:
    weights = {"w": np.ones((3, 3, 1, 1), np.float32)}
    names = [
        "683",
        "/a/a.0/conv/Conv_output_0",
        "model/re lu:0",
        "stage1_conv",
        "model.re.lu.0",
        "images",
    ]
    nodes = []
    for last, name in zip(["input", *names], names, strict=False):
        nodes.append(helper.make_node("Conv", [last, "w"], [name]))
    path = save(tmp_path / "n.onnx", nodes, ["n", 3, 4, 4], weights, outputs=["images"])
    made = make(path)
    assert list(made.taps) == [
        *("conv_683", "a.0.conv.Conv", "model.re.lu.0_2", "stage1_conv", "model.re.lu.0"),
        "evonas_input",
    ]
    images = torch.rand(1, 3, 4, 4)
    for name, tap in zip(names, made.taps, strict=True):
        if name != "images":
            assert torch.equal(made(images, [name])[name], made(images, [tap])[tap])


def test_control_flow(tmp_path: Path) -> None:
    def branch(operator: str) -> Any:
        nodes = [helper.make_node(operator, ["a"], [f"{operator}_out"])]
        end = helper.make_tensor_value_info(f"{operator}_out", TensorProto.FLOAT, None)
        return helper.make_graph(nodes, operator, [], [end])

    weights = {"w": np.ones((4, 3, 1, 1), np.float32), "yes": np.array(True)}
    nodes = [
        helper.make_node("Conv", ["input", "w"], ["a"]),
        helper.make_node(
            "If", ["yes"], ["b"], then_branch=branch("Relu"), else_branch=branch("Abs")
        ),
        helper.make_node("Exp", ["b"], ["out"]),
    ]
    path = save(tmp_path / "n.onnx", nodes, ["n", 3, 4, 4], weights)
    made = make(path)
    assert list(made.taps) == ["a"]
    with pytest.raises(
        InputError, match=r"no tap 'out': control flow \(If, Loop, Scan\) is before"
    ):
        made(torch.zeros(1, 3, 4, 4), ["out"])
    with pytest.raises(InputError, match="control flow"):
        make(path, taps=["b"])


def test_a_tap_that_is_not_there_has_near_names(conv: Path) -> None:
    made = make(conv)
    with pytest.raises(
        InputError, match=r"no tap 'layers.0.relu.Rel': did you mean 'layers.0.relu"
    ):
        made(torch.zeros(1, 3, 32, 32), ["layers.0.relu.Rel"])
    with pytest.raises(InputError, match="no feature map behind a convolution"):
        made(torch.zeros(1, 3, 32, 32), [made.graph.model.graph.output[0].name])


def test_what_needs_torch_is_refused(conv: Path) -> None:
    made = make(conv)
    with pytest.raises(
        InputError, match="evonas prune needs a backbone in PyTorch, got backbone 'onnx'"
    ):
        made.require_torch("evonas prune")
    upto = TruncatedBackbone(made, "stem.Conv")
    with pytest.raises(Exception, match="a trace of the network needs a backbone in PyTorch"):
        torch.export.export(upto, (upto.example(),))


def test_threads_of_torch_are_those_of_the_runtime(
    conv: Path, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evonas.models.backbones.onnx_graphs import sessions

    made, seen = make(conv), []
    opened = sessions.open_session
    monkeypatch.setattr(
        sessions,
        "open_session",
        lambda model, threads: seen.append(threads) or opened(model, threads),
    )
    before = torch.get_num_threads()
    try:
        for count_ in (1, 2, 1):
            torch.set_num_threads(count_)
            made(images, ["stem.Conv"])
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2]


def test_mobilefacenet_gives_its_embeddings(mobilefacenet: Path, tmp_path: Path) -> None:
    """The real network, also as it is exported for single images."""
    model = onnx.load(mobilefacenet)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, tmp_path / "single.onnx")
    images = torch.randint(
        0, 256, (3, 3, 112, 112), generator=torch.Generator().manual_seed(0)
    ).float()
    session = onnxruntime.InferenceSession(str(mobilefacenet))
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    (expected,) = session.run(None, {"input": ((images / 255 - mean) / std).numpy()})
    for path in (mobilefacenet, tmp_path / "single.onnx"):
        made = make(path)
        assert made.sessions.batch is None
        assert len(made.taps) == 97
        assert made.full_cost() == (233_810_432, 989_952)
        assert made.informative_taps(16) == [
            *("dw_conv.relu_1.Relu", "features.2.Add", "features.4.Add", "features.8.Add"),
            *("features.11.Add", "features.14.Add", "conv3.Conv"),
        ]
        found = made(images, ["conv3.Conv"])["conv3.Conv"].flatten(1).numpy()
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())

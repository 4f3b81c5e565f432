"""Files of all ages and forms, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx_backbones import HALF, SAME, assert_same, make, refused, small_graph, torch_maps
from onnx_files import exported, save
from torch import Tensor, nn


def test_weights_in_another_file(conv: Path, images: Tensor, tmp_path: Path) -> None:
    path, beside = tmp_path / "net.onnx", tmp_path / "net.data"
    onnx.save(
        onnx.load(conv), path, save_as_external_data=True, location="net.data", size_threshold=0
    )
    made = make(path)
    assert_same(made(images, list(SAME)), make(conv)(images, list(SAME)), 1e-6)
    content = bytearray(beside.read_bytes())
    content[-1] ^= 1
    beside.write_bytes(content)
    assert make(path).fingerprint != made.fingerprint
    beside.write_bytes(content[:100])
    assert "cannot be read from 'net.data'" in refused(path)
    beside.unlink()
    assert "its weights are in 'net.data', which is not beside it" in refused(path)
    (tmp_path / "inner").mkdir()
    beside.write_bytes(content)
    moved = (tmp_path / "inner/net.onnx").write_bytes(
        path.read_bytes().replace(b"net.data", b"../e.dat")
    )
    assert moved
    assert "got a reference to '../e.dat'" in refused(tmp_path / "inner/net.onnx")


@pytest.mark.parametrize("opset", [11, 13, 17, 0])
def test_opsets_from_11_to_the_newest(
    nets: dict[str, nn.Module], images: Tensor, tmp_path: Path, opset: int
) -> None:
    path = exported(nets["conv"], tmp_path / "net.onnx", opset=opset or 17)
    if not opset:
        newest = next(v for v in range(onnx.defs.onnx_opset_version(), 17, -1) if _runs(v))
        onnx.save(onnx.version_converter.convert_version(onnx.load(path), newest), path)
    made = make(path, **HALF)
    assert_same(made(images, list(SAME)), torch_maps(nets["conv"], images, **HALF))


def _runs(opset: int) -> bool:
    """Whether ONNX Runtime takes an opset."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    end = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "one", [value], [end])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    try:
        onnxruntime.InferenceSession(model.SerializeToString())
    except Exception:
        return False
    return True


def test_files_that_cannot_be_used(conv: Path, tmp_path: Path) -> None:
    assert "no such file: give an .onnx file" in refused(tmp_path / "none.onnx")
    for content in (b"", b"no network", conv.read_bytes()[:-700]):
        (tmp_path / "bad.onnx").write_bytes(content)
        assert "is no ONNX file" in refused(tmp_path / "bad.onnx")
    words, _ = small_graph(tmp_path / "words.onnx", ["n", 7], kind=TensorProto.INT64)
    assert "its input 'input' is no image: expected numbers of shape" in refused(words)
    assert "got int64 (any, 7)" in refused(words)
    gray, _ = small_graph(tmp_path / "gray.onnx", ["n", 1, 32, 32])
    assert "no colour image: expected 3 channels, got (any, 1, 32, 32)" in refused(gray)
    wide, _ = small_graph(tmp_path / "wide.onnx", ["n", 3, 32, 40])
    assert "expected square colour images" in refused(wide)
    odd, _ = small_graph(
        tmp_path / "odd.onnx",
        ["n", 3, 32, 32],
        [helper.make_node("Fancy", ["input"], ["x"], domain="acme")],
        "x",
        domains=["acme"],
    )
    assert "ONNX Runtime has no operator Fancy (acme)" in refused(odd)
    late, _ = small_graph(tmp_path / "late.onnx", ["n", 3, 32, 32], opset=99)
    message = refused(late)
    assert "its opset 99 is beyond ONNX Runtime" in message
    assert onnxruntime.__version__ in message
    two = onnx.load(conv)
    two.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))
    onnx.save(two, tmp_path / "two.onnx")
    assert "expected one input, the images, got 'input', 'more'" in refused(tmp_path / "two.onnx")
    small, _ = small_graph(tmp_path / "small.onnx", ["n", 3, "h", "w"])
    assert "cannot run it on images of 2x2 pixels" in refused(small, input_size=2)
    assert "both backbone.mean and backbone.std" in refused(conv, mean=(0.5, 0.5, 0.5))
    flat = save(
        tmp_path / "flat.onnx",
        [
            helper.make_node("Flatten", ["input"], ["f"]),
            helper.make_node("Gemm", ["f", "w"], ["out"]),
        ],
        ["n", 3, 4, 4],
        {"w": np.ones((48, 5), np.float32)},
    )
    assert "there is no usable tap" in refused(flat)

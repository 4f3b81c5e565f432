"""Heads merged with backbones from .onnx files, against the two one after the other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from onnx_files import exported, halved, quantised
from small_modules import ConvNet, Transformer
from torch import Tensor, nn

from evonas.core import registry
from evonas.data.pointing04 import Pointing04
from evonas.deployment import onnx_file
from evonas.deployment.export.parity_check import PARITY
from evonas.deployment.merged_onnx import EMBEDDING, merged
from evonas.errors import InputError
from evonas.estimation.features.views import View
from evonas.models.backbones.onnx import Onnx
from evonas.models.files.onnx_session import session

_HALF = {"mean": (0.5, 0.4, 0.6), "std": (0.5, 0.3, 0.2)}
_END = {"conv": "layers.0.relu_1.Relu", "tokens": "blocks.0.Add_1"}


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 255


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, images: Tensor) -> Callable[[str], Path]:
    """Make the file of a form."""
    folder = tmp_path_factory.mktemp("merged")

    def make(form: str) -> Path:
        path = folder / f"{form}.onnx"
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            net = Transformer() if form.startswith("tokens") else ConvNet()
        if form in ("conv", "tokens"):
            return exported(net, path)
        if form.endswith("single"):
            return exported(net, path, batch=1)
        if form == "opset 11":
            return exported(net, path, opset=11)
        if form == "half":
            return halved(make("conv"), path)
        if form == "last":
            return _channels_last(make("conv"), path)
        return quantised(make("conv"), path, form, images / 127.5 - 1)

    return make


def _channels_last(path: Path, target: Path) -> Path:
    """Let a network take images with the channels behind."""
    model = onnx.load(path)
    model.graph.input[0].CopyFrom(
        helper.make_tensor_value_info("last", onnx.TensorProto.FLOAT, ["n", 32, 32, 3])
    )
    turn = helper.make_node("Transpose", ["last"], ["input"], perm=[0, 3, 1, 2])
    nodes = [turn, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, target)
    return target


def head_for(backbone: Onnx, tap: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        channels = backbone.taps[tap][0]
        return nn.Sequential(
            nn.Conv2d(channels, 4, 1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        ).eval()


def written(model: object, path: Path) -> Path:
    onnx_file.save(model, path, {})
    return path


@pytest.mark.parametrize(
    "form",
    ["conv", "tokens", "tokens single", "opset 11", "half", "last", "QDQ", "QOperator", "dynamic"],
)
def test_the_file_equals_backbone_and_head_one_after_the_other(
    files: Callable[[str], Path], images: Tensor, tmp_path: Path, form: str
) -> None:
    channels = "bgr" if form == "last" else "rgb"
    backbone: Onnx = registry.create(
        "backbone", "onnx", {"file": str(files(form)), "channels": channels, **_HALF}
    )
    tap = _END.get(form.split()[0], backbone.informative_taps(3)[1])
    head = head_for(backbone, tap)
    path = written(merged(backbone, tap, head, "values"), tmp_path / "merged.onnx")
    with torch.no_grad():
        expected = head(backbone(images, [tap])[tap]).numpy()
    run = session(path)
    for count in (1, 2, 5):
        np.testing.assert_allclose(
            run(images[:count].numpy()),
            expected[:count],
            rtol=0,
            atol=PARITY * np.abs(expected).max(),
        )
    assert np.ptp(expected, axis=0).min() > 0
    model = onnx.load(path)
    (given,), (end,) = model.graph.input, model.graph.output
    assert (given.name, end.name) == ("images", "values")
    size = given.type.tensor_type.shape.dim[0]
    assert (size.dim_value or size.dim_param) == (
        1 if form in ("tokens single", "dynamic") else "batch"
    )
    assert len({opset.domain for opset in model.opset_import}) == len(model.opset_import)
    ran = {node.name for node in model.graph.node}
    assert not any("layers.1" in name or "blocks.1" in name for name in ran), "cut at the tap"
    if form == "half":
        stored = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]
        assert len(stored) > 5, "weights keep their size"


def test_the_embedding_of_the_backbone_is_an_output_on_wish(
    files: Callable[[str], Path], images: Tensor, tmp_path: Path
) -> None:
    backbone: Onnx = registry.create("backbone", "onnx", {"file": str(files("conv")), **_HALF})
    tap = _END["conv"]
    head = head_for(backbone, tap)
    model = merged(backbone, tap, head, "values", keep_embedding=True)
    path = written(model, tmp_path / "both.onnx")
    (own,) = backbone.graph.model.graph.output
    (expected,) = backbone.sessions.run(images.numpy(), (own.name,))
    found = session(path, outputs=(EMBEDDING,))(images.numpy())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    with torch.no_grad():
        answers = head(backbone(images, [tap])[tap]).numpy()
    np.testing.assert_allclose(session(path)(images.numpy()), answers, rtol=0, atol=1e-5)
    assert [value.name for value in onnx.load(path).graph.output] == ["values", EMBEDDING]


def test_a_file_without_an_embedding(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU())
    path = exported(net, tmp_path / "maps.onnx")
    backbone: Onnx = registry.create("backbone", "onnx", {"file": str(path)})
    tap = next(iter(backbone.taps))
    with pytest.raises(InputError, match="no output of the backbone's file is a vector"):
        merged(backbone, tap, head_for(backbone, tap), "values", keep_embedding=True)


def test_mobilefacenet_with_a_head_on_real_faces(
    mobilefacenet: Path, pointing04_root: Path, tmp_path: Path
) -> None:
    backbone: Onnx = registry.create("backbone", "onnx", {"file": str(mobilefacenet)})
    faces = Pointing04(root=str(pointing04_root))
    crops = [View().apply(faces.image(i), i, 112, faces.margin) for i in range(0, 2000, 250)]
    images = torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2)).float()
    tap = "features.4.Add"
    head = head_for(backbone, tap)
    model = merged(backbone, tap, head, "angles", keep_embedding=True)
    path = written(model, tmp_path / "merged.onnx")
    with torch.no_grad():
        expected = head(backbone(images, [tap])[tap]).numpy()
    found = session(path)(images.numpy())
    np.testing.assert_allclose(found, expected, rtol=0, atol=PARITY * np.abs(expected).max())
    (own,) = backbone.sessions.run(images.numpy(), ("embeddings",))
    found = session(path, outputs=(EMBEDDING,))(images.numpy())
    np.testing.assert_allclose(found, own, rtol=0, atol=PARITY * np.abs(own).max())

"""``evonas export``: a network as one file, checked against PyTorch before it is kept."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import Cli, said
from documents import ROOT, blocks
from exported import answers, crops, pictures, retrained
from finished_search import read
from PIL import Image
from quantizable import made as seeded
from rich.console import Console
from small_modules import ConvNet
from small_modules import export as program_of
from torch import Tensor, nn

from evonas.api.retrained_model import RetrainedModel
from evonas.deployment import onnx_file
from evonas.deployment.export.exported_model import ExportedNetwork
from evonas.deployment.export.formats import FORMATS
from evonas.deployment.export.parity_check import difference
from evonas.deployment.quantization.capture import trace
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.errors import InputError
from evonas.models.full_network import FullNetwork, TruncatedBackbone
from evonas.tasks.head_pose import HeadPose
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained

QUIET = Console(quiet=True)
SHOWN = [1, 8, 15, 22, 29, 36, 43]
FILES = {"onnx": "network.onnx", "torch_export": "program.pt2"}

PAGE = (ROOT / "docs/howto/product.md").read_text("utf-8")
#: How a network is run without evonas: ONNX Runtime alone.
SNIPPET = next(code for _, kind, code in blocks(PAGE) if "onnxruntime" in code)


@torch.library.custom_op("evonas_tests::odd", mutates_args=())
def odd(x: Tensor) -> Tensor:
    """An operator that nobody else has."""
    return x.sin()


@odd.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Odd(nn.Module):
    """A head with such an operator in its second block."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.first, self.second = head, _Block()

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.second(self.first(x))
        return found


class _Block(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return odd(x)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """A linear head of the tiny experiment, trained twice."""
    return retrained(components, tmp_path_factory.mktemp("retrained"))


@pytest.fixture(scope="module")
def shipped(made: Path) -> Path:
    """A folder with it as .onnx."""
    RetrainedModel(made).export(made.parent / "out" / "network.onnx")
    return made.parent / "out"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may add to."""
    return Path(shutil.copytree(made, tmp_path / "run" / "retrained"))


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies of one round: they are not looked at here."""
    monkeypatch.setattr("evonas.estimation.cost.latency.ROUNDS", 1)


@pytest.mark.parametrize("kind", FILES)
def test_the_file_answers_in_degrees_and_says_what_it_is(
    evonas: Cli, folder: Path, kind: str
) -> None:
    code, out, err = evonas("export", folder.parent, "--format", kind, "--repeat", 1)
    assert (code, err) == (0, ""), err
    target = folder / "export"
    beside = target / Path(FILES[kind]).with_suffix(".json")
    assert {file.name for file in target.iterdir()} == {FILES[kind], beside.name}
    found = read(beside)
    shipped = ExportedNetwork.load(target / FILES[kind])
    expected = answers(folder, SHOWN, repeat=1)
    images = crops(folder, SHOWN)
    for count in (1, 2, 7):
        np.testing.assert_allclose(shipped.run(images[:count]), expected[:count], atol=1e-4)
    assert np.ptp(expected, axis=0).min() > 0.1, "it answers the same for every image"
    assert found["parity"]["images"] == len(Retrained(folder).components.dataset.splits["test"])
    assert found["parity"]["largest_difference"] < 1e-4
    assert f"{found['parity']['largest_difference']:.1e} degrees" in out
    assert found["bytes"] == (target / FILES[kind]).stat().st_size
    runtime = {"onnx": "ONNX Runtime, the file", "torch_export": "torch.export, the file"}[kind]
    assert list(found["latency"]) == ["PyTorch, eager", runtime]
    assert all(one["p95"] >= one["p50"] > 0 for one in found["latency"].values())
    card = dict(shipped.card)
    assert card.items() <= found.items()
    assert card["answer"] == {
        "kind": "angles",
        "columns": ["yaw", "pitch", "roll"],
        "unit": "degrees",
        "label": "",
    }
    assert card["normalisation"] == {"inside": True, "mean": [127.5] * 3, "std": [64.0] * 3}
    assert (card["input"]["size"], card["input"]["channels"]) == (64, "RGB")
    assert (card["task"], card["backbone"], card["tap"]) == (
        "head_pose",
        "synthetic_face",
        "block3",
    )
    (contender,) = read(folder / "comparison.json")["contenders"][:1]
    assert (card["network"], card["repeat"]) == ("linear head", 1) == (contender["name"], 1)
    assert len(card["architecture"]) > 8
    assert card["torch"] == torch.__version__


def test_keys_that_any_viewer_shows(shipped: Path) -> None:
    import onnx

    model = onnx.load(str(shipped / "network.onnx"))
    plain = {one.key: one.value for one in model.metadata_props}
    assert plain["columns"] == "yaw, pitch, roll"
    assert (plain["unit"], plain["output"], plain["input_size"]) == ("degrees", "angles", "64")
    (images,), (angles,) = model.graph.input, model.graph.output
    assert (images.name, angles.name) == ("images", "angles")
    assert images.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert str(shipped.parent) not in str(model), "it tells where it was made"


def test_the_code_that_needs_no_evonas(
    made: Path, shipped: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (face,) = pictures(made, shipped / "faces", [5])
    Image.open(face).save(shipped / "photo.jpg", quality=95)
    shutil.copy(shipped / "network.onnx", shipped / "product.onnx")
    monkeypatch.chdir(shipped)
    values: dict[str, Any] = {}
    exec(SNIPPET, values)
    pixels = Image.open(shipped / "photo.jpg").resize((64, 64), Image.Resampling.BILINEAR)
    images = torch.from_numpy(np.asarray(pixels, np.float32).transpose(2, 0, 1)[None])
    deployed = RetrainedNetwork(Retrained(made))
    with torch.no_grad():
        expected = deployed.retrained.task.read(deployed.full_network(images).numpy())
    angles = values["angles"]("photo.jpg")
    assert list(angles) == ["yaw", "pitch", "roll"]
    np.testing.assert_allclose([*angles.values()], expected[0], atol=1e-4)
    assert capsys.readouterr().out.startswith("{'yaw': ")


def test_weights_choose_the_network(evonas: Cli, folder: Path) -> None:
    weights = sorted(folder.glob("*-1.safetensors"))[0]
    code, out, err = evonas("export", weights, "--json", "--format", "torch_export")
    assert (code, err) == (0, ""), err
    assert json.loads(out)["repeat"] == 1
    assert "leave out --network and --repeat" in said(evonas("export", weights, "--repeat", 0))
    shutil.copy(weights, folder / "other.safetensors")
    message = said(evonas("export", folder / "other.safetensors"))
    assert "lists no network with these weights" in message


@pytest.mark.parametrize(("road", "kind"), [("onnx", "onnx"), ("pt2e", "torch_export")])
def test_a_quantised_network_gets_its_answer(
    evonas: Cli, folder: Path, road: str, kind: str
) -> None:
    assert evonas("quantize", folder, "--backend", road, "--images", 12)[0] == 0
    wrong = {"onnx": "torch_export", "torch_export": "onnx"}[kind]
    assert f"expected --format {kind}" in said(evonas("export", folder / "int8", "--format", wrong))
    code, out, err = evonas("export", folder / "int8", "--format", kind, "--json")
    assert (code, err) == (0, ""), err
    found = json.loads(out)
    assert found["quantised"]
    assert found["parity"]["largest_difference"] < 1e-4
    shipped = ExportedNetwork.load(folder / "int8")
    task = Retrained(folder).task
    quantised = Retrained(folder / "int8")
    images = crops(folder, SHOWN)
    module = quantised.head(quantised.contender())
    expected = task.read(module(torch.from_numpy(images)).detach().numpy())
    np.testing.assert_allclose(shipped.run(images), expected, atol=1e-4)
    assert np.abs(shipped.run(images) - answers(folder, SHOWN)).max() > 1e-3, "not of integers"
    before = (folder / "int8" / quantised.contender()["weights"][0]).stat().st_size
    assert found["bytes"] < 1.3 * before + 4000


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_a_backbone_that_takes_one_image_at_a_time(
    evonas: Cli, components: Components, tmp_path: Path, kind: str
) -> None:
    file = program_of(seeded(ConvNet), tmp_path / "net.pt2", dynamic=False)
    space = components.experiment.model_dump(mode="json")["space"] | {"tap": "layers.1"}
    backbone = {"name": "exported", "path": str(file)}
    folder = retrained(components, tmp_path, backbone=backbone, tap="layers.1", space=space)
    code, _, err = evonas("export", folder, "--format", kind)
    assert (code, err) == (0, ""), err
    shipped = ExportedNetwork.load(folder)
    np.testing.assert_allclose(shipped.run(crops(folder, SHOWN)), answers(folder, SHOWN), atol=1e-4)
    note = "the file takes one image at a time, as its backbone does"
    assert note in read(shipped.path.with_suffix(".json"))["notes"]


@pytest.mark.parametrize("kind", FILES)
def test_an_operator_without_a_form_is_named_with_its_block(
    evonas: Cli, folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_network(self: RetrainedNetwork) -> nn.Module:
        return FullNetwork(
            TruncatedBackbone(self.components.backbone, self.tap), Odd(self.head)
        ).eval()

    monkeypatch.setattr(RetrainedNetwork, "full_network", property(full_network))
    message = said(evonas("export", folder, "--format", kind))
    assert "evonas_tests.odd" in message
    assert "module 'network.head.second' of the network" in message
    assert ("use --format torch_export" in message) == (kind == "onnx")
    assert not list((folder / "export").iterdir())


@pytest.mark.slow
def test_the_block_of_an_operator_that_torch_takes_apart() -> None:
    """``cumprod`` becomes others on the way, which the network does not name."""

    class Block(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.cumprod(1)

    program = trace(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(Block(), nn.ReLU())), 8, True)
    with pytest.raises(InputError, match=r"module '1\.0' of the network"):
        onnx_file.model(program, "values")


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_answers_otherwise_is_not_kept(
    evonas: Cli, folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = FORMATS[kind].run
    wrong = replace(
        FORMATS[kind], run=lambda *given: lambda images: real(*given)(images) + np.float32(0.02)
    )
    monkeypatch.setitem(FORMATS, kind, wrong)
    code, _, err = evonas("export", folder, "--format", kind)
    assert code == 1
    assert err.startswith("evonas: the exported file answers otherwise than PyTorch: expected ")
    assert "got 2.0e-02; no file is left" in err
    assert err.count("\n") == 1
    assert not list((folder / "export").iterdir())


def test_differences_are_the_largest_but_for_heads_in_profile() -> None:
    answer = HeadPose({"yaw": (), "pitch": (), "roll": ()}).answer
    expected = np.array([[10, 5, 0], [89.99, 20, 0]], np.float32)
    found = expected + np.array([[0, 0.5, 0], [0, 8, 8]], np.float32)
    assert difference(answer, expected, found) == pytest.approx(0.5)
    assert difference(answer, expected, expected[:, [0, 2, 1]]) > 10
    assert np.isnan(difference(answer, expected, found * np.nan))
    assert np.isnan(difference(answer, expected, found[:1]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--format", "onxx"], "--format 'onxx': no such format: did you mean 'onnx'?"),
        (["--format", "tflite"], "known: litert, onnx, openvino, torch_export"),
        (["--network", "linaer head"], "did you mean 'linear head'?"),
        (["--repeat", "2"], "there is no repeat 2: expected 0 to 1"),
        (["--out", "pose.pt2"], "--out pose.pt2: expected a file with the ending .onnx"),
        (["--out", "run/retrained/x.onnx"], "lies among the networks themselves"),
        (["--out", "run/retrained/comparison.json/x.onnx"], "choose another file with --out"),
        (["data.identities=none"], "data.identities"),
    ],
)
def test_a_mistake_is_one_line(evonas: Cli, folder: Path, words: list[str], message: str) -> None:
    assert message in said(evonas("export", folder, *words))
    assert not list(folder.glob("**/*.onnx"))


def test_what_is_no_network_is_one_line(evonas: Cli, folder: Path, source: Any) -> None:
    searched = source[0]
    message = said(evonas("export", searched))
    assert message.endswith(f"run `evonas retrain {searched / 'best.json'}` first")
    assert "there is no such folder or file" in said(evonas("export", folder / "nowhere"))
    (folder / "empty").mkdir()
    assert "holds no comparison.json" in said(evonas("export", folder / "empty"))
    message = said(evonas("export", folder / "comparison.md"))
    assert "expected weights that `evonas retrain` wrote (.safetensors)" in message

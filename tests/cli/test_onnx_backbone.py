"""A network in an .onnx file, from its taps to a prediction, through the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from command_line import Cli, said
from exported import answers, crops, pictures
from finished_search import read
from onnx_files import exported
from small_modules import ConvNet

from evonas.deployment.export.exported_model import ExportedNetwork
from evonas.models.backbones.onnx import Onnx
from evonas.models.files.onnx_session import session

SHOWN = [1, 8, 15, 22]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return exported(ConvNet(), tmp_path / "net.onnx")


@pytest.fixture
def experiment(tiny: dict[str, Any], network: Path, tmp_path: Path) -> Path:
    tiny |= {
        "budget": 2,
        "finals": {"networks": 0},
        "backbone": {"name": "onnx", "file": str(network), "mean": [0.5] * 3, "std": [0.5] * 3},
        "tap": "auto",
        "baselines": [
            {
                "name": "linear",
                "network": "linear_probe",
                "settings": {"tap": "/stem/Conv_output_0"},
            }
        ],
        "space": {**tiny["space"], "tap": "auto"},
    }
    path = tmp_path / "onnx.yaml"
    path.write_text(yaml.safe_dump(tiny), encoding="utf-8")
    return path


def test_taps_and_their_costs(evonas: Cli, network: Path) -> None:
    words = ["backbones", "show", "onnx", f"file={network}"]
    found = json.loads(evonas(*words, "--json")[1])
    rows = {row["tap"]: row for row in found["taps"]}
    assert list(rows) == ["stem.Conv", "layers.0.relu_1.Relu", "layers.1.relu_1.Relu"]
    assert rows["stem.Conv"]["macs"] == 16 * 16 * 4 * 27
    assert rows["stem.Conv"]["params"] == 4 * 28
    assert (found["not_shown"], found["input_size"]) == (8, 32)
    assert found["whole"]["macs"] == rows["layers.1.relu_1.Relu"]["macs"] + 16 * 5
    assert "ImageNet's, as the file does not say" in found["remarks"][0]
    assert len(json.loads(evonas(*words, "--all", "--json")[1])["taps"]) == 11


@pytest.mark.slow
def test_from_search_to_prediction(evonas: Cli, experiment: Path, tmp_path: Path) -> None:
    code, out, err = evonas("search", experiment, "--run-dir", "run")
    assert (code, err) == (0, ""), err
    assert "normalisation of images in 0..1: mean [0.5, 0.5, 0.5]" in out
    run = tmp_path / "run"
    stored = yaml.safe_load((run / "experiment.yaml").read_text("utf-8"))
    taps = ["stem.Conv", "layers.0.relu_1.Relu", "layers.1.relu_1.Relu"]
    assert (stored["space"]["tap"], stored["tap"]) == (taps, taps[-1]), "auto is resolved"
    assert stored["baselines"][0]["settings"]["tap"] == "stem.Conv"
    code, _, err = evonas("search", experiment, "--run-dir", "run", "--resume", "budget=3")
    assert (code, err) == (0, ""), err
    code, _, err = evonas("retrain", run)
    assert (code, err) == (0, ""), err
    folder = run / "retrained"
    code, out, err = evonas("export", run, "--keep-embedding")
    assert (code, err) == (0, ""), err
    assert "the backbone's own embedding" in out
    assert "backbone, then head" in out
    file = folder / "export/network.onnx"
    card = read(file.with_suffix(".json"))
    assert card["embedding"] == {"output": "embedding", "size": 5}
    assert card["parity"]["largest_difference"] < 1e-4
    shipped = ExportedNetwork.load(file)
    images = crops(folder, SHOWN)
    for count in (1, 3):
        expected = answers(folder, SHOWN)[:count]
        np.testing.assert_allclose(shipped.run(images[:count]), expected, atol=1e-4)
    own = Onnx(file=stored["backbone"]["file"], mean=(0.5,) * 3, std=(0.5,) * 3)
    (name,) = (value.name for value in own.graph.model.graph.output)
    (expected,) = own.sessions.run(images, (name,))
    np.testing.assert_allclose(session(file, outputs=("embedding",))(images), expected, atol=1e-5)
    photos = pictures(folder, tmp_path / "photos", SHOWN[:2])
    code, out, err = evonas("predict", file, *photos)
    assert (code, err) == (0, ""), err
    predicted = [json.loads(line)["yaw"] for line in out.splitlines()]
    np.testing.assert_allclose(predicted, shipped.run(images[:2])[:, 0], atol=1e-3)


@pytest.mark.slow
def test_eight_bits_of_the_merged_network(evonas: Cli, experiment: Path, tmp_path: Path) -> None:
    assert evonas("retrain", experiment)[0] == 0
    (folder,) = tmp_path.glob("**/comparison.json")
    folder = folder.parent
    code, out, err = evonas("quantize", folder, "--images", 12)
    assert (code, err) == (0, ""), err
    assert "float, backbone, then head" in out
    assert "with integers: 1 of 1 convolutions, 1 of 1 linear layers" in out
    kinds = {node.op_type for node in onnx.load(folder / "int8/quantized.onnx").graph.node}
    assert "DequantizeLinear" in kinds
    assert evonas("export", folder / "int8")[0] == 0
    for words, what in (
        (("quantize", folder, "--backend", "pt2e"), "--backend pt2e"),
        (("quantize", folder, "--qat"), "--qat"),
        (("prune", folder), "evonas prune"),
        (("export", folder, "--format", "torch_export"), "--format torch_export"),
    ):
        message = said(evonas(*words))
        assert message.startswith(f"{what} needs a backbone in PyTorch, got backbone 'onnx'")


def test_what_is_wrong_is_one_line(evonas: Cli, experiment: Path, network: Path) -> None:
    message = said(evonas("search", experiment, "tap=layers.1.relu_1.Rel"))
    assert "has no tap 'layers.1.relu_1.Rel': did you mean 'layers.1.relu_1.Relu'" in message
    message = said(evonas("validate", experiment, "backbone.file=none.onnx"))
    assert "none.onnx: no such file: give an .onnx file with backbone.file" in message
    network.write_bytes(network.read_bytes()[:1000])
    assert "is no ONNX file" in said(evonas("backbones", "show", "onnx", f"file={network}"))
    assert said(evonas("pipeline", experiment)).startswith(
        "evonas pipeline needs a backbone in PyT"
    )
    assert "needs backbone.file=" in said(evonas("backbones", "show", "onnx"))


def test_only_backbones_from_files_have_an_embedding(
    evonas: Cli, tiny_file: Path, tmp_path: Path
) -> None:
    words = ["retraining.epochs=1", "baselines=[{name: linear, network: linear_probe}]"]
    assert evonas("retrain", tiny_file, *words, "--out", tmp_path / "plain")[0] == 0
    message = said(evonas("export", tmp_path / "plain", "--keep-embedding"))
    assert "--keep-embedding: expected a backbone from an .onnx file" in message
    assert "got 'synthetic_face'" in message

"""``evonas quantize``: a retrained network as 8-bit integers, from the folder to the tables."""

from __future__ import annotations

import inspect
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import Cli, said
from finished_search import read
from quantizable import made as seeded
from small_modules import ConvNet, export

from evonas.api.retraining import retrain
from evonas.data.base import Dataset
from evonas.data.synthetic_faces import SyntheticFaces
from evonas.estimation.features.views import View
from evonas.estimation.training.training import Diverged, Training
from evonas.models.backbones.none import PIXELS, NoBackbone
from evonas.models.files.quantized_network import load_quantized
from evonas.runs.training_record import TrainingRecord
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained

HEAD = {"name": "residual head", "network": "residual_head", "settings": {"width": 24}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """The baselines of the tiny experiment, trained for two epochs."""
    folder = tmp_path_factory.mktemp("baselines")
    plain = components.experiment.model_dump(mode="json")
    plain |= {"baselines": [*plain["baselines"], HEAD], "retraining": {"epochs": 2}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    retrain(folder / "tiny.yaml", out=folder / "out")
    return folder / "out"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "retrained"))


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies of one round: they are not looked at here."""
    monkeypatch.setattr("evonas.estimation.cost.latency.ROUNDS", 1)


@pytest.mark.parametrize("road", ["pt2e", "onnx"])
def test_a_network_is_quantised_judged_and_tested_again(
    evonas: Cli, folder: Path, road: str
) -> None:
    words = ("--network", "residual head", "--backend", road, "--images", 20)
    code, out, err = evonas("quantize", folder, *words)
    assert (code, err) == (0, ""), err
    target = folder / "int8"
    found = read(target / "quantize.json")
    names = {"quantize.json", "quantize.md", "comparison.json", found["file"]}
    assert {file.name for file in target.iterdir()} == names | {"training_record.json"}
    record = TrainingRecord.load(target)
    assert record == TrainingRecord.load(folder)
    assert record is not None
    assert (found["network"], found["settings"]["road"]) == ("residual head", road)
    assert found["calibration_images"] == 20
    assert found["judged_on"]["split"] == "test split"
    assert found["bytes"]["after"] == (target / found["file"]).stat().st_size
    assert found["bytes"]["ratio"] > 2.5, "a graph weighs a part of so small a network"
    assert found["after"]["mae"] != found["before"]["mae"]
    assert found["after"]["mae"] == pytest.approx(found["before"]["mae"], rel=0.02)
    assert found["operators"]["convolutions"][0] == found["operators"]["convolutions"][1] > 5
    text = (target / "quantize.md").read_text("utf-8")
    assert f"residual head on block3, 8 bits ({road}): errors in degrees" in text
    assert "left in floats: " in text
    assert "mae_yaw" in out
    data = ("synthetic_faces", "identities=12", "images_per_identity=6")
    data = (*data, "train=0.6", "validation=0.25")
    code, out, err = evonas("test", target, *data, "--json")
    assert code == 0, err
    (again,) = json.loads(out)
    assert again["network"] == "residual head, int8"
    assert again["repeats"][0]["mae"] == pytest.approx(found["after"]["mae"], abs=1e-4)
    assert again["head"]["megabytes"] == pytest.approx(found["bytes"]["after"] / 1e6, abs=1e-4)
    assert "8-bit integers: MB are those of the file" in (target / "test.md").read_text("utf-8")
    assert "is quantised already" in said(evonas("quantize", target))


def test_the_float_network_is_the_one_that_was_trained(evonas: Cli, made: Path) -> None:
    """On images, not on cached maps of 16 bits: the errors agree all the same."""
    out = made.parent / "plain"
    assert evonas("quantize", made, "--images", 8, "--out", out)[0] == 0
    found = read(out / "quantize.json")
    (source,) = [c for c in read(made / "comparison.json")["contenders"] if c["weights"]][:1]
    assert found["network"] == source["name"] == "pooled features + linear"
    assert found["before"]["mae"] == pytest.approx(source["results"][0]["test_mae"], abs=1e-2)


@pytest.mark.slow
def test_json_is_the_file_and_aware_training_moves_the_weights(
    evonas: Cli, made: Path, tmp_path: Path
) -> None:
    words = ("--network", "residual head on block3", "--images", 16, "--json", "--backend", "pt2e")
    settings = ("quantize.training.epochs=1", "quantize.training.learning_rate=0.003")
    found = []
    for aware in ((), ("--qat", *settings), ("--qat", *settings)):
        out = tmp_path / f"out{len(found)}"
        code, text, err = evonas("quantize", made, *words, *aware, "--out", out)
        assert code == 0, err
        found.append(json.loads(text))
        assert found[-1] == read(out / "quantize.json")
    plain, trained, again = found
    assert (len(plain["training"]), len(trained["training"])) == (0, 1)
    # the simulated network of the last epoch is the one in the file
    shown = Retrained(tmp_path / "out1")
    side = shown.components.dataset.sides()["validation"]
    targets = shown.task.targets(shown.components.dataset)[side]
    pixels = _pixels(shown.components.dataset, side, shown.components.backbone.input_size)
    outputs = load_quantized(tmp_path / "out1" / trained["file"]).outputs(pixels)
    mae = shown.task.metrics(shown.task.predictions(outputs), targets)["mae"]
    # A tie that another processor rounds the other way moves the mean by some 0.002 degrees.
    assert mae == pytest.approx(trained["training"][0]["mae"], abs=5e-3)
    assert abs(trained["after"]["mae"] - plain["after"]["mae"]) > 0.01
    assert trained["after"] == again["after"], "a seed decides it"


def _pixels(dataset: Dataset, indices: Any, side: int) -> Any:
    crops = [View().apply(dataset.image(i), i, side, dataset.margin) for i in indices.tolist()]
    return np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32)


def test_pixels_are_whole_numbers_behind_sixteen_bits() -> None:
    every = torch.arange(256.0).repeat(3).view(1, 3, 16, 16)
    seen = NoBackbone(input_size=16, **PIXELS)(every, ["image"])["image"]
    assert torch.equal(seen.half().float(), every)


@pytest.mark.slow
def test_fewer_images_than_asked_for_are_all_used_and_it_is_said(evonas: Cli, made: Path) -> None:
    out = made.parent / "few"
    assert evonas("quantize", made, "--images", 5000, "--out", out)[0] == 0
    found = read(out / "quantize.json")
    there = len(Retrained(made).components.dataset.sides()["train"])
    assert found["calibration_images"] == there
    assert f"activation ranges are from {there} images, all there are, not 5000" in found["notes"]


@pytest.mark.slow
@pytest.mark.parametrize("dynamic", [True, False])
def test_a_backbone_from_a_file(
    evonas: Cli, components: Components, tmp_path: Path, dynamic: bool
) -> None:
    file = export(seeded(ConvNet), tmp_path / "net.pt2", dynamic=dynamic)
    plain = components.experiment.model_dump(mode="json")
    plain |= {"backbone": {"name": "exported", "path": str(file)}, "tap": "layers.1"}
    plain["space"]["tap"] = "layers.1"
    path = tmp_path / "exported.yaml"
    path.write_text(yaml.safe_dump(plain), encoding="utf-8")
    retrain(path, out=tmp_path / "out")
    code, _, err = evonas("quantize", "out", "--images", 12)
    assert code == 0, err
    found = read(tmp_path / "out" / "int8" / "quantize.json")
    assert found["operators"]["convolutions"] == [5, 5]
    single = "the network takes one image at a time, as its backbone does"
    assert (single in found["notes"]) == (not dynamic)
    if not dynamic:
        assert "quantisation-aware training needs batches" in said(
            evonas("quantize", "out", "--qat")
        )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network", "residul head"], "did you mean 'residual head'?"),
        (["--network", "constant"], "has no trained network 'constant'"),
        (["--backend", "tflite"], "quantize.road: input should be 'onnx' or 'pt2e'"),
        (["--images", "0"], "quantize.images: input should be greater than or equal to 1"),
        (["quantize.training.ema=0.9"], "expected ema=0 in quantisation-aware training"),
        (["quantize.bits=4"], "unknown key 'quantize.bits'"),
        (["--out", "retrained"], "holds the network itself: choose another folder"),
        (["--out", "retrained/comparison.json"], "cannot be written (File exists)"),
    ],
)
def test_a_mistake_is_one_line(evonas: Cli, folder: Path, words: list[str], message: str) -> None:
    assert message in said(evonas("quantize", folder, *words))
    assert not (folder / "int8" / "quantize.json").exists()


def test_a_folder_that_will_not_do_is_one_line(
    evonas: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = folder / "residual-head-block3.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    message = said(evonas("quantize", folder, "--network", "residual head"))
    assert message.startswith(f"{weights}: no weights of 'residual head' (")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torchao", None)
        message = said(evonas("quantize", folder, "--backend", "pt2e"))
        assert message.endswith("is not installed: pip install 'evonas[quantize]'")
    content = read(folder / "comparison.json")
    for one in content["contenders"]:
        one["weights"] = []
    (folder / "comparison.json").write_text(json.dumps(content), "utf-8")
    assert said(evonas("quantize", folder)) == f"{folder}: holds no trained weights: retrain again"
    assert "there is no such folder or file" in said(evonas("quantize", folder / "nowhere"))


def test_data_without_a_training_split_are_refused(
    evonas: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SyntheticFaces.__init__

    def without(self: Any, **options: Any) -> None:
        real(self, **options)
        self.splits = {"test": self.splits["test"]}

    without.__signature__ = inspect.signature(real)  # type: ignore[attr-defined]
    monkeypatch.setattr(SyntheticFaces, "__init__", without)
    assert "expected a train split" in said(evonas("quantize", folder))


def test_aware_training_that_diverges_is_one_line(
    evonas: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(self: Training, *arguments: object, **options: object) -> None:
        raise Diverged("the loss became nan in epoch 1")

    monkeypatch.setattr(Training, "run", diverge)
    code, _, err = evonas("quantize", folder, "--qat", "--images", 8)
    assert (code, err) == (
        1,
        "evonas: 'pooled features + linear': training on images diverged (the loss became nan in "
        "epoch 1): lower the learning rate\n",
    )

"""``evonas finetune``: from a retrained folder to a fine-tuned one that the other verbs take."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command_line import Cli, said
from finished_search import read
from PIL import Image
from safetensors.torch import load_file

import evonas as library
from evonas.api.retrained_model import RetrainedModel
from evonas.api.retraining import retrain
from evonas.core import registry
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.estimation.training import checkpoint
from evonas.estimation.training import training as training_module
from evonas.runs.training_record import TrainingRecord
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained

HEAD = {"name": "head", "network": "residual_head", "settings": {"width": 8, "tap": "block3"}}
DATA = (
    *("synthetic_faces", "identities=12", "images_per_identity=6"),
    *("train=0.6", "validation=0.25"),
)
#: Multiply-adds and parameters of a block of the backbone, by hand: two 3x3 kernels without
#: biases, and scales and shifts of two norms.
BLOCKS = {
    "block2": (16 * 16 * (16 * 32 * 9 + 32 * 32 * 9), 16 * 32 * 9 + 32 * 32 * 9 + 4 * 32),
    "block3": (8 * 8 * (32 * 64 * 9 + 64 * 64 * 9), 32 * 64 * 9 + 64 * 64 * 9 + 4 * 64),
}
FORMATS = {"network.onnx": "onnx", "program.pt2": "torch_export"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """A head on the third block, trained twice."""
    folder = tmp_path_factory.mktemp("heads")
    plain = components.experiment.model_dump(mode="json")
    plain |= {"baselines": [HEAD], "retraining": {"epochs": 3, "keep": "last"}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    retrain(folder / "tiny.yaml", repeats=2, out=folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def tuned(made: Path) -> Path:
    """Both trainings, fine-tuned from the first block on for two epochs."""
    return library.finetune(
        made, frozen_up_to="block1", epochs=2, rate_decay=0.5, out=made.parent / "tuned"
    ).folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "retrained"))


def change(folder: Path, **changes: Any) -> None:
    """Change comparison.json."""
    path = folder / "comparison.json"
    path.write_text(json.dumps({**read(path), **changes}), "utf-8")


def test_the_command_trains_says_the_price_and_leaves_what_evaluate_reads(
    evonas: Cli, folder: Path
) -> None:
    words = ("--from", "block2", "--epochs", 2, "--lr", 0.002, "--rate-decay", 0.7, "--seeds", 1)
    code, out, err = evonas("finetune", folder, *words)
    assert (code, err) == (0, ""), err
    target = folder / "finetuned-block2"
    assert {file.name for file in target.iterdir()} == {
        *("finetune.json", "finetune.md", "comparison.json", "training_record.json"),
        "fine-tuned.safetensors",
    }
    found = read(target / "finetune.json")
    assert found["settings"]["rate_decay"] == 0.7
    assert found["settings"]["training"]["learning_rate"] == 0.002
    assert found["fine_tuned"] == {"frozen_up_to": "block2", "tap": "block3"}
    assert found["difference"] < 1e-5
    assert found["price"]["sentence"] in " ".join(out.split())
    assert f"written: {target}" in out
    assert "on the frozen backbone" in out
    assert "single training, so its noise is unknown" in out or "No better" in out
    assert "epochs of training 1 of 1: 2" in out
    code, out, err = evonas("test", target, *DATA, "--json")
    assert code == 0, err
    (again,) = json.loads(out)
    assert again["network"] == "head, fine-tuned"
    assert again["tap"] == "block2"
    # both are of cached features in half precision
    assert again["repeats"][0]["mae"] == pytest.approx(found["after"][0]["mae"], abs=1e-5)


def test_the_price_is_that_of_a_second_copy_counted_by_hand(tuned: Path, made: Path) -> None:
    found = read(tuned / "finetune.json")["price"]
    macs, params = (sum(block[i] for block in BLOCKS.values()) for i in (0, 1))
    assert (found["second_copy"]["macs"], found["second_copy"]["params"]) == (macs, params)
    (entry,) = read(tuned / "comparison.json")["contenders"]
    (head,) = [one["head"] for one in read(made / "comparison.json")["contenders"] if one["tap"]]
    assert entry["head"]["macs"] == macs + head["macs"]
    assert entry["head"]["params"] == params + head["params"]
    assert entry["head"]["megabytes"] == pytest.approx(4e-6 * (params + head["params"]), abs=1e-4)
    # the frozen layers are not paid again
    whole = read(made / "comparison.json")["contenders"][0]["backbone_up_to_tap"]
    assert entry["backbone_up_to_tap"]["macs"] == whole["macs"] - macs
    assert entry["backbone_up_to_tap"]["params"] == whole["params"] - params
    full = registry.create("backbone", "synthetic_face", {}).full_cost()
    for side, own in (("before", head["macs"]), ("after", macs + head["macs"])):
        assert found["operations_percent"][side] == pytest.approx(100 * own / full.macs)
    assert found["sentence"].startswith(f"Adds {found['operations_percent']['after']:.1f} % ")
    assert "a second copy of the layers from block1 to block3; before: " in found["sentence"]


def test_the_weights_are_what_was_trained_and_nothing_else(tuned: Path, made: Path) -> None:
    """The frozen tensors are those of the backbone, which the file does not repeat."""
    state = load_file(tuned / "fine-tuned.safetensors")
    original = registry.create("backbone", "synthetic_face", {}).state_dict()
    layers = {name: v for name, v in state.items() if name.startswith("upto.backbone.")}
    assert sum(v.numel() for v in layers.values()) == sum(params for _, params in BLOCKS.values())
    for name, value in layers.items():
        before = original[name.removeprefix("upto.backbone.")]
        assert value.shape == before.shape
        assert not torch.equal(value, before), f"{name} has not learned"
    head = load_file(made / "head-block3.safetensors")
    assert {f"head.{name}" for name in head} | layers.keys() == state.keys()
    network = Retrained(tuned).head(Retrained(tuned).contender())
    for name, value in network.state_dict().items():
        if name in network.frozen:  # running statistics
            assert torch.equal(value, original[name.removeprefix("upto.backbone.")])
        else:
            assert torch.equal(value, state[name])
    assert network.frozen


def test_both_trainings_are_judged_before_and_after_on_the_same_images(
    tuned: Path, made: Path
) -> None:
    found = read(tuned / "finetune.json")
    assert found["repeats"] == [0, 1]
    retrained = Retrained(made)
    entry = retrained.contender()
    for repeat, (before, after) in enumerate(zip(found["before"], found["after"], strict=True)):
        assert before["mae"] == pytest.approx(entry["results"][repeat]["test_mae"], abs=1e-5)
        assert after["mae"] != before["mae"]
        # the deployed network, on images in single precision
        whole = RetrainedNetwork(Retrained(tuned), repeat=repeat)
        assert whole.judge(whole.full_network)["mae"] == pytest.approx(after["mae"], abs=0.02)
    (result,) = Retrained(tuned).test("same", retrained.components.dataset, lambda *p: None)
    assert len(result.repeats) == 2
    assert result.mean("mae") == pytest.approx(np.mean([one["mae"] for one in found["after"]]))
    assert found["judged"] == {"side": "test", "images": result.images}
    entry = read(tuned / "comparison.json")["contenders"][0]
    assert [len(curve) for curve in entry["curves"] + entry["losses"]] == [2] * 4
    record = TrainingRecord.load(tuned)
    assert record == TrainingRecord.load(made)
    assert record is not None


@pytest.mark.slow
def test_all_layers_are_trained_on_images_and_the_training_loss_falls(
    made: Path, evonas: Cli, tmp_path: Path
) -> None:
    model = RetrainedModel(made).finetune(
        frozen_up_to="image", epochs=4, seeds=1, rate_decay=1.0, out=tmp_path / "all"
    )
    found = read(model.folder / "finetune.json")
    assert found["reads"] == "image"
    (entry,) = read(model.folder / "comparison.json")["contenders"]
    assert entry["losses"][0][-1] < entry["losses"][0][0]
    assert entry["tap"] == "image"
    assert entry["backbone_up_to_tap"]["macs"] == 0
    assert "a second copy of all layers up to block3" in model.notes[0]
    (result,) = Retrained(model.folder).test(
        "same", Retrained(made).components.dataset, lambda *p: None
    )
    assert result.mean("mae") == pytest.approx(found["after"][0]["mae"], abs=1e-5)
    pytest.importorskip("onnxruntime")
    assert evonas("export", model.folder, "--out", "whole.onnx")[0] == 0


@pytest.mark.slow
def test_layers_that_read_more_than_the_tap_are_trained_on_images(
    evonas: Cli, tiny: dict[str, Any], tmp_path: Path
) -> None:
    """The class token is no part of the map; what is before the tap stays frozen."""
    tiny |= {
        "backbone": {
            "name": "torch_module",
            "callable": "small_modules:Transformer",
            "random": 1,
            "input_size": 32,
        },
        "tap": "blocks.1",
        "space": {**tiny["space"], "tap": "blocks.1"},
        "baselines": [{"name": "own", "network": "linear_probe"}],
    }
    (tmp_path / "tokens.yaml").write_text(yaml.safe_dump(tiny), "utf-8")
    retrain(tmp_path / "tokens.yaml", epochs=1, out=tmp_path / "tokens")
    code, out, err = evonas("finetune", tmp_path / "tokens", "--from", "blocks.0", "--epochs", 2)
    assert (code, err) == (0, "")
    assert "layers after blocks.0 read other maps as well, so they are trained on images" in out
    folder = tmp_path / "tokens" / "finetuned-blocks.0"
    found = read(folder / "finetune.json")
    assert found["reads"] == "image"
    # two norms, attention (in and out), a perceptron of twice the width
    params = 2 * 24 + 12 * 36 + 36 + 12 * 12 + 12 + 12 * 24 + 24 + 24 * 12 + 12
    assert found["price"]["second_copy"]["params"] == params
    state = load_file(folder / "fine-tuned.safetensors")
    layers = [v for name, v in state.items() if name.startswith("upto.")]
    assert sum(v.numel() for v in layers) == params
    assert all("blocks.1" in name for name in state if name.startswith("upto."))
    code, out, err = evonas("test", folder, *DATA, "--json")
    assert code == 0, err
    (again,) = json.loads(out)
    assert again["repeats"][0]["mae"] == pytest.approx(found["after"][0]["mae"], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["network.onnx", "program.pt2"])
def test_the_exported_file_answers_as_the_fine_tuned_network(
    tuned: Path, evonas: Cli, tmp_path: Path, name: str
) -> None:
    pytest.importorskip("onnxruntime")
    code, _, err = evonas("export", tuned, "--out", name, "--format", FORMATS[name], "--repeat", 1)
    assert (code, err) == (0, "")
    whole = RetrainedNetwork(Retrained(tuned), repeat=1)
    rows = whole.judges[:5]
    with torch.inference_mode():
        expected = whole.task.read(whole.full_network(whole.images(rows)).numpy())
    run = library.load_exported(tmp_path / name)
    dataset = whole.components.dataset
    for number, row in enumerate(rows.tolist()):
        Image.fromarray(dataset.image(row)).save(tmp_path / "face.png")
        answer = run.predict(tmp_path / "face.png")
        got = [answer[label] for label in ("yaw", "pitch", "roll")]
        np.testing.assert_allclose(got, expected[number], atol=0.05)


@pytest.mark.slow
def test_it_can_be_quantised_but_not_pruned_or_fine_tuned_again(tuned: Path, evonas: Cli) -> None:
    copy = Path(shutil.copytree(tuned, tuned.parent / "copy"))
    assert "is fine-tuned: expected the folder that" in said(evonas("prune", copy))
    assert "is fine-tuned already: expected the folder" in said(evonas("finetune", copy))
    pytest.importorskip("torchao")
    code, _, err = evonas("quantize", copy, "--images", 16)
    assert (code, err) == (0, "")
    (entry,) = read(copy / "int8" / "comparison.json")["contenders"]
    assert "fine_tuned" not in entry
    code, out, err = evonas("test", copy / "int8", *DATA, "--json")
    assert code == 0, err
    floats = read(tuned / "finetune.json")["after"][0]["mae"]
    assert json.loads(out)[0]["repeats"][0]["mae"] == pytest.approx(floats, rel=0.05)
    assert "is quantised: expected the folder that" in said(evonas("finetune", copy / "int8"))


@pytest.mark.slow
def test_a_training_that_was_stopped_goes_on_and_ends_with_the_same_bits(
    made: Path, evonas: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    words = ("finetune", made, "--from", "block2", "--epochs", 3)
    assert evonas(*words, "--out", "whole")[0] == 0
    real, epochs = training_module.validate, []

    def stopping(*arguments: Any, **options: Any) -> Any:
        epochs.append(1)
        if len(epochs) == 5:  # the second of the second training
            raise KeyboardInterrupt
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "SECONDS_AT_RISK", 0.0)
        patch.setattr(training_module, "validate", stopping)
        code, out, _ = evonas(*words, "--out", "broken")
    assert code == 130
    assert "the same command goes on from the trainings that are finished" in " ".join(out.split())
    assert not (tmp_path / "broken" / "comparison.json").exists()
    epochs.clear()
    with monkeypatch.context() as patch:
        patch.setattr(
            training_module, "validate", lambda *a, **o: epochs.append(1) or real(*a, **o)
        )
        assert evonas(*words, "--out", "broken")[0] == 0
    assert len(epochs) == 2, "one epoch was finished before"
    files = sorted(file.name for file in (tmp_path / "whole").iterdir())
    assert files == sorted(file.name for file in (tmp_path / "broken").iterdir())
    for name in ("fine-tuned.safetensors", "fine-tuned-1.safetensors"):
        whole, broken = (load_file(tmp_path / folder / name) for folder in ("whole", "broken"))
        assert all(torch.equal(whole[key], broken[key]) for key in whole)
    whole, broken = (read(tmp_path / folder / "finetune.json") for folder in ("whole", "broken"))
    assert whole["after"] == broken["after"]


def test_images_that_were_trained_on_support_no_claim(
    folder: Path, evonas: Cli, components: Components
) -> None:
    """The record holds the images that judge among those of the training."""
    dataset = components.dataset
    record = json.loads((folder / "training_record.json").read_text("utf-8"))
    judges = dataset.image_hashes()[dataset.sides()["test"]].tolist()
    record["train"]["images"] = sorted({*record["train"]["images"], *judges})
    (folder / "training_record.json").write_text(json.dumps(record) + "\n", "utf-8")
    code, out, _ = evonas("finetune", folder, "--epochs", 1, "--seeds", 1)
    assert code == 0
    verdict = read(folder / "finetuned-block2" / "finetune.json")["verdict"]
    assert verdict.startswith("No claim of an improvement (")
    assert f"{len(judges)} of the {len(judges)} images that judge were trained on" in verdict
    text = " ".join(out.split())
    assert text.index("note: ") < text.index("epochs of training 1 of 1"), "before the work"
    assert verdict in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from", "block9"], "the backbone has no tap 'block9': expected one of image, block1,"),
        (["--from", "block4"], "the tap 'block4' is above the head's tap 'block3': expected one"),
        (["--from", "block3"], "'block3' is the head's own tap, so there is nothing to train but"),
        (["--rate-decay", "0"], "finetune.rate_decay"),
        (["--rate-decay", "1.5"], "finetune.rate_decay"),
        (["--epochs", "0"], "finetune.training.epochs"),
        (["--lr", "-1"], "finetune.training.learning_rate"),
        (["--network", "heat"], "has no trained network 'heat': did you mean 'head'"),
        (["finetune.tap=block2"], "unknown key 'finetune.tap'"),
        (["--out", "retrained"], "holds the network itself: choose another folder"),
        (["--out", "retrained/comparison.json"], "cannot be made (File exists)"),
    ],
)
def test_a_mistake_is_one_line(evonas: Cli, folder: Path, words: list[str], message: str) -> None:
    before = {file.name for file in folder.iterdir()}
    assert message in said(evonas("finetune", folder, *words))
    assert {file.name for file in folder.iterdir()} == before


def test_seeds_below_one_are_refused(evonas: Cli, folder: Path) -> None:
    assert evonas("finetune", folder, "--seeds", 0)[0] == 2
    with pytest.raises(library.InputError, match="--seeds 0: expected at least 1"):
        library.finetune(folder, seeds=0)


def test_a_folder_that_will_not_do_is_one_line(
    evonas: Cli, folder: Path, run: Path, tmp_path: Path
) -> None:
    assert "run `evonas retrain" in said(evonas("finetune", run))
    assert "there is no such folder" in said(evonas("finetune", tmp_path / "nowhere"))
    assert "got a file" in said(evonas("finetune", folder / "head-block3.safetensors"))
    (tmp_path / "empty").mkdir()
    assert "holds no comparison.json" in said(evonas("finetune", tmp_path / "empty"))
    content = read(folder / "comparison.json")
    for one in content["contenders"]:
        one["weights"] = []
    change(folder, contenders=content["contenders"])
    assert said(evonas("finetune", folder)) == f"{folder}: holds no trained weights: retrain again"


def test_a_pruned_folder_is_one_line(evonas: Cli, folder: Path) -> None:
    experiment = read(folder / "comparison.json")["experiment"]
    pruned = {"name": "pruned", "path": "pruned.pt2", "tap": "block3"}
    change(folder, experiment={**experiment, "backbone": pruned})
    line = said(evonas("finetune", folder))
    assert "'head' is pruned: expected the folder that `evonas retrain` wrote" in line


def test_a_backbone_without_layers_is_one_line(evonas: Cli, tiny: dict, tmp_path: Path) -> None:
    tiny |= {
        "backbone": {"name": "none", "input_size": 16},
        "tap": "image",
        "space": {**tiny["space"], "tap": "image"},
        "baselines": [{"name": "own", "network": "linear_probe", "settings": {"tap": "image"}}],
    }
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump(tiny), "utf-8")
    retrain(tmp_path / "bare.yaml", epochs=1, out=tmp_path / "bare")
    line = said(evonas("finetune", tmp_path / "bare"))
    assert line.startswith("no layer of the backbone up to 'image' has weights")


@pytest.mark.parametrize(
    "damage", [{"frozen_up_to": "block9"}, {"tap": "block9"}, {"frozen_up_to": 3}, None]
)
def test_a_changed_entry_is_one_line(
    tuned: Path, evonas: Cli, tmp_path: Path, damage: dict[str, Any] | None
) -> None:
    copy = Path(shutil.copytree(tuned, tmp_path / "copy"))
    (entry,) = read(copy / "comparison.json")["contenders"]
    entry["fine_tuned"] = damage if damage is None else {**entry["fine_tuned"], **damage}
    change(copy, contenders=[entry])
    said(evonas("test", copy, *DATA))

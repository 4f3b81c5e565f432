"""``evonas prune``: a retrained network with less of its backbone, trained on and kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file

from evonas.api.retrained_model import RetrainedModel
from evonas.api.retraining import retrain
from evonas.core import registry
from evonas.deployment.probing.characteristic_curves import curve
from evonas.deployment.probing.targets import read as read_target
from evonas.deployment.pruning import task_pruning
from evonas.deployment.pruning.task_pruning import Pruning
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.errors import InputError, RunError
from evonas.estimation.features.views import View
from evonas.estimation.training import checkpoint
from evonas.estimation.training import training as training_module
from evonas.runs.callbacks import Callback
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained

Cli = Callable[..., tuple[int, str, str]]
QUIET = Console(quiet=True)
#: Trains with channels last, as networks with depthwise convolutions do.
DEPTHWISE: dict[str, object] = {
    **{"tap": "block2", "stem": 8, "stages": 1, "n": 0, "block1": "conv"},
    **{"kernel1": 3, "attention1": "none", "activation": "relu", "end": "depthwise"},
    **{"hidden": 0, "dropout": 0.0},
}


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """A residual head on the third block, trained twice."""
    folder = tmp_path_factory.mktemp("retrained")
    plain = components.experiment.model_dump(mode="json")
    plain["baselines"] = [
        {"name": "head", "network": "residual_head", "settings": {"width": 8, "tap": "block3"}},
        {"name": "deep", "network": "master_module", "settings": DEPTHWISE},
    ]
    plain["features"]["jitters"] = 1
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    retrain(folder / "tiny.yaml", epochs=3, repeats=2, out=folder / "out")
    return folder / "out"


@pytest.fixture(scope="module")
def pruned(retrained: Path) -> Path:
    """The same, pruned hard, and trained on for an epoch."""
    changes = ["prune.threshold=0.2", "prune.training.epochs=1", "prune.shared=last"]
    model = RetrainedModel(retrained)
    return model.prune(repeat=1, out=retrained / "small", overrides=changes).folder


@pytest.fixture(scope="module")
def work(retrained: Path) -> Pruning:
    """What prunes the first network; its curves are computed once."""
    found = Retrained(retrained)
    return Pruning(RetrainedNetwork(found), found.components.experiment.prune)


def read(path: Path) -> dict:
    return json.loads(path.read_text("utf-8"))


def test_the_result_has_less_of_everything_and_says_against_what(pruned: Path) -> None:
    found = read(pruned / "prune.json")
    cost = found["cost"]["pruned, with head"]
    assert cost["params"] < 0.5 * found["cost"]["up to the tap, with head"]["params"]
    assert (
        cost["less_in_percent"]["params_of_whole"]
        > cost["less_in_percent"]["params_of_convolutions"]
    )
    assert found["difference"] < 1e-5
    assert found["network"] == "head"
    assert found["repeat"] == 1
    assert found["tap"] == "block3"
    assert [one["name"] for one in found["maps"]][:2] == ["block1.reduce", "block1.refine"]
    assert all(0 < len(one["kept"]) <= one["filters"] for one in found["maps"])
    assert any(len(one["kept"]) < one["filters"] for one in found["maps"])
    assert (pruned / "prune.png").stat().st_size > 5000
    assert "Filters at the knee, threshold 0.2" in (pruned / "prune.md").read_text("utf-8")


def test_the_counted_parameters_are_those_of_the_kept_filters(pruned: Path) -> None:
    found = read(pruned / "prune.json")
    kept = {one["name"]: len(one["kept"]) for one in found["maps"]}
    params, before = 0, 3
    for block in ("block1", "block2", "block3"):
        one, other = kept[f"{block}.reduce"], kept[f"{block}.refine"]
        # Two kernels without bias and two norms; the sum makes both widths one.
        assert one == other
        params += 9 * before * one + 9 * one * one + 4 * one
        before = one
    entry = read(pruned / "comparison.json")["contenders"][0]
    assert entry["backbone_up_to_tap"]["params"] == params


def test_the_folder_is_tested_like_any_retraining_with_the_numbers_it_tells(
    pruned: Path, components: Components
) -> None:
    told = read(pruned / "prune.json")["metrics"]["pruned"]
    (result,) = Retrained(pruned).test("same", components.dataset, lambda *progress: None)
    # Features are cached in half precision, images go through in single.
    assert result.mean("mae") == pytest.approx(told["mae"], abs=0.02)
    assert result.upto == read(pruned / "comparison.json")["contenders"][0]["backbone_up_to_tap"]


def test_the_pruned_backbone_is_one_file_with_one_tap_under_its_old_name(pruned: Path) -> None:
    backbone = registry.create(
        "backbone", "pruned", {"path": str(pruned / "pruned.pt2"), "tap": "block3"}
    )
    kept = read(pruned / "prune.json")["maps"][-1]["kept"]
    assert dict(backbone.taps) == {"block3": (len(kept), 8, 8)}
    assert backbone.input_size == 64
    head = load_file(pruned / "head.safetensors")
    assert any(tensor.dim() == 4 and tensor.shape[1] == len(kept) for tensor in head.values())


@pytest.mark.slow
def test_a_network_that_trains_with_channels_last_is_written_like_any_other(
    retrained: Path, tmp_path: Path
) -> None:
    changes = ["prune.threshold=0.1", "prune.training.epochs=1"]
    model = RetrainedModel(retrained)
    folder = model.prune(network="deep", out=tmp_path / "deep", overrides=changes).folder
    entry = read(folder / "comparison.json")["contenders"][0]
    weights = 4 * entry["backbone_up_to_tap"]["params"]
    # each tensor by itself, and not the row in which all of them were trained
    assert weights < (folder / "pruned.pt2").stat().st_size < weights + 200_000
    (result,) = Retrained(folder).test(
        "same", Retrained(folder).components.dataset, lambda *p: None
    )
    assert result.mean("mae") == pytest.approx(
        read(folder / "prune.json")["metrics"]["pruned"]["mae"], abs=0.02
    )


@pytest.mark.slow
def test_training_on_changes_the_backbone_and_lowers_the_error(retrained: Path) -> None:
    settings = Retrained(retrained, ("prune.threshold=0.2",)).components.experiment.prune
    whole = RetrainedNetwork(Retrained(retrained), "head")
    work = Pruning(whole, settings)
    plan, _ = work.plan()
    graph, head, missed = work.pruned(plan)
    assert missed == ()
    network = torch.nn.Sequential(graph, head)
    # the dozen images that judge are too few to tell two epochs from luck
    vars(whole)["judges"] = whole.learners
    before, weights = whole.judge(network), [p.clone() for p in graph.parameters()]
    training = settings.training.model_copy(update={"epochs": 2, "learning_rate": 2e-3})
    whole.train(network, training, lambda done, total: None)
    assert all(not torch.equal(a, b) for a, b in zip(weights, graph.parameters(), strict=True))
    assert whole.judge(network)["mae"] < before["mae"]


class Listener(Callback):
    """Notes what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def on_message(self, message: str) -> None:
        self.said.append(message)


@pytest.mark.slow
def test_training_on_that_was_stopped_goes_on_and_with_other_settings_begins_anew(
    retrained: Path,
    work: Pruning,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real, epochs, listener = training_module.validate, [0, 9], Listener()  # trained, the last

    def validated(*arguments: Any, **options: Any) -> Any:
        epochs[0] += 1
        if epochs[0] == epochs[1]:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    def prune(out: str, last: int = 9, *changes: str) -> int:
        epochs[:] = [0, last]
        RetrainedModel(retrained).prune(
            threshold=0.2,
            epochs=2,
            out=tmp_path / out,
            overrides=changes,
            callbacks=[listener],
        )
        return epochs[0]

    monkeypatch.setattr(Pruning, "curves", work.curves)
    monkeypatch.setattr(checkpoint, "SECONDS_AT_RISK", 0.0)
    monkeypatch.setattr(training_module, "validate", validated)
    assert prune("whole") == 2
    with pytest.raises(KeyboardInterrupt):
        prune("broken", 2)
    assert "stopped: the same command goes on" in listener.said[-1]
    assert [path.name for path in (tmp_path / "broken").iterdir()] == ["unfinished"]
    shutil.copytree(tmp_path / "broken", tmp_path / "other")
    assert prune("broken") == 1
    assert "paused training" not in caplog.text
    names = [{path.name for path in (tmp_path / one).iterdir()} for one in ("whole", "broken")]
    assert names[0] == names[1]
    whole, broken = (load_file(tmp_path / one / "head.safetensors") for one in ("whole", "broken"))
    assert all(torch.equal(whole[key], broken[key]) for key in whole)
    assert read(tmp_path / "whole" / "prune.json") == read(tmp_path / "broken" / "prune.json")
    assert prune("other", 9, "prune.training.learning_rate=0.002") == 2
    assert "a paused training of another run: it starts anew (what differs: " in caplog.text
    assert "training.learning_rate (0.001, here 0.002)" in caplog.text
    assert not (tmp_path / "other" / "unfinished").exists()


def test_weights_that_start_afresh_are_the_same_each_time(
    work: Pruning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a training that was stopped would not be recognised."""
    monkeypatch.setattr(task_pruning, "fit", lambda child, *others: ("all of them",))
    plan, _ = work.plan()
    first, second = (work.pruned(plan)[1].state_dict() for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_images_are_the_crops_themselves(retrained: Path) -> None:
    whole = RetrainedNetwork(Retrained(retrained))
    images = whole.images(whole.learners[:20])
    assert images.shape == (20, 3, 64, 64)
    crop = View().apply(whole.components.dataset.image(int(whole.learners[7])), 0, 64, 0.0)
    np.testing.assert_array_equal(images[7], crop.transpose(2, 0, 1))


def test_the_whole_network_errs_on_images_as_its_head_does_on_features(retrained: Path) -> None:
    whole = RetrainedNetwork(Retrained(retrained), "head", 1)
    told = whole.contender["results"][1]["test_mae"]
    assert whole.judge(whole.full_network)["mae"] == pytest.approx(told, abs=0.02)


def test_a_higher_threshold_asks_for_fewer_filters(work: Pruning) -> None:
    for curves in work.curves.values():
        for one in curves.values():
            counts = [one.kept(threshold).sum() for threshold in (0.001, 0.01, 0.1, 0.5)]
            assert counts == sorted(counts, reverse=True)


@pytest.mark.slow
def test_the_command_prunes_and_says_where_the_result_is(retrained: Path, evonas: Cli) -> None:
    folder = Path(shutil.copytree(retrained, retrained.parent / "copy"))
    code, said, wrong = evonas("prune", folder, "--threshold", "0.1", "--epochs", "1")
    assert (code, wrong) == (0, "")
    assert f"written: {folder / 'pruned-0.1'}" in said
    assert "pruned and trained" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--network", "heat"], "has no trained network 'heat': did you mean 'head'"),
        (["--repeat", "7"], "'head' was trained 2 times, there is no repeat 7"),
        (["--threshold", "1.5"], "prune.threshold"),
        (["--out", "OWN"], "holds the network itself: choose another folder"),
        (["prune.shared=first"], "prune.shared"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    retrained: Path, evonas: Cli, words: list[str], message: str
) -> None:
    own = [str(retrained) if word == "OWN" else word for word in words]
    code, _, wrong = evonas("prune", retrained, *own)
    assert code == 2
    assert message in wrong
    assert wrong.count("\n") == 1


def test_what_is_asked_for_follows_from_the_training_images_and_stays(
    work: Pruning, pruned: Path
) -> None:
    for one in read(pruned / "prune.json")["maps"]:
        for asked in one["asked"].values():
            assert asked
        if one["name"] == "block3.refine":  # the last of its stage, so it decides
            assert set().union(*one["asked"].values()) == set(one["kept"])
    dataset = work.network.components.dataset
    train = dataset.splits["train"]
    with torch.inference_mode():
        means = work.prunable.features(work.network.images(train))["block2.refine"]
    target, _ = read_target(dataset, "yaw")
    own = curve(means.half().double().numpy(), target.of(train), dataset.groups[train], 3)
    found = work.curves["block2.refine"]["yaw"]
    np.testing.assert_allclose(found.errors, own.errors, rtol=1e-2)
    np.testing.assert_array_equal(found.kept(0.1), own.kept(0.1))


@pytest.mark.slow
def test_integers_are_not_pruned(retrained: Path, tmp_path: Path, evonas: Cli) -> None:
    assert evonas("quantize", retrained, "--images", "8", "--out", tmp_path / "int8")[0] == 0
    code, _, wrong = evonas("prune", tmp_path / "int8")
    assert code == 2
    assert "is quantised already" in wrong


def test_distinctiveness_does_not_take_options_in_vain(retrained: Path, evonas: Cli) -> None:
    words = ("--method", "distinctiveness", "--threshold", "0.1")
    code, _, wrong = evonas("prune", retrained, *words)
    assert code == 2
    assert "takes no --repeat, --out, --threshold or --epochs" in wrong
    code, _, wrong = evonas("prune", retrained, "--method", "guessing")
    assert code == 2
    assert "expected lasso or distinctiveness" in wrong


def test_a_training_on_images_that_diverges_is_said_in_one_line(retrained: Path) -> None:
    whole = RetrainedNetwork(Retrained(retrained))
    settings = whole.components.experiment.prune.training
    wild = settings.model_copy(update={"epochs": 2, "learning_rate": 1e30, "warmup": 0.0})
    with pytest.raises(RunError, match=r"diverged .* lower the learning rate"):
        whole.train(whole.full_network, wild, lambda done, total: None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": "nowhere.pt2", "tap": "x"}, "no such file"),
        ({"path": __file__, "tap": "x"}, "cannot be read as a program"),
    ],
)
def test_a_file_that_is_no_pruned_backbone_is_refused(
    options: dict[str, str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        registry.create("backbone", "pruned", options)

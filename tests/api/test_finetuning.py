"""``evonas.finetune``: which images train, and what the layers cost where the total counts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from finished_search import read

import evonas
from evonas.core import registry
from evonas.core.settings import TrainingSettings
from evonas.deployment import retrained_network
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.errors import InputError
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained

HEAD = {"name": "head", "network": "residual_head", "settings": {"width": 8, "tap": "block3"}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """A retrained head on the third block."""
    folder = tmp_path_factory.mktemp("heads")
    plain = components.experiment.model_dump(mode="json")
    plain |= {"baselines": [HEAD], "retraining": {"epochs": 1, "keep": "last"}}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(plain), encoding="utf-8")
    evonas.retrain(folder / "tiny.yaml", out=folder / "out")
    return folder / "out"


def refit(made: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder in which the head has the name of a refitted winner."""
    folder = Path(shutil.copytree(made, tmp_path / "retrained"))
    content = read(folder / "comparison.json")
    content["contenders"][0]["name"] = "winner, refitted"
    (folder / "comparison.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_a_refitted_network_is_trained_on_as_many_images_as_before(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = RetrainedNetwork(Retrained(made), reads="block1")
    sides = plain.components.dataset.sides()
    assert plain.learners.tolist() == sides["train"].tolist()
    refitted = RetrainedNetwork(Retrained(refit(made, tmp_path)), reads="block1")
    assert refitted.learners.tolist() == sorted([*sides["train"], *sides["validation"]])
    # Images that train do not choose the epoch.
    kept: list[str] = []

    def training(
        module: object,
        data: object,
        task: object,
        settings: TrainingSettings,
        *_: object,
        **__: object,
    ) -> None:
        kept.append(settings.keep)
        raise RuntimeError

    monkeypatch.setattr(retrained_network, "Training", training)
    for one in (plain, refitted):
        with pytest.raises(RuntimeError):
            one.train(one.head, TrainingSettings(keep="best", patience=2), lambda done, of: None)
    assert kept == ["best", "last"]


def test_a_setting_without_effect_on_a_refitted_network_is_named(
    made: Path, tmp_path: Path
) -> None:
    class Said(evonas.Callback):
        texts: ClassVar[list[str]] = []

        def on_message(self, text: str) -> None:
            self.texts.append(text)

    words = ["finetune.training.keep=best", "finetune.training.patience=3"]
    for folder, keep, patience in ((made, "best", 3), (refit(made, tmp_path), "last", 0)):
        Said.texts.clear()
        tuned = evonas.finetune(
            folder,
            frozen_up_to="block1",
            epochs=1,
            out=tmp_path / keep,
            callbacks=[Said()],
            overrides=words,
        )
        used = read(tuned.folder / "finetune.json")["settings"]["training"]
        assert (used["keep"], used["patience"]) == (keep, patience)
        named = [text for text in Said.texts if "keep=best and patience have no effect" in text]
        assert len(named) == (keep == "last")
    Said.texts.clear()
    words = ["prune.training.keep=best", "prune.training.epochs=1", "prune.folds=2"]
    whole = evonas.RetrainedModel(folder)
    whole.prune(threshold=0.3, out=tmp_path / "small", overrides=words, callbacks=[Said()])
    assert any(text.startswith("note: prune.training.keep=best and pat") for text in Said.texts)
    words = ["quantize.training.keep=best", "quantize.training.epochs=1", "quantize.images=8"]
    model = whole.quantize(qat=True, out=tmp_path / "int8", overrides=words)
    notes = read(model.folder / "quantize.json")["notes"]
    assert any(text.startswith("quantize.training.keep=best and pat") for text in notes)


def test_where_the_total_counts_the_layers_cost_nothing_more(made: Path, tmp_path: Path) -> None:
    words = ["objective.counts=total"]
    whole = evonas.retrain(made.parent / "tiny.yaml", out=tmp_path / "out", overrides=words)
    assert "run for this task alone: `evonas finetune` trains them" in whole.notes[-1]
    assert "evonas finetune" not in (made / "comparison.md").read_text("utf-8")
    folds = evonas.retrain(
        made.parent / "tiny.yaml", out=tmp_path / "folds", folds=2, overrides=words
    )
    assert "evonas finetune" not in " ".join(folds.notes)  # leaves no weights
    tuned = evonas.finetune(whole, frozen_up_to="block2", epochs=1, seeds=1)
    (before, *_) = read(whole.folder / "comparison.json")["contenders"]
    macs = before["head"]["macs"] + before["backbone_up_to_tap"]["macs"]
    assert f"{macs / 1e6:.1f} M multiply-adds" in tuned.notes[0]
    assert "as before; the layers from block2 to block3 are trained" in tuned.notes[0]


def test_a_backbone_outside_torch_gets_no_hint(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(cls: type, what: str) -> None:
        raise InputError(f"{what} needs torch")

    monkeypatch.setattr(
        registry.load("backbone", "synthetic_face"), "require_torch", classmethod(refuse)
    )
    words = ["objective.counts=total"]
    model = evonas.retrain(made.parent / "tiny.yaml", out=tmp_path / "out", overrides=words)
    assert [note for note in model.notes if "evonas finetune" in note] == []

"""Retraining and what follows from Python: tests, pruning, 8 bits, export, predictions."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from exported import pictures

import evonas
from evonas import InputError

DATA = {"identities": 12, "images_per_identity": 6, "train": 0.6, "validation": 0.25}


class Listener(evonas.Callback):
    """Notes messages and labels of progress."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.labels: dict[str, tuple[int, int]] = {}
        self.searches: list[tuple[str, int]] = []

    def on_message(self, line: str) -> None:
        self.lines.append(line)

    def on_progress(self, label: str, done: int, total: int) -> None:
        self.labels[label] = (done, total)

    def on_search(self, optimizer: str, seed: int) -> None:
        self.searches.append((optimizer, seed))


@pytest.fixture(scope="module")
def made(
    source: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[evonas.RetrainedModel, Listener]:
    """The winner of the tiny search, trained with two seeds."""
    run = tmp_path_factory.mktemp("models") / "run"
    shutil.copytree(source[0], run)
    listener = Listener()
    model = evonas.retrain(evonas.load_run(run), epochs=2, repeats=2, callbacks=[listener])
    return model, listener


@pytest.fixture
def model(made: tuple[evonas.RetrainedModel, Listener]) -> evonas.RetrainedModel:
    return made[0]


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies of one round: they are not looked at here."""
    monkeypatch.setattr("evonas.estimation.cost.latency.ROUNDS", 1)


def test_a_retraining_is_a_table_of_data(
    made: tuple[evonas.RetrainedModel, Listener], capsys: pytest.CaptureFixture[str]
) -> None:
    model, listener = made
    content = json.loads((model.folder / "comparison.json").read_text("utf-8"))
    assert content["experiment"]["retraining"]["epochs"] == 2
    assert [row["network"] for row in model.table] == [c["name"] for c in content["contenders"]]
    winner, plain = model.table[0], content["contenders"][0]
    assert winner["network"] == "winner"
    assert winner["trainings"] == len(plain["results"]) == 2
    judged = [result["test_mae"] for result in plain["results"]]
    assert winner["split"] == "test"
    assert winner["errors"]["mae"] == pytest.approx(sum(judged) / 2)
    assert winner["spread"]["mae"] == pytest.approx(abs(judged[0] - judged[1]) / 2**0.5)
    assert winner["head"]["macs"] == plain["head"]["macs"]
    assert winner["backbone"]["params"] == plain["backbone_up_to_tap"]["params"]
    assert winner["failures"] == []
    assert model.table[-1]["network"] == "constant"
    assert model.tables[0].title.startswith("Errors on the test split")
    assert listener.labels["trainings"] == (6, 6)
    assert listener.lines == []
    assert capsys.readouterr() == ("", "")
    assert evonas.RetrainedModel.load(str(model.folder)) == model
    assert evonas.RetrainedModel.load(model.folder).table == model.table


def test_a_network_of_the_front_and_folds(
    made: tuple[evonas.RetrainedModel, Listener], tmp_path: Path
) -> None:
    run, listener = made[0].folder.parent, Listener()
    knee = evonas.retrain(run, pick="knee", epochs=1, callbacks=[listener])
    assert knee.folder == run / "retrained-knee"
    assert listener.lines[0].startswith("knee: ")
    folds = evonas.retrain(str(run / "best.json"), epochs=1, folds=2, out=tmp_path / "folds")
    assert {row["split"] for row in folds.table} == {"held-out groups of 2 folds"}


def test_the_networks_are_tested_on_data_sets(model: evonas.RetrainedModel) -> None:
    found = model.evaluate("synthetic_faces", **{**DATA, "seed": 5})
    own = {row["network"]: row for row in found.table}
    assert set(own) == {"winner", "winner, refitted", "pooled features + linear"}
    written = json.loads((found.folder / "test.json").read_text("utf-8"))
    assert own["winner"]["images"] == written[0]["images"]
    errors = [one["mae"] for one in written[0]["repeats"]]
    assert own["winner"]["errors"]["mae"] == pytest.approx(sum(errors) / 2)
    assert set(found.metrics) == set(own["winner"]["errors"])
    both = evonas.evaluate(
        model.folder,
        [("synthetic_faces", {**DATA, "seed": 5}), ("synthetic_faces", {**DATA, "seed": 6})],
        flip=True,
        published=True,
    )
    assert len(both.table) == 6
    assert all("FLIP TEST" in table.title for table in both.tables if "Errors" in table.title)
    assert any(table.title == "Published on synthetic_faces" for table in both.tables)


def test_images_that_were_trained_on_judge_only_where_one_asks(
    model: evonas.RetrainedModel,
) -> None:
    other = {**DATA, "train": 0.3, "validation": 0.2}  # its test split holds trained images
    unused = model.evaluate("synthetic_faces", **other)
    assert "training or validation saw them" in unused.results[0].left_out
    assert unused.table[0]["warning"] == ""
    every = model.evaluate("synthetic_faces", include="trained", **other)
    assert every.table[0]["images"] > unused.table[0]["images"]
    assert "--include-trained" in every.table[0]["warning"]
    assert any(note.startswith("LEAKY test") for note in every.tables[0].notes)


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        ("synthetic_face", {}, "unknown data 'synthetic_face': did you mean 'synthetic_faces'"),
        ("synthetic_faces", {"people": 3}, "unknown key data.people"),
        ("aflw2000", {}, "data 'aflw2000' needs data.root=...: no value was given"),
        ({}, {}, "no test set was named: expected some of aflw2000"),
        ({"synthetic_faces": {}}, {"seed": 1}, "expected the options of each data set beside its"),
    ],
)
def test_a_wrong_test_set_is_refused(
    model: evonas.RetrainedModel, data: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        model.evaluate(data, **options)


def test_from_pruning_to_predictions(
    model: evonas.RetrainedModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    listener = Listener()
    pruned = model.prune(threshold=0.3, epochs=1, prune={"folds": 2}, callbacks=[listener])
    assert pruned.folder == model.folder / "pruned-0.3"
    assert pruned.table[0]["backbone"]["params"] < model.table[0]["backbone"]["params"]
    assert listener.labels["epochs"] == (1, 1)
    assert pruned.notes[0].startswith("pruned equals whole with zeros within")
    small = pruned.quantize(backend="onnx", images=16)
    assert small.table[0]["network"] == "winner, refitted, int8"
    settings = json.loads((small.folder / "quantize.json").read_text("utf-8"))["settings"]
    assert (settings["road"], settings["images"]) == ("onnx", 16)
    file = small.export(tmp_path / "head.onnx")
    assert file == tmp_path / "head.onnx"
    exported = evonas.load_exported(file, threads=1)
    assert exported.card["answer"]["columns"] == list(exported.answer.columns)
    photos = pictures(model.folder, tmp_path / "photos", [3, 11])
    answers = [exported.predict(photo) for photo in photos]
    assert list(answers[0]) == ["yaw", "pitch", "roll"]
    batch = exported.predict_batch([(photo, None) for photo in photos])
    assert [one.answer for one in batch] == answers
    assert capsys.readouterr().out == "", "nothing is printed"

    assert exported.predict(photos[0], box=(8, 8, 60, 60)) != answers[0]
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken\.png"):
        exported.predict(tmp_path / "broken.png")
    for box, words in (
        ((1, 2, 3), "box: expected left, top, right and bottom in pixels, got"),
        ((9, 9, 3, 12), "box: expected left < right and top < bottom"),
    ):
        with pytest.raises(InputError, match=words):
            exported.predict(photos[0], box=box)


def test_a_run_stands_for_the_networks_retrained_from_it(
    model: evonas.RetrainedModel, tmp_path: Path
) -> None:
    run = model.folder.parent
    assert evonas.RetrainedModel.load(run) == evonas.RetrainedModel.load(run / "best.json")
    assert evonas.RetrainedModel.load(run).folder == model.folder
    shutil.copy(run / "best.json", tmp_path)
    for call in (evonas.RetrainedModel.load, evonas.finetune):
        with pytest.raises(InputError, match=r"got a search: run `evonas retrain .*best.json` fi"):
            call(tmp_path)
    with pytest.raises(InputError, match="got a search"):
        evonas.evaluate(tmp_path, "synthetic_faces")


def test_misuse_of_models_is_refused(
    made: tuple[evonas.RetrainedModel, Listener], tmp_path: Path
) -> None:
    model, run = made[0], made[0].folder.parent
    for call, words in (
        (lambda: evonas.retrain(tmp_path / "nothing.json"), "nothing.json: cannot be read"),
        (lambda: evonas.retrain("quikstart"), "unknown experiment 'quikstart'"),
        (lambda: evonas.retrain(run, epochs=0), "retraining.epochs: .* got '0'"),
        (lambda: evonas.retrain(run, pick="best"), "--pick best: expected knee, cheapest:ERROR"),
        (lambda: evonas.retrain(run, folds=99), "--folds 99: expected 2 to"),
        (
            lambda: evonas.retrain(run, epochs=2, overrides=["retraining.epochs=3"]),
            "retraining.epochs=3 and retraining.epochs=2 contradict each other",
        ),
        (lambda: evonas.RetrainedModel.load(tmp_path), "it holds no comparison.json"),
        (lambda: evonas.RetrainedModel.load(tmp_path / "x"), "there is no such folder or file"),
        (lambda: model.prune(network="winer"), "has no trained network 'winer': did you mean"),
        (lambda: model.prune(threshold=-1), "prune.threshold: "),
        (lambda: model.quantize(backend="tflite"), "quantize.road: "),
        (lambda: model.quantize(out=model.folder), "holds the network itself"),
        (lambda: model.quantize(repeat=7), "was trained 2 times, there is no repeat 7"),
        (lambda: model.export(tmp_path / "head.bin"), "expected a file with the ending .onnx"),
        (lambda: model.export(format="tflite"), "--format 'tflite': no such format"),
        (lambda: evonas.load_exported(tmp_path), "expected a folder with an exported network"),
        (lambda: evonas.load_exported(run / "best.json"), "expected an exported network"),
    ):
        with pytest.raises(InputError, match=words):
            call()


def test_an_older_retraining_says_how_it_is_read(
    model: evonas.RetrainedModel, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(model.folder, tmp_path / "retrained"))
    content = _content(folder)
    del content["selection_bias"]
    (folder / "comparison.json").write_text(json.dumps(content), encoding="utf-8")
    assert evonas.RetrainedModel.load(folder).table == model.table
    content["format"] = 0
    (folder / "comparison.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="expected the result of `evonas retrain` of format 1"):
        evonas.RetrainedModel.load(folder)


def test_strategies_are_compared(tiny_file: Path, tiny: dict[str, Any], tmp_path: Path) -> None:
    listener = Listener()
    found = evonas.compare(
        tiny_file,
        optimizers=["random", "ga"],
        seeds=1,
        out=tmp_path / "compared",
        callbacks=[listener],
        budget=2,
        finals={"networks": 0},
    )
    assert listener.searches == [("random", 3), ("ga", 3)]
    assert list(found.results) == [("random", 3), ("ga", 3)]
    rows = {row["optimizer"]: row for row in found.table}
    for name, result in (("random", found.results["random", 3]), ("ga", found.results["ga", 3])):
        assert rows[name]["fitness"] == result.best.fitness
        assert rows[name]["trained"] == 2
    assert (tmp_path / "compared/comparison.md").is_file()
    again = evonas.compare(
        evonas.Experiment.load(tiny_file, budget=2, finals={"networks": 0}),
        optimizers=["random", "ga"],
        seeds=1,
        out=tmp_path / "compared",
    )
    assert {k: v.best for k, v in again.results.items()} == {
        k: v.best for k, v in found.results.items()
    }
    for given, words in (
        ({"optimizers": ["gaa"]}, "unknown optimizer 'gaa': did you mean 'ga'"),
        ({"optimizers": "ga"}, "compare: expected a list of optimizers"),
        ({"optimizers": ["ga"], "seeds": 0}, "at least 1 seed"),
        (
            {"optimizers": ["ga"], "optimizer": "cma"},
            "optimizer='cma' and --optimizers ga contradict each other",
        ),
    ):
        with pytest.raises(InputError, match=words):
            evonas.compare(tiny_file, **given)


def _content(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "comparison.json").read_text("utf-8"))
    return content

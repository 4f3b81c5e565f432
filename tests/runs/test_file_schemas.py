"""Schemas of run files: what a search writes fits them, and files of version 0.1.0 are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evonas.api.retrained_model import RetrainedModel
from evonas.core.files import read_json
from evonas.errors import InputError
from evonas.report.page.run_data import Run
from evonas.runs import file_schemas, result_files
from evonas.runs.training_record import FILE, TrainingRecord
from evonas.space import Architecture
from evonas.workflows.evaluation import Retrained

SCHEMAS: dict[str, Any] = {
    "environment.json": file_schemas.Environment,
    "best.json": file_schemas.Best,
    "front.json": file_schemas.Front,
    "progress.json": file_schemas.Progress,
    "utilisation.json": file_schemas.Utilisation,
    "training_record.json": file_schemas.Record,
}
COST = {"macs": 1000, "params": 100, "megabytes": 0.0004, "not_counted": []}
ARCHITECTURE = {"network": "none", "settings": {"tap": "block3"}}
#: Without keys that later versions added: selection_bias, curves, searched, blocks, baselines ...
BEST_0_1_0 = {
    "format": 1,
    "genome": [],
    "architecture": ARCHITECTURE,
    "digest": Architecture.from_dict(ARCHITECTURE).digest,
    "fitness": 4.5,
    "macs": 1000,
    "flops": 2000,
    "params": 100,
    "metrics": {"mae": 4.5, "epoch": 3.0},
    "experiment": {"name": "x"},
    "space": {},
    "data": "d",
    "backbone": "b",
    "seed": 3,
    "evonas": "0.1.0",
}
COMPARISON_0_1_0 = {
    "format": 1,
    "winner": ARCHITECTURE,
    "experiment": {"name": "x", "data": {"name": "synthetic_faces"}},
    "task": ["head_pose", {}, {"yaw": None, "pitch": None}],
    "data": "d",
    "protocol": "",
    "leaky": "",
    "folds": 0,
    "repeats": 2,
    "contenders": [
        {
            "name": "winner",
            "architecture": ARCHITECTURE,
            "source": "backbone",
            "tap": "block3",
            "head": COST,
            "backbone_up_to_tap": COST,
            "results": [{"mae": 4.0, "epoch": 2.0}, {"mae": 5.0, "epoch": 3.0}],
            "weights": ["winner.safetensors", "winner-1.safetensors"],
            "failures": [],
        },
        {
            "name": "constant",
            "architecture": None,
            "source": "backbone",
            "tap": "",
            "head": COST,
            "backbone_up_to_tap": COST,
            "results": [{"mae": 20.0}],
            "weights": [],
            "failures": [],
        },
    ],
}


def put(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_search_writes_what_the_schema_declares_and_no_other_key(run: Path, name: str) -> None:
    content, schema = read_json(run / name), SCHEMAS[name]
    assert set(content) <= schema.__required_keys__ | schema.__optional_keys__
    assert file_schemas.checked(content, schema, name, schema.__required_keys__) is content


def test_networks_of_the_front_fit_their_schema(run: Path) -> None:
    for one in read_json(run / "front.json")["front"]:
        assert set(one) <= file_schemas.FrontNetwork.__optional_keys__
        file_schemas.checked(one, file_schemas.FrontNetwork, "front.json")


def test_best_json_of_0_1_0_is_read(tmp_path: Path) -> None:
    path = put(tmp_path / "best.json", BEST_0_1_0)
    assert result_files.read(path)["metrics"]["mae"] == 4.5
    (network,) = result_files.networks(path)
    assert (network["macs"], network["params"], network.get("spread")) == (1000, 100, None)


def test_comparison_json_of_0_1_0_is_read(tmp_path: Path) -> None:
    put(tmp_path / "comparison.json", COMPARISON_0_1_0)
    winner, constant = RetrainedModel.load(tmp_path).table
    assert (winner["errors"], winner["trainings"]) == ({"mae": 4.5}, 2)
    assert constant["errors"] == {"mae": 20.0}
    assert Retrained(tmp_path).contender()["weights"][1] == "winner-1.safetensors"


def test_a_report_leaves_out_metrics_without_a_value(run: Path) -> None:
    content: Any = json.loads(json.dumps(COMPARISON_0_1_0))
    content["contenders"][0]["results"] = [{"mae": 4.0, "ap": float("nan"), "ar": None}]
    (run / "retrained").mkdir()
    put(run / "retrained" / "comparison.json", content)
    assert Run.read(run).retrained["contenders"][0]["results"] == [{"mae": 4.0}]


def test_a_record_of_0_1_0_is_read(tmp_path: Path) -> None:
    side = {"images": ["0123456789abcdef"], "groups": ["pointing04/person01"]}
    put(tmp_path / FILE, {"format": 1, "train": side, "validation": {"images": [], "groups": []}})
    record = TrainingRecord.load(tmp_path)
    assert record is not None
    assert record.train.groups == {"pointing04/person01"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(format=2), "result of `evonas retrain` of format 1, got 2"),
        (lambda c: c.pop("format"), "of format 1, got None"),
        (lambda c: c.pop("task"), "the key 'task' is missing"),
        (lambda c: c.update(leaky=None), "leaky: input should be a valid string, got None"),
        (lambda c: c["contenders"][0].pop("head"), r"contenders.0.head: field required"),
        (lambda c: c["contenders"][0]["head"].update(macs=-1), r"contenders.0.head.macs: "),
        (lambda c: c["contenders"][0].update(weights=["../x"]), r"contenders.0.weights.0: "),
        (lambda c: c["contenders"][0]["results"][0].update(mae=1e31), "at most 1e\\+30"),
        (lambda c: c["contenders"][0]["results"][0].update(mae="low"), "results.0.mae"),
    ],
)
def test_a_damaged_comparison_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    content = json.loads(json.dumps(COMPARISON_0_1_0))
    change(content)
    path = put(tmp_path / "comparison.json", content)
    with pytest.raises(InputError, match=words) as caught:
        _ = Retrained(tmp_path).content
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)

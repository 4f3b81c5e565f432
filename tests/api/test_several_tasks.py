"""Several tasks from the search to predictions of photos, with gaps in the labels."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import Cli, said
from exported import answers, crops
from PIL import Image

from evonas.core import experiment as config
from evonas.core.optional_imports import library
from evonas.data.synthetic_faces import SyntheticFaces
from evonas.deployment.export.exported_model import ExportedNetwork
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained

pytestmark = pytest.mark.slow

TASKS = {
    "pose": {"name": "head_pose"},
    "open": {"name": "regression", "labels": ["mouth"]},
    "smiling": {"name": "classification", "label": "smile"},
    "looks": {"name": "multi_label", "labels": ["brows", "closed"]},
}


def write_table(root: Path) -> Path:
    """Synthetic faces as a table of one's own; a fifth of the cells of each label is empty."""
    faces = SyntheticFaces(identities=12, images_per_identity=5, size=48)
    rng, labels = np.random.default_rng(0), faces.labels
    columns = {
        **{
            angle: [f"{value:.3f}" for value in labels[angle]] for angle in ("yaw", "pitch", "roll")
        },
        "mouth": labels["mouth_open"].round(4).tolist(),
        "smile": np.where(labels["smile"] > 0.3, "yes", "no").tolist(),
        "brows": (labels["brow_raise"] > np.median(labels["brow_raise"])).astype(int).tolist(),
        "closed": (labels["eyes_closed"] > np.median(labels["eyes_closed"])).astype(int).tolist(),
    }
    root.mkdir()
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "person", *columns])
        for index in range(len(faces)):
            Image.fromarray(faces.image(index)).save(root / f"{index:03d}.png")
            cells = [column[index] for column in columns.values()]
            kept = [cell if rng.random() > 0.2 else "" for cell in cells]
            table.writerow([f"{index:03d}.png", faces.groups[index], *kept])
    return root


@pytest.fixture
def experiment(tiny: dict[str, Any], tmp_path: Path) -> Path:
    """The tiny experiment on this table, with four tasks."""
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    root = write_table(tmp_path / "faces")
    plain = {key: value for key, value in tiny.items() if key != "task"}
    plain |= {
        "data": {"name": "image_table", "root": str(root), "shares": shares},
        "tasks": TASKS,
        "budget": 2,
        "finals": {"networks": 0},
        "retraining": {"epochs": 2},
    }
    path = tmp_path / "together.yaml"
    path.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies of one round: they are not looked at here."""
    monkeypatch.setattr("evonas.estimation.cost.latency.ROUNDS", 1)


def test_from_the_search_to_predictions(evonas: Cli, experiment: Path, tmp_path: Path) -> None:
    code, out, err = evonas("search", experiment, "--run-dir", "run", "execution.executor=local")
    assert code == 0, err
    best = json.loads((tmp_path / "run/best.json").read_text("utf-8"))
    metrics = json.dumps(best)
    for name in ("relative_error", "pose.mae", "open.mae", "smiling.error", "looks.error"):
        assert f'"{name}"' in metrics, name
    code, out, err = evonas("retrain", "run/best.json", "--repeats", 2, "execution.executor=local")
    assert code == 0, err
    assert "relative_error" in out
    folder = tmp_path / "run/retrained"
    entry = Retrained(folder).contender()
    assert Retrained(folder).task.n_outputs == 3 + 1 + 2 + 2
    assert entry["name"] == "winner, refitted"
    assert {"test_relative_error", "test_looks.map"} <= entry["results"][0].keys()

    shares = "shares={train: 0.6, validation: 0.2, test: 0.2}"
    code, out, err = evonas("evaluate", folder, "--flip", "image_table", "root=faces", shares)
    assert code == 0, err
    assert "pose.mae" in out

    model = folder / "export" / "network.onnx"
    code, out, err = evonas("export", folder, "--format", "onnx")
    assert code == 0, err
    shown = [1, 5, 9, 30]
    expected = answers(folder, shown)
    runtime = library("onnxruntime", "a test")
    session = runtime.InferenceSession(str(model))
    ends = {end.name: end.shape[1] for end in session.get_outputs()}
    assert ends == {"pose": 3, "open": 1, "smiling": 2, "looks": 2}
    for count in (1, 4):
        found = session.run(None, {"images": crops(folder, shown)[:count]})
        np.testing.assert_allclose(np.concatenate(found, 1), expected[:count], atol=1e-4)
    network = ExportedNetwork.load(model)
    np.testing.assert_allclose(network.run(crops(folder, shown)), expected, atol=1e-4)

    photo = tmp_path / "faces/005.png"
    code, out, err = evonas("predict", model, photo, "--pictures", "pictures")
    assert code == 0, err
    line = json.loads(out)
    assert line["pose"].keys() == {"yaw", "pitch", "roll"}
    np.testing.assert_allclose([*line["pose"].values()], expected[1, :3], atol=1e-3)
    assert line["open"] == {"mouth": pytest.approx(float(expected[1, 3]), abs=1e-4)}
    scores = dict(zip(("no", "yes"), expected[1, 4:6].tolist(), strict=True))
    assert line["smiling"]["smile"] == max(scores, key=lambda name: scores[name])
    assert line["smiling"]["scores"] == pytest.approx(scores, abs=1e-4)
    assert [*line["looks"].values()] == pytest.approx(expected[1, 6:].tolist(), abs=1e-4)
    assert (tmp_path / "pictures/005.png").is_file()


@pytest.fixture
def union(tiny: dict[str, Any], tmp_path: Path) -> Path:
    """The tiny experiment with a task for each of two data sets: no image has all labels."""
    write_table(tmp_path / "faces")
    plain = {key: value for key, value in tiny.items() if key not in ("task", "data")}
    # other people than those of the table, which has no angles here
    heads = {"name": "synthetic_faces", "identities": 10, "images_per_identity": 4, "seed": 1}
    mouths = {"name": "image_table", "root": "faces", "targets": ["mouth", "smile"]}
    plain |= {
        "datasets": {
            "heads": heads | {"rename": {"smile": "smiling"}},
            "mouths": mouths | {"shares": {"train": 0.6, "validation": 0.2, "test": 0.2}},
        },
        "tasks": ["pose", "mouth", "smile"],
        "budget": 2,
        "finals": {"networks": 0},
        "retraining": {"epochs": 2},
        "standard_baselines": True,
    }
    path = tmp_path / "union.yaml"
    path.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")
    return path


def test_tasks_of_several_data_sets(evonas: Cli, union: Path, tmp_path: Path) -> None:
    words = ("--run-dir", "run", "execution.executor=local")
    code, out, err = evonas("search", union, *words)
    assert code == 0, err
    code, out, err = evonas("retrain", "run/best.json", "execution.executor=local")
    assert code == 0, err
    entries = {
        one["name"]: one["results"][0]
        for one in Retrained(tmp_path / "run/retrained").content["contenders"]
    }
    assert {"test_pose.mae", "test_mouth.mae", "test_smile.error"} <= entries["winner"].keys()
    assert "ridge of pooled features" in entries

    heads, mouths = Components(config.load(tmp_path / "run/experiment.yaml")).dataset.sets.values()
    assert isinstance(heads, SyntheticFaces)
    assert np.isfinite(mouths.labels["mouth"]).sum() < len(mouths), "gaps within a set"
    other = "{heads: {name: synthetic_faces, identities: 10, images_per_identity: 4, seed: 2,"
    other += " rename: {smile: smiling}}, mouths: {name: image_table, root: faces,"
    other += " targets: [mouth, smile], shares: {train: 0.6, validation: 0.2, test: 0.2}}}"
    code, out, err = evonas("evaluate", "run/retrained", "union", f"datasets={other}")
    assert code == 0, err
    for name in ("pose.mae", "mouth.mae", "smile.error", "pose.relative_error"):
        assert name in out, name
    refused = said(evonas("evaluate", "run/retrained", "synthetic_faces", "seed=2"))
    assert "test set synthetic_faces: its classes of 'smile' are none" in refused

    assert evonas("report", "run")[0] == 0
    code, out, err = evonas("export", "run/retrained", "--out", "both.onnx")
    assert code == 0, err
    card = json.loads((tmp_path / "both.json").read_text("utf-8"))
    assert card["data"] == "union"
    assert "heads: " in card["protocol"]
    code, out, err = evonas("predict", "both.onnx", "faces/005.png")
    assert code == 0, err
    assert json.loads(out).keys() >= {"pose", "mouth", "smile"}


def test_an_empty_cell_is_an_error_for_a_task_that_needs_every_label(
    evonas: Cli, experiment: Path
) -> None:
    words = ("validate", experiment, "task={name: regression, labels: [mouth]}")
    code, _, err = evonas(*words)
    assert code != 0
    assert "is empty: fill it in or remove the row" in err
    assert err.count("\n") == 1

"""``evonas init`` and ``evonas fit``: from a folder of photos to one file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml
from command_line import Cli, said
from PIL import Image

import evonas as package
from evonas.cli import starting
from evonas.data.synthetic_faces import LANDMARK_NAMES, SyntheticFaces

FACES = SyntheticFaces(identities=10, images_per_identity=4, size=64, seed=2, landmarks=True)
BACKBONE = ("--backbone", "synthetic_face")


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    """Forty photos of ten people, without a table."""
    for index in range(len(FACES)):
        (tmp_path / "faces" / "images").mkdir(parents=True, exist_ok=True)
        Image.fromarray(FACES.image(index)).save(tmp_path / "faces" / "images" / f"{index}.png")
    return tmp_path / "faces"


def table(folder: Path, *labels: str, **more: list[object]) -> None:
    """Write labels.csv with labels of the faces, key points in pixels, and further columns."""
    columns = {
        label: [float(v) * (64 if label[-2:] in (".x", ".y") else 1) for v in FACES.labels[label]]
        for label in labels
    }
    columns |= {"person": list(FACES.groups), **more}  # type: ignore[arg-type]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", *columns])
        files = [f"{index}.png" for index in range(len(FACES))]
        rows.writerows(zip(files, *columns.values(), strict=True))


@pytest.fixture
def words(cache: Path) -> list[str]:
    """Changes that make everything small."""
    return [
        *(f"features.cache={cache}", "features.jitters=0", "budget=2", "finals.networks=0"),
        *("training.epochs=1", "retraining.epochs=1", "initial_designs=false", "report=false"),
        *("execution.executor=local", "execution.workers=1", "standard_baselines=false"),
    ]


def test_an_experiment_is_written_that_is_valid_and_says_what_it_assumed(
    faces: Path, words: list[str], evonas: Cli
) -> None:
    table(faces, "smile", "yaw", "pitch")
    code, out, err = evonas("init", faces, *BACKBONE, "--label", "head_pose", *words)
    assert (code, err) == (0, "")
    text = (faces.parent / "faces.yaml").read_text("utf-8")
    content = yaml.safe_load(text)
    assert content["task"] == {
        **{"name": "head_pose", "angles": ["yaw", "pitch"], "output": "distribution"}
    }
    assert content["data"]["group"] == "person"
    assert content["data"]["shares"] == {"train": 0.6, "validation": 0.2, "test": 0.2}
    # a tenth of the whole backbone, of which half is free
    whole = package.describe_backbone("synthetic_face").whole
    assert whole is not None
    limit = content["objective"]["max_macs"]
    assert limit == round(whole.macs / 10)
    assert content["objective"]["target_macs"] == pytest.approx(limit / 2, rel=0.01)
    assert content["objective"]["max_mb"] == pytest.approx(whole.params * 4e-7, rel=0.01)
    # the taps are those that the probe recommends, from input to output
    probed = json.loads((faces.parent / "runs/faces/probe/probe.json").read_text("utf-8"))
    assert content["tap"] == probed["taps"][0]
    assert content["space"]["tap"] == sorted(probed["taps"])
    for line in ("yaw, pitch are a head pose in degrees", "not learnt here: smile"):
        assert f"# Assumed: {line}\n" in text
        assert f"assumed: {line}" in out
    assert evonas("validate", "faces.yaml")[0] == 0
    assert "is there already" in said(evonas("init", faces, *BACKBONE, "--label", "smile"))


@pytest.mark.slow
def test_a_folder_becomes_a_file_that_answers(faces: Path, words: list[str], evonas: Cli) -> None:
    looks = ["left" if yaw > 0 else "right" for yaw in FACES.labels["yaw"]]
    table(faces, looks=list(looks))
    command = ("fit", faces, *BACKBONE, "--run-dir", "fitted", "--yes")
    code, out, err = evonas(*command, *words)
    assert (code, err) == (0, "")
    folder = faces.parent / "fitted"
    sentences = out.splitlines()[-3:]
    tested = json.loads((folder / "retrained/test.json").read_text("utf-8"))
    (mine,) = (one for one in tested if one["network"] == "winner, refitted")
    error = mine["repeats"][0]["error"]
    start = f"Error on {mine['images']} photos (test split): {error:.4g} percent"
    assert sentences[0].startswith(start)
    assert sentences[1].startswith("Adds ")
    assert "evonas predict fitted/model.onnx PHOTOS" in sentences[2]
    for name in ("model.onnx", "model.json", "report.html", "experiment.yaml"):
        assert f"written: fitted/{name}" in out
        assert (folder / name).is_file()
    code, answer, _ = evonas("predict", "fitted/model.onnx", faces / "images/0.png")
    assert code == 0
    assert {"left", "right"} & set(json.dumps(json.loads(answer)).replace('"', " ").split())

    code, again, _ = evonas(*command, *words)
    assert code == 0
    assert again.count("done before") == 6
    assert again.splitlines()[-3:] == sentences
    wrong = said(evonas(*command, *words, "--label", "smile"))
    assert "was begun with label not given, got smile" in wrong
    assert "another experiment (seed: 0 -> 1)" in said(evonas(*command, *words, "seed=1"))


@pytest.mark.slow
def test_what_was_stopped_goes_on_from_its_step(
    faces: Path, words: list[str], evonas: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evonas.api import fitting

    def stopped(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    table(faces, "smile")
    command = ("fit", faces, *BACKBONE, "--run-dir", "fitted", "--minutes", "5", *words)
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "retrain", stopped)
        code, out, _ = evonas(*command)
    assert code == 130
    assert "stopped in step retrain: the same command goes on from here" in out
    code, out, _ = evonas(*command)
    assert code == 0
    assert out.count("done before") == 2


def test_key_points_in_pixels_are_those_of_the_data_set(
    faces: Path, words: list[str], evonas: Cli
) -> None:
    points = [f"{name}.{part}" for name in LANDMARK_NAMES for part in "xy"]
    table(faces, *points)
    code, out, err = evonas("init", faces, *BACKBONE, *words)
    assert (code, err) == (0, "")
    content = yaml.safe_load((faces.parent / "faces.yaml").read_text("utf-8"))
    assert content["space"]["name"] == "heatmap_head"
    assert f"{len(LANDMARK_NAMES)} key points in pixels" in out
    data = dict(content["data"])
    read = package.load_dataset(data.pop("name"), **data)
    for label in points:
        assert read.labels[label] == pytest.approx(FACES.labels[label], abs=1e-5)


@pytest.mark.slow
def test_folders_of_classes(faces: Path, words: list[str], evonas: Cli) -> None:
    for index, yaw in enumerate(FACES.labels["yaw"]):
        side = faces.parent / "sides" / ("left" if yaw > 0 else "right")
        side.mkdir(parents=True, exist_ok=True)
        (faces / "images" / f"{index}.png").rename(side / f"{index}.png")
    code, out, err = evonas("init", "sides", *BACKBONE, *words)
    assert (code, err) == (0, "")
    content = yaml.safe_load((faces.parent / "sides.yaml").read_text("utf-8"))
    assert content["data"]["name"] == "class_folders"
    assert content["task"]["name"] == "classification"
    assert "persons are not known" in out


def test_at_most_three_questions_are_asked_where_somebody_is_there(
    faces: Path, words: list[str], evonas: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"n{person}" for person in FACES.groups]
    table(faces, "smile", "yaw", whose=list(names))
    text = (faces / "labels.csv").read_text("utf-8").replace("person", "ignored", 1)
    (faces / "labels.csv").write_text(text, "utf-8")
    asked: list[str] = []

    def answer(question: str, choices: list[str], default: str) -> str:
        asked.append(question)
        return next((one for one in ("smile", "whose") if one in choices), default)

    monkeypatch.setattr(starting, "_prompt", answer)
    assert "choose one with --label" in said(evonas("init", faces, *BACKBONE, *words))
    monkeypatch.setattr(
        starting.sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})()
    )
    assert "choose one with --label" in said(evonas("init", faces, *BACKBONE, "--yes", *words))
    assert not asked
    assert evonas("init", faces, *BACKBONE, *words)[0] == 0
    assert len(asked) == 3
    content = yaml.safe_load((faces.parent / "faces.yaml").read_text("utf-8"))
    assert content["data"]["group"] == "whose"


def test_what_cannot_be_begun_with_is_refused_in_one_line(
    faces: Path, evonas: Cli, tmp_path: Path
) -> None:
    table(faces, "smile")
    (tmp_path / "net.h5").write_bytes(b"weights")
    for backbone, part in {
        "net.h5": "expected a file with the ending .onnx, .pt2",
        "lost.onnx": "there is no such file",
        "synthetic_fase": "did you mean 'synthetic_face'?",
    }.items():
        assert part in said(evonas("init", faces, "--backbone", backbone))
    assert "holds no files of a backbone" in said(evonas("init", faces))
    wrong = said(evonas("init", faces, *BACKBONE, "--share", "7"))
    assert "expected a share above 0, at most 1" in wrong
    (faces / "images" / "7.png").unlink()
    assert "1 of 40 files are not in" in said(evonas("init", faces, *BACKBONE))
    assert not (tmp_path / "faces.yaml").exists()

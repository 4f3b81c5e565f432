"""``evonas predict``: an exported network on photos, cropped as in training."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli, said
from exported import answers, pictures, retrained
from PIL import Image
from rich.console import Console

from evonas.api.retrained_model import RetrainedModel
from evonas.data.synthetic_faces import SyntheticFaces
from evonas.deployment.export import prediction_drawing as answered
from evonas.deployment.export.prediction_drawing import PictureFolder
from evonas.tasks.common.prediction_format import Answer
from evonas.workflows.components import Components

SHOWN = [3, 11, 27, 40]
QUIET = Console(quiet=True)
SIDES = ("to the left", "to the right")


@pytest.fixture(scope="module")
def pose(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """A folder of a head pose network with both exported files, and ``photos``."""
    folder = retrained(components, tmp_path_factory.mktemp("pose"))
    for kind in ("onnx", "torch_export"):
        RetrainedModel(folder).export(format=kind)
    pictures(folder, folder / "photos", SHOWN)
    return folder


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """A folder of a network that learnt a class from a user's table with boxes, and the table."""
    root = tmp_path_factory.mktemp("table")
    faces = SyntheticFaces(identities=12, images_per_identity=2)
    with (root / "labels.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "person", "look", "left", "top", "right", "bottom"])
        for index in range(len(faces)):
            photo = Image.new("RGB", (200, 160), (90, 120, 60))
            photo.paste(Image.fromarray(faces.image(index)).resize((90, 90)), (30 + index, 20))
            photo.save(root / f"{index}.png")
            look = SIDES[int(faces.labels["yaw"][index] < 0)]
            writer.writerow([f"{index}.png", index // 2, look, 45 + index, 30, 105 + index, 95])
    data = {"name": "image_table", "root": str(root), "context": 1.2, "size": 96}
    folder = retrained(components, root, data=data, task="classification")
    RetrainedModel(folder).export(format="onnx")
    return folder


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("file", ["network.onnx", "program.pt2"])
def test_generated_faces_are_answered_as_by_the_network(evonas: Cli, pose: Path, file: str) -> None:
    code, out, err = evonas("predict", pose / "export" / file, pose / "photos")
    assert (code, err) == (0, ""), err
    found = lines(out)
    assert [one["file"] for one in found] == [f"{pose}/photos/{n:03d}.png" for n in SHOWN]
    assert all(list(one) == ["file", "box", "yaw", "pitch", "roll"] for one in found)
    assert all(one["box"] is None for one in found)
    angles = [[one["yaw"], one["pitch"], one["roll"]] for one in found]
    np.testing.assert_allclose(angles, answers(pose, SHOWN), atol=1e-4)


def test_boxes_are_cropped_as_in_training(evonas: Cli, table: Path, tmp_path: Path) -> None:
    """Two of three photos have a box, one of them two; the third is left out, and named."""
    root, shown = table.parent, [4, 9]
    photos = [root / f"{index}.png" for index in (*shown, 20)]
    rows = (root / "labels.csv").read_text().splitlines()
    boxes = [rows[0], *(rows[index + 1] for index in (*shown, 4, 0))]
    (tmp_path / "boxes.csv").write_text("\n".join(boxes))
    words = ("--boxes", "boxes.csv", "--top", 1, "--out", "lines.jsonl")
    code, out, err = evonas("predict", table, *photos, *words)
    assert (code, out) == (0, "")
    assert err == f"evonas: boxes.csv: has no box in 1 photos, left out: {photos[2]}\n"
    found = lines((tmp_path / "lines.jsonl").read_text())
    assert [Path(one["file"]).name for one in found] == ["4.png", "4.png", "9.png"]
    assert found[0]["box"] == [49, 30, 109, 95]
    shares = answers(table, [4, 4, 9])
    for one, expected in zip(found, shares, strict=True):
        ((name, share),) = one["scores"].items()
        assert one["look"] == name == sorted(SIDES)[expected.argmax()]
        assert share == pytest.approx(expected.max(), abs=1e-5)
    assert np.ptp(shares[:, 0]) > 1e-3, "both faces look the same to the network"


def test_all_classes_are_told_the_likeliest_first(evonas: Cli, table: Path) -> None:
    photo = table.parent / "7.png"
    (one,) = lines(evonas("predict", table / "export", photo)[1])
    assert set(one["scores"]) == set(SIDES)
    assert list(one["scores"].values()) == sorted(one["scores"].values(), reverse=True)
    assert sum(one["scores"].values()) == pytest.approx(1, abs=1e-5)


def test_an_onnx_runs_without_torch(pose: Path, tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from evonas.cli.app import main\n"
        "try:\n    main()\nfinally:\n"
        "    print(sorted({'torch', 'ray'} & set(sys.modules)), file=sys.stderr)\n"
    )
    words = ["predict", str(pose / "export"), str(pose / "photos"), "--pictures", "drawn"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "[]\n"), done.stderr
    assert len(lines(done.stdout)) == len(SHOWN)
    assert len(list((tmp_path / "drawn").iterdir())) == len(SHOWN)


def test_a_photo_that_does_not_open_is_named_and_the_others_are_answered(
    evonas: Cli, pose: Path, tmp_path: Path
) -> None:
    shutil.copy(pose / "photos" / "003.png", tmp_path / "good.JPEG")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture either")
    code, out, err = evonas("predict", pose, tmp_path, "lost.jpg")
    assert code == 1
    assert [Path(one["file"]).name for one in lines(out)] == ["good.JPEG"]
    bad, lost = err.splitlines()
    assert bad.startswith(f"evonas: {tmp_path / 'bad.png'}: cannot be decoded (")
    assert lost.startswith("evonas: lost.jpg: cannot be decoded (")
    code, out, err = evonas("predict", pose, tmp_path / "bad.png")
    assert (code, out, err.count("\n")) == (2, "", 1)


def test_what_takes_longer_than_a_moment_has_a_bar(
    evonas: Cli, pose: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evonas.cli.printing.QuietView.patience", -1.0)
    code, out, err = evonas("predict", pose, pose / "photos")
    assert (code, err, len(lines(out))) == (0, "photos: 4\n", 4)


def test_pictures_show_the_answer(evonas: Cli, pose: Path, table: Path, tmp_path: Path) -> None:
    """Three axes from the middle; a bar for each class over the box's width."""
    photo = pose / "photos" / "003.png"
    assert evonas("predict", pose, photo, "--pictures", "drawn")[0] == 0
    (tmp_path / "boxes.csv").write_text("file,left,top,right,bottom\n7.png,52,30,112,95\n")
    words = ("--boxes", "boxes.csv", "--pictures", "drawn")
    assert evonas("predict", table, table.parent / "7.png", *words)[0] == 0
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "003.png")).astype(int)
    for colour in ((220, 40, 40), (40, 170, 60), (50, 90, 240)):
        assert (np.abs(drawn - colour).max(-1) == 0).sum() > 5, colour
    barred = np.asarray(Image.open(tmp_path / "drawn" / "7.png")).astype(int)
    assert (np.abs(barred - (150, 200, 250)).max(-1) == 0).sum() > 100


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,left,top,right\n003.png,1,2,3\n", "the column 'bottom' is missing"),
        (
            "file,left,top,right,bottom\n003.png,1,2,x,4\n",
            "line 2: right is 'x', expected a finite",
        ),
        (
            "file,left,top,right,bottom\n003.png,9,2,9,4\n",
            "line 2: the box [9.0, 2.0, 9.0, 4.0] has",
        ),
        (
            "file,left,top,right,bottom\nother.png,1,2,3,4\n",
            "got only rows of others, such as 'other",
        ),
    ],
)
def test_a_wrong_table_is_one_line(
    evonas: Cli, pose: Path, tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "boxes.csv").write_text(content)
    assert message in said(evonas("predict", pose, pose / "photos", "--boxes", "boxes.csv"))


def test_a_name_that_may_be_of_two_photos_is_refused(
    evonas: Cli, pose: Path, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        shutil.copy(pose / "photos" / "003.png", tmp_path / folder / "x.png")
    head = "file,left,top,right,bottom\n"
    (tmp_path / "boxes.csv").write_text(f"{head}x.png,1,2,30,40\n")
    words = ("predict", pose, "a", "b", "--boxes", "boxes.csv")
    assert "'x.png' may be a/x.png or b/x.png: write the folder" in said(evonas(*words))
    (tmp_path / "boxes.csv").write_text(f"{head}b/x.png,1,2,30,40\n")
    (one,) = lines(evonas(*words)[1])
    assert one["file"] == "b/x.png"


def test_a_mistake_is_one_line(evonas: Cli, pose: Path, tmp_path: Path) -> None:
    photo = pose / "photos" / "003.png"
    (tmp_path / "empty").mkdir()
    (tmp_path / "damaged.onnx").write_bytes(b"abc")
    (tmp_path / "damaged.pt2").write_bytes(b"abc")
    for words, message in (
        ((pose, "empty"), "empty: expected photos (.jpg, .jpeg, .png, .webp, .bmp) directly in"),
        (
            ("empty", photo),
            "expected a folder with an exported network, there is none: export a network",
        ),
        ((photo, photo), "expected an exported network, .onnx, .pt2, .xml, .tflite, got '.png'"),
        (("lost.onnx", photo), "there is no such file"),
        (("damaged.onnx", photo), "cannot be read as ONNX"),
        (("damaged.pt2", photo), "cannot be read as a .pt2 archive"),
        ((pose, photo, "--out", "empty"), "--out"),
        ((pose, photo, "--pictures", "damaged.onnx"), "choose another folder with --pictures"),
    ):
        assert message in said(evonas("predict", *words))


def test_a_file_without_a_word_about_itself_is_refused(
    evonas: Cli, pose: Path, tmp_path: Path
) -> None:
    import onnx

    photo = pose / "photos" / "003.png"
    model = onnx.load(str(pose / "export" / "network.onnx"))
    del model.metadata_props[-1]  # the checksum, of what it was
    card = next(one for one in model.metadata_props if one.key == "evonas")
    for text, message in (
        ('{"format": 1}', "expected a model card of format 1"),
        (card.value.replace('"format": 1', '"format": 9'), "export again with this version"),
        ("[]", "without a model card"),
        ("{", "is no JSON"),
        (card.value.replace('"roll"', '"roll", "more"'), "expected answers of shape (1, 4)"),
    ):
        card.value = text
        onnx.save(model, str(tmp_path / "x.onnx"))
        assert message in said(evonas("predict", "x.onnx", photo)), text


def test_points_are_told_in_pixels_and_joined_by_bones(tmp_path: Path) -> None:
    answer = Answer("points", ("left_hip", "left_knee", "right_hip", "tail"), "sides of the crop")
    values = np.array([[0, 0, 1], [0.5, 1, 0.9], [1, 0.5, 0.1], [0.2, 0.2, 0.0]], np.float32)
    crop = (10.0, 20.0, 50.0, 100.0)
    found = answered.row(answer, values, 1, crop)["points"]
    assert found[0] == {"name": "left_hip", "x": 10, "y": 20, "confidence": 1}
    assert (found[1]["x"], found[1]["y"], found[2]["x"]) == (30, 100, 50)
    assert answered.bones(answer.columns) == [(0, 1), (0, 2)]
    album = PictureFolder(tmp_path, answer, 1)
    for name in ("a.png", "b/a.png"):
        album.add(Path(name), Image.new("RGB", (300, 200)), None, crop, values)
    album.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a-2.png", "a.png"]
    drawn = np.asarray(Image.open(tmp_path / "a.png")).astype(int)
    sure, hidden = (60, 220, 90), (250, 200, 60)
    assert tuple(drawn[20, 10]) == tuple(drawn[100, 30]) == sure
    assert tuple(drawn[60, 50]) == hidden
    assert tuple(drawn[60, 20]) == (90, 150, 250), "no bone half way"
    assert tuple(drawn[36, 18]) == (0, 0, 0), "a point without confidence is drawn"


def test_values_keep_their_digits_and_are_written_below(tmp_path: Path) -> None:
    answer, values = Answer("values", ("age",), "years"), np.array([31.25], np.float32)
    assert answered.row(answer, values, 1, (0, 0, 1, 1)) == {"age": 31.25}
    picture = Image.new("RGB", (40, 30))
    assert answered.draw(picture, answer, values, 1, (0, 0, 1, 1), None) == "age 31.25 (years)"

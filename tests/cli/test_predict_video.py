"""``evonas predict`` on a video: frames, boxes, drawing, smoothing and what is refused."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Cli, said
from exported import answers, retrained
from PIL import Image

import evonas as package
from evonas.api.retrained_model import RetrainedModel
from evonas.data.synthetic_faces import SyntheticFaces
from evonas.deployment.video import video_files
from evonas.workflows.components import Components
from evonas.workflows.evaluation import Retrained

av = pytest.importorskip("av", reason="needs the extra 'video'")

COUNT, RATE = 12, 10
AXES = ((220, 40, 40), (40, 170, 60), (50, 90, 240))


def written(path: Path, pictures: list[Image.Image], rate: int = RATE) -> Path:
    """Write pictures as a video, nearly without loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"qp": "1"})
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv444p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return path


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def pose(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """A folder of a head pose network, and ``film.mp4``, whose frames are images of its data."""
    folder = retrained(components, tmp_path_factory.mktemp("pose"))
    RetrainedModel(folder).export(format="onnx")
    dataset = Retrained(folder).components.dataset
    written(folder / "film.mp4", [Image.fromarray(dataset.image(i)) for i in range(COUNT)])
    return folder


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, components: Components) -> Path:
    """A folder of a network of two tasks."""
    folder = tmp_path_factory.mktemp("several")
    tasks = {"pose": {"name": "head_pose"}, "mouth": {"name": "regression", "labels": "mouth_open"}}
    folder = retrained(components, folder, task={"name": "several", "tasks": tasks})
    RetrainedModel(folder).export(format="onnx")
    return folder


def test_frames_are_answered_as_their_images_are(evonas: Cli, pose: Path) -> None:
    code, out, err = evonas("predict", pose, pose / "film.mp4", "--boxes", "whole")
    assert (code, err) == (0, ""), err
    found = lines(out)
    assert [one["frame"] for one in found] == list(range(COUNT))
    assert [one["time"] for one in found] == [round(i / RATE, 4) for i in range(COUNT)]
    angles = [[one["yaw"], one["pitch"], one["roll"]] for one in found]
    expected = answers(pose, list(range(COUNT)))
    np.testing.assert_allclose(angles, expected, atol=0.15)  # compression
    assert np.ptp(expected, axis=0).min() > 1


def test_a_video_is_drawn_and_a_table_lies_beside_it(
    evonas: Cli, pose: Path, tmp_path: Path
) -> None:
    """Two faces side by side; the left one has no box in the last frame."""
    faces = SyntheticFaces(identities=12, images_per_identity=2)
    pictures = []
    for number in range(3):
        picture = Image.new("RGB", (241, 140), (90, 120, 60))
        picture.paste(Image.fromarray(faces.image(0)).resize((100, 100)), (10 + number, 20))
        picture.paste(Image.fromarray(faces.image(3)).resize((100, 100)), (130 - number, 20))
        pictures.append(picture.crop((0, 0, 240, 140)))
    written(tmp_path / "two.mp4", pictures)
    rows = [(n, 130 - n, 20, 230 - n, 120) for n in range(3)]
    rows += [(n, 10 + n, 20, 110 + n, 120) for n in range(2)]
    text = "\n".join(",".join(map(str, row)) for row in sorted(rows))
    (tmp_path / "boxes.csv").write_text(f"frame,left,top,right,bottom\n{text}\n")
    words = ("--boxes", "boxes.csv", "--out", "seen.mp4")
    code, out, err = evonas("predict", pose, "two.mp4", *words)
    assert (code, out) == (0, ""), err
    assert err == "written: seen.mp4, seen.csv\n"
    with (tmp_path / "seen.csv").open() as stream:
        table = list(csv.DictReader(stream))
    places = ["frame", "time", "face", "left", "top", "right", "bottom"]
    assert list(table[0]) == [*places, "yaw", "pitch", "roll"]
    assert [(one["frame"], one["left"], one["face"]) for one in table] == [
        *(("0", "10.0", "0"), ("0", "130.0", "1"), ("1", "11.0", "0"), ("1", "129.0", "1")),
        ("2", "128.0", "1"),
    ]
    drawn = list(video_files.frames(tmp_path / "seen.mp4"))
    assert [frame.time for frame in drawn] == pytest.approx([0, 0.1, 0.2], abs=1e-3)
    assert drawn[0].picture.size == (240, 140)
    for frame, boxes in ((drawn[0], [(10, 110), (130, 230)]), (drawn[2], [(128, 228)])):
        pixels = np.asarray(frame.picture).astype(int)
        for left, right in boxes:
            part = pixels[:, left:right]
            for colour in AXES[:2]:  # blue points at the viewer
                assert (np.abs(part - colour).max(-1) < 70).sum() > 3, (left, colour)


def test_several_tasks_are_drawn_and_named_in_the_table(
    evonas: Cli, several: Path, pose: Path, tmp_path: Path
) -> None:
    words = ("--boxes", "whole", "--out", "seen.webm", "--smooth", 0.2)
    code, _, err = evonas("predict", several, pose / "film.mp4", *words)
    assert code == 0, err
    with (tmp_path / "seen.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert list(table[0])[-4:] == ["mouth.mouth_open", "pose.yaw", "pose.pitch", "pose.roll"]
    assert len(table) == COUNT == len(list(video_files.frames(tmp_path / "seen.webm")))


def test_smoothing_lags_and_calms(evonas: Cli, pose: Path) -> None:
    words = ("predict", pose, pose / "film.mp4", "--boxes", "whole")
    plain = [one["yaw"] for one in lines(evonas(*words)[1])]
    smooth = [one["yaw"] for one in lines(evonas(*words, "--smooth", 0.5)[1])]
    assert smooth[0] == pytest.approx(plain[0], abs=1e-3)
    assert np.abs(np.diff(smooth)).sum() < 0.4 * np.abs(np.diff(plain)).sum()


def test_ctrl_c_leaves_a_file_that_plays(pose: Path, tmp_path: Path) -> None:
    found = package.predict_video(pose, pose / "film.mp4", boxes="whole", out=tmp_path / "seen.mp4")
    for one in found:
        if one.frame == 9:
            with pytest.raises(KeyboardInterrupt):
                found.throw(KeyboardInterrupt())
            break
    assert len(list(video_files.frames(tmp_path / "seen.mp4"))) == 9
    assert len((tmp_path / "seen.csv").read_text().splitlines()) == 1 + 10
    assert {file.name for file in tmp_path.iterdir()} == {"seen.mp4", "seen.csv"}


def test_a_video_of_a_turned_phone_is_upright(tmp_path: Path) -> None:
    """The matrix in the track header turns by 90 degrees; the upper half was recorded left."""
    picture = Image.new("RGB", (64, 32), (0, 0, 0))
    picture.paste((250, 250, 250), (0, 0, 32, 32))
    content = bytearray(written(tmp_path / "film.mp4", [picture] * 2).read_bytes())
    one = (0x10000).to_bytes(4, "big")
    zero, start = bytes(4), content.index(one, content.index(b"tkhd") + 44)
    turn = [zero, one, zero, (-0x10000).to_bytes(4, "big", signed=True), zero, zero]
    content[start : start + 24] = b"".join(turn)
    (tmp_path / "film.mp4").write_bytes(content)
    video = video_files.Video.open(tmp_path / "film.mp4")
    assert (video.width, video.height, video.count) == (32, 64, 2)
    first = next(video_files.frames(tmp_path / "film.mp4"))
    pixels = np.asarray(first.picture)
    assert pixels[:30].mean() > 200 > 50 > pixels[-30:].mean()


def test_moments_of_frames_are_kept(tmp_path: Path) -> None:
    pictures = [Image.new("RGB", (32, 32), (40 * n, 0, 0)) for n in range(4)]
    video = video_files.Video.open(written(tmp_path / "film.mp4", pictures))
    times = [0.0, 0.5, 0.52, 2.0]
    with video_files.video_writer(tmp_path / "seen.mp4", video) as write:
        for picture, time in zip(pictures, times, strict=True):
            write(picture, time)
    found = [frame.time for frame in video_files.frames(tmp_path / "seen.mp4")]
    assert found == pytest.approx(times, abs=1e-3)
    assert video.rate == Fraction(RATE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("film.mp4", "--boxes", "far.csv"), "frame is 12, expected 0 to 11, the frames of"),
        (("film.mp4", "--boxes", "half.csv"), "frame is 0.5, expected 0 to 11"),
        (("film.mp4", "--boxes", "out.csv"), "is outside the frame of 64 x 64 pixels"),
        (("film.mp4", "--boxes", "photo.csv"), "the column 'frame' is missing"),
        (("film.mp4", "--boxes", "lost.csv"), "lost.csv: cannot be read"),
        (("film.mp4", "--boxes", "whole", "--out", "no/x.mp4"), "there is no folder no: make it"),
        (("film.mp4", "--boxes", "whole", "--out", "film.mp4"), "is the video itself"),
        (("film.mp4", "--boxes", "whole", "--out", "x.avi"), "expected a video, .mp4, .mov"),
        (("lost.mp4", "--boxes", "whole"), "lost.mp4: expected a video, there is no such file"),
        (("text.mp4", "--boxes", "whole"), "text.mp4: cannot be read as a video"),
        (("sound.mp4", "--boxes", "whole"), "sound.mp4: expected a video, it has no pictures"),
        (("film.mp4", "text.png"), "film.mp4: expected one video alone"),
        (("film.mp4", "--pictures", "seen"), "film.mp4: expected one video alone"),
        (("text.png", "--smooth", "1"), "--smooth 1: smooths a video, got photos"),
        (("film.mp4",), "film.mp4: where are the faces? Give --boxes CSV (frame, left, top, right"),
    ],
)
def test_a_mistake_is_one_line(
    evonas: Cli,
    pose: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.setattr("evonas.deployment.video.frame_boxes.find_spec", lambda name: None)
    (tmp_path / "film.mp4").write_bytes((pose / "film.mp4").read_bytes())
    for name in ("text.mp4", "text.png"):
        (tmp_path / name).write_text("no pictures")
    head = "frame,left,top,right,bottom\n"
    for name, row in (("far", "12,1,1,9,9"), ("half", "0.5,1,1,9,9"), ("out", "0,97,1,99,9")):
        (tmp_path / f"{name}.csv").write_text(f"{head}{row}\n")
    (tmp_path / "photo.csv").write_text("file,left,top,right,bottom\nx.png,1,1,9,9\n")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert message in said(evonas("predict", pose, *words))
    assert not (tmp_path / "x.mp4").exists()


def test_a_damaged_video_is_one_line_and_leaves_no_draft(
    evonas: Cli, pose: Path, tmp_path: Path
) -> None:
    content = (pose / "film.mp4").read_bytes()
    (tmp_path / "film.mp4").write_bytes(content[: len(content) // 2])
    words = ("film.mp4", "--boxes", "whole", "--out", "seen.mp4")
    assert "film.mp4: cannot be read as a video" in said(evonas("predict", pose, *words))
    assert {file.name for file in tmp_path.iterdir()} == {"film.mp4"}


def test_a_missing_package_is_named(
    evonas: Cli, pose: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    line = said(evonas("predict", pose, pose / "film.mp4", "--boxes", "whole"))
    assert line.endswith("pip install 'evonas[video]'")


def test_a_detector_finds_a_face(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="needs the extra 'faces'")
    from matplotlib.cbook import get_sample_data

    from evonas.deployment.video.frame_boxes import boxes_of

    photo = Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)).convert("RGB")
    path = written(tmp_path / "film.mp4", [photo.crop((0, 0, 512, 600))] * 2)
    video = video_files.Video.open(path)
    boxes, _ = boxes_of(video, None)
    (box,) = boxes(next(video_files.frames(path)))
    assert box is not None
    left, top, right, bottom = box
    assert left < 257 < right  # her nose
    assert top < 200 < bottom
    assert 100 < right - left < 300

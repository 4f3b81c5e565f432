"""What the documentation's placeholders (DIR, WEIGHTS, ...) stand for, made up and small."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml
from face_files import heads, portrait, write_aflw2000, write_biwi, write_w300lp
from PIL import Image
from safetensors.torch import save_file

from evonas.data.leeds_sports import JOINTS
from evonas.models.backbones.face_recognition import FaceRecognition

ROOT = Path(__file__).parents[1]
#: A network as a person would bring it: any side of the image will do.
MY_NET = '''"""A face network of one's own."""

from torch import nn


def build():
    def stage(i, o):
        return nn.Sequential(nn.Conv2d(i, o, 3, 4, 1), nn.BatchNorm2d(o), nn.ReLU())

    return nn.Sequential(stage(3, 8), stage(8, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten())
'''


def write_all(folder: Path, text: str) -> None:
    """Write what a document names into its working directory.

    Args:
        folder: the working directory.
        text: of the document; only what it names is written.
    """
    for name in ("experiments", "tests"):
        (folder / name).symlink_to(ROOT / name)
    for name, write in _MAKERS.items():
        if name in text:
            write(folder)


def write_pointing04(root: Path, people: int = 12, each: int = 1) -> None:
    """Write photos and the table of labels as the reader ``pointing04`` expects them."""
    faces = heads(people, each, 3)
    (root / "images").mkdir(parents=True, exist_ok=True)
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(
            [*("file", "person", "pitch_deg", "yaw_deg"), *("box_cx", "box_cy", "box_w", "box_h")]
        )
        for index in range(people * each):
            photo, points, (pitch, yaw, _) = portrait(faces, index)
            name = f"person{index // each + 1:02d}_{index % each}.jpg"
            Image.fromarray(photo).save(root / "images" / name)
            low, high = points.min(1), points.max(1)
            box = [*(low + high) / 2, *(high - low)]
            angles = [15 * round(float(angle) / 15) for angle in (pitch, yaw)]
            table.writerow([name, index // each + 1, *angles, *np.round(box)])


def write_film(folder: Path, frames: int = 6) -> None:
    """Write a video of a face that is turned upright, and the table of its boxes."""
    import av

    with av.open(str(folder / "film.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width = stream.height = 128
        stream.pix_fmt = "yuv420p"
        face = Image.fromarray(heads(1, 1, 4).image(0)).resize((128, 128))
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_image(face)))
        container.mux(stream.encode(None))
    rows = [f"{frame},20,20,108,108" for frame in range(frames)]
    (folder / "boxes.csv").write_text("\n".join(["frame,left,top,right,bottom", *rows]) + "\n")


def write_leeds_sports(root: Path, photos: int = 15) -> None:
    """Write photos and the table of joints as the reader ``leeds_sports`` expects them."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True, exist_ok=True)
    head = ["file", *(f"{joint}_{part}" for joint in JOINTS for part in "xyv")]
    rows = []
    for index in range(photos):
        pixels = rng.integers(0, 255, (100, 90, 3), np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"im{index:05d}.jpg")
        joints = [(*rng.uniform(10, 80, 2).round(1), 1) for _ in JOINTS]
        rows.append([f"im{index:05d}.jpg", *(value for joint in joints for value in joint)])
    with (root / "joints.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([head, *rows])


def write_recognition(folder: Path, tarball: Path) -> None:
    """Write random weights in the two files of ``@vladmandic/face-api``, and its package."""
    state = FaceRecognition(random=0).state_dict()
    tensors: dict[str, torch.Tensor] = {"fc": state["fc.weight"].t()}
    for name in state:
        layer, _, kind = name.rpartition(".")
        if kind != "weight" or layer == "fc":
            continue
        theirs = "conv32_down" if layer == "stem" else layer[6:].replace(".", "/")
        width = len(state[name])
        tensors[f"{theirs}/conv/filters"] = state[name].permute(2, 3, 1, 0)
        tensors[f"{theirs}/conv/bias"] = state[f"{layer}.bias"]
        tensors[f"{theirs}/scale/weights"] = torch.ones(width)
        tensors[f"{theirs}/scale/biases"] = torch.zeros(width)
    listing, binary = [], b""
    for name, tensor in tensors.items():
        listing.append({"name": name, "shape": list(tensor.shape), "dtype": "float32"})
        binary += tensor.contiguous().numpy().astype("<f4").tobytes()
    files = {
        "face_recognition_model-weights_manifest.json": json.dumps([{"weights": listing}]).encode(),
        "face_recognition_model.bin": binary,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(tarball, "w") as archive:  # not compressed: zeros and noise gain nothing
        for name, content in files.items():
            (folder / name).write_bytes(content)
            entry = tarfile.TarInfo(f"package/model/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def write_photos(root: Path, people: int, each: int, seed: int) -> None:
    """Write photos and a table of one's own: file, person, and where a face looks."""
    faces = heads(people, each, seed)
    (root / "images").mkdir(parents=True, exist_ok=True)
    rows = [["file", "person", "looks"]]
    for index in range(people * each):
        name = f"images/{index:03d}.png"
        Image.fromarray(faces.image(index)).save(root / name)
        side = "left" if index % 2 else "right"
        rows.append([name, str(faces.groups[index]), side])
    boxes = [["file", "left", "top", "right", "bottom"]]
    boxes += [[row[0].removeprefix("images/"), "20", "20", "140", "140"] for row in rows[1:]]
    for name, content in (("labels.csv", rows), ("boxes.csv", boxes)):
        with (root / name).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows(content)


def write_my_net(folder: Path) -> None:
    """Write my_net.py, its weights, and my.yaml, which begins as own_faces.yaml does."""
    (folder / "my_net.py").write_text(MY_NET, encoding="utf-8")
    space: dict[str, object] = {}
    exec(compile(MY_NET, "my_net.py", "exec"), space)
    build = space["build"]
    assert callable(build)
    torch.manual_seed(0)
    save_file(build().state_dict(), folder / "my_net.safetensors")
    text = (ROOT / "experiments" / "own_faces" / "own_faces.yaml").read_text("utf-8")
    mine = yaml.safe_load(text)
    mine["space"] |= {"tap": ["0", "1"]}
    mine["backbone"] |= {"callable": "my_net:build", "weights": "my_net.safetensors"}
    mine["data"] |= {"root": "FOLDER"}
    mine |= {"tap": "1", "baselines": [], "name": "my"}
    (folder / "my.yaml").write_text(yaml.safe_dump(mine), encoding="utf-8")


def _of_people(folder: Path) -> None:
    write_pointing04(folder / "DIR", each=2)
    write_leeds_sports(folder / "DIR")


#: What a document may name, and what makes it in a folder.
_MAKERS: dict[str, Callable[[Path], object]] = {
    "DIR": _of_people,
    "WEIGHTS": lambda folder: write_recognition(
        folder / "WEIGHTS", folder / "vladmandic-face-api-1.7.15.tgz"
    ),
    "300W_LP": lambda folder: write_w300lp(
        folder / "300W_LP", photos=12, poses=2, subsets=("AFW", "HELEN", "IBUG", "LFPW")
    ),
    "AFLW2000": lambda folder: write_aflw2000(folder / "AFLW2000", photos=4),
    "hpdb": lambda folder: write_biwi(folder / "hpdb", videos=24, frames=1),
    "FOLDER": lambda folder: write_photos(folder / "FOLDER", people=8, each=3, seed=5),
    "OTHER_FOLDER": lambda folder: write_photos(folder / "OTHER_FOLDER", people=4, each=3, seed=6),
    "my.yaml": write_my_net,
    "film.mp4": write_film,
    "photo.jpg": lambda folder: Image.fromarray(heads(1, 1, 4).image(0)).save(folder / "photo.jpg"),
}

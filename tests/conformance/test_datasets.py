"""Every registered data set keeps the promises of its base class."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from face_files import write_aflw2000, write_biwi, write_w300lp
from PIL import Image

from evonas.core import registry
from evonas.data.base import Dataset
from evonas.data.leeds_sports import JOINTS
from evonas.testing import DatasetConformance


def _picture(path: Path, number: int, size: tuple[int, int] = (80, 60)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (9 * number % 256, 90, 40)).save(path)


def _table(path: Path, head: str, rows: list[str]) -> None:
    path.write_text("\n".join([head, *rows]) + "\n", "utf-8")


def _class_folders(root: Path) -> dict[str, Any]:
    for number in range(24):
        _picture(root / ("sad", "happy", "calm")[number % 3] / f"{number}.png", number)
    return {}


def _image_table(root: Path) -> dict[str, Any]:
    for number in range(8):
        _picture(root / f"{number}.png", number)
    moods = ("happy", "sad")
    rows = [f"{n}.png,{20 + n},{moods[n % 2]},{n // 2},{30 + n},{20 + n}" for n in range(8)]
    _table(root / "labels.csv", "file,age,mood,person,nose_x,nose_y", rows)
    points = {"nose": ["nose_x", "nose_y"]}
    return {"points": points, "targets": ["age", "mood"], "group": "person"}


def _pointing04(root: Path) -> dict[str, Any]:
    rows = [f"{n}.jpg,{n // 2 + 1},{15 * (n % 3)},{-15 * n},40,30,20,20" for n in range(6)]
    for number in range(6):
        _picture(root / "images" / f"{number}.jpg", number)
    _table(root / "labels.csv", "file,person,pitch_deg,yaw_deg,box_cx,box_cy,box_w,box_h", rows)
    return {"validation": (3,)}


def _leeds_sports(root: Path) -> dict[str, Any]:
    points = np.array([[20 + 5 * k, 30 + 3 * k, 1] for k in range(len(JOINTS))]).ravel()
    values = ",".join(map(str, points))
    for number in range(8):
        _picture(root / "images" / f"{number}.png", number, (120, 100))
    head = "file," + ",".join(f"{joint}_{part}" for joint in JOINTS for part in "xyv")
    _table(root / "joints.csv", head, [f"{number}.png,{values}" for number in range(8)])
    return {}


def _coco_keypoints(root: Path) -> dict[str, Any]:
    points = [90, 60, 2, 50, 40, 1, 7, 7, 0]
    plain = {"category_id": 1, "bbox": [40, 30, 60, 60], "area": 1800.5, "iscrowd": 0}
    (root / "annotations").mkdir(parents=True)
    for side in ("train2017", "val2017"):
        numbers = range(1, 5)
        for number in numbers:
            _picture(root / side / f"{number}.png", number + (side == "val2017"), (200, 150))
        size = {"width": 200, "height": 150}
        people = [
            {"id": n, "image_id": n, "keypoints": points, "num_keypoints": 2, **plain}
            for n in numbers
        ]
        names = ["nose", "left_eye", "tail"]
        content = {
            "categories": [{"id": 1, "name": "person", "keypoints": names}],
            "images": [{"id": n, "file_name": f"{n}.png", **size} for n in numbers],
            "annotations": people,
        }
        file = root / "annotations" / f"person_keypoints_{side}.json"
        file.write_text(json.dumps(content), "utf-8")
    return {}


#: Data set -> function that writes a small one into a folder and returns further options.
WRITERS: dict[str, Callable[[Path], object]] = {
    "aflw2000": write_aflw2000,
    "biwi": lambda root: write_biwi(root, videos=24, frames=1),
    "class_folders": _class_folders,
    "coco_keypoints": _coco_keypoints,
    "image_table": _image_table,
    "leeds_sports": _leeds_sports,
    "pointing04": _pointing04,
    "w300lp": lambda root: write_w300lp(root, photos=8, poses=2),
}


FACES = {"identities": 12, "images_per_identity": 2}


class TestDatasets(DatasetConformance):
    """Data sets of files read small ones that are written here."""

    names = tuple(registry.names("data"))
    options: ClassVar[dict[str, Any]] = {
        "synthetic_faces": FACES,
        "union": {
            "datasets": {
                "heads": {"name": "synthetic_faces", **FACES},
                "smiles": {
                    "name": "synthetic_faces",
                    **FACES,
                    "seed": 1,
                    "rename": {"yaw": "turn"},
                },
            }
        },
    }

    @classmethod
    def make(cls, name: str, request: pytest.FixtureRequest) -> Dataset:
        """Return a data set, whose files are written when it is first made."""
        folders: Callable[[str], tuple[Path, dict[str, Any]]] = request.getfixturevalue("folders")
        if name not in WRITERS:
            return super().make(name, request)
        root, options = folders(name)
        made: Dataset = registry.create("data", name, {"root": str(root), **options})
        return made


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[Path, dict[str, Any]]]:
    """Write the files of a data set, once; return its folder and options."""
    written: dict[str, tuple[Path, dict[str, Any]]] = {}

    def folder(name: str) -> tuple[Path, dict[str, Any]]:
        if name not in written:
            root = tmp_path_factory.mktemp(name)
            options = WRITERS[name](root)
            written[name] = root, options if isinstance(options, dict) else {}
        return written[name]

    return folder


@pytest.fixture(scope="module", autouse=True)
def _notes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Notes on files go elsewhere than into the user's folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("notes")))
        yield

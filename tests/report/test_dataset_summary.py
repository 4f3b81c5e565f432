"""What ``evonas data check`` says of a data set."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from evonas.data.base import Dataset
from evonas.errors import UnreadableImage
from evonas.report.dataset_summary import Survey

Cli = Callable[..., tuple[int, str, str]]


class Faces(Dataset):
    """Twelve grey images with every kind of label; image 4 is damaged."""

    margin = 0.25

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        n = 12
        self.labels = {
            "yaw": np.linspace(-55, 55, n).astype(np.float32),
            "pitch": np.zeros(n, np.float32),
            "age": np.arange(n, dtype=np.float32) + 20,
            "mood": np.array([0, 1] * 6, np.float32),
            "nose.x": rng.random(n).astype(np.float32),
            "nose.y": rng.random(n).astype(np.float32),
            "nose.v": np.array([2] * 6 + [1] * 3 + [0] * 3, np.float32),
        }
        self.classes = {"mood": ("calm", "glad")}
        self.groups = np.array([f"p{k // 2}" for k in range(n)])
        self.splits = {"train": np.arange(8), "validation": np.arange(8, 12)}
        self.protocol = "by person"
        self.dropped = {"angle beyond 99 degrees": ["a.jpg", "b.jpg"]}
        self.fingerprint = "0"
        self.check()

    def image(self, index: int) -> NDArray[np.uint8]:
        if index == 4:
            raise UnreadableImage("faces/4.jpg: cannot be decoded (truncated)")
        image = np.full((80, 80, 3), 255, np.uint8)
        image[20:60, 20:60] = 128  # the standard crop
        return image


@pytest.fixture
def survey() -> Survey:
    seen: list[tuple[str, int, int]] = []
    made = Survey.of(Faces(), lambda *step: seen.append(step))
    assert seen[-1] == ("images", 12, 12)
    return made


def rows(survey: Survey, title: str) -> dict[str, list[str]]:
    (table,) = [table for table in survey.tables() if table.title == title]
    return {row[0]: list(row[1:]) for row in table.rows}


def test_it_counts_images_and_groups_of_each_split(survey: Survey) -> None:
    assert rows(survey, "Images") == {
        "train": ["8", "4"],
        "validation": ["4", "2"],
        "all": ["12", "6"],
    }


def test_it_says_what_was_dropped_and_why_and_what_is_unreadable(survey: Survey) -> None:
    notes = survey.tables()[0].notes
    assert "dropped, angle beyond 99 degrees: 2 (a.jpg, b.jpg)" in notes
    assert "unreadable: faces/4.jpg: cannot be decoded (truncated)" in notes
    assert "by person" in notes
    assert not any("LEAKY" in note for note in notes)


def test_a_leak_is_named(survey: Survey) -> None:
    survey.dataset.leaky = "single images at random"
    assert len(survey.tables()) == 4
    assert all("LEAKY: single images at random" in table.notes for table in survey.tables())


def test_it_knows_quantities_classes_and_points_apart(survey: Survey) -> None:
    quantities = rows(survey, "Quantities")
    assert set(quantities) == {"yaw", "pitch", "age"}
    assert quantities["age"] == ["20.00", "25.50", "25.50", "31.00", "3.45"]
    assert rows(survey, "Classes of mood") == {"calm": ["6", "4", "2"], "glad": ["6", "4", "2"]}
    assert rows(survey, "Key points") == {"nose": ["50.0 %", "25.0 %", "25.0 %"]}


def test_the_sheet_shows_the_standard_crops_with_axes(survey: Survey) -> None:
    assert survey.sheet is not None
    pixels = np.asarray(survey.sheet)
    assert pixels.shape == (2 * 178, 8 * 154, 3)  # 11 readable images, 8 a row
    assert (pixels[:20, :20] == 128).all(), "the margin belongs outside"
    red = (pixels[..., 0] > 180) & (pixels[..., 1] < 80) & (pixels[..., 2] < 80)
    assert red.any()


def test_check_prints_writes_and_counts(evonas: Cli, tmp_path: Path) -> None:
    words = ("synthetic_faces", "identities=10", "images_per_identity=3")
    code, out, err = evonas("data", "check", *words, "--sheet", "sheet.png", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert found["images"] == 30
    assert found["groups"] == 10
    assert sum(found["splits"].values()) == 30
    assert found["unreadable"] == {}
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.width > 1000
    code, out, _ = evonas("data", "check", *words)
    assert code == 0
    assert (tmp_path / "synthetic_faces.png").is_file()
    assert "Quantities" in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["synthetic_face"], "did you mean 'synthetic_faces'?"),
        (["synthetic_faces", "identitys=3"], "did you mean 'identities'?"),
        (["synthetic_faces", "10"], "expected key=value"),
        (["pointing04"], "needs data.root"),
        (["synthetic_faces", "identities=10", "--sheet", "no/such/folder/a.png"], "--sheet"),
    ],
)
def test_a_mistake_is_one_line(evonas: Cli, words: list[str], said: str) -> None:
    code, _, err = evonas("data", "check", *words)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_damaged_files_are_named_and_the_status_is_2(
    evonas: Cli, tmp_path: Path, pointing04_root: Path
) -> None:
    lines = (pointing04_root / "labels.csv").read_text("utf-8").splitlines()
    persons = {line.split(",")[1]: line for line in lines[1:]}
    root = tmp_path / "faces"
    (root / "images").mkdir(parents=True)
    (root / "labels.csv").write_text("\n".join([lines[0], *persons.values()]), "utf-8")
    for line in persons.values():
        name = line.split(",")[0]
        (root / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "images" / name).write_bytes(
            b"no photo" if "erson04" in name else (pointing04_root / "images" / name).read_bytes()
        )
    code, out, err = evonas("data", "check", "pointing04", f"root={root}")
    assert code == 2
    assert f"1 of {len(persons)} images cannot be decoded" in err
    assert "erson04" in out

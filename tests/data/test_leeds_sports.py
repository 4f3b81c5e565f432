"""Leeds Sports: the real joints, labels as pixels, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from refusals import refusal_of

from evonas.core.registry import create
from evonas.data.images.key_point_crops import MARGIN, point_labels, standard_crops
from evonas.data.leeds_sports import FEW, JOINTS, LeedsSports
from evonas.errors import UnreadableImage

SIZE = 240


@pytest.fixture(autouse=True, scope="module")
def notes(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("notes")))
        yield


@pytest.fixture(scope="module")
def root() -> Path:
    folder = Path(__file__).parents[3] / "shared" / "data" / "lsp_extended_400"
    if not folder.is_dir():
        pytest.skip(f"the real data {folder} is not there")
    return folder


@pytest.fixture(scope="module")
def real(root: Path) -> LeedsSports:
    return LeedsSports(str(root))


def test_all_photos_are_there_in_the_table_s_order(real: LeedsSports) -> None:
    assert len(real) == 400
    assert real.dropped == {}
    assert real.describe(1) == "im00002.jpg"
    assert {s: (w[0], w[-1]) for s, w in real.splits.items()} == {
        "train": (0, 319),
        "validation": (320, 399),
    }
    assert len(np.unique(real.groups)) == 400
    assert "may be on both sides" in real.protocol
    assert list(real.labels)[:3] == ["r_ankle.x", "r_ankle.y", "r_ankle.v"]
    assert len(real.labels) == 3 * 14 + 5


def test_a_joint_by_hand(real: LeedsSports) -> None:
    """Photo 2: joints span x 54.66 to 123.72 and y 34.77 to 154.31; r_knee at (83.66, 63.11).

    The larger span is 119.54, so the crop's side is 149.425 around (89.19, 94.54).
    """
    labels = {name: float(values[1]) for name, values in real.labels.items()}
    side = 1.25 * (154.31 - 34.77)
    left, top = (54.66 + 123.72) / 2 - side / 2, (34.77 + 154.31) / 2 - side / 2
    assert labels["box.side"] == pytest.approx(149.425)
    assert labels["box.left"] == pytest.approx(left) == pytest.approx(14.4775)
    assert labels["box.top"] == pytest.approx(top) == pytest.approx(19.8275)
    assert labels["r_knee.x"] == pytest.approx((83.66 - 14.4775) / 149.425)
    assert labels["r_knee.y"] == pytest.approx((63.11 - 19.8275) / 149.425)
    assert labels["r_knee.v"] == 2
    assert labels["area"] == pytest.approx(69.06 * 119.54, rel=1e-5)
    assert labels["image"] == 1


def test_joints_that_are_not_labelled_lie_in_the_centre(real: LeedsSports) -> None:
    """Of 5600 joints 4866 are labelled; the first photo's right ankle, at y = -26, is not."""
    seen = np.stack([real.labels[f"{joint}.v"] for joint in JOINTS])
    assert np.unique(seen, return_counts=True)[1].tolist() == [734, 4866]
    assert [real.labels[f"r_ankle.{part}"][0] for part in "xyv"] == [0.5, 0.5, 0]
    assert set(np.unique(seen)) == {0, 2}


def test_labelled_joints_lie_in_the_crop_with_a_tenth_of_its_side_to_spare(
    real: LeedsSports,
) -> None:
    for part in "xy":
        values = np.stack([real.labels[f"{joint}.{part}"] for joint in JOINTS])
        assert values.min() >= 0.1 - 1e-6
        assert values.max() <= 0.9 + 1e-6


def test_images_are_crops_with_room(real: LeedsSports) -> None:
    assert real.margin == MARGIN
    image = real.image(7)
    assert image.shape == (256, 256, 3)
    assert image.dtype == np.uint8
    assert image.std() > 10


def row(name: str, points: NDArray[Any]) -> str:
    return ",".join([name, *(f"{v:g}" for v in points.ravel())])


HEAD = "file," + ",".join(f"{joint}_{part}" for joint in JOINTS for part in "xyv")
POINTS = np.array([[20 + 5 * k, 30 + 3 * k, 1] for k in range(14)])
ROWS = [row(f"{i}.png", POINTS) for i in range(5)]


def write(root: Path, rows: list[str] = ROWS, head: str = HEAD) -> Path:
    (root / "images").mkdir(exist_ok=True, parents=True)
    for line in rows:
        Image.new("RGB", (120, 100), (9, 90, 40)).save(root / "images" / line.split(",")[0])
    (root / "joints.csv").write_text("\n".join([head, *rows]) + "\n")
    return root


def refusal(root: Path, **options: Any) -> str:
    return refusal_of(lambda: create("data", "leeds_sports", {"root": str(root), **options}))


@pytest.mark.parametrize("joint", [0, 6, 13])
def test_a_dot_at_a_joint_is_where_the_label_says(tmp_path: Path, joint: int) -> None:
    photo = np.zeros((100, 120, 3), np.uint8)
    x, y, _ = POINTS[joint].tolist()
    photo[y - 2 : y + 2, x - 2 : x + 2] = 255  # its middle is the corner of pixels at (x, y)
    Image.fromarray(photo).save(write(tmp_path) / "images" / "3.png")
    data = LeedsSports(str(tmp_path), size=SIZE)
    weight = data.image(3)[..., 0].astype(float)
    found = [weight.sum(axis) @ (np.arange(SIZE) + 0.5) / weight.sum() for axis in (0, 1)]
    told = [float(data.labels[f"{JOINTS[joint]}.{part}"][3]) for part in "xy"]
    expected = [(MARGIN + value * (1 - 2 * MARGIN)) * SIZE for value in told]
    np.testing.assert_allclose(found, expected, atol=0.75)


@given(
    st.tuples(*[st.floats(-500, 500)] * 2),
    st.tuples(*[st.floats(1, 900)] * 2),
    st.floats(0.5, 3),
    st.tuples(*[st.floats(-900, 900)] * 2),
)
def test_labels_lead_back_to_pixels(
    corner: tuple[float, float], span: tuple[float, float], context: float, at: tuple[float, float]
) -> None:
    box = np.array([[*corner, corner[0] + span[0], corner[1] + span[1]]])
    crops = standard_crops(box, context)
    points = np.array([[[*at, 1.0]]])
    labels = point_labels(["nose"], points, crops, np.ones(1), np.zeros(1, np.intp))
    side = float(labels["box.side"][0])
    assert side == pytest.approx(context * max(span), rel=1e-5)
    for part, edge, value in zip("xy", ("left", "top"), at, strict=True):
        back = float(labels[f"box.{edge}"][0]) + float(labels[f"nose.{part}"][0]) * side
        assert back == pytest.approx(value, abs=1e-3)


def test_persons_whose_joints_span_nothing_are_left_out(tmp_path: Path) -> None:
    one, none, flat = POINTS.copy(), POINTS.copy(), POINTS.copy()
    one[1:, 2] = 0
    none[:, 2] = 0
    flat[:, 1] = 30
    rows = [row("a.png", one), *ROWS, row("b.png", none), row("c.png", flat)]
    data = LeedsSports(str(write(tmp_path, rows)))
    assert data.dropped == {FEW: ("a.png", "b.png", "c.png")}
    assert data.labels["image"].tolist() == [1, 2, 3, 4, 5]
    assert data.describe(0) == "0.png"
    assert "none is left" in refusal(write(tmp_path / "other", [row("a.png", one)]))


def test_a_test_split_is_taken_from_the_end(tmp_path: Path) -> None:
    data = LeedsSports(str(write(tmp_path)), validation=0.2, test=0.4)
    assert [where.tolist() for where in data.splits.values()] == [[0, 1], [2], [3, 4]]
    assert list(data.splits) == ["train", "validation", "test"]


def test_the_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    first = LeedsSports(str(write(tmp_path / "one"))).fingerprint
    assert LeedsSports(str(write(tmp_path / "two"))).fingerprint == first
    assert LeedsSports(str(tmp_path / "one"), validation=0.4).fingerprint == first
    assert LeedsSports(str(tmp_path / "one"), context=1.5).fingerprint != first
    moved = POINTS.copy()
    moved[5, 0] += 1
    write(tmp_path / "two", [*ROWS[:4], row("4.png", moved)])
    assert LeedsSports(str(tmp_path / "two")).fingerprint != first
    Image.new("RGB", (121, 100)).save(tmp_path / "one" / "images" / "2.png")
    assert LeedsSports(str(tmp_path / "one")).fingerprint != first


@pytest.mark.parametrize(
    ("head", "last", "said"),
    [
        (HEAD.replace("neck_v", "nek_v"), "", "'neck_v' is missing: did you mean 'nek_v'?"),
        (HEAD, ROWS[4].replace("20,30,1", "20,low,1", 1), "line 6: r_ankle_y is 'low', expected"),
        (HEAD, ROWS[4].replace("20,30,1", "20,30,0.5", 1), "line 6: r_ankle_v is 0.5, expected 1"),
        (HEAD, ROWS[4].replace("20,30,1", "20,30", 1), "line 6: expected 43 cells"),
        (HEAD, ROWS[3], "line 6: expected each file once, got '3.png' twice"),
        (HEAD, ROWS[4].replace("4.png", "../4.png"), "got '../4.png'"),
        (HEAD, ROWS[4].replace("4.png", "9.png"), "1 of 5 files are not in"),
    ],
)
def test_a_mistake_in_the_table_is_named(tmp_path: Path, head: str, last: str, said: str) -> None:
    write(tmp_path)
    (tmp_path / "joints.csv").write_text("\n".join([head, *ROWS[:4], last or ROWS[4]]))
    told = refusal(tmp_path)
    assert told.startswith(str(tmp_path / "joints.csv"))
    assert said in told


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"validation": 0.0}, "expected shares of the photos"),
        ({"validation": 0.5, "test": 0.5}, "that leave some for training, got 0.5 and 0.5"),
        ({"validation": 0.01}, "the validation split is empty"),
        ({"context": -1}, "data.context: expected a side"),
        ({"size": 1}, "data.size: expected 8 to 2048 pixels, got 1"),
    ],
)
def test_an_option_that_does_not_fit_is_named(
    tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    assert said in refusal(write(tmp_path), **options)


def test_a_missing_table_and_a_damaged_photo_are_named(tmp_path: Path) -> None:
    assert "joints.csv: cannot be read" in refusal(tmp_path)
    (write(tmp_path) / "images" / "0.png").write_bytes(b"no picture")
    with pytest.raises(UnreadableImage, match=r"0\.png: cannot be decoded"):
        LeedsSports(str(tmp_path)).image(0)

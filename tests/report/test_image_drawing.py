"""Axes, points, captions and grids, by the colour of their pixels."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from evonas.report import image_drawing as drawing

SIDE = 100


def blank() -> Image.Image:
    return Image.new("RGB", (SIDE, SIDE), (255, 255, 255))


def drawn(angles: tuple[float, float, float]) -> dict[str, np.ndarray]:
    """Return where each axis ends, relative to the middle, in pixels."""
    picture = blank()
    drawing.axes(picture, angles, length=0.4)
    pixels = np.asarray(picture).astype(int)
    ends = {}
    for name, channel in (("x", 0), ("y", 1), ("z", 2)):
        others = [c for c in range(3) if c != channel]
        own = (pixels[..., channel] > 140) & (pixels[..., others] < 110).all(-1)
        places = np.argwhere(own)[:, ::-1] - SIDE / 2
        ends[name] = (
            places[np.argmax(np.linalg.norm(places, axis=1))] if len(places) else np.zeros(2)
        )
    return ends


def test_a_frontal_head_has_x_to_the_right_and_y_down() -> None:
    ends = drawn((0, 0, 0))
    assert ends["x"] == pytest.approx([40, 0], abs=2.5)
    assert ends["y"] == pytest.approx([0, 40], abs=2.5)
    assert np.linalg.norm(ends["z"]) < 3


def test_positive_yaw_points_left_and_positive_pitch_up() -> None:
    assert drawn((60, 0, 0))["z"] == pytest.approx([-40 * np.sin(np.pi / 3), 0], abs=3)
    assert drawn((0, 60, 0))["z"] == pytest.approx([0, -40 * np.sin(np.pi / 3)], abs=3)


def test_positive_roll_turns_x_down() -> None:
    """Rz(roll) with y down: the head's right falls."""
    assert drawn((0, 0, 90))["x"] == pytest.approx([0, 40], abs=3)


def test_points_are_drawn_where_they_are_and_unlabelled_ones_are_not() -> None:
    picture = blank()
    drawing.points(picture, np.array([[0.2, 0.5, 2], [0.7, 0.3, 1], [0.9, 0.9, 0]]))
    assert picture.getpixel((20, 50)) == (60, 220, 90)
    assert picture.getpixel((70, 30)) == (250, 200, 60)
    assert picture.getpixel((90, 90)) == (255, 255, 255)


def test_a_caption_stands_below_and_is_cut_to_the_width() -> None:
    picture = drawing.captioned(Image.new("RGB", (40, 40), (0, 0, 0)), ["x" * 500, "y"])
    assert picture.size == (40, 64)
    below = np.asarray(picture)[40:]
    assert below.min() < 100
    assert (below[:, 38:] > 200).all()


@pytest.mark.parametrize(("count", "size"), [(1, (44, 44)), (3, (132, 44)), (7, (132, 132))])
def test_a_grid_fills_row_by_row(count: int, size: tuple[int, int]) -> None:
    panels = [Image.new("RGB", (40, 40), (k * 20, 0, 0)) for k in range(count)]
    picture = drawing.grid(panels, 3)
    assert picture.size == size
    for k in range(count):
        row, column = divmod(k, 3)
        assert picture.getpixel((column * 44 + 20, row * 44 + 20)) == (k * 20, 0, 0)

"""Views: exact mirrors, jitter that follows from (view, index) alone, and the margin."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from evonas.errors import InputError
from evonas.estimation.features.views import View, standard_views

NAMES = {
    "plain": View(),
    "flip": View(0, True),
    "jitter3": View(3),
    "jitter12_flip": View(12, True),
}


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    """A smooth picture with a bright mark off the centre."""
    y, x = np.mgrid[0:64, 0:64]
    picture = np.stack([3 * x, 3 * y, 2 * (x + y) % 200], -1).astype(np.uint8)
    picture[10:20, 40:55] = 255
    return picture


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_read_back(name: str) -> None:
    assert View.parse(name) == NAMES[name]
    assert NAMES[name].name == name


@pytest.mark.parametrize(
    "name",
    ["", "flop", "jitter", "jitter0", "jitter-1", "plain_flip", "_flip", "flip_", "jitter1flip"],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="unknown view"):
        View.parse(name)


def test_the_standard_views_are_the_plain_one_its_mirror_and_jitters_of_both() -> None:
    assert [view.name for view in standard_views(0)] == ["plain", "flip"]
    assert [view.name for view in standard_views(2)] == [
        "plain",
        "flip",
        "jitter1",
        "jitter1_flip",
        "jitter2",
        "jitter2_flip",
    ]


def test_the_plain_view_of_an_image_of_the_right_size_is_the_image(
    image: NDArray[np.uint8],
) -> None:
    np.testing.assert_array_equal(View().apply(image, 0, 64, 0.0), image)


@pytest.mark.parametrize("size", [64, 50, 33])
@pytest.mark.parametrize("margin", [0.0, 0.15])
def test_flip_is_the_exact_mirror_of_plain(
    image: NDArray[np.uint8], size: int, margin: float
) -> None:
    plain = View().apply(image, 5, size, margin)
    flipped = View(0, True).apply(image, 5, size, margin)
    assert plain.shape == (size, size, 3)
    assert plain.dtype == np.uint8
    np.testing.assert_array_equal(flipped, plain[:, ::-1])
    assert (flipped != plain).any()


def test_jitter_follows_from_view_and_index(image: NDArray[np.uint8]) -> None:
    def look(jitter: int, flip: bool, index: int) -> NDArray[np.uint8]:
        return View(jitter, flip).apply(image, index, 48, 0.1)

    np.testing.assert_array_equal(look(1, False, 7), look(1, False, 7))
    different = [look(1, False, 7), look(1, False, 8), look(2, False, 7), look(1, True, 7)]
    for i, one in enumerate(different):
        for other in different[:i]:
            assert (one != other).mean() > 0.1
    # A jittered mirror has a jitter of its own: it is not the mirror of the jittered copy.
    assert (look(1, True, 7) != look(1, False, 7)[:, ::-1]).mean() > 0.1


def test_jitter_leaves_the_global_generator_alone(image: NDArray[np.uint8]) -> None:
    np.random.seed(4)
    expected = np.random.rand()
    np.random.seed(4)
    View(1).apply(image, 0, 48, 0.0)
    assert np.random.rand() == expected


def test_the_margin_lies_outside_the_crop() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[20:80, 20:80] = 200
    inside = View().apply(image, 0, 60, 0.2)
    assert (inside[1:-1, 1:-1] == 200).all()
    assert (View().apply(image, 0, 100, 0.0)[:20] == 0).all()


def test_jitter_moves_the_crop_by_at_most_its_share() -> None:
    """A dot at the centre stays within 8 % of the crop's side, times the largest zoom."""
    image = np.zeros((200, 200, 3), np.uint8)
    image[98:102, 98:102] = 255
    places = []
    for index in range(60):
        picture = View(1).apply(image, index, 100, 0.15).astype(float).sum(-1)
        y, x = np.mgrid[0:100, 0:100] + 0.5
        places.append([(picture * x).sum() / picture.sum(), (picture * y).sum() / picture.sum()])
    moved = np.abs(np.array(places) - 50)
    assert moved.max() < 8.5
    assert moved.max() > 6.0
    assert abs((np.array(places) - 50).mean()) < 1.0


def test_beyond_the_image_its_edge_is_repeated() -> None:
    image = np.full((40, 40, 3), 90, np.uint8)
    for index in range(20):
        picture = View(1).apply(image, index, 40, 0.0)
        assert np.ptp(picture.astype(int)) <= 2, "a border shows"


@pytest.mark.parametrize("margin", [0.0, 0.2])
@pytest.mark.parametrize("name", ["plain", "flip", "jitter1", "jitter2_flip"])
def test_a_dot_is_seen_where_the_views_geometry_says(name: str, margin: float) -> None:
    view, side, size, place = View.parse(name), 200, 100, (0.4, 0.55)
    image = np.zeros((side, side, 3), np.uint8)
    inner = side * (1 - 2 * margin)
    column, row = (round(margin * side + share * inner) for share in place)
    image[row - 3 : row + 3, column - 3 : column + 3] = 255
    corner, extent = view.crops(8)
    for index in range(8):
        seen = view.apply(image, index, size, margin)[..., 0].astype(float)
        rows, columns = np.indices(seen.shape) + 0.5
        found = np.array([(columns * seen).sum(), (rows * seen).sum()]) / seen.sum() / size
        expected = (np.array(place) - corner[index]) / extent[index]
        if view.flip:
            expected[0] = 1 - expected[0]
        assert found == pytest.approx(expected, abs=0.02)

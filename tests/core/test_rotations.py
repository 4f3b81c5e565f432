"""The rotation convention against scipy and against the formulas that were published."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from evonas.core.rotations import angles, from_biwi, geodesic, matrices

yaws = st.floats(-89.0, 89.0)
turns = st.floats(-179.0, 179.0)


def elementary(axis: str, degrees: float) -> NDArray[np.float64]:
    """The standard right-handed matrix."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return {
        "x": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def one(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    found: NDArray[np.float64] = matrices(np.array([[yaw, pitch, roll]]))[0]
    return found


@given(yaw=yaws, pitch=turns, roll=turns)
def test_the_rotation_is_rx_pitch_ry_minus_yaw_rz_roll(
    yaw: float, pitch: float, roll: float
) -> None:
    expected = elementary("x", pitch) @ elementary("y", -yaw) @ elementary("z", roll)
    np.testing.assert_allclose(one(yaw, pitch, roll), expected, atol=1e-12)
    by_scipy = Rotation.from_euler("XYZ", [pitch, -yaw, roll], degrees=True).as_matrix()
    np.testing.assert_allclose(one(yaw, pitch, roll), by_scipy, atol=1e-12)


@given(yaw=yaws, pitch=turns, roll=turns)
def test_it_is_the_matrix_of_3ddfa_with_y_turned_down(
    yaw: float, pitch: float, roll: float
) -> None:
    """3DDFA's angle2matrix is Rx(pitch)' Ry(yaw)' Rz(roll)', with y up."""
    flip = np.diag([1.0, -1.0, 1.0])
    theirs = elementary("x", pitch).T @ elementary("y", yaw).T @ elementary("z", roll).T
    np.testing.assert_allclose(one(yaw, pitch, roll), flip @ theirs @ flip, atol=1e-12)


@given(yaw=yaws, pitch=turns, roll=turns)
def test_its_columns_are_the_axes_that_hopenet_draws(yaw: float, pitch: float, roll: float) -> None:
    y, p, r = np.radians([-yaw, pitch, roll])  # HopeNet turns the sign of yaw first
    drawn = [
        [np.cos(y) * np.cos(r), -np.cos(y) * np.sin(r), np.sin(y)],
        [
            np.cos(p) * np.sin(r) + np.cos(r) * np.sin(p) * np.sin(y),
            np.cos(p) * np.cos(r) - np.sin(p) * np.sin(y) * np.sin(r),
            -np.cos(y) * np.sin(p),
        ],
    ]
    np.testing.assert_allclose(one(yaw, pitch, roll)[:2], drawn, atol=1e-12)


@given(yaw=yaws, pitch=turns, roll=turns)
def test_the_angles_are_found_again_in_the_matrix(yaw: float, pitch: float, roll: float) -> None:
    found = angles(matrices(np.array([[yaw, pitch, roll]])))
    np.testing.assert_allclose(found, [[yaw, pitch, roll]], atol=1e-6)


@given(yaw=yaws, pitch=st.floats(-80, 80), roll=st.floats(-80, 80))
def test_a_head_turned_beyond_profile_has_its_equal_within(
    yaw: float, pitch: float, roll: float
) -> None:
    found = angles(matrices(np.array([[180 - yaw, pitch + 180, roll + 180]])))
    np.testing.assert_allclose(found, [[yaw, pitch, roll]], atol=1e-6)


def test_in_profile_the_angles_found_are_the_same_rotation() -> None:
    profile = matrices(np.array([[90.0, 20.0, 5.0], [-90.0, -30.0, 10.0]]))
    found = angles(profile)
    np.testing.assert_allclose(np.abs(found[:, 0]), 90.0, atol=1e-5)
    assert np.isfinite(found).all()
    assert np.isfinite(angles(profile * (1 + 1e-12))).all()


def test_positive_yaw_turns_the_face_to_the_images_left_and_positive_pitch_lifts_it() -> None:
    """x is to the image's right, y down; the nose of a frontal face is +z of this frame."""
    nose = np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(one(30, 0, 0) @ nose, [-0.5, 0.0, np.sqrt(0.75)], atol=1e-12)
    np.testing.assert_allclose(one(0, 30, 0) @ nose, [0.0, -0.5, np.sqrt(0.75)], atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
def test_biwi_files_give_the_published_angles(seed: int) -> None:
    """HopeNet reads R = file' and roll, yaw, pitch off it."""
    files = Rotation.random(20, np.random.default_rng(seed)).as_matrix()
    r = np.swapaxes(files, 1, 2)
    published = np.degrees(
        [
            -np.arctan2(-r[:, 2, 0], np.hypot(r[:, 2, 1], r[:, 2, 2])),
            np.arctan2(r[:, 2, 1], r[:, 2, 2]),
            -np.arctan2(r[:, 1, 0], r[:, 0, 0]),
        ]
    ).T
    np.testing.assert_allclose(angles(from_biwi(files)), published, atol=1e-5)


@given(yaw=yaws, pitch=turns, roll=turns)
def test_a_biwi_file_is_rx_minus_pitch_ry_yaw_rz_roll(
    yaw: float, pitch: float, roll: float
) -> None:
    file = elementary("x", -pitch) @ elementary("y", yaw) @ elementary("z", roll)
    np.testing.assert_allclose(from_biwi(file), one(yaw, pitch, roll), atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1))
def test_the_geodesic_is_arccos_of_the_trace_and_scipys_magnitude(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = Rotation.random(20, rng), Rotation.random(20, rng)
    found = geodesic(first.as_matrix(), second.as_matrix())
    trace = np.einsum("nij,nij->n", first.as_matrix(), second.as_matrix())
    expected = np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    by_scipy = np.degrees((first * second.inv()).magnitude())
    np.testing.assert_allclose(found, by_scipy, atol=1e-5)
    np.testing.assert_allclose(geodesic(second.as_matrix(), first.as_matrix()), found, atol=1e-12)


@pytest.mark.parametrize("degrees", [0.0, 1e-7, 1e-3, 10.0, 179.0])
def test_the_geodesic_keeps_its_digits(degrees: float) -> None:
    """arccos of the trace is 0 below a millionth of a degree."""
    found = geodesic(one(0, degrees, 0)[None], np.eye(3)[None])
    assert found[0] == pytest.approx(degrees, rel=1e-6)
    assert geodesic(one(0, 180, 0)[None], np.eye(3)[None])[0] == pytest.approx(180, abs=1e-5)


def test_the_geodesic_does_not_see_how_the_head_is_turned_first() -> None:
    first, second, by = matrices(
        np.random.default_rng(0).uniform(-80, 80, (3, 30, 3)).reshape(90, 3)
    ).reshape(3, 30, 3, 3)
    plain = geodesic(first, second)
    np.testing.assert_allclose(geodesic(by @ first, by @ second), plain, atol=1e-9)
    np.testing.assert_allclose(geodesic(first @ by, second @ by), plain, atol=1e-9)

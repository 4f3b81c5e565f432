"""Parts of a rendered person besides the head: ears, long hair, neck, shoulders, glasses.

A part is a cloud of surface points with normals and colours, dense enough to be
splatted without holes. Frame and units are those of ``_head_mesh``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from evonas.data.rendered_faces.head_mesh import Array, normals_of
from evonas.data.rendered_faces.head_paint import hair_colour, is_bald, skin_colour


class Part(NamedTuple):
    """Surface points: ``points``, ``normals``, ``albedo`` (3, n) and ``two_sided``."""

    points: Array
    normals: Array
    albedo: Array
    two_sided: bool = False


def _symmetric_ring(count: int, half_width: float) -> Array:
    """Return ``2 * count`` angles in (-half_width, half_width), symmetric about 0."""
    half = (np.arange(count) + 0.5) / count * half_width
    return np.concatenate([-half[::-1], half]).astype(np.float32)


def _flat(colour: Array, count: int) -> Array:
    return np.repeat(colour.astype(np.float32), count).reshape(3, count)


def ears(v: Mapping[str, float], right_root: Array, detail: float) -> tuple[Part, Array]:
    """Return both ears and the centre of the right one, (3,), in the neutral head."""
    rows, columns = round(22 * detail), 2 * round(12 * detail)
    t = (np.arange(rows) + 0.5) * np.pi / rows
    phi = (np.arange(columns) + 0.5) * 2 * np.pi / columns
    up = np.repeat(-np.cos(t)[:, None], columns, axis=1)
    wide, thick = np.outer(np.sin(t), np.sin(phi)), np.outer(np.sin(t), np.cos(phi))
    size, flare = v["ear_size"], v["ear_flare"]
    outwards = np.array([np.cos(flare), 0.0, np.sin(flare)])
    backwards = np.array([np.sin(flare), 0.0, -np.cos(flare)])
    height, width = 0.235 * size, 0.135 * size
    centre = right_root + (0.6 * width) * backwards + np.array([-0.02, -0.01, 0.0])
    # the lobe is narrower than the rim
    shape = (
        centre[:, None, None]
        + np.array([0.0, 1.0, 0.0])[:, None, None] * (height * up)
        + backwards[:, None, None] * (width * wide * (1.0 - 0.3 * up))
        + outwards[:, None, None] * (0.045 * thick)
    ).astype(np.float32)
    normals = normals_of(shape).reshape(3, -1)
    hollow = np.exp(-((up / 0.55) ** 2) - ((wide + 0.1) / 0.5) ** 2) * (thick > 0)
    red = np.array([1.02, 0.90, 0.88])
    albedo = (skin_colour(v) * red)[:, None] * (1.0 - 0.5 * hollow.ravel())
    flip = np.array([-1.0, 1.0, 1.0], np.float32)[:, None]
    points = shape.reshape(3, -1)
    part = Part(
        np.concatenate([points * flip, points], axis=1),
        np.concatenate([normals * flip, normals], axis=1),
        np.concatenate([albedo, albedo], axis=1).astype(np.float32),
    )
    return part, centre.astype(np.float32)


def curtain(v: Mapping[str, float], detail: float) -> Part | None:
    """Return the hair beside and behind the face; None if it is short."""
    if is_bald(v) or v["hair_length"] < 0.15:
        return None
    bottom = 0.30 + 0.75 * v["hair_length"]
    rows = max(4, round(34 * detail * (bottom + 0.35)))
    angle = np.pi + _symmetric_ring(round(70 * detail), np.radians(96.0))
    y = np.linspace(-0.35, bottom, rows)
    drop = np.clip((y + 0.35) / 1.6, 0.0, 1.0)[:, None]
    wave = 0.05 * v["hair_curl"] * np.sin(9.0 * y)[:, None]
    lift = 0.55 * v["hair_volume"]
    rx = v["width"] * (0.96 + 0.10 * drop) + lift + wave
    rz = v["depth"] * (0.92 - 0.25 * drop) + lift + wave
    x, z = rx * np.sin(angle), rz * np.cos(angle) - 0.04
    points = np.stack([x, np.broadcast_to(y[:, None], x.shape), z]).astype(np.float32)
    normals = np.stack([np.sin(angle) / rx, np.zeros_like(x), np.cos(angle) / rz])
    normals /= np.sqrt((normals**2).sum(axis=0))
    half = np.random.default_rng(11).standard_normal(len(angle) // 2)
    strand = 1.0 + 0.13 * np.concatenate([half, half[::-1]])[None] - 0.2 * drop
    albedo = hair_colour(v)[:, None] * np.clip(strand, 0.4, 1.4).ravel()
    n = x.size
    return Part(
        points.reshape(3, n),
        normals.reshape(3, n).astype(np.float32),
        albedo.astype(np.float32),
        True,
    )


def shoulders(clothing: Array, detail: float) -> Part:
    """Return the upper torso, in the camera's frame: it does not turn with the head."""
    rows, angle = round(26 * detail), _symmetric_ring(round(56 * detail), np.pi / 2)
    t = (np.arange(rows) + 0.5) / rows * (np.pi / 2)
    normals = np.stack(
        [
            np.outer(np.sin(t), np.sin(angle)),
            np.repeat(-np.cos(t)[:, None], len(angle), axis=1),
            np.outer(np.sin(t), np.cos(angle)),
        ]
    ).reshape(3, -1)
    axes, centre = np.array([1.5, 0.75, 0.6])[:, None], np.array([0.0, 2.02, -0.35])[:, None]
    points = (normals * axes + centre).astype(np.float32)
    slopes = normals / axes
    slopes = (slopes / np.sqrt((slopes**2).sum(axis=0))).astype(np.float32)
    return Part(points, slopes, _flat(clothing, points.shape[1]))


def neck(v: Mapping[str, float], rotation: Array, detail: float) -> Part:
    """Return the neck, in the camera's frame, from the turned head to the shoulders."""
    rows, angle = round(36 * detail), _symmetric_ring(round(34 * detail), np.pi / 2)
    t = np.linspace(0.0, 1.0, rows, dtype=np.float32)[:, None]
    top = rotation[:, 1] * np.float32(0.42) - rotation[:, 2] * np.float32(0.22)
    radius = 0.58 * v["width"] * (0.86 + 0.26 * t)
    x = top[0] * (1 - t) + radius * np.sin(angle)
    y = top[1] * (1 - t) + 1.50 * t + 0.0 * angle
    z = (top[2] - 0.02) * (1 - t) - 0.30 * t + radius * np.cos(angle)
    ring = np.stack([np.sin(angle), np.zeros_like(angle), np.cos(angle)])
    n = x.size
    normals = np.repeat(ring[:, None], rows, axis=1).reshape(3, n)
    # the chin's shadow falls on the upper neck
    shade = 1.0 - 0.45 * np.exp(-((t / 0.65) ** 2)) + 0.0 * angle
    albedo = skin_colour(v)[:, None] * shade.reshape(1, n)
    points = np.stack([x, y, z]).reshape(3, n).astype(np.float32)
    return Part(points, normals.astype(np.float32), albedo.astype(np.float32))


def glasses(eye: Array, ear: Array, front: float, dark: bool, frame: Array, detail: float) -> Part:
    """Return spectacles for the right eye's centre and ear, (3,), mirrored to the left.

    Args:
        eye: centre of the right eye in the neutral head.
        ear: centre of the right ear.
        front: z of the lenses.
        dark: sunglasses instead of a bare frame.
        frame: colour of the frame, (3,) in 0..1.
        detail: density of points.
    """
    turn = (np.arange(round(90 * detail)) + 0.5) * 2 * np.pi / round(90 * detail)
    rings = [1.0, 0.94]
    if dark:
        rings += list(np.linspace(0.88, 0.02, round(16 * detail)))
    lens = [np.stack([0.215 * r * np.cos(turn), 0.165 * r * np.sin(turn), 0 * turn]) for r in rings]
    points = (
        np.concatenate(lens, axis=1) + np.array([max(eye[0], 0.24), eye[1] + 0.02, front])[:, None]
    )
    along = np.linspace(0.0, 1.0, round(70 * detail))
    hinge = np.array([max(eye[0], 0.24) + 0.21, eye[1] - 0.02, front])
    temple = hinge[:, None] * (1 - along) + (ear + np.array([0.03, -0.06, 0.0]))[:, None] * along
    bridge_x = np.linspace(0.0, max(eye[0], 0.24) - 0.21, round(10 * detail))
    bridge = np.stack([bridge_x, 0 * bridge_x + eye[1] - 0.03, 0 * bridge_x + front + 0.02])
    bars = np.concatenate([temple, temple + np.array([[0.0], [0.02], [0.0]]), bridge], axis=1)
    bars = np.concatenate([bars, bridge + np.array([[0.0], [0.02], [0.0]])], axis=1)
    right = np.concatenate([points, bars], axis=1).astype(np.float32)
    both = np.concatenate([right * np.array([-1, 1, 1], np.float32)[:, None], right], axis=1)
    facing = np.zeros_like(both)
    facing[2] = 1.0
    return Part(both, facing, _flat(frame, both.shape[1]), True)

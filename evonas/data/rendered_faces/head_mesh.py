"""Parametric head: a closed grid of vertices, deformed by identity and expression values.

The grid is a sphere in polar coordinates (rows from crown to throat, columns around the neck axis,
denser in front). Identity values deform it to a head by sums of smooth bumps, expression values
deform it further. Paint and landmarks refer to the positions of the vertices on the mean head
(``sx``, ``sy``, ``sz``), so they follow every deformation.

Frame: x to the image's right, y down, z towards the viewer; one unit is about half the
height of a head; the face looks along +z.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

#: identity value -> (low, high); drawn uniformly, so that faces differ clearly.
IDENTITY_RANGES: dict[str, tuple[float, float]] = {
    # skull and jaw
    "width": (0.66, 0.82),
    "depth": (0.80, 0.98),
    "crown": (0.92, 1.12),
    "jaw_length": (0.90, 1.13),
    "jaw_taper": (0.0, 0.34),
    "jaw_corner": (-0.03, 0.09),
    "cheek": (-0.05, 0.09),
    "cheekbone": (0.0, 0.09),
    "temple": (0.0, 0.07),
    "chin": (0.0, 0.16),
    "chin_width": (0.10, 0.22),
    "forehead": (-0.05, 0.08),
    # nose
    "nose_projection": (0.14, 0.36),
    "nose_width": (0.055, 0.115),
    "nose_wing": (0.02, 0.10),
    "nose_length": (-0.08, 0.10),
    "nose_bridge": (0.0, 0.10),
    "nose_hook": (-0.04, 0.07),
    # eyes and brows
    "eye_distance": (-0.05, 0.07),
    "eye_height": (-0.05, 0.05),
    "eye_size": (0.75, 1.25),
    "eye_open": (0.7, 1.25),
    "eye_slant": (-0.18, 0.18),
    "socket": (0.02, 0.12),
    "brow_ridge": (0.0, 0.09),
    "brow_height": (-0.05, 0.05),
    "brow_thickness": (0.5, 1.6),
    "brow_slant": (-0.25, 0.30),
    "brow_dark": (0.35, 1.0),
    "iris": (0.0, 1.0),
    # mouth
    "mouth_width": (0.78, 1.22),
    "mouth_height": (-0.05, 0.05),
    "lip_fullness": (0.6, 1.5),
    "lip_red": (0.1, 1.0),
    # ears
    "ear_size": (0.75, 1.35),
    "ear_flare": (0.1, 0.9),
    # skin
    "skin": (0.0, 1.0),
    "skin_warmth": (-1.0, 1.0),
    "freckles": (-1.0, 1.0),
    # hair
    "hair_colour": (0.0, 1.0),
    "hair_shade": (0.75, 1.2),
    "hair_volume": (0.03, 0.24),
    "hair_style": (0.0, 1.0),
    "hairline": (-0.14, 0.16),
    "hair_peak": (-0.12, 0.12),
    "hair_part": (-0.22, 0.22),
    "hair_length": (-1.0, 1.6),
    "hair_curl": (0.0, 1.0),
    "beard": (-1.0, 1.0),
    "moustache": (-1.0, 1.0),
    # asymmetry: 0 means that the head is its own mirror image
    "asymmetry": (-1.0, 1.0),
    "mole_x": (-0.5, 0.5),
    "mole_y": (-0.4, 0.8),
    "mole": (-1.0, 1.0),
}

#: expression value -> (low, high)
EXPRESSION_RANGES: dict[str, tuple[float, float]] = {
    "mouth_open": (0.0, 1.0),
    "smile": (-0.5, 1.0),
    "eyes_closed": (0.0, 1.0),
    "brow_raise": (-0.5, 1.0),
}

#: landmark -> (x, y, facing) on the mean head; x < 0 is the image's left; facing: on the front.
LANDMARKS: dict[str, tuple[float, float, float]] = {
    "left_eye_outer": (-0.43, -0.06, 1.0),
    "left_eye_inner": (-0.14, -0.06, 1.0),
    "right_eye_inner": (0.14, -0.06, 1.0),
    "right_eye_outer": (0.43, -0.06, 1.0),
    "nose_tip": (0.0, 0.27, 1.0),
    "mouth_left": (-0.26, 0.53, 1.0),
    "mouth_right": (0.26, 0.53, 1.0),
    "chin": (0.0, 0.93, 1.0),
    "left_ear": (-0.72, 0.04, 0.0),
    "right_ear": (0.72, 0.04, 0.0),
}

MEAN_WIDTH = 0.74
_FRONT_DENSITY = 0.25


def smoothstep(values: Array, low: float, high: float) -> Array:
    """Return 0 below ``low``, 1 above ``high`` and a smooth cubic between."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def bump(a: Array, b: Array | float = 0.0) -> Array:
    """Return exp(-(a^2 + b^2) / 2), a bump of height 1."""
    return np.asarray(np.exp(-0.5 * (a * a + b * b)), dtype=np.float32)


class Grid:
    """Vertices of the mean head, (rows, columns), symmetric under x -> -x.

    Args:
        detail: density of the vertices relative to that for an image of 64 pixels.
    """

    def __init__(self, detail: float = 1.0) -> None:
        self.rows, half = round(112 * detail), round(98 * detail)
        s = (np.arange(-half, half) + 0.5) * np.pi / half
        around = s - _FRONT_DENSITY * np.sin(s)
        polar = (np.arange(self.rows) + 0.5) * np.pi / self.rows
        self.columns = 2 * half
        self.around = np.broadcast_to(around, self.shape).astype(np.float32)
        self.sx = np.outer(np.sin(polar), np.sin(around)).astype(np.float32)
        self.sz = np.outer(np.sin(polar), np.cos(around)).astype(np.float32)
        self.sy = np.broadcast_to(-np.cos(polar)[:, None], self.shape).astype(np.float32)
        # exact mirror symmetry, since sin and cos are symmetric only up to rounding
        self.sx = (self.sx - self.sx[:, ::-1]) / np.float32(2)
        self.sz = (self.sz + self.sz[:, ::-1]) / np.float32(2)
        self.x = self.sx * np.float32(MEAN_WIDTH)
        self.ax = np.abs(self.x)
        self.y = self.sy
        self.side = np.sign(self.sx)
        self.front = smoothstep(self.sz, 0.0, 0.45)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the grid: (rows, columns)."""
        return self.rows, self.columns

    @cached_property
    def noise(self) -> Array:
        """Fixed noise, (rows, columns), approximately N(0, 1) and mirror symmetric."""
        half = np.random.default_rng(7).standard_normal((self.rows, self.columns // 2))
        return np.concatenate([half, half[:, ::-1]], axis=1).astype(np.float32)

    @cached_property
    def landmark_vertices(self) -> dict[str, list[int]]:
        """Landmark name -> flat indices of the nearest vertices, whose mean is its position.

        No column is at x = 0, so a landmark there has two vertices.
        """
        vertices = {}
        for name, (x, y, facing) in LANDMARKS.items():
            far = (self.x - x) ** 2 + (self.y - y) ** 2
            far = far + (self.sz <= 0) * 9.0 if facing else far + 0.5 * np.abs(self.sz + 0.1)
            row, column = divmod(int(np.argmin(far)), self.columns)
            columns = [column] if x else [column, self.columns - 1 - column]
            vertices[name] = [row * self.columns + c for c in columns]
        return vertices

    @cached_property
    def expression_fields(self) -> dict[str, tuple[Array, Array, Array]]:
        """Expression name -> displacement (x, y, z) at full strength."""
        ax, y, side, front = self.ax, self.y, self.side, self.front
        zero = np.zeros_like(ax)
        ahead = smoothstep(self.sz, -0.35, 0.3)
        jaw = smoothstep(y, 0.50, 0.86) * ahead
        corner = bump((ax - 0.27) / 0.10, (y - 0.53) / 0.11) * front
        cheek = bump((ax - 0.36) / 0.12, (y - 0.28) / 0.12) * front
        brow = bump((y + 0.25) / 0.10) * front
        return {
            "mouth_open": (zero, 0.17 * jaw, -0.06 * jaw),
            "smile": (0.055 * corner * side, -0.075 * corner - 0.03 * cheek, 0.05 * cheek),
            "brow_raise": (zero, -0.06 * brow, zero),
        }

    def shape_of(self, value: Mapping[str, float]) -> Array:
        """Return the neutral head of an identity, (3, rows, columns) float32."""
        v, ax, y, front = value, self.ax, self.y, self.front
        lower = np.clip((self.sy - 0.05) / 0.95, 0.0, 1.0)
        upper = np.clip(-self.sy, 0.0, 1.0)
        back = smoothstep(-self.sz, -0.2, 0.7)

        side_scale = 1.0 - v["jaw_taper"] * lower**1.4 - v["temple"] * bump((y + 0.3) / 0.2) * front
        side_scale += v["jaw_corner"] * bump((y - 0.58) / 0.16) + v["cheek"] * bump((y - 0.4) / 0.2)
        x = v["width"] * self.sx * side_scale
        px = y * (1.0 + (v["crown"] - 1.0) * upper + (v["jaw_length"] - 1.0) * lower)
        z = v["depth"] * self.sz * (1.0 - 0.55 * back * lower**0.8) * (1.0 - 0.06 * front)

        def add(height: Array | float) -> None:
            nonlocal z
            z = z + height * front

        add((0.20 + v["chin"]) * bump((y - 0.90) / 0.17, ax / (0.14 + v["chin_width"])))
        add(0.10 * bump((y - 0.62) / 0.22, ax / 0.42))
        add(v["forehead"] * bump((y + 0.5) / 0.2, ax / 0.4))
        add(v["cheekbone"] * bump((ax - 0.42) / 0.13, (y - 0.15) / 0.12))
        add(-v["socket"] * bump((ax - 0.27) / 0.15, (y + 0.06) / 0.09))
        add((0.035 + 0.4 * v["socket"]) * bump((ax - 0.285) / 0.09, (y + 0.055) / 0.055))
        add(v["brow_ridge"] * bump((ax - 0.24) / 0.20, (y + 0.20) / 0.06))
        add(0.020 * bump(ax / 0.20, (y - 0.53) / 0.14))
        full = v["lip_fullness"]
        add(0.035 * full * bump(ax / 0.14, (y - 0.485) / 0.032))
        add(0.042 * full * bump(ax / 0.13, (y - 0.575) / 0.036))
        add(-0.045 * bump(ax / 0.20, (y - 0.70) / 0.05))

        # the nose: a ridge that rises to the tip and ends in a steep underside
        tall, low = v["nose_projection"], v["nose_bridge"] + 0.02
        ridge = np.interp(
            y[:, 0],
            [-0.26, -0.12, 0.02, 0.24, 0.30, 0.345, 0.40],
            [0.0, low, 0.45 * tall + 0.6 * v["nose_bridge"], tall, 0.97 * tall, 0.55 * tall, 0.0],
        )[:, None].astype(np.float32)
        broad = v["nose_width"] * (0.75 + 0.8 * smoothstep(y, -0.1, 0.28))
        add((ridge + v["nose_hook"] * bump((y - 0.06) / 0.07)) * bump(ax / broad))
        add(v["nose_wing"] * bump((ax - 1.45 * v["nose_width"]) / 0.045, (y - 0.29) / 0.05))

        # distance and height of the features, by moving vertices along the skin
        eyes = bump((ax - 0.28) / 0.17, (y + 0.08) / 0.14) * front
        x = x + self.side * (v["eye_distance"] + (v["eye_size"] - 1.0) * (ax - 0.285)) * eyes
        px = px + ((v["eye_size"] - 1.0) * (y + 0.06) - v["eye_slant"] * (ax - 0.285)) * eyes
        mouth = bump(ax / 0.30, (y - 0.54) / 0.12) * front
        x = x + self.x * (v["mouth_width"] - 1.0) * mouth
        px = px + v["eye_height"] * bump((y + 0.08) / 0.16) * front
        px = px + v["nose_length"] * bump(ax / 0.22, (y - 0.27) / 0.13) * front
        px = px + v["mouth_height"] * bump((y - 0.54) / 0.14) * front
        x = x + 0.03 * v["asymmetry"] * bump((y - 0.7) / 0.4) * front
        return np.stack([x, px, z]).astype(np.float32)


def normals_of(points: Array) -> Array:
    """Return outward unit normals, (3, rows, columns), of a grid with cyclic columns."""
    around = np.empty_like(points)
    around[:, :, 1:-1] = points[:, :, 2:] - points[:, :, :-2]
    around[:, :, 0] = points[:, :, 1] - points[:, :, -1]
    around[:, :, -1] = points[:, :, 0] - points[:, :, -2]
    down = np.empty_like(points)
    down[:, 1:-1] = points[:, 2:] - points[:, :-2]
    down[:, 0] = points[:, 1] - points[:, 0]
    down[:, -1] = points[:, -1] - points[:, -2]
    # y points down, so this order makes the normals point outwards
    n = np.empty_like(points)
    n[0] = down[2] * around[1] - down[1] * around[2]
    n[1] = down[0] * around[2] - down[2] * around[0]
    n[2] = down[1] * around[0] - down[0] * around[1]
    n /= np.sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2] + np.float32(1e-12))
    return n

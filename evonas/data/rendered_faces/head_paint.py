"""Colours of a parametric head: skin, hair, brows, eyes, lips, beard.

Colours belong to the vertices of the mean head, so they follow every deformation. The colours
that are constant for a person are computed once (``static_paint``); those of eyes and mouth, which
depend on the expression, are painted on their few vertices (``paint_expression``). Colours are RGB
in 0..1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evonas.data.rendered_faces.head_mesh import Array, Grid, bump, smoothstep

_SKINS = np.array(
    [
        [0.95, 0.80, 0.72],
        [0.92, 0.73, 0.60],
        [0.84, 0.62, 0.46],
        [0.68, 0.46, 0.32],
        [0.48, 0.31, 0.21],
        [0.32, 0.21, 0.16],
    ]
)
_HAIRS = np.array(
    [
        [0.06, 0.05, 0.05],
        [0.20, 0.12, 0.08],
        [0.38, 0.23, 0.12],
        [0.62, 0.28, 0.10],
        [0.80, 0.62, 0.30],
        [0.95, 0.86, 0.62],
        [0.62, 0.61, 0.62],
        [0.90, 0.90, 0.92],
    ]
)
_IRISES = np.array([[0.12, 0.07, 0.04], [0.36, 0.22, 0.10], [0.25, 0.42, 0.25], [0.30, 0.48, 0.70]])

BALD_BELOW = 0.12
FRINGE_ABOVE = 0.72


def ramp(colours: NDArray[np.float64], t: float) -> Array:
    """Return the colour at ``t`` in 0..1 along a ramp of equally spaced colours."""
    at = np.linspace(0.0, 1.0, len(colours))
    return np.array([np.interp(t, at, colours[:, c]) for c in range(3)], dtype=np.float32)


def skin_colour(v: Mapping[str, float]) -> Array:
    """Return a person's skin colour, (3,)."""
    warm = np.array([1.0 + 0.03 * v["skin_warmth"], 1.0, 1.0 - 0.09 * v["skin_warmth"]])
    return np.asarray(np.clip(ramp(_SKINS, v["skin"]) * warm, 0, 1), dtype=np.float32)


def hair_colour(v: Mapping[str, float]) -> Array:
    """Return a person's hair colour, (3,)."""
    colour = ramp(_HAIRS, v["hair_colour"]) * v["hair_shade"]
    return np.asarray(np.clip(colour, 0, 1), dtype=np.float32)


def is_bald(v: Mapping[str, float]) -> bool:
    """Return whether a person has no hair on the head."""
    return v["hair_style"] < BALD_BELOW


@dataclass(frozen=True)
class Paint:
    """Colours of a head that do not depend on the expression.

    Attributes:
        albedo: (3, rows, columns) colour.
        hair: (rows, columns) coverage of a vertex by hair, 0..1.
        lift: (rows, columns) share of the hair's height; it increases more slowly than
            ``hair``, since a step in the surface would leave gaps between the splats.
    """

    albedo: Array
    hair: Array
    lift: Array


def _mix(albedo: Array, colour: Array, amount: NDArray[np.floating]) -> Array:
    shape = (3,) + (1,) * (albedo.ndim - 1)
    return np.asarray(albedo + amount * (colour.reshape(shape) - albedo), dtype=np.float32)


def _hair_masks(grid: Grid, v: Mapping[str, float]) -> tuple[Array, Array]:
    """Return ``Paint.hair`` and ``Paint.lift``."""
    if is_bald(v):
        nothing = np.zeros(grid.shape, dtype=np.float32)
        return nothing, nothing
    front = -0.66 + v["hairline"]
    if v["hair_style"] > FRINGE_ABOVE:
        front = -0.34 + 0.5 * v["hairline"]
    degrees = np.degrees(np.abs(grid.around[0]))
    temple = min(-0.30, front + 0.22 + v["hair_peak"])
    edge = np.interp(
        degrees,
        [0.0, 18.0, 42.0, 62.0, 80.0, 96.0, 125.0, 180.0],
        [front + v["hair_peak"], front, temple - 0.08, temple, 0.02, 0.30, 0.62, 0.70],
    )
    edge = edge + v["hair_part"] * np.sin(grid.around[0]) * (degrees < 75) * np.cos(
        np.radians(degrees)
    )
    above = edge[None].astype(np.float32) - grid.sy
    return smoothstep(above, -0.03, 0.05), smoothstep(above, -0.04, 0.18)


def static_paint(grid: Grid, v: Mapping[str, float]) -> Paint:
    """Return the colours of a person's head without eyes and lips."""
    ax, y, front = grid.ax, grid.y, grid.front
    ahead = (grid.sz > 0).astype(np.float32)
    skin, hair_rgb = skin_colour(v), hair_colour(v)
    albedo = np.repeat(skin, ax.size).reshape(3, *grid.shape)

    # cheeks, nose and ears are redder
    red = 0.5 * bump((ax - 0.40) / 0.14, (y - 0.22) / 0.13) + 0.5 * bump(
        ax / 0.10, (y - 0.28) / 0.09
    )
    albedo = albedo * (1.0 - front * red * np.array([0.0, 0.16, 0.16], np.float32)[:, None, None])
    if v["freckles"] > 0.3:
        spots = smoothstep(grid.noise, 0.8, 1.6) * bump(ax / 0.36, (y - 0.14) / 0.16) * ahead
        albedo = albedo * (1.0 - 0.55 * v["freckles"] * spots)
    if v["mole"] > 0.4:
        off = (0.5 + 0.5 * abs(v["asymmetry"])) * bump(
            (grid.x - v["mole_x"]) / 0.03, (y - v["mole_y"]) / 0.03
        )
        albedo = _mix(albedo, skin * np.float32(0.35), off * ahead * (v["asymmetry"] != 0))

    # ambient occlusion by the shape, independent of the light
    shade = 0.30 * bump((ax - 0.17) / 0.06, (y + 0.06) / 0.07)
    shade += 0.35 * bump(ax / 0.13, (y - 0.385) / 0.03) + 0.22 * bump(ax / 0.16, (y - 0.695) / 0.04)
    shade += 0.60 * bump((ax - 0.052) / 0.028, (y - 0.352) / 0.022)
    shade += (
        0.14
        * bump((ax - 0.20 - 0.25 * (y - 0.35)) / 0.025)
        * smoothstep(y, 0.26, 0.36)
        * (1.0 - smoothstep(y, 0.46, 0.56))
    )
    shade = shade * front + 0.40 * smoothstep(grid.sy - 0.10 * grid.sz, 0.86, 1.0)
    albedo = albedo * (1.0 - np.clip(shade, 0.0, 0.9))

    strands = 0.16 * (
        grid.noise[grid.rows // 2][None] * (1 - v["hair_curl"]) + grid.noise * v["hair_curl"]
    )
    locks = hair_rgb[:, None, None] * np.clip(1.0 + strands, 0.5, 1.5)

    # beard, moustache, brows: hair mixed into the skin
    cheek_line = np.interp(ax, [0.2, 0.45, 0.72], [0.44, 0.36, 0.08]).astype(np.float32)
    beard = smoothstep(y - cheek_line, -0.04, 0.07) * smoothstep(grid.sz, -0.25, 0.05)
    beard = beard * (1.0 - bump(ax / 0.20, (y - 0.55) / 0.075))
    albedo = albedo + np.clip(1.3 * v["beard"], 0, 0.9) * beard * (0.75 * locks - albedo)
    lip_hair = bump(ax / 0.17, (y - 0.435) / 0.034) * ahead
    albedo = albedo + np.clip(1.5 * v["moustache"], 0, 0.9) * lip_hair * (0.75 * locks - albedo)
    u = (ax - 0.285) / 0.15
    line = -0.235 + v["brow_height"] - 0.035 * (1 - u * u) - 0.06 * v["brow_slant"] * u
    brow = bump((y - line) / (0.021 * v["brow_thickness"])) * ahead
    brow = brow * smoothstep(u, -1.35, -0.9) * (1.0 - smoothstep(u, 0.8, 1.5)) * v["brow_dark"]
    albedo = _mix(albedo, hair_rgb * np.float32(0.55), brow)

    hair, lift = _hair_masks(grid, v)
    albedo = albedo + hair * (locks - albedo)
    if is_bald(v):
        crown = smoothstep(-grid.sy, 0.2, 0.7) * (1.0 - 0.6 * ahead)
        albedo = _mix(albedo, skin * np.float32(0.85) + hair_rgb * np.float32(0.05), 0.5 * crown)
    return Paint(np.clip(albedo, 0.0, 1.0).astype(np.float32), hair, lift)


class ExpressionPaint:
    """Paint the eyes and the mouth of a person, whose vertices are determined once."""

    def __init__(self, grid: Grid, v: Mapping[str, float]) -> None:
        self._v = v
        ahead = grid.sz > 0
        ax, y = grid.ax, grid.y
        eyes = ahead & (ax > 0.09) & (ax < 0.49) & (y > -0.24) & (y < 0.09)
        self._eyes = np.flatnonzero(eyes)
        self._u = (ax.ravel()[self._eyes] - 0.285) / 0.15
        self._v_eye = (y.ravel()[self._eyes] + 0.06) / 0.15
        self._side = grid.side.ravel()[self._eyes]
        mouth = ahead & (ax < 0.31) & (y > 0.40) & (y < 0.82)
        self._mouth = np.flatnonzero(mouth)
        self._um = ax.ravel()[self._mouth] / 0.26
        self._ym = y.ravel()[self._mouth]
        skin = skin_colour(v)
        rosy = np.array([1.0, 0.52, 0.50], np.float32)
        self._lip = skin * (1 - v["lip_red"] * (1 - rosy)) * np.float32(0.88)
        self._iris = ramp(_IRISES, v["iris"])
        self._lid = skin * np.float32(0.82)

    def paint(
        self, albedo: Array, expression: Mapping[str, float], gaze: tuple[float, float]
    ) -> None:
        """Paint eyes and mouth into ``albedo``, (3, vertices), in place."""
        albedo[:, self._eyes] = self._paint_eyes(albedo[:, self._eyes], expression, gaze)
        albedo[:, self._mouth] = self._paint_mouth(albedo[:, self._mouth], expression)

    def _paint_eyes(
        self, base: Array, expression: Mapping[str, float], gaze: tuple[float, float]
    ) -> Array:
        u, v, wide = self._u, self._v_eye, self._v["eye_open"]
        wide = wide * (1.0 + 0.15 * expression["brow_raise"]) * (1.0 - 0.2 * expression["smile"])
        closed = expression["eyes_closed"]
        arc = np.clip(1.0 - u * u, 0.0, 1.0)
        lower = 0.28 * wide * arc
        upper = (-0.48 * wide * (1.0 - closed) + 0.26 * wide * closed) * arc
        inside = smoothstep(v - upper, -0.05, 0.07) * smoothstep(lower - v, -0.05, 0.07)
        inside = inside * (arc > 0) * (1.0 - smoothstep(np.asarray(closed, np.float32), 0.85, 1.0))
        lid = (arc > 0) * smoothstep(upper - v, -0.02, 0.05) * (v > -0.62 * arc - 0.1)
        out = _mix(base, self._lid, 0.6 * lid)
        out = _mix(out, np.array([0.93, 0.92, 0.90], np.float32), inside)
        dx = u - self._side * gaze[0] + 0.02
        dy = v + 0.08 - gaze[1]
        radius = np.sqrt(dx * dx + dy * dy)
        iris = inside * (1.0 - smoothstep(radius, 0.34, 0.44))
        out = _mix(out, self._iris, iris)
        out = _mix(out, np.zeros(3, np.float32), inside * (1.0 - smoothstep(radius, 0.13, 0.20)))
        lash = bump((v - upper + 0.03) / 0.075) * (np.abs(u) < 1.04)
        return _mix(out, np.array([0.07, 0.05, 0.05], np.float32), 0.85 * lash)

    def _paint_mouth(self, base: Array, expression: Mapping[str, float]) -> Array:
        u, y, full = self._um, self._ym, self._v["lip_fullness"]
        opened = expression["mouth_open"]
        arc = np.clip(1.0 - u * u, 0.0, 1.0)
        top = 0.53 - 0.012 * opened * arc
        low = 0.53 + (0.006 + 0.115 * opened) * np.sqrt(arc)
        bow = 0.060 * full * arc**0.7 * (1.0 - 0.25 * bump(u / 0.12))
        upper_lip = smoothstep(y - (top - bow), -0.008, 0.012) * (y <= top + 0.005)
        lower_lip = smoothstep((low + 0.078 * full * arc**0.6) - y, -0.012, 0.018) * (
            y >= low - 0.005
        )
        out = _mix(base, self._lip * np.float32(0.92), upper_lip * (arc > 0))
        out = _mix(out, self._lip, lower_lip * (arc > 0))
        hollow = smoothstep(y - top, -0.008, 0.008) * smoothstep(low - y, -0.008, 0.008) * (arc > 0)
        out = _mix(out, np.array([0.20, 0.06, 0.06], np.float32), hollow)
        show = min(1.0, max(0.0, 2.5 * opened - 0.2))
        teeth = hollow * smoothstep(top + 0.045 - y, -0.01, 0.01) * (np.abs(u) < 0.72) * show
        out = _mix(out, np.array([0.93, 0.91, 0.86], np.float32), teeth)
        line = bump((y - 0.531) / 0.011) * (1.0 - smoothstep(np.abs(u), 0.9, 1.05)) * (1.0 - hollow)
        return _mix(out, self._lip * np.float32(0.35), 0.85 * line * (1.0 - 0.7 * opened))

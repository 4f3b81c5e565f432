"""Render a person in a scene from coloured surface points, with a depth buffer and one light.

``render`` is a pure function of its arguments; all random values are drawn before (``scenes``).
Points are splatted at twice the resolution, the nearest point is visible, and pairs of pixels are
averaged, which smooths outlines. Surfaces are Lambertian with a Phong highlight (Phong 1975,
"Illumination for computer generated pictures"). The camera is orthographic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evonas.data.rendered_faces.head_mesh import (
    LANDMARKS,
    Array,
    Grid,
    bump,
    normals_of,
    smoothstep,
)
from evonas.data.rendered_faces.head_paint import ExpressionPaint, static_paint
from evonas.data.rendered_faces.head_parts import Part, curtain, ears, glasses, neck, shoulders

#: pixels per unit length over the image's side, at scale 1
ZOOM = 0.385

_FLIP = np.array([-1, 1, 1], np.float32)


def rotation_matrix(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Return R = Rx(pitch) Ry(-yaw) Rz(roll), (3, 3), for angles in degrees.

    Frame: x to the image's right, y down, z towards the viewer. Positive yaw turns the
    nose to the image's left, positive pitch up; the convention of 300W-LP and HopeNet
    (Ruiz et al. 2018).
    """
    p, y, r = np.radians([pitch, -yaw, roll])
    rx = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rz = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return np.asarray(rx @ ry @ rz)


@dataclass(frozen=True)
class Scene:
    """Content of an image besides the person.

    Attributes:
        yaw, pitch, roll: pose in degrees.
        expression: name -> strength; the names of ``EXPRESSION_RANGES``.
        background: (size, size, 3) float32 in 0..1, of the size of the image.
        light: direction towards the light in the camera's frame, (3,) unit vector.
        diffuse, ambient: (3,) strength and colour of the light and of the ambient light.
        gaze: gaze direction, to the image's right and down, about -0.3..0.3.
        shift: shift of the head's centre, as a share of the side (right, down).
        scale: size of the head; 1 is the usual crop.
        clothing: (3,) colour.
        glasses: (frame colour (3,), whether they are sunglasses), or None.
        mask: colour (3,) of a face mask, or None.
        overlays: (coverage (size, size), colour (size, size, 3)) of occluders in the foreground.
        blur: share of its light that each pixel gives to a neighbour, 0..0.25.
        grain: (size, size, 3) noise to add, or None.
    """

    yaw: float
    pitch: float
    roll: float
    expression: Mapping[str, float]
    background: Array
    light: tuple[float, float, float] = (0.0, -0.4, 0.9)
    diffuse: tuple[float, float, float] = (0.7, 0.7, 0.7)
    ambient: tuple[float, float, float] = (0.4, 0.4, 0.4)
    gaze: tuple[float, float] = (0.0, 0.0)
    shift: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    clothing: tuple[float, float, float] = (0.3, 0.3, 0.4)
    glasses: tuple[tuple[float, float, float], bool] | None = None
    mask: tuple[float, float, float] | None = None
    overlays: tuple[tuple[Array, Array], ...] = ()
    blur: float = 0.0
    grain: Array | None = None

    def mirrored(self) -> Scene:
        """Return the mirrored scene, whose image is the mirror image of this one."""
        return replace(
            self,
            yaw=-self.yaw,
            roll=-self.roll,
            background=self.background[:, ::-1],
            light=(-self.light[0], self.light[1], self.light[2]),
            gaze=(-self.gaze[0], self.gaze[1]),
            shift=(-self.shift[0], self.shift[1]),
            overlays=tuple((a[:, ::-1], c[:, ::-1]) for a, c in self.overlays),
            grain=None if self.grain is None else self.grain[:, ::-1],
        )


class Person:
    """Neutral head and colours of a person, to be rendered in many scenes."""

    def __init__(self, grid: Grid, values: Mapping[str, float], detail: float = 1.0) -> None:
        self.values, self._grid, self._detail = values, grid, detail
        shape = grid.shape_of(values)
        paint = static_paint(grid, values)
        marks = grid.landmark_vertices
        skin = shape.reshape(3, -1)
        # ears and glasses are built for the right side and mirrored, so use the mean of both sides
        right = skin[:, [marks[f"right_{p}"][0] for p in ("ear", "eye_inner", "eye_outer")]]
        left = skin[:, [marks[f"left_{p}"][0] for p in ("ear", "eye_inner", "eye_outer")]]
        middle: Array = ((right + left * _FLIP[:, None]) / 2).astype(np.float32)
        self._ears, self.ear = ears(values, middle[:, 0], detail)
        self.eye = middle[:, 1:].mean(axis=1)
        self.eye_front = float(middle[2, 1:].max()) + 0.06
        # hair is above the skull
        height = values["hair_volume"] * (0.55 + 0.45 * smoothstep(-grid.sy, -0.3, 0.8))
        if values["hair_curl"] > 0.5:
            lumps = np.sin(11.0 * np.abs(grid.around)) * np.sin(13.0 * grid.sy)
            height = height + 0.05 * (values["hair_curl"] - 0.5) * lumps
        outwards = np.stack([grid.sx, grid.sy, grid.sz])
        self.neutral = (shape + outwards * (paint.lift * height)).astype(np.float32)
        self.albedo = paint.albedo.reshape(3, -1)
        self.gloss = (0.16 - 0.06 * paint.hair).ravel().astype(np.float32)
        self._face = ExpressionPaint(grid, values)
        self._curtain = curtain(values, detail)

    def shape(self, expression: Mapping[str, float]) -> Array:
        """Return the head's points, (3, rows, columns), with an expression."""
        points: Array = self.neutral.copy()
        for name, field in self._grid.expression_fields.items():
            strength = np.float32(expression[name])
            if strength:
                for axis, move in enumerate(field):
                    points[axis] += strength * move
        return points

    def posed(self, scene: Scene) -> tuple[Array, Array]:
        """Return points (3, rows, columns) and colours (3, vertices) with expression and mask."""
        points = self.shape(scene.expression)
        albedo = self.albedo.copy()
        self._face.paint(albedo, scene.expression, scene.gaze)
        if scene.mask is not None:
            g = self._grid
            cover = smoothstep(g.y - 0.10 - 0.5 * g.ax * g.ax, 0.0, 0.04)
            cover = cover * smoothstep(g.sz, 0.02, 0.10) * (1 - smoothstep(g.y, 0.93, 0.97))
            pleat = np.float32(1.0) + 0.10 * np.sin(38.0 * g.y)
            cloth = np.array(scene.mask, np.float32)[:, None, None] * pleat
            albedo += (cover * (cloth - albedo.reshape(3, *g.shape))).reshape(3, -1)
            points[2] += 0.04 * cover + 0.06 * cover * bump(g.ax / 0.3, (g.y - 0.45) / 0.2)
        return points, albedo

    def parts(self, scene: Scene) -> list[Part]:
        """Return the parts that move with the head."""
        parts = [self._ears]
        if self._curtain is not None:
            parts.append(self._curtain)
        if scene.glasses is not None:
            frame, dark = scene.glasses
            colour = np.array(frame, np.float32)
            parts.append(glasses(self.eye, self.ear, self.eye_front, dark, colour, self._detail))
        return parts

    def landmarks(self, expression: Mapping[str, float]) -> Array:
        """Return the 3-D landmarks in the head's frame, (k, 3)."""
        flat = self.shape(expression).reshape(3, -1)
        vertex = self._grid.landmark_vertices
        rows = [flat[:, vertex[name]].mean(axis=1) for name in LANDMARKS]
        rows[-2] = self.ear * _FLIP
        rows[-1] = self.ear
        return np.stack(rows)

    def project(self, scene: Scene) -> NDArray[np.float32]:
        """Return the landmarks in the image, (k, 2): x, y in pixels."""
        size = len(scene.background)
        rotation = rotation_matrix(scene.yaw, scene.pitch, scene.roll)
        marks = self.landmarks(scene.expression) @ rotation[:2].T
        offset = (0.5 + np.array(scene.shift)) * size
        return np.asarray(marks * ZOOM * scene.scale * size + offset, dtype=np.float32)


def render(person: Person, scene: Scene) -> NDArray[np.uint8]:
    """Return the image of a person in a scene, (size, size, 3) RGB."""
    size = len(scene.background)
    rotation = rotation_matrix(scene.yaw, scene.pitch, scene.roll).astype(np.float32)
    points, albedo = person.posed(scene)
    zoom = np.float32(ZOOM * scene.scale * size)
    offset = np.array([(0.5 + s) * size for s in scene.shift], np.float32)

    normals = normals_of(points).reshape(3, -1)
    clouds = [_turn(points.reshape(3, -1), normals, albedo, person.gloss, rotation)]
    for part in person.parts(scene):
        clouds.append(_turn(part.points, part.normals, part.albedo, 0.1, rotation, part.two_sided))
    identity = np.eye(3, dtype=np.float32)
    body = [neck(person.values, rotation, person._detail)]
    body.append(shoulders(np.array(scene.clothing), person._detail))
    for part in body:
        clouds.append(_turn(part.points, part.normals, part.albedo, 0.02, identity))
    surface = np.concatenate(clouds, axis=1)
    colours = _shade(surface, scene)
    nearest = _splat(surface[:3], zoom, offset, size)

    layer = colours.take(nearest, axis=0, mode="wrap")
    pixels = layer[0::2, 0::2] + layer[1::2, 0::2] + layer[0::2, 1::2] + layer[1::2, 1::2]
    pixels *= np.float32(0.25)
    image = pixels[..., :3] + (1 - pixels[..., 3:]) * scene.background
    for coverage, colour in scene.overlays:
        image += coverage[..., None] * (colour - image)
    if scene.blur:
        image = _blur(image, np.float32(scene.blur))
    if scene.grain is not None:
        image = image + scene.grain
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _turn(
    points: Array,
    normals: Array,
    albedo: Array,
    gloss: Array | float,
    rotation: Array,
    two_sided: bool = False,
) -> Array:
    """Return the visible points as (10, n): position, normal, albedo, gloss."""
    r = rotation
    facing = r[2, 0] * normals[0] + r[2, 1] * normals[1] + r[2, 2] * normals[2]
    keep = np.arange(len(facing)) if two_sided else np.flatnonzero(facing > 0)
    p = [row.take(keep) for row in points]
    n = [row.take(keep) for row in normals]
    out = np.empty((10, len(keep)), np.float32)
    for axis in range(3):
        out[axis] = r[axis, 0] * p[0] + r[axis, 1] * p[1] + r[axis, 2] * p[2]
        out[3 + axis] = r[axis, 0] * n[0] + r[axis, 1] * n[1] + r[axis, 2] * n[2]
        albedo[axis].take(keep, out=out[6 + axis])
    if two_sided:
        out[3:6] *= np.where(out[5] < 0, np.float32(-1), np.float32(1))
    out[9] = gloss if isinstance(gloss, float) else gloss.take(keep)
    return out


def _shade(surface: Array, scene: Scene) -> Array:
    """Return lit colours with coverage, (n + 1, 4); the last row is empty space."""
    n, albedo, gloss = surface[3:6], surface[6:9], surface[9]
    light = np.array(scene.light, np.float32)
    half = light + np.array([0, 0, 1], np.float32)
    half /= np.sqrt((half * half).sum()) + np.float32(1e-6)
    lit = np.maximum(n[0] * light[0] + n[1] * light[1] + n[2] * light[2], 0)
    shine = np.maximum(n[0] * half[0] + n[1] * half[1] + n[2] * half[2], 0)
    for _ in range(4):  # to the 16th power
        shine *= shine
    shine *= gloss
    sky = np.float32(1.0) - np.float32(0.25) * n[1]
    out = np.zeros((surface.shape[1] + 1, 4), np.float32)
    for c in range(3):
        strength = np.float32(scene.ambient[c]) * sky + np.float32(scene.diffuse[c]) * lit
        out[:-1, c] = albedo[c] * strength + np.float32(scene.diffuse[c]) * shine
    out[:-1, 3] = 1
    return out


def _splat(points: Array, zoom: np.float32, offset: Array, size: int) -> NDArray[np.int64]:
    """Return the index of the nearest point at each of (2 size, 2 size) pixels, -1: none.

    Every point covers the 2 x 2 pixels around it; depth and index are packed into one integer, so
    that the maximum is the nearest point.
    """
    side = 2 * size
    column = np.floor((points[0] * zoom + offset[0]) * 2 + np.float32(0.5)).astype(np.int64)
    row = np.floor((points[1] * zoom + offset[1]) * 2 + np.float32(0.5)).astype(np.int64)
    np.clip(column, 0, side + 1, out=column)
    np.clip(row, 0, side + 1, out=row)
    depth = ((points[2] + np.float32(3)) * np.float32(1 << 16)).astype(np.int64)
    key = (depth << 24) | np.arange(len(depth))
    buffer = np.full((side + 2) * (side + 2), -1, np.int64)
    np.maximum.at(buffer, row * (side + 2) + column, key)
    square = buffer.reshape(side + 2, side + 2)
    wide = np.maximum(square[:, :-2], square[:, 1:-1])
    nearest = np.maximum(wide[:-2], wide[1:-1])
    # fill an empty pixel between two filled ones: it is a gap of the point cloud, not of the head
    across = np.full_like(nearest, -1)
    across[:, 1:-1] = np.minimum(nearest[:, :-2], nearest[:, 2:])
    along = np.full_like(nearest, -1)
    along[1:-1] = np.minimum(nearest[:-2], nearest[2:])
    nearest = np.where(nearest < 0, np.maximum(across, along), nearest)
    return np.where(nearest < 0, np.int64(-1), nearest & ((1 << 24) - 1))


def _blur(image: Array, share: np.float32) -> Array:
    """Return the image with each pixel giving ``share`` of its light to its neighbours."""
    for axis in (0, 1):
        padded = np.concatenate([image.take([0], axis), image, image.take([-1], axis)], axis=axis)
        n = image.shape[axis]
        ends = padded.take(range(n), axis) + padded.take(range(2, n + 2), axis)
        image = image * (1 - 2 * share) + share * ends
    return image

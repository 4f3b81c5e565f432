"""Draw random persons and random scenes for the synthetic faces.

This file defines all ranges. Only the values of the person depend on the identity; light, clothes,
glasses, pose and expression are drawn independently for every image.
"""

from __future__ import annotations

import numpy as np

from evonas.data.rendered_faces.head_mesh import (
    EXPRESSION_RANGES,
    IDENTITY_RANGES,
    Array,
    smoothstep,
)
from evonas.data.rendered_faces.renderer import Scene

#: largest |yaw|, |pitch|, |roll| in degrees, and the preference for the middle (1: none).
POSE_RANGES = {"yaw": (75.0, 1.3), "pitch": (50.0, 1.7), "roll": (35.0, 1.7)}


def draw_identity(rng: np.random.Generator) -> dict[str, float]:
    """Return a person's values, each uniform in its range."""
    return {name: float(rng.uniform(*ends)) for name, ends in IDENTITY_RANGES.items()}


def draw_pose(rng: np.random.Generator) -> tuple[float, float, float]:
    """Return (yaw, pitch, roll) in degrees, rounded to float32 as the labels are."""
    angles = [
        float(np.float32(limit * (2.0 * rng.beta(peak, peak) - 1.0)))
        for limit, peak in POSE_RANGES.values()
    ]
    return angles[0], angles[1], angles[2]


def draw_expression(rng: np.random.Generator) -> dict[str, float]:
    """Return expression strengths; the mouth is mostly shut and the eyes mostly open."""
    rest = {"mouth_open": 0.5, "smile": 0.3, "eyes_closed": 0.75, "brow_raise": 0.3}
    chosen = {}
    for name, ends in EXPRESSION_RANGES.items():
        active = rng.random() >= rest[name]
        strength = float(np.float32(rng.uniform(*ends)))
        chosen[name] = strength if active else 0.0
    return chosen


def draw_scene(
    rng: np.random.Generator,
    pose: tuple[float, float, float],
    expression: dict[str, float],
    size: int,
    occluded: float,
) -> Scene:
    """Return a scene of the given pose and expression; ``occluded``: share with an occluder."""
    towards = np.array([rng.normal(0, 0.7), rng.normal(-0.35, 0.45), 1.0])
    towards /= np.sqrt((towards**2).sum())
    tint = 1.0 + rng.uniform(-0.10, 0.10) * np.array([1.0, 0.1, -1.0])
    level = rng.uniform(0.72, 1.08)
    share = rng.uniform(0.35, 0.8)
    diffuse, ambient = 1.1 * level * share * tint, level * (0.92 - 0.72 * share) * tint[::-1]
    background = _background(rng, size)
    shift, scale = rng.uniform(-0.05, 0.05, 2), rng.uniform(0.9, 1.1)
    gaze, clothing = rng.uniform(-0.3, 0.3, 2) * [1.0, 0.5], rng.uniform(0.05, 0.9, 3)

    spectacles, mask, overlays = None, None, []
    if rng.random() < occluded:
        kind = rng.choice(
            ["glasses", "sunglasses", "mask", "bar", "hand"], p=[0.4, 0.15, 0.15, 0.1, 0.2]
        )
        if kind in ("glasses", "sunglasses"):
            grey = rng.uniform(0.03, 0.3 if kind == "glasses" else 0.12)
            frame = np.clip(grey + rng.uniform(-0.03, 0.15, 3), 0, 1)
            spectacles = ((float(frame[0]), float(frame[1]), float(frame[2])), kind == "sunglasses")
        elif kind == "mask":
            choices = [[0.55, 0.75, 0.85], [0.9, 0.9, 0.9], [0.12, 0.12, 0.14], [0.85, 0.6, 0.65]]
            cloth = choices[int(rng.integers(4))]
            mask = (cloth[0], cloth[1], cloth[2])
        else:
            overlays.append(_bar(rng, size) if kind == "bar" else _hand(rng, size))
    blur = float(rng.uniform(0.0, 0.2)) if rng.random() < 0.5 else 0.0
    sigma = np.float32(rng.uniform(0.0, 0.03))
    grain = sigma * rng.standard_normal((size, size, 3), dtype=np.float32)
    return Scene(
        *pose,
        expression=expression,
        background=background,
        light=(float(towards[0]), float(towards[1]), float(towards[2])),
        diffuse=(float(diffuse[0]), float(diffuse[1]), float(diffuse[2])),
        ambient=(float(ambient[0]), float(ambient[1]), float(ambient[2])),
        gaze=(float(gaze[0]), float(gaze[1])),
        shift=(float(shift[0]), float(shift[1])),
        scale=float(scale),
        clothing=(float(clothing[0]), float(clothing[1]), float(clothing[2])),
        glasses=spectacles,
        mask=mask,
        overlays=tuple(overlays),
        blur=blur,
        grain=grain,
    )


def _centres(size: int) -> Array:
    """Return the pixel centres in -1..1."""
    return ((np.arange(size) + 0.5) * 2.0 / size - 1.0).astype(np.float32)


def _background(rng: np.random.Generator, size: int) -> Array:
    """Return soft patches of colour, sometimes with a hard-edged wall or pole."""
    knots = int(rng.integers(2, 8))
    base, spread = rng.uniform(0.1, 0.9), rng.uniform(0.02, 0.3)
    patches = base + spread * rng.standard_normal((knots, knots, 1))
    patches = (
        patches
        + 0.12 * rng.standard_normal(3)
        + 0.3 * spread * rng.standard_normal((knots, knots, 3))
    )
    at = (np.arange(size) + 0.5) / size * (knots - 1)
    weights = np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(knots)))
    # einsum without BLAS, so that the bits do not depend on the number of threads
    image = np.einsum("xj,yjc->yxc", weights, np.einsum("yi,ijc->yjc", weights, patches))
    if rng.random() < 0.4:
        turn, offset = rng.uniform(0, np.pi), rng.uniform(-0.6, 0.6)
        width, colour = rng.uniform(0.1, 0.8), rng.uniform(0.0, 1.0, 3)
        c = _centres(size)
        across = np.cos(turn) * c[None] + np.sin(turn) * c[:, None] - offset
        image[np.abs(across) < width / 2] = colour
    return np.asarray(np.clip(image, 0.0, 1.0), dtype=np.float32)


def _bar(rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """Return a straight bar across the picture: coverage and colour."""
    turn, offset = rng.uniform(0, np.pi), rng.uniform(-0.45, 0.45)
    c = _centres(size)
    across = np.cos(turn) * c[None] + np.sin(turn) * c[:, None] - offset
    coverage = 1.0 - smoothstep(np.abs(across), rng.uniform(0.05, 0.14), 0.17)
    colour = np.broadcast_to(rng.uniform(0, 1, 3).astype(np.float32), (size, size, 3))
    return coverage, colour


def _hand(rng: np.random.Generator, size: int) -> tuple[Array, Array]:
    """Return something like a hand before the lower face: coverage and colour."""
    c = _centres(size)
    x0, y0 = rng.uniform(-0.5, 0.5), rng.uniform(0.15, 0.75)
    turn = rng.uniform(-0.9, 0.9)
    dx, dy = c[None] - x0, c[:, None] - y0
    u, v = np.cos(turn) * dx + np.sin(turn) * dy, np.cos(turn) * dy - np.sin(turn) * dx
    nearest = np.sqrt((u / 0.26) ** 2 + (v / 0.24) ** 2)
    for finger in range(4):
        centre = -0.19 + 0.127 * finger
        reach = 0.34 if finger in (1, 2) else 0.28
        blob = ((u - centre) / 0.065) ** 2 + ((v + 0.28) / reach) ** 2
        nearest = np.minimum(nearest, np.sqrt(blob))
    coverage = 1.0 - smoothstep(nearest.astype(np.float32), 0.9, 1.05)
    tone = rng.uniform(0.3, 1.0) * np.array([0.95, 0.72, 0.58])
    lit = (1.0 - 0.35 * np.clip(nearest, 0, 1) ** 3)[..., None] * tone
    return coverage, lit.astype(np.float32)

"""Answers of an exported network: as a line of JSON, and drawn on the photo."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from evonas.core.rotations import ANGLES
from evonas.report import image_drawing as drawing
from evonas.report.image_drawing import Box
from evonas.tasks.common.prediction_format import Answer

#: Confidence from which a point is drawn as seen, and from which at all.
_SEEN, _GUESSED = 0.3, 0.05
_FRAME = (250, 250, 250)
_SIDES = ("left_", "right_")
#: Bones of people as COCO and Leeds Sports name their joints; ``*`` stands for either side.
_BONES = (
    ("nose", "*eye"),
    ("*eye", "*ear"),
    ("*shoulder", "*elbow"),
    ("*elbow", "*wrist"),
    ("*shoulder", "*hip"),
    ("*hip", "*knee"),
    ("*knee", "*ankle"),
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
    ("neck", "head_top"),
    ("neck", "*shoulder"),
)


def row(answer: Answer, values: NDArray[np.float32], top: int, crop: Box) -> dict[str, Any]:
    """Return an image's answer as plain data.

    Args:
        answer: what it is.
        values: of the image, (k,) or (k, 3).
        top: classes to tell.
        crop: the standard crop in pixels of the photo; places of points are in these pixels.
    """
    if answer.kind == "points":
        left, right, upper, lower = crop[0], crop[2], crop[1], crop[3]
        points = [
            {
                "name": name,
                "x": _short(left + x * (right - left)),
                "y": _short(upper + y * (lower - upper)),
                "confidence": _short(confidence),
            }
            for name, (x, y, confidence) in zip(answer.columns, values.tolist(), strict=True)
        ]
        return {"points": points}
    if answer.kind == "classes":
        best = best_of(answer, values, top)
        return {answer.label: next(iter(best)), "scores": best}
    return {n: _short(v) for n, v in zip(answer.columns, values.tolist(), strict=True)}


def best_of(answer: Answer, values: NDArray[np.float32], top: int) -> dict[str, float]:
    """Return the likeliest classes with their shares, the likeliest first."""
    order = np.argsort(-values, kind="stable")[:top]
    return {answer.columns[number]: _short(float(values[number])) for number in order.tolist()}


def draw(
    picture: Image.Image,
    answer: Answer,
    values: NDArray[np.float32],
    top: int,
    crop: Box,
    box: Box | None,
) -> str:
    """Draw an answer on a photo, in place, and return it in words for a line below.

    Axes: x red, y green, z, out of the face, blue; ``drawing.axes``.

    Args:
        picture: RGB; the photo, of any size.
        answer, values, top: as for ``row``.
        crop: the standard crop, in pixels of the picture.
        box: that was asked for, in pixels of the picture; it is drawn.
    """
    if box is not None:
        ImageDraw.Draw(picture).rectangle(box, outline=_FRAME)
    if answer.kind == "angles":
        known = dict(zip(answer.columns, values.tolist(), strict=True))
        drawing.axes(picture, [known.get(name, 0.0) for name in ANGLES], box=crop)
    elif answer.kind == "points":
        sure = (values[:, 2:] >= _SEEN).astype(np.float32) + (values[:, 2:] >= _GUESSED)
        drawing.points(picture, np.hstack([values[:, :2], sure]), bones(answer.columns), crop)
        return ""
    elif answer.kind == "classes":
        best = best_of(answer, values, top)
        drawing.bars(picture, best, box or (0, 0, *picture.size))
        return f"{answer.label}: {next(iter(best))}"
    pairs = zip(answer.columns, values.tolist(), strict=True)
    return ", ".join(f"{name} {value:.4g}" for name, value in pairs) + f" ({answer.unit})"


def bones(points: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return which points are joined, by number, as far as they have known names."""
    found = []
    for one, other in _BONES:
        for side in _SIDES if "*" in one + other else ("",):
            pair = one.replace("*", side), other.replace("*", side)
            if set(pair) <= set(points):
                found.append((points.index(pair[0]), points.index(pair[1])))
    return found


def _short(value: float) -> float:
    """Return a number of single precision without digits that it does not have."""
    return float(f"{value:.7g}")

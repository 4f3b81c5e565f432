"""Predictions of an exported network as plain data, and drawn on photos."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from evonas.core.files import writing
from evonas.core.rotations import ANGLES
from evonas.report import image_drawing as drawing
from evonas.report.image_drawing import Box
from evonas.tasks.common.prediction_format import Answer

#: Smallest confidences at which a key point is drawn as visible, and as uncertain.
_VISIBLE, _UNCERTAIN = 0.3, 0.05
_LARGEST, _SMALLEST = 1280, 240  # pixels of a picture's longer side
_FRAME = (250, 250, 250)
_SIDES = ("left_", "right_")
#: Bones between the joints of COCO and Leeds Sports; ``*`` stands for left and right.
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
    """Return the prediction for an image as plain data.

    Args:
        answer: description of the network's output.
        values: prediction, (k,) or (k, 3).
        top: number of classes to return.
        crop: standard crop in pixels of the photo; the returned points are in these pixels.
    """
    if answer.parts:
        return {name: row(part, own, top, crop) for name, part, own in answer.split(values)}
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
    """Return class -> probability of the ``top`` most probable classes, in falling order."""
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
    """Draw a prediction on a photo in place, and return a caption, of several tasks a line each.

    Head poses are drawn as axes: x red, y green, and z, which points out of the face, blue; see
    ``report.image_drawing.axes``.

    Args:
        picture: the photo, RGB, of any size.
        answer, values, top: as for ``row``.
        crop: standard crop, in pixels of the picture.
        box: box to outline, in pixels of the picture; None for none.
    """
    if box is not None:
        ImageDraw.Draw(picture).rectangle(box, outline=_FRAME)
    if answer.parts:
        parts = answer.split(values)
        captions = [draw(picture, part, own, top, crop, box) for _, part, own in parts]
        return "\n".join(caption for caption in captions if caption)
    if answer.kind == "angles":
        angles = dict(zip(answer.columns, values.tolist(), strict=True))
        drawing.axes(picture, [angles.get(name, 0.0) for name in ANGLES], box=crop)
    elif answer.kind == "points":
        confidence = values[:, 2:]
        visibility = (confidence >= _VISIBLE).astype(np.float32) + (confidence >= _UNCERTAIN)
        drawing.points(picture, np.hstack([values[:, :2], visibility]), bones(answer.columns), crop)
        return ""
    elif answer.kind == "classes":
        best = best_of(answer, values, top)
        drawing.bars(picture, best, box or (0, 0, *picture.size))
        return f"{answer.label}: {next(iter(best))}"
    pairs = zip(answer.columns, values.tolist(), strict=True)
    return ", ".join(f"{name} {value:.4g}" for name, value in pairs) + (
        f" ({answer.unit})" if answer.unit else ""
    )


def bones(points: tuple[str, ...]) -> list[tuple[int, int]]:
    """Return the pairs of key points that bones connect, as indices into ``points``."""
    pairs = []
    for start, end in _BONES:
        for side in _SIDES if "*" in start + end else ("",):
            names = start.replace("*", side), end.replace("*", side)
            if set(names) <= set(points):
                pairs.append((points.index(names[0]), points.index(names[1])))
    return pairs


@dataclass
class PictureFolder:
    """A folder of photos with predictions drawn on them, one file for each photo.

    The files have the names of the photos; a number is added to a name that occurs again.

    Args:
        folder: an existing folder.
        answer: description of the network's output.
        top: number of classes to draw.
    """

    folder: Path
    answer: Answer
    top: int
    _photo: Path | None = None
    _picture: Image.Image | None = None
    _words: list[str] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)

    def add(
        self,
        path: Path,
        photo: Image.Image,
        box: Box | None,
        crop: Box,
        values: NDArray[np.float32],
    ) -> None:
        """Draw a prediction; all predictions of one photo must be added one after another.

        Args:
            path: path of the photo.
            photo: the photo, RGB.
            box: box in the photo, in pixels; None: the whole photo.
            crop: standard crop in the photo, in pixels.
            values: the prediction.

        Raises:
            InputError: the previous photo's file cannot be written.
        """
        if path != self._photo or self._picture is None:
            self.close()
            self._photo, longer = path, max(photo.size)
            scale = min(max(longer, _SMALLEST), _LARGEST) / longer
            size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
            self._picture = photo.resize(size, Image.Resampling.BICUBIC)
        scale = max(self._picture.size) / max(photo.size)
        inner = (crop[0] * scale, crop[1] * scale, crop[2] * scale, crop[3] * scale)
        outline = box and (box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale)
        words = draw(self._picture, self.answer, values, self.top, inner, outline)
        self._words += words.splitlines()

    def close(self) -> None:
        """Write the file of the last photo.

        Raises:
            InputError: the file cannot be written.
        """
        if self._picture is None or self._photo is None:
            return
        name, number = f"{self._photo.stem}.png", 2
        while name in self._names:
            name, number = f"{self._photo.stem}-{number}.png", number + 1
        self._names.add(name)
        with writing(self.folder / name, "choose another folder with --pictures"):
            drawing.captioned(self._picture, self._words).save(self.folder / name)
        self._picture, self._words = None, []


def _short(value: float) -> float:
    """Return a value rounded to the 7 significant digits of single precision."""
    return float(f"{value:.7g}")

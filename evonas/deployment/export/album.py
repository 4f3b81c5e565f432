"""Photos with the answers of a network drawn on them, as files of a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.core.files import writing
from evonas.deployment.export import prediction_drawing as answered
from evonas.report.image_drawing import Box, captioned
from evonas.tasks.common.prediction_format import Answer

_LARGEST, _SMALLEST = 1280, 240  # pixels of a picture's longer side


@dataclass
class Album:
    """A folder of pictures, one a photo, named as the photo.

    Args:
        folder: it is there.
        answer: what is drawn.
        top: classes to draw.
    """

    folder: Path
    answer: Answer
    top: int
    _photo: Path | None = None
    _picture: Image.Image | None = None
    _words: list[str] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)

    def add(
        self,
        path: Path,
        photo: Image.Image,
        box: Box | None,
        crop: Box,
        values: NDArray[np.float32],
    ) -> None:
        """Draw an answer; those of one photo come one after the other.

        Args:
            path: of the photo.
            photo: RGB.
            box: in it, pixels.
            crop: the standard crop in it, pixels.
            values: the answer.

        Raises:
            InputError: a picture cannot be written.
        """
        if path != self._photo or self._picture is None:
            self.close()
            self._photo, longer = path, max(photo.size)
            scale = min(max(longer, _SMALLEST), _LARGEST) / longer
            size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
            self._picture = photo.resize(size, Image.Resampling.BICUBIC)
        scale = max(self._picture.size) / max(photo.size)
        inner = (crop[0] * scale, crop[1] * scale, crop[2] * scale, crop[3] * scale)
        asked = box and (box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale)
        words = answered.draw(self._picture, self.answer, values, self.top, inner, asked)
        self._words += [words] if words else []

    def close(self) -> None:
        """Write the picture that is being drawn.

        Raises:
            InputError: it cannot be written.
        """
        if self._picture is None or self._photo is None:
            return
        name, number = f"{self._photo.stem}.png", 2
        while name in self._taken:
            name, number = f"{self._photo.stem}-{number}.png", number + 1
        self._taken.add(name)
        with writing(self.folder / name, "choose another folder with --pictures"):
            captioned(self._picture, self._words).save(self.folder / name)
        self._picture, self._words = None, []

"""An exported network: photos in, predictions in the units of the labels out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.data.images.image_io import Box
from evonas.deployment.export import prediction_drawing as answered
from evonas.deployment.export.exported_model import ExportedNetwork
from evonas.errors import InputError, UnreadableImage, one_line
from evonas.tasks.common.prediction_format import Answer


@dataclass(frozen=True)
class Prediction:
    """The answer for one photo, or one box in it.

    Attributes:
        photo: its file.
        box: left, top, right and bottom in pixels of the stored photo; None: all of it.
        answer: name -> value, as ``ExportedModel.predict`` returns it; empty if unreadable.
        error: why the photo could not be read; empty if it could.
        values: (k,) or (k, 3) the numbers behind the answer.
        image: the photo, turned upright.
        crop: the standard crop, in pixels of ``image``.
    """

    photo: Path
    box: Box | None
    answer: dict[str, Any]
    error: str = ""
    values: NDArray[np.float32] = field(
        default_factory=lambda: np.empty(0, np.float32), compare=False, repr=False
    )
    image: Any = field(default=None, compare=False, repr=False)
    crop: Box = field(default=(0.0, 0.0, 0.0, 0.0), compare=False, repr=False)


@dataclass(frozen=True)
class ExportedModel:
    """A network that was exported to a file; an .onnx runs without torch.

    Examples:
        >>> model = evonas.load_exported("head_pose.onnx")
        >>> model.predict("photo.jpg")
        {'yaw': -12.5, 'pitch': 3.1, 'roll': 0.4}
    """

    _network: ExportedNetwork

    @property
    def path(self) -> Path:
        """The file."""
        return self._network.path

    @property
    def card(self) -> dict[str, Any]:
        """What the file says about itself: input, output, crop, errors, costs."""
        return dict(self._network.card)

    @property
    def answer(self) -> Answer:
        """What the output is: kind, names of its columns, unit."""
        return self._network.answer

    def predict(
        self, photo: str | Path, box: Sequence[float] | None = None, *, top: int = 3
    ) -> dict[str, Any]:
        """Return the answer for a photo.

        Args:
            photo: image file; it is turned upright and cropped as in training.
            box: left, top, right and bottom of what counts, in pixels of the stored photo;
                None: all of it.
            top: classes to name, the likeliest first; other answers are always complete.

        Returns:
            Name -> number for angles (degrees) and quantities; ``{label: name, "scores":
            {name: share}}`` for classes; ``{"points": [{"name", "x", "y", "confidence"}]}``,
            in pixels of the upright photo, for points. Of several tasks: name -> answer of each.

        Raises:
            InputError: the photo cannot be read, the box is outside, or the file of the network
                is damaged.

        Examples:
            >>> model.predict("photo.jpg", box=(120, 80, 300, 260))["yaw"]
            -12.5
        """
        place = None if box is None else _box(box)
        (found,) = self.predict_batch([(Path(photo), place)], top=top)
        if found.error:
            raise InputError(found.error)
        return found.answer

    def predict_batch(
        self, photos: Sequence[tuple[Path, Box | None]], *, top: int = 3
    ) -> list[Prediction]:
        """Return the answers for photos, computed together, in their order.

        Args:
            photos: (n,) files, each with a box or None.
            top: classes to name.

        Raises:
            InputError: the file of the network does not do what it says. A photo that cannot be
                read raises nothing: its prediction has an ``error``.
        """
        found: dict[int, Prediction] = {}
        cropped: list[tuple[int, NDArray[np.uint8], Any, Box]] = []
        for number, (photo, box) in enumerate(photos):
            try:
                crop, whole, inner = self._network.crop(photo, box)
            except UnreadableImage as error:
                found[number] = Prediction(photo, box, {}, one_line(error).partition(": ")[2])
            else:
                cropped.append((number, crop, whole, inner))
        values = self.run([crop for _, crop, _, _ in cropped]) if cropped else ()
        for (number, _, whole, inner), own in zip(cropped, values, strict=True):
            answer = answered.row(self.answer, own, top, inner)
            found[number] = Prediction(*photos[number], answer, "", own, whole, inner)
        return [found[number] for number in range(len(photos))]

    def crop(
        self, picture: Image.Image, box: Box | None, name: object
    ) -> tuple[NDArray[np.uint8], Box]:
        """Return the input of the network for a picture; see ``ExportedNetwork.crop_picture``."""
        return self._network.crop_picture(picture, box, name)

    def run(self, crops: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the numbers behind the answers for a batch of crops, (n, k) or (n, k, 3).

        Args:
            crops: (side, side, 3) RGB each; see ``crop``.

        Raises:
            InputError: the file of the network does not do what it says.
        """
        try:
            found = self._network.answers(crops)
        except Exception as error:  # a file that was changed fails anywhere in its runtime
            raise InputError(
                f"{self.path}: cannot be run ({one_line(error)}): export again"
            ) from error
        ends = (3,) if self.answer.kind == "points" else ()
        expected = (len(crops), len(self.answer.columns), *ends)
        if np.shape(found) != expected:
            raise InputError(
                f"{self.path}: expected answers of shape {expected}, got {np.shape(found)}: export "
                "again"
            )
        return found


def load_exported(path: str | Path, *, threads: int | None = None) -> ExportedModel:
    """Open a network that was exported to a file.

    Args:
        path: .onnx, .pt2, .xml (OpenVINO) or .tflite (LiteRT); or a folder with
            one, itself or in ``export`` below.
        threads: of the runtime; None: all cores.

    Raises:
        InputError: there is no such file, it is damaged, could run code, or was not exported by
            evonas; or a library is missing.

    Examples:
        >>> evonas.load_exported("head_pose.onnx").predict("photo.jpg")["yaw"]
        -12.5
    """
    count = len(os.sched_getaffinity(0)) if threads is None else threads
    return ExportedModel(ExportedNetwork.load(Path(path), count))


def _box(given: Sequence[float]) -> Box:
    """Return a box of numbers.

    Raises:
        InputError: it is none, or has no area.
    """
    try:
        left, top, right, bottom = map(float, given)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"box: expected left, top, right and bottom in pixels, got {given!r}"
        ) from error
    if not (right > left and bottom > top):
        raise InputError(
            f"box: expected left < right and top < bottom in pixels, got {list(given)}"
        )
    return left, top, right, bottom

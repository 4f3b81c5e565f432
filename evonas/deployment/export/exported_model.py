"""Load and run exported networks, with their model cards; .onnx files need no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.data.images.cropping import Framing
from evonas.data.images.image_io import Box
from evonas.deployment.export.formats import FORMATS, SUFFIXES, FileFormat, name_of
from evonas.errors import InputError
from evonas.estimation.features.views import View
from evonas.models.files.onnx_session import Run
from evonas.tasks.common.prediction_format import Answer

FORMAT = 1


@dataclass(frozen=True)
class ExportedNetwork:
    """A network from a file that ``evonas export`` wrote.

    Attributes:
        path: the file.
        card: model card.
        side: side of the input, in pixels.
        answer: description of the output.
        framing: how photos are cropped.
        run: (n, 3, side, side) float32 RGB in 0..255 -> predictions for n images.
    """

    path: Path
    card: Mapping[str, Any]
    side: int
    answer: Answer
    framing: Framing
    run: Run

    @classmethod
    def load(cls, path: Path, threads: int = 1) -> ExportedNetwork:
        """Load an exported network.

        Args:
            path: .onnx, .pt2, .xml or .tflite file, or a folder that contains one,
                directly or in ``export``.
            threads: number of threads of the runtime; torch's is set with
                ``torch.set_num_threads``.

        Raises:
            InputError: there is no such file, it is damaged, could run code, or was not
                written by ``evonas export``; or a library is missing.
        """
        file = find_file(path)
        card = _card(file)
        try:
            side = int(card["input"]["size"])
            answer = Answer.from_dict(card["answer"])
            framing = Framing.from_dict(card["crop"])
            if card["format"] != FORMAT or not 1 <= side <= 4096:
                raise ValueError
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise InputError(
                f"{file}: expected a model card of format {FORMAT}, got other data: "
                "export again with this version of evonas"
            ) from error
        run = _format(file).run(file, tuple(answer.parts), threads)
        return cls(file, card, side, answer, framing, run)

    def crop(self, photo: Path, box: Box | None) -> tuple[NDArray[np.uint8], Any, Box]:
        """Crop a photo as in training.

        Returns:
            (side, side, 3) RGB input of the network; the photo; the standard crop in pixels of
            the photo (see ``Framing.image``).

        Raises:
            UnreadableImage: the photo is damaged, or the box lies outside it.
        """
        image, picture, inner = self.framing.image(photo, box)
        return View().apply(image, 0, self.side, self.framing.margin), picture, inner

    def crop_picture(
        self, picture: Image.Image, box: Box | None, name: object
    ) -> tuple[NDArray[np.uint8], Box]:
        """Crop an upright RGB picture as ``crop`` does a photo.

        Args:
            picture: the picture.
            box: box in it, pixels; None: all of it.
            name: of the picture, for messages.

        Returns:
            (side, side, 3) RGB input of the network; the standard crop in pixels.

        Raises:
            UnreadableImage: the box lies outside the picture.
        """
        image, inner = self.framing.crop(picture, box, name)
        return View().apply(image, 0, self.side, self.framing.margin), inner

    def answers(self, crops: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the predictions for crops, (n, k) or (n, k, 3); see ``Answer``."""
        return self.run(np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32))


def find_file(path: Path) -> Path:
    """Return the exported file at a path: the path itself, or the first file in a folder.

    Raises:
        InputError: there is no exported file.
    """
    if path.is_file() and path.suffix in SUFFIXES:
        return path
    if path.is_dir():
        for folder in (path, path / "export", path / "retrained" / "export"):
            files = [file for end in SUFFIXES for file in sorted(folder.glob(f"[!.]*{end}"))]
            files = [file for file in files if _format(file).card(file)]
            if files:
                return files[0]
        raise InputError(
            f"{path}: expected a folder with an exported network, there is none: export a network "
            f"with `evonas export {path}`"
        )
    what = f"got {path.suffix or 'no suffix'!r}" if path.is_file() else "there is no such file"
    raise InputError(f"{path}: expected an exported network, {', '.join(SUFFIXES)}, {what}")


def _format(file: Path) -> FileFormat:
    return FORMATS[name_of(file.suffix)]


def _card(file: Path) -> dict[str, Any]:
    try:
        card = json.loads(_format(file).card(file) or "null")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: its model card is no JSON: export it again") from error
    if not isinstance(card, dict):
        raise InputError(
            f"{file}: expected a network that `evonas export` wrote, got a file without a model "
            "card: export the network with evonas"
        )
    return card

"""Load and run exported networks, with their model cards; .onnx files need no torch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evonas.core.optional_imports import library
from evonas.data.images.cropping import Framing
from evonas.data.images.image_io import Box
from evonas.errors import InputError
from evonas.estimation.features.views import View
from evonas.models.files import litert_session, openvino_session
from evonas.models.files.onnx_session import Run, session, unsealed
from evonas.tasks.common.prediction_format import Answer

#: Place of the model card: key of the metadata of an .onnx or .xml file, name of a file in a .pt2
#: or .tflite.
CARD, CARD_FILE = "evonas", "evonas.json"
SUFFIXES = (".onnx", ".pt2", ".xml", ".tflite")
FORMAT = 1
_LARGEST_CARD = 10_000_000  # bytes; larger cards are refused


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
        return cls(file, card, side, answer, framing, load_runner(file, answer, threads))

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


def load_runner(file: Path, answer: Answer, threads: int = 1) -> Run:
    """Return the network of an exported file as a function on numpy images.

    Args:
        file: one of ``SUFFIXES``.
        answer: description of its predictions; those of several tasks, which are one output each
            of an .onnx or .xml file, are returned side by side.
        threads: number of threads of the runtime.

    Raises:
        InputError: the file is damaged, or could run code; or a library is missing.
    """
    if file.suffix == ".onnx":
        return session(file, threads, tuple(answer.parts))
    if file.suffix == ".xml":
        return openvino_session.session(file, threads, tuple(answer.parts))
    if file.suffix == ".tflite":
        return litert_session.session(file, threads)
    # Imports torch, which .onnx files do not need.
    from evonas.models.files.quantized_network import load_quantized

    return load_quantized(file).outputs


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
            files = [file for file in files if _text(file)]
            if files:
                return files[0]
        raise InputError(
            f"{path}: expected a folder with an exported network, there is none: export a network "
            f"with `evonas export {path}`"
        )
    what = f"got {path.suffix or 'no suffix'!r}" if path.is_file() else "there is no such file"
    raise InputError(f"{path}: expected an exported network, {', '.join(SUFFIXES)}, {what}")


def _card(file: Path) -> dict[str, Any]:
    try:
        card = json.loads(_text(file) or "null")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: its model card is no JSON: export it again") from error
    if not isinstance(card, dict):
        raise InputError(
            f"{file}: expected a network that `evonas export` wrote, got a file without a model "
            "card: export the network with evonas"
        )
    return card


def _text(file: Path) -> str:
    """Return the text of a file's model card, or an empty string if it has none."""
    if file.suffix == ".onnx":
        onnx = library("onnx", "running an .onnx file")
        try:
            properties = onnx.load_model_from_string(unsealed(file.read_bytes())).metadata_props
        except Exception as error:  # damaged files raise many kinds of errors
            raise InputError(f"{file}: cannot be read as ONNX: export again") from error
        return next((entry.value for entry in properties if entry.key == CARD), "")
    if file.suffix == ".xml":
        try:
            return openvino_session.note(file, CARD)
        except (OSError, ElementTree.ParseError) as error:
            raise InputError(f"{file}: cannot be read as XML: export again") from error
    place = CARD_FILE if file.suffix == ".tflite" else f"/extra/{CARD_FILE}"
    try:
        with zipfile.ZipFile(file) as archive:
            names = [n for n in archive.namelist() if n.endswith(place)]
            if not names or archive.getinfo(names[0]).file_size > _LARGEST_CARD:
                return ""
            return archive.read(names[0]).decode("utf-8")
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError) as error:
        raise InputError(
            f"{file}: cannot be read as a {file.suffix} archive: export again"
        ) from error

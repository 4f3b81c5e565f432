"""An exported network at work: opened, told about by itself, and run; an .onnx without torch."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.core.optional_imports import library
from evonas.data.images.cropping import Framing
from evonas.data.images.image_io import Box
from evonas.errors import InputError
from evonas.estimation.features.views import View
from evonas.models.files.onnx_session import Run, session, unsealed
from evonas.tasks.common.prediction_format import Answer

#: Where the card lies: a key of an .onnx, a file in a .pt2.
CARD, CARD_FILE = "evonas", "evonas.json"
SUFFIXES = (".onnx", ".pt2")
FORMAT = 1
_LARGEST_CARD = 10_000_000  # bytes; beyond it, it is none that evonas wrote


@dataclass(frozen=True)
class ExportedNetwork:
    """A network that ``evonas export`` wrote.

    Attributes:
        path: of the file.
        card: what it says about itself.
        side: of its input, pixels.
        answer: what its output is.
        framing: how photos are cropped for it.
        run: (n, 3, side, side) float32 RGB in 0..255 -> the answers of n images.
    """

    path: Path
    card: Mapping[str, Any]
    side: int
    answer: Answer
    framing: Framing
    run: Run

    @classmethod
    def load(cls, path: Path, threads: int = 1) -> ExportedNetwork:
        """Open a file.

        Args:
            path: .onnx or .pt2; or a folder with one, itself or in ``export`` below.
            threads: of ONNX Runtime; torch has its own setting.

        Raises:
            InputError: there is no such file, it is damaged, could run code, or was not
                written by ``evonas export``; or a library is missing.
        """
        file = found(path)
        card = _card(file)
        try:
            side = int(card["input"]["size"])
            answer = Answer.from_dict(card["answer"])
            framing = Framing.from_dict(card["crop"])
            if card["format"] != FORMAT or not 1 <= side <= 4096:
                raise ValueError
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise InputError(
                f"{file}: expected what evonas writes about a network in format {FORMAT}, got "
                f"other data: export again with this version"
            ) from error
        return cls(file, card, side, answer, framing, running(file, threads))

    def crop(self, photo: Path, box: Box | None) -> tuple[NDArray[np.uint8], Any, Box]:
        """Return what the network sees of a photo, (side, side, 3), as training cropped it.

        The photo itself and the standard crop in its pixels follow; see ``Framing.image``.

        Raises:
            UnreadableImage: the photo is damaged, or the box lies outside it.
        """
        image, whole, inner = self.framing.image(photo, box)
        return View().apply(image, 0, self.side, self.framing.margin), whole, inner

    def answers(self, crops: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Return the answers for crops, (n, k) or (n, k, 3); see ``Answer``."""
        return self.run(np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32))


def running(file: Path, threads: int = 1) -> Run:
    """Return what runs an exported file.

    Raises:
        InputError: the file is damaged, or could run code; or a library is missing.
    """
    if file.suffix == ".onnx":
        return session(file, threads, "export")
    from evonas.models.files.quantized_network import (
        load_quantized,  # torch, which an .onnx does without
    )

    return load_quantized(file).outputs


def found(path: Path) -> Path:
    """Return the exported file that is meant: the path itself, or the one in a folder.

    Raises:
        InputError: there is none.
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
            f"{path}: expected a folder with an exported network, there is none: export one with "
            f"`evonas export {path}`"
        )
    what = f"got {path.suffix or 'no suffix'!r}" if path.is_file() else "there is no such file"
    raise InputError(f"{path}: expected an exported network, .onnx or .pt2, {what}")


def _card(file: Path) -> dict[str, Any]:
    try:
        card = json.loads(_text(file) or "null")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: what it says about itself is no JSON: export again") from error
    if not isinstance(card, dict):
        raise InputError(
            f"{file}: expected a network that `evonas export` wrote, got one that says nothing "
            "about itself: export it with evonas"
        )
    return card


def _text(file: Path) -> str:
    """Return the card as it lies in a file; empty where there is none."""
    if file.suffix == ".onnx":
        onnx = library("onnx", "running an .onnx file", "export")
        try:
            properties = onnx.load_model_from_string(unsealed(file.read_bytes())).metadata_props
        except Exception as error:  # damaged bytes end in errors of any kind
            raise InputError(f"{file}: cannot be read as ONNX: export again") from error
        return next((one.value for one in properties if one.key == CARD), "")
    try:
        with zipfile.ZipFile(file) as archive:
            names = [n for n in archive.namelist() if n.endswith(f"/extra/{CARD_FILE}")]
            if not names or archive.getinfo(names[0]).file_size > _LARGEST_CARD:
                return ""
            return archive.read(names[0]).decode("utf-8")
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError) as error:
        raise InputError(f"{file}: cannot be read as a .pt2 archive: export again") from error

"""Write a torch module as a LiteRT (TensorFlow Lite) file with litert-torch."""

from __future__ import annotations

import contextlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from evonas.core.optional_imports import library, quiet
from evonas.errors import InputError, one_line


def save(module: nn.Module, image: torch.Tensor, path: Path, files: Mapping[str, str]) -> None:
    """Write a module as a .tflite file, which takes one image at a time.

    Further files are a zip archive behind the network, as in the metadata of TensorFlow Lite.

    Args:
        module: images -> one output.
        image: (1, 3, side, side) example.
        path: .tflite file.
        files: name -> text of the files to attach.

    Raises:
        InputError: litert-torch is missing, or lacks an operator.
    """
    converter = library("litert_torch", "exporting to LiteRT", "litert")
    try:
        # It reports its progress on the standard output.
        with quiet(), contextlib.redirect_stdout(io.StringIO()):
            converter.convert(module.eval(), (image,)).export(str(path))
    except Exception as error:  # the converter raises many kinds of errors
        raise InputError(
            f"LiteRT cannot take the network ({one_line(error)}): use --format onnx"
        ) from error
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)

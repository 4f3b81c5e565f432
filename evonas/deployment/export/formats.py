"""Formats of exported files: how each is written, run, and read for its model card.

A format is one entry of ``FORMATS``. This file imports torch where it writes, and to run a .pt2.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from evonas.core.optional_imports import library
from evonas.errors import InputError
from evonas.models.files import litert_session, openvino_session
from evonas.models.files.onnx_session import Run, session, unsealed

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.export import ExportedProgram

#: Place of the model card: key of the metadata of an .onnx or .xml file, name of a file in a .pt2
#: or .tflite.
CARD, CARD_FILE = "evonas", "evonas.json"
_LARGEST_CARD = 10_000_000  # bytes; larger cards are refused


@dataclass(frozen=True)
class TorchSource:
    """What formats of torch are written from.

    Attributes:
        module: images -> predictions.
        image: (1, 3, side, side) example.
        trace: returns a module as a program.
    """

    module: nn.Module
    image: Tensor
    trace: Callable[[nn.Module], ExportedProgram]


@dataclass(frozen=True)
class FileFormat:
    """A format of exported files.

    Its functions raise ``InputError``: a library is missing, the format lacks an operator, or the
    file is damaged or could run code.

    Attributes:
        file: name of the file in the folder ``export``; its suffix is that of all such files.
        runtime: name of what runs the file, for tables.
        write: writes a file from a ``TorchSource`` if ``of_torch``, otherwise from an ONNX model.
            The path, the text of the model card, and key -> text for programs that read no card
            follow.
        run: returns the network of a file as a function on numpy images. The names of the outputs
            to return side by side, none for the only one, and the number of threads of the
            runtime follow; torch's is set with ``torch.set_num_threads``.
        card: returns the text of a file's model card, or an empty string if it has none.
        packages: those whose versions are reported, beside torch.
        of_torch: whether ``write`` takes a torch module.
        backend: of ``evonas quantize``, whose files have this format; empty: none has.
        single: why its files take one image at a time; empty: they take any number.
        alternative: the format to try where this one gives other predictions.
        weights: suffix of the file of weights beside each file; empty: there is none.
    """

    file: str
    runtime: str
    write: Callable[[Any, Path, str, Mapping[str, str]], None]
    run: Callable[[Path, tuple[str, ...], int], Run]
    card: Callable[[Path], str]
    packages: tuple[str, ...] = ()
    of_torch: bool = False
    backend: str = ""
    single: str = ""
    alternative: str = "onnx"
    weights: str = ""

    @property
    def suffix(self) -> str:
        """Suffix of the files."""
        return Path(self.file).suffix

    def others(self, file: Path) -> list[Path]:
        """Return the further files that belong to a file and exist."""
        weights = file.with_suffix(self.weights)
        return [weights] if self.weights and weights.exists() else []


def _write_onnx(model: Any, path: Path, card: str, facts: Mapping[str, str]) -> None:
    from evonas.deployment import onnx_file

    onnx_file.save(model, path, {CARD: card, **facts})


def _write_program(source: TorchSource, path: Path, card: str, _: Mapping[str, str]) -> None:
    from evonas.deployment.onnx_file import module_of
    from evonas.deployment.quantization import pt2e
    from evonas.models.files.exported_programs import unlifted

    program = source.trace(source.module)
    for node in program.graph.nodes:
        space = getattr(node.target, "namespace", "aten")
        # load_program would refuse any other.
        if node.op == "call_function" and space not in ("aten", "quantized_decomposed"):
            raise InputError(
                f"a .pt2 file can contain only torch's own operators, but module "
                f"{module_of(node)!r} of the network calls {node.target}: replace it there"
            )
    # The second trace removes the weights that the network does not use.
    pt2e.save(source.trace(unlifted(program)), path, {CARD_FILE: card})


def _write_openvino(model: Any, path: Path, card: str, facts: Mapping[str, str]) -> None:
    from evonas.deployment import onnx_file

    openvino_session.save(onnx_file.content(model, facts), path, {CARD: card})


def _write_litert(source: TorchSource, path: Path, card: str, _: Mapping[str, str]) -> None:
    from evonas.deployment.export import litert_file

    litert_file.save(source.module, source.image, path, {CARD_FILE: card})


def _run_program(file: Path, outputs: tuple[str, ...], threads: int) -> Run:
    from evonas.models.files.quantized_network import load_quantized

    return load_quantized(file).outputs


def _onnx_card(file: Path) -> str:
    onnx = library("onnx", "running an .onnx file")
    try:
        properties = onnx.load_model_from_string(unsealed(file.read_bytes())).metadata_props
    except Exception as error:  # damaged files raise many kinds of errors
        raise InputError(f"{file}: cannot be read as ONNX: export again") from error
    return next((entry.value for entry in properties if entry.key == CARD), "")


def _openvino_card(file: Path) -> str:
    try:
        return openvino_session.note(file, CARD)
    except (OSError, ElementTree.ParseError) as error:
        raise InputError(f"{file}: cannot be read as XML: export again") from error


def _archived_card(file: Path, place: str = CARD_FILE) -> str:
    """Return the text of the file in a zip archive whose name ends with ``place``; or nothing."""
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


#: Name -> format, in the order in which a folder is searched for one.
FORMATS: Mapping[str, FileFormat] = {
    "onnx": FileFormat(
        *("network.onnx", "ONNX Runtime", _write_onnx),
        run=lambda file, outputs, threads: session(file, threads, outputs),
        card=_onnx_card,
        packages=("onnx", "onnxruntime"),
        backend="onnx",
        alternative="torch_export",
    ),
    "torch_export": FileFormat(
        *("program.pt2", "torch.export", _write_program, _run_program),
        card=lambda file: _archived_card(file, f"/extra/{CARD_FILE}"),
        of_torch=True,
        backend="pt2e",
    ),
    "openvino": FileFormat(
        *("openvino.xml", "OpenVINO", _write_openvino),
        run=lambda file, outputs, threads: openvino_session.session(file, threads, outputs),
        card=_openvino_card,
        packages=("onnx", "openvino"),
        weights=".bin",
    ),
    "litert": FileFormat(
        *("litert.tflite", "LiteRT", _write_litert),
        run=lambda file, outputs, threads: litert_session.session(file, threads),
        card=_archived_card,
        packages=("litert-torch", "ai-edge-litert"),
        of_torch=True,
        single="as LiteRT fixes its input's shape",
    ),
}
SUFFIXES = tuple(form.suffix for form in FORMATS.values())


def name_of(suffix: str) -> str:
    """Return the name of the format of a suffix; empty: there is none."""
    return next((name for name, form in FORMATS.items() if form.suffix == suffix), "")

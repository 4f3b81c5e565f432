"""Export: a retrained network as one file that takes images and gives answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evonas.api.network_folders import located
from evonas.core.files import read_json
from evonas.core.overrides import Word
from evonas.deployment.export.examples import check_language, write_example
from evonas.deployment.export.exporter import Export
from evonas.deployment.export.formats import FORMATS, name_of
from evonas.deployment.export.tables import tables
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.errors import InputError, nearest
from evonas.report.tables import Table
from evonas.runs.callbacks import Callback, CallbackList
from evonas.runs.file_schemas import write_json
from evonas.workflows.evaluation import Retrained


def export(
    retrained: Retrained,
    kind: str | None,
    network: str,
    repeat: int,
    out: Path | None,
    callback: Callback,
    keep_embedding: bool = False,
) -> Path:
    """Export a network and return the file; beside it lies a ``.json`` of what it is and takes.

    Args:
        retrained: what a retraining, fine-tuning, pruning or quantising left.
        kind: of the file; see ``FORMATS``; None: as the ending of ``out`` says, else onnx.
        network: name of the network; see ``Retrained.contender``.
        repeat: number of its training.
        out: the file; by default in ``export`` in the folder of the network; a .json of the
            same stem lies beside it.
        callback: receives progress.
        keep_embedding: whether the file gives the embedding of its backbone, an .onnx file, too.

    Raises:
        InputError: there is no such network or format, a library is missing, an operator has
            no form in the file, or it cannot be written.
        RunError: the file answers otherwise than PyTorch.
    """
    kind = kind or (name_of(out.suffix) if out else "") or "onnx"
    check_format(kind)
    folder, form = retrained.folder, FORMATS[kind]
    file = out or folder / "export" / form.file
    if file.suffix != form.suffix:
        raise InputError(f"--out {file}: expected a file with the ending {form.suffix}")
    if file.resolve().parent == folder.resolve():
        raise InputError(f"--out {file}: lies among the networks themselves: choose another folder")
    deployed = RetrainedNetwork(retrained, network, repeat, callback.on_progress)
    content = Export(deployed, kind, keep_embedding).run(file)
    write_json(file.with_suffix(".json"), content)
    return file


@dataclass(frozen=True)
class ExportedFile:
    """A network that was exported.

    Attributes:
        file: the exported file.
        example: a program that runs it; None where none was asked for.
    """

    file: Path
    example: Path | None = None

    @property
    def card(self) -> Path:
        """JSON file beside the exported one: input, output, costs, difference from PyTorch."""
        return self.file.with_suffix(".json")

    @property
    def tables(self) -> list[Table]:
        """What goes in and out, and latency and size."""
        return tables(read_json(self.card))


def export_folder(
    model: Path,
    out: Path | None,
    *,
    format: str,
    network: str,
    repeat: int | None,
    callbacks: Iterable[Callback],
    overrides: Sequence[Word],
    keep_embedding: bool = False,
    example: str = "",
) -> ExportedFile:
    """Export a network of a folder, as ``RetrainedModel.export`` does.

    Args:
        model: folder that a retraining, pruning or quantisation wrote; a run directory with
            ``retrained`` in it; or a file of weights of such a folder.
        out: the file; see ``export``.
        format: of the file; see ``FORMATS``.
        network: name of the network; empty: see ``Retrained.contender``.
        repeat: which training of it, from 0; None: the first.
        callbacks: receive progress.
        overrides: changes to the experiment as ``key=value`` words.
        keep_embedding: see ``export``.
        example: language of a program that runs the file and is written beside it; see
            ``examples.LANGUAGES``; empty: none is.

    Raises:
        InputError, RunError: as ``export``; or there is no program in this language.
    """
    check_format(format)
    if example:
        check_language(example, format)
    folder, network, repeat = located(model, network, repeat)
    retrained = Retrained(folder, tuple(overrides))
    callback = CallbackList(callbacks)
    file = export(retrained, format, network, repeat or 0, out, callback, keep_embedding)
    made = ExportedFile(file)
    if not example:
        return made
    return replace(made, example=write_example(file, read_json(made.card), example))


def check_format(kind: str) -> None:
    """Refuse a format that no file has.

    Raises:
        InputError: it is none of ``FORMATS``.
    """
    if kind not in FORMATS:
        raise InputError(f"--format {kind!r}: no such format: {nearest(kind, FORMATS)}")

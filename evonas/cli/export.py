"""``evonas export``: a retrained network as one file that takes images and gives answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from evonas.api.exporting import check_format, located
from evonas.api.live_view import LiveView
from evonas.api.retrained_model import RetrainedModel
from evonas.core.files import read_json
from evonas.core.overrides import Word
from evonas.deployment.export.tables import tables
from evonas.report.tables import show


def run(
    model: Path,
    overrides: Sequence[Word],
    kind: str,
    network: str,
    repeat: int | None,
    out: Path | None,
    as_json: bool,
    console: Console,
) -> Path:
    """Export a network, print what it is and takes, and return the file.

    Args:
        model: folder that ``evonas retrain``, ``prune`` or ``quantize`` wrote, or a run's
            folder with ``retrained`` in it, or a file of weights of such a folder.
        overrides: ``key=value`` changes to the experiment.
        kind: of the file: ``onnx`` or ``torch_export``.
        network: name of the network; see ``Retrained.contender``.
        repeat: number of its training; by default 0.
        out: the file; by default ``export/network.onnx`` or ``export/program.pt2`` in the
            folder of the network.
        as_json: print JSON alone.
        console: where to print.

    Raises:
        InputError: there is no such network or format, a library is missing, an operator has
            no form in the file, or it cannot be written.
        RunError: the file answers otherwise than PyTorch.
    """
    check_format(kind)
    folder, network, repeat = located(model, network, repeat)
    with LiveView(console) as view:
        file = RetrainedModel(folder).export(
            out,
            format=kind,
            network=network,
            repeat=repeat or 0,
            callbacks=[view],
            overrides=overrides,
        )
    beside = file.with_suffix(".json")
    if as_json:
        print(beside.read_text(encoding="utf-8").rstrip("\n"))
        return file
    for table in tables(read_json(beside)):
        show(table, console)
    console.print(f"written: {file}, {beside}", soft_wrap=True)
    return file

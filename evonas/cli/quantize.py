"""``evonas quantize``: a retrained network as 8-bit integers, with its error before and after."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from evonas.api.live_view import LiveView
from evonas.api.retrained_model import RetrainedModel
from evonas.core.overrides import Word
from evonas.report.tables import show


def run(
    folder: Path,
    overrides: Sequence[Word],
    network: str,
    repeat: int,
    out: Path | None,
    compiling: bool,
    as_json: bool,
    console: Console,
) -> Path:
    """Quantise a network of a retraining, print what it costs, and return the folder.

    Args:
        folder: that ``evonas retrain`` wrote.
        overrides: ``key=value`` changes to the experiment, ``quantize.images=512`` among them.
        network: name of the network; see ``Retrained.contender``.
        repeat: number of its training.
        out: folder for the results; by default ``int8`` in the other one.
        compiling: measure torch.compile as well.
        as_json: print JSON alone.
        console: where to print.

    Raises:
        InputError: the folder, a name or an option is wrong, a library is missing, or the
            network cannot be quantised.
    """
    with LiveView(console) as view:
        small = RetrainedModel(folder).quantize(
            network=network,
            repeat=repeat,
            out=out,
            compiling=compiling,
            callbacks=[view],
            overrides=overrides,
        )
    if as_json:
        print((small.folder / "quantize.json").read_text(encoding="utf-8").rstrip("\n"))
        return small.folder
    for table in small.tables:
        show(table, console)
    console.print(f"written: {small.folder}", soft_wrap=True)
    return small.folder

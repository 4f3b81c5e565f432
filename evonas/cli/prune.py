"""``evonas prune``: a retrained network without the filters that its task does not need."""

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
    changes: Sequence[Word],
    network: str,
    repeat: int,
    out: Path | None,
    console: Console,
) -> Path:
    """Prune the backbone below a retrained head, train both on, and print what came of it.

    Args:
        folder: of the retraining.
        changes: ``key=value`` of the experiment, ``prune.threshold=0.1`` among them.
        network: name of a contender; empty: the winner, or else the first.
        repeat: number of its training.
        out: folder for the results; by default ``pruned-THRESHOLD`` in ``folder``.
        console: where to print.

    Returns:
        The folder with the results, which ``evonas test`` and ``evonas quantize`` take.

    Raises:
        InputError: the folder, the network or a change is wrong, or the backbone cannot be
            traced.
        EvonasError: what is left does not compute what it should.
    """
    with LiveView(console) as view:
        pruned = RetrainedModel(folder).prune(
            network=network, repeat=repeat, out=out, callbacks=[view], overrides=changes
        )
    for table in pruned.tables:
        show(table, console)
    for line in (*pruned.notes, f"written: {pruned.folder}"):
        console.print(line, soft_wrap=True)
    return pruned.folder

"""``evonas quantize``: a retrained network as 8-bit integers, with its error before and after."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from evonas.deployed import PIXELS, Deployed
from evonas.errors import InputError
from evonas.evaluation import Retrained
from evonas.files import keep
from evonas.overrides import Word
from evonas.progress_bars import progress_bars
from evonas.quantization import Quantization
from evonas.report.quantized import tables
from evonas.report.tables import markdown, show
from evonas.store import FORMAT
from evonas.transfer.quantize import FILES
from evonas.version import __version__

_FREE = {"macs": 0, "params": 0, "megabytes": 0.0, "not_counted": []}


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
    """Quantise a network of a retraining and return the folder with the results.

    The folder holds the network, ``quantize.json``, ``quantize.md``, and a ``comparison.json``
    of the form that ``evonas test`` reads.

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
    retrained = Retrained(folder, tuple(overrides))
    target = out or folder / "int8"
    if target.resolve() == folder.resolve():
        raise InputError(f"--out {target}: holds the network itself: choose another folder")
    with progress_bars(console) as progress:
        work = Quantization(Deployed(retrained, network, repeat, progress), compiling)
        try:
            target.mkdir(parents=True, exist_ok=True)
            found = work.run(target / FILES[work.settings.road])
        except OSError as error:
            raise InputError(
                f"{target}: cannot be written ({error.strerror}): choose another folder with --out"
            ) from error
    again = _content(retrained, work, found)
    made = tables(found, retrained.metrics, retrained.task.unit)
    found = {"format": FORMAT, "evonas": __version__, **found}
    text = json.dumps(found, indent=2)
    keep(target / "quantize.md", "\n".join(map(markdown, made)))
    if work.network.record:
        work.network.record.save(target)
    keep(target / "comparison.json", json.dumps(again, indent=2) + "\n")
    keep(target / "quantize.json", text + "\n")  # last: it says that all is there
    if as_json:
        print(text)
        return target
    for table in made:
        show(table, console)
    console.print(f"written: {target}", soft_wrap=True)
    return target


def _content(retrained: Retrained, work: Quantization, found: dict[str, Any]) -> dict[str, Any]:
    """Return what ``evonas test`` reads: a network on the image, of no backbone."""
    one, metrics = work.network.contender, retrained.metrics
    experiment = retrained.assembly.experiment.model_dump(mode="json")
    side = retrained.assembly.backbone.input_size
    experiment |= {"tap": "image", "backbone": {"name": "none", "input_size": side, **PIXELS}}
    parts = (one["head"], one["backbone_up_to_tap"])
    cost = {
        "macs": sum(part["macs"] for part in parts),
        "params": sum(part["params"] for part in parts),
        "megabytes": round(found["bytes"]["after"] / 1e6, 4),
        "not_counted": sorted({name for part in parts for name in part["not_counted"]}),
    }
    judged = "test_" if found["judged_on"]["split"] == "test split" else ""
    contender = {
        **one,
        "name": f"{one['name']}, int8",
        "tap": "image",
        "head": cost,
        "backbone_up_to_tap": _FREE,
        "results": [{f"{judged}{name}": found["after"][name] for name in metrics}],
        "weights": [found["file"]],
        "failures": [],
    }
    changed = {"experiment": experiment, "contenders": [contender], "quantized": True}
    return {**retrained.content, **changed, "folds": 0, "repeats": 1, "rank_correlation": None}

"""Quantisation: a retrained network as 8-bit integers, with its error before and after."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from evonas.api.network_folders import refuse_own_folder
from evonas.api.resuming import resumable_trainings
from evonas.api.retrained_model import RetrainedModel
from evonas.core.files import keep, writing
from evonas.core.version import __version__
from evonas.deployment.quantization.backends import FILES
from evonas.deployment.quantization.run_quantization import Quantization
from evonas.deployment.quantization.tables import tables
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.models.backbones.none import PIXELS
from evonas.report.tables import markdown
from evonas.runs.callbacks import Callback
from evonas.runs.comparison_schemas import Comparison, ContenderEntry
from evonas.runs.compression_schemas import QuantizeResult
from evonas.runs.file_schemas import FORMAT, Cost, write_json
from evonas.workflows.evaluation import Retrained

_FREE: Cost = {"macs": 0, "params": 0, "megabytes": 0.0, "not_counted": []}


def quantize(
    retrained: Retrained,
    network: str,
    repeat: int,
    out: Path | None,
    compiling: bool,
    callback: Callback,
) -> RetrainedModel:
    """Quantise a network of a retraining and return it.

    The folder holds the network, ``quantize.json``, ``quantize.md``, and a ``comparison.json``
    of the form that ``evonas evaluate`` reads.

    Args:
        retrained: what a retraining or a pruning left, with changes to ``quantize``.
        network: name of the network; see ``Retrained.contender``.
        repeat: number of its training.
        out: folder for the results; by default ``int8`` in the other one.
        compiling: measure torch.compile as well.
        callback: receives progress.

    Raises:
        InputError: the folder, a name or an option is wrong, a library is missing, or the
            network cannot be quantised.
    """
    folder = retrained.folder
    target = out or folder / "int8"
    refuse_own_folder(target, folder)
    work = Quantization(
        RetrainedNetwork(retrained, network, repeat, callback.on_progress), compiling
    )
    with resumable_trainings(target, callback) as unfinished:
        with writing(target, "choose another folder with --out"):
            target.mkdir(parents=True, exist_ok=True)
            path = target / FILES[work.settings.road]
            found = work.run(path, unfinished / "training.safetensors")
        again = _content(retrained, work, found)
        made = tuple(tables(found, retrained.metrics, retrained.task.unit))
        found = {**found, "format": FORMAT, "evonas": __version__}
        keep(target / "quantize.md", "\n".join(map(markdown, made)))
        if work.network.record:
            work.network.record.save(target)
        write_json(target / "comparison.json", again)
        # last: it says that all is there
        write_json(target / "quantize.json", found)
    return RetrainedModel(target, tables=made)


def _content(retrained: Retrained, work: Quantization, found: QuantizeResult) -> Comparison:
    """Return what ``evonas evaluate`` reads: a network on the image, of no backbone."""
    one, metrics = dict(work.network.contender), retrained.metrics
    one.pop("fine_tuned", None)  # nor is it on a tap of the backbone
    experiment = retrained.components.experiment.model_dump(mode="json")
    side = retrained.components.backbone.input_size
    experiment |= {"tap": "image", "backbone": {"name": "none", "input_size": side, **PIXELS}}
    parts = (one["head"], one["backbone_up_to_tap"])
    cost: Cost = {
        "macs": sum(part["macs"] for part in parts),
        "params": sum(part["params"] for part in parts),
        "megabytes": round(found["bytes"]["after"] / 1e6, 4),
        "not_counted": sorted({name for part in parts for name in part["not_counted"]}),
    }
    judged = "test_" if found["judged_on"]["split"] == "test split" else ""
    contender: ContenderEntry = {
        **cast(ContenderEntry, one),
        "name": f"{one['name']}, int8",
        "tap": "image",
        "head": cost,
        "backbone_up_to_tap": _FREE,
        "results": [{f"{judged}{name}": found["after"][name] for name in metrics}],
        "weights": [found["file"]],
        "failures": [],
    }
    return {
        **retrained.content,
        "experiment": experiment,
        "contenders": [contender],
        "quantized": True,
        "folds": 0,
        "repeats": 1,
        "rank_correlation": None,
    }

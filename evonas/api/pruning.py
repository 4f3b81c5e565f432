"""Pruning: a retrained network without the filters that its task does not need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from evonas.api.network_folders import refuse_own_folder
from evonas.api.resuming import resumable_trainings
from evonas.api.retrained_model import RetrainedModel
from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.files import keep, make_folder
from evonas.deployment.pruning import tables as report
from evonas.deployment.pruning.reduction import Reduction
from evonas.deployment.pruning.task_pruning import MapChoice, Pruning, costs
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.errors import EvonasError
from evonas.estimation.cost.complexity import Complexity
from evonas.estimation.training.training import kept
from evonas.models.backbones.base import Backbone
from evonas.models.files.safetensors_files import packed
from evonas.models.tracing import save
from evonas.report.tables import Table, markdown
from evonas.runs.callbacks import Callback
from evonas.runs.comparison_schemas import Comparison, ContenderEntry
from evonas.runs.compression_schemas import Costs, Errors, PruneResult
from evonas.runs.file_schemas import FORMAT, Cost, write_json
from evonas.workflows.base_components import surroundings
from evonas.workflows.evaluation import Retrained

_EXACT = 1e-4  # of the largest value: what single precision leaves of equal sums in another order


@dataclass(frozen=True)
class _Found:
    """The result of a pruning.

    Attributes:
        choices: one a map.
        rows: name -> reduction, for the table of costs.
        metrics: stage (``whole``, ``cut``, ``pruned``) -> metric -> value.
        difference: of the pruned backbone from the whole one with zeros, relative.
        missed: weights of the head that start afresh.
    """

    choices: list[MapChoice]
    rows: dict[str, Reduction]
    metrics: dict[str, dict[str, float]]
    difference: float
    missed: tuple[str, ...]


def prune(
    retrained: Retrained, network: str, repeat: int, out: Path | None, callback: Callback
) -> RetrainedModel:
    """Prune the backbone below a retrained head, train both on, and write them.

    A call that was stopped goes on from its last finished epoch when it is repeated.

    Args:
        retrained: what a retraining left, with changes to ``prune`` of its experiment.
        network: name of a contender; empty: the refitted winner, or else the first.
        repeat: number of its training.
        out: folder for the results; by default ``pruned-THRESHOLD`` in that of the retraining.
        callback: receives progress and messages.

    Returns:
        The pruned network.

    Raises:
        InputError: the folder, the network or a change is wrong, or the backbone cannot be
            traced.
        EvonasError: what is left does not compute what it should.
    """
    progress = callback.on_progress
    settings = retrained.components.experiment.prune
    target = out or retrained.folder / f"pruned-{settings.threshold:g}"
    refuse_own_folder(target, retrained.folder)
    whole = RetrainedNetwork(retrained, network, repeat, progress)
    with resumable_trainings(target, callback) as unfinished:
        work = Pruning(whole, settings)
        plan, choices = work.plan()
        graph, head, missed = work.pruned(plan)
        difference = work.difference(plan, graph)
        if not difference <= _EXACT:
            raise EvonasError(
                f"the pruned backbone differs from the whole one with zeros by {difference:.1e} of "
                f"the largest value, expected at most {_EXACT:g}: a step of it is not followed "
                f"rightly, please report the backbone"
            )
        metrics = {"whole": whole.judge(whole.full_network)}
        pruned = nn.Sequential(graph, head)
        metrics["cut"] = whole.judge(pruned)
        make_folder(target)
        for note in whole.ineffective(settings.training, "prune.training"):
            callback.on_message(f"note: {note}")
        whole.train(
            pruned,
            settings.training,
            lambda done, total: progress("epochs", done, total),
            checkpoint=unfinished / "training.safetensors",
        )
        metrics["pruned"] = whole.judge(pruned)
        backbone = _written(graph, head, target, whole)
        cost = costs(backbone, whole.tap, head)
        own = work.reduction(*cost)
        rows = {
            "up to the last tap": own.unpruned,
            "up to the tap, with head": work.reduction(
                *costs(whole.components.backbone, whole.tap, whole.head)
            ),
            "pruned, with head": own,
        }
        found = _Found(choices, rows, metrics, difference, missed)
        tables, exact = _write_tables(target, work, found)
        if whole.record:
            whole.record.save(target)
        # last: it says that all is there
        _write_comparison(target, whole, cost, metrics["pruned"])
    return RetrainedModel(target, tables=tables, notes=(exact,))


def _written(graph: nn.Module, head: nn.Module, folder: Path, whole: RetrainedNetwork) -> Backbone:
    """Write backbone and head; return the backbone as it is read again."""
    path, tap = folder / "pruned.pt2", whole.tap
    save(graph, whole.example, path)
    keep(folder / "head.safetensors", packed(kept(head)))
    made: Backbone = registry.create("backbone", "pruned", {"path": str(path), "tap": tap})
    images = whole.images(whole.judges[:2])
    with torch.inference_mode():
        if not torch.allclose(made(images, [tap])[tap], graph(images), rtol=1e-4, atol=1e-5):
            raise EvonasError(f"{path}: does not compute what was written into it")
    return made


def _write_comparison(
    folder: Path,
    whole: RetrainedNetwork,
    cost: tuple[Complexity, Complexity],
    metrics: dict[str, float],
) -> None:
    """Write what ``evonas evaluate`` and ``evonas quantize`` read, as a retraining does."""
    data: dict[str, Any] = whole.components.experiment.model_dump(mode="json")
    if any(gene.name == "tap" for gene in whole.components.space.genes):
        data["space"] |= {"tap": [whole.tap]}
    data["backbone"] = {
        "name": "pruned",
        "path": str(folder / "pruned.pt2"),
        "tap": whole.tap,
    }
    data |= {"tap": whole.tap, "baselines": []}
    prefix = "test_" if whole.side == "test" else ""
    head, upto = cost
    entry: ContenderEntry = {
        **cast(ContenderEntry, whole.contender),
        "searched": None,
        "head": cast(Cost, head.to_dict()),
        "backbone_up_to_tap": cast(Cost, upto.to_dict()),
        "results": [{prefix + name: metrics[name] for name in whole.retrained.metrics}],
        "weights": ["head.safetensors"],
        "failures": [],
    }
    content: Comparison = {
        **whole.retrained.content,
        "experiment": config.check(data, str(folder)).model_dump(mode="json"),
        "folds": 0,
        "repeats": 1,
        "rank_correlation": None,
        "contenders": [entry],
    }
    write_json(folder / "comparison.json", content)


def _write_tables(folder: Path, work: Pruning, found: _Found) -> tuple[tuple[Table, ...], str]:
    """Write tables, the picture and all numbers; return the tables, and a line on exactness."""
    settings, whole = work.settings, work.network
    side = (whole.side, len(whole.judges))
    afresh = [f"weights of the head that started afresh: {', '.join(found.missed)}"]
    tables = (
        report.maps(found.choices, settings.threshold, settings.shared, work.prunable.fixed),
        report.costs(found.rows, afresh if found.missed else []),
        report.errors(
            found.metrics,
            whole.retrained.metrics,
            whole.task.unit,
            side,
            [*whole.cautions(), *whole.components.warnings()],
        ),
    )
    exact = f"pruned equals whole with zeros within {found.difference:.1e} of the largest value"
    text = "\n".join([*map(markdown, tables), exact])
    keep(folder / "prune.md", text + "\n")
    report.draw(found.choices, settings.threshold, folder / "prune.png")
    numbers: PruneResult = {
        "format": FORMAT,
        "from": str(whole.retrained.folder),
        "network": whole.contender["name"],
        "repeat": whole.repeat,
        "tap": whole.tap,
        "settings": settings.model_dump(mode="json"),
        "maps": [
            {
                "name": one.map,
                "filters": len(one.kept),
                "asked": {k: mask.nonzero()[0].tolist() for k, mask in one.asked.items()},
                "kept": one.kept.nonzero()[0].tolist(),
                "notes": one.notes,
            }
            for one in found.choices
        ],
        "fixed": work.prunable.fixed,
        "cost": cast(Costs, {name: one.to_dict() for name, one in found.rows.items()}),
        "judged": {"side": side[0], "images": side[1]},
        "metrics": cast(Errors, found.metrics),
        "difference": found.difference,
        "environment": surroundings(),
        "origin": whole.components.fingerprints(),
    }
    write_json(folder / "prune.json", numbers)
    return tables, exact

"""``evonas.finetune``: a retrained head and the backbone's layers below it, trained further."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from evonas.api.network_folders import network_folder, refuse_own_folder
from evonas.api.resuming import resumable_trainings
from evonas.api.retrained_model import RetrainedModel
from evonas.core import experiment as config
from evonas.core.files import keep, make_folder
from evonas.core.overrides import Word, given
from evonas.deployment.finetuning import tables
from evonas.deployment.finetuning.fine_tuning import FineTuned, FineTuning
from evonas.errors import InputError
from evonas.models.files.safetensors_files import packed
from evonas.report.price import percent, price_of_copy
from evonas.report.tables import markdown
from evonas.report.verdict import fine_tuning_verdict
from evonas.runs.callbacks import Callback, CallbackList
from evonas.runs.comparison_schemas import (
    Comparison,
    ContenderEntry,
    FineTunePrice,
    FineTuneResult,
    TrainedLayers,
)
from evonas.runs.file_schemas import FORMAT, Cost, write_json
from evonas.runs.training_curves import training_losses
from evonas.workflows.base_components import surroundings
from evonas.workflows.evaluation import Retrained


def finetune(
    model: RetrainedModel | str | Path,
    *,
    frozen_up_to: str | None = None,
    rate_decay: float | None = None,
    epochs: int | None = None,
    learning_rate: float | None = None,
    network: str = "",
    seeds: int | None = None,
    out: str | Path | None = None,
    callbacks: Iterable[Callback] = (),
    overrides: Iterable[Word] = (),
    **changes: Any,
) -> RetrainedModel:
    """Train a retrained head further, together with the layers of the backbone below it.

    The backbone stays frozen up to a tap, whose cached maps the trained layers read. They are a
    second copy of the backbone's layers, so a team that also runs the frozen network pays for
    them; the notes of the result say how much. Where the backbone runs for this task alone
    (``objective.counts=total``), they cost nothing more. A refitted network is trained on the
    images of the training and the validation split, as before. A call that was stopped goes on from
    its last finished epoch when it is repeated.

    Args:
        model: retrained networks, or their folder.
        frozen_up_to: tap after which layers are trained; ``image``: all layers are, on images;
            None: as the experiment says, by default the tap right below that of the head.
        rate_decay: factor of the learning rate for each interval between taps, from the head
            downwards, above 0 and at most 1; None: as the experiment says.
        epochs: passes over the training split; None: as the experiment says.
        learning_rate: of the head; None: as the experiment says.
        network: name in the table; empty: the refitted winner, or else the first.
        seeds: number of trainings; they start from the trainings of the head in turn. None: one
            for each of those.
        out: folder; by default ``finetuned-TAP`` in that of the network.
        callbacks: receive messages and progress.
        overrides: changes to the experiment as ``key=value`` words.
        changes: changes to the experiment, as ``Experiment.load`` takes them.

    Returns:
        The fine-tuned networks, whose weights include the trained layers.

    Raises:
        InputError: the network, the tap or a change is wrong, or the backbone cannot be cut.
        RunError: a training diverged, or the disk is full.

    Examples:
        >>> tuned = evonas.finetune("runs/quickstart/retrained", frozen_up_to="block2")
        >>> tuned.verdict, tuned.notes[0]
    """
    words = [
        *overrides,
        *given({} if frozen_up_to is None else {"finetune.frozen_up_to": frozen_up_to}),
        *given({} if rate_decay is None else {"finetune.rate_decay": rate_decay}),
        *given({} if epochs is None else {"finetune.training.epochs": epochs}),
        *given({} if learning_rate is None else {"finetune.training.learning_rate": learning_rate}),
        *given(changes),
    ]
    if seeds is not None and seeds < 1:
        raise InputError(f"--seeds {seeds}: expected at least 1 training")
    folder = model.folder if isinstance(model, RetrainedModel) else network_folder(Path(model))
    callback = CallbackList(callbacks)
    work = FineTuning(Retrained(folder, tuple(words)), network, callback.on_progress)
    target = Path(out) if out is not None else folder / f"finetuned-{work.frozen_up_to}"
    refuse_own_folder(target, folder)
    return _Run(work, target, callback).train(seeds)


class _Run:
    """One fine-tuning into a folder; the constructor checks that the backbone can be cut.

    Args:
        work: what is trained.
        target: folder for the results.
        callback: receives messages and progress.

    Raises:
        InputError: the tap is wrong, or the folder cannot be made.
        EvonasError: the cut backbone computes something else than the whole one.
    """

    def __init__(self, work: FineTuning, target: Path, callback: Callback) -> None:
        self._work, self._target, self._callback = work, target, callback
        self._layers: TrainedLayers = {
            "frozen_up_to": work.frozen_up_to,
            "tap": work.source.tap,
        }
        self._difference = work.difference()
        make_folder(target)

    def train(self, seeds: int | None) -> RetrainedModel:
        """Train, and write weights and tables; see ``finetune``."""
        work = self._work
        count = seeds or len(work.source.contender["weights"])
        notes = work.doubts()
        if work.layers.reads != work.frozen_up_to:
            notes.append(
                f"layers after {work.frozen_up_to} read other maps as well, so they are trained on "
                "images, with the layers before it frozen"
            )
        notes += work.source.ineffective(work.settings.training, "finetune.training")
        for note in notes:
            self._callback.on_message(f"note: {note}")
        with resumable_trainings(self._target, self._callback) as unfinished:
            return self._written(
                [work.run(n, count, unfinished / f"{n}.safetensors") for n in range(count)]
            )

    def _written(self, found: Sequence[FineTuned]) -> RetrainedModel:
        """Write weights, tables and all figures."""
        work, target = self._work, self._target
        source, retrained = work.source, work.retrained
        names = [
            "fine-tuned" + (f"-{number}" if number else "") + ".safetensors"
            for number in range(len(found))
        ]
        for name, one in zip(names, found, strict=True):
            keep(target / name, packed(one.state))
        before, after = ([getattr(one, side) for one in found] for side in ("before", "after"))
        metric, unit = source.task.metric, source.task.unit
        verdict = fine_tuning_verdict(
            [one[metric] for one in before], [one[metric] for one in after], unit, work.doubts()
        )
        price = self._price()
        warnings = [*source.cautions(), *retrained.components.warnings()]
        stages = {
            "on the frozen backbone": before,
            f"fine-tuned, frozen up to {work.frozen_up_to}": after,
        }
        parts = {"head": work.head, "second copy of layers": work.copy, "both": work.added}
        judged = (source.side, len(source.judges))
        shown = (
            tables.errors(stages, retrained.metrics, unit, judged, warnings),
            tables.costs(parts),
        )
        text = "\n".join(map(markdown, shown))
        keep(target / "finetune.md", f"{text}\n{price['sentence']}\n\n{verdict}\n")
        result: FineTuneResult = {
            "format": FORMAT,
            "network": str(source.contender["name"]),
            "fine_tuned": self._layers,
            "reads": work.layers.reads,
            "settings": {
                **work.settings.model_dump(mode="json"),
                "training": source.effective(work.settings.training).model_dump(mode="json"),
            },
            "repeats": [one.repeat for one in found],
            "before": [dict(one) for one in before],
            "after": [dict(one) for one in after],
            "judged": {"side": judged[0], "images": judged[1]},
            "verdict": verdict,
            "price": price,
            "difference": self._difference,
            "notes": warnings,
            "environment": surroundings(),
            "origin": retrained.components.fingerprints(),
        }
        write_json(target / "finetune.json", result)
        if source.record:
            source.record.save(target)
        # last: it says that all is there
        write_json(target / "comparison.json", self._comparison(found, names, verdict))
        return RetrainedModel(target, tables=shown, notes=(price["sentence"],))

    def _price(self) -> FineTunePrice:
        work = self._work
        head, added = work.head, work.added
        backbone = work.retrained.components.backbone_cost(work.source.architecture)
        return {
            "second_copy": cast(Cost, work.copy.to_dict()),
            "head": cast(Cost, head.to_dict()),
            "operations_percent": {
                "before": percent(head.macs, backbone),
                "after": percent(added.macs, backbone),
            },
            "megabytes": {"before": head.megabytes, "after": added.megabytes},
            "sentence": price_of_copy(
                (head.macs, head.params),
                (added.macs, added.params),
                work.frozen_up_to,
                backbone,
                work.retrained.components.experiment.objective.counts,
            ),
        }

    def _comparison(self, found: Sequence[FineTuned], names: list[str], verdict: str) -> Comparison:
        """Return what ``evonas evaluate`` and ``evonas export`` read, as a retraining does."""
        work, source = self._work, self._work.source
        metrics, metric = work.retrained.metrics, source.task.metric
        data: dict[str, Any] = work.retrained.components.experiment.model_dump(mode="json")
        data["finetune"]["frozen_up_to"] = work.frozen_up_to
        prefix = "test_" if source.side == "test" else ""
        entry: ContenderEntry = {
            **cast(ContenderEntry, source.contender),
            "name": f"{source.contender['name']}, fine-tuned",
            "searched": None,
            "tap": work.layers.reads,
            "fine_tuned": self._layers,
            "head": cast(Cost, work.added.to_dict()),
            "backbone_up_to_tap": cast(Cost, work.frozen.to_dict()),
            "results": [{prefix + name: one.after[name] for name in metrics} for one in found],
            "weights": names,
            "curves": [[round(row[metric], 6) for row in one.history] for one in found],
            "losses": [training_losses(one.history) for one in found],
            "failures": [],
        }
        return {
            **work.retrained.content,
            "experiment": config.check(data, str(self._target)).model_dump(mode="json"),
            "folds": 0,
            "repeats": len(found),
            "rank_correlation": None,
            "verdict": verdict,
            "contenders": [entry],
        }

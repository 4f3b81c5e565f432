"""``evonas.pipeline``: probe, search, retrain, prune, quantise and evaluate in a row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evonas.api.evaluation import Evaluation
from evonas.api.probing import ProbeResult, probe
from evonas.api.retrained_model import RetrainedModel
from evonas.api.retraining import retrain
from evonas.api.search_result import SearchResult
from evonas.api.steps import DONE, Step, claim, held_out, searched, take
from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.experiment import Experiment
from evonas.core.files import keep
from evonas.core.overrides import Word, saying
from evonas.errors import InputError
from evonas.report.tables import Table, in_unit, markdown
from evonas.runs.callbacks import Callback, CallbackList
from evonas.runs.compression_schemas import PruneResult, QuantizeResult
from evonas.runs.file_schemas import read
from evonas.workflows.evaluation import Retrained

#: What a step of a pipeline returns.
StepResult = ProbeResult | SearchResult | RetrainedModel | Evaluation


@dataclass(frozen=True)
class PipelineResult:
    """What a pipeline left.

    Attributes:
        folder: with a folder for each step, and pipeline.md.
        table: cost, size and errors after the search, after pruning and in 8 bits.
    """

    folder: Path
    table: Table = field(repr=False)

    @property
    def model(self) -> RetrainedModel:
        """The quantised network."""
        return RetrainedModel(self.folder / "int8")


def pipeline(
    experiment: Experiment | str | Path,
    *,
    run_dir: str | Path | None = None,
    callbacks: Iterable[Callback] = (),
    on_step: Callable[[int, int, str], None] | None = None,
    on_result: Callable[[StepResult], None] | None = None,
    overrides: Iterable[Word] = (),
) -> PipelineResult:
    """Probe, search, retrain, prune, quantise and evaluate; steps that are done are not repeated.

    The search runs on the taps that the probe recommends. What was stopped goes on with the same
    call: the search from its journal, everything else from the step that was interrupted.

    Args:
        experiment: with sections ``probe``, ``prune`` and ``quantize``; a name or a file is
            loaded.
        run_dir: folder of all results; by default ``runs/NAME``.
        callbacks: receive messages, progress and the events of the search.
        on_step: called before a step with its number, from 1, the number of steps and its name.
        on_result: called with the result of each step.
        overrides: changes to the experiment as ``key=value`` words.

    Raises:
        InputError: a step cannot be done, the taps are given, or the folder holds the results of
            another experiment.

    Examples:
        >>> evonas.pipeline("quickstart", run_dir="runs/small").model.export("head.onnx")
    """
    experiment = _loaded(experiment, list(overrides))
    folder = Path(run_dir) if run_dir is not None else Path("runs") / experiment.name
    claim(experiment, folder)
    callback = CallbackList(callbacks)
    steps = _steps(experiment, folder, callback)
    take(steps, callback, on_step, on_result)
    small = Retrained(folder / "pruned")
    table = stages(
        read(folder / "pruned" / "prune.json", PruneResult, "what `evonas prune` writes"),
        read(folder / "int8" / "quantize.json", QuantizeResult, "what `evonas quantize` writes"),
        small.metrics,
        small.task.unit,
    )
    keep(folder / "pipeline.md", markdown(table))
    return PipelineResult(folder, table)


def _loaded(experiment: Experiment | str | Path, words: Sequence[Word]) -> Experiment:
    """Return the experiment with changes.

    Raises:
        InputError: it is wrong, is on a table, its backbone cannot be pruned, or the changes say
            its taps.
    """
    if said := saying(words, "space.tap", config.SHORT):
        raise InputError(
            f"{said}: evonas pipeline searches on the taps that its probe recommends, so this has "
            "no effect: leave it out (probe.keep says how many), or take the steps one by one"
        )
    if not isinstance(experiment, Experiment):
        experiment = config.load(experiment, words)
    elif words:
        experiment = config.changed(experiment, words)
    if experiment.table:
        raise InputError("pipeline: a search in a table has no backbone to probe or prune")
    registry.load("backbone", experiment.backbone.name).require_torch("evonas pipeline")
    return experiment


def _steps(experiment: Experiment, folder: Path, callback: Callback) -> list[Step[StepResult]]:
    found, retrained, pruned = folder / "search", folder / "retrained", folder / "pruned"
    taps, small = folder / "probe" / "probe.json", folder / "int8"
    callbacks = [callback]

    def narrowed() -> SearchResult:
        return searched(config.changed(experiment, [f"space.tap=@{taps}"]), found, callback)

    return [
        Step("probe", taps, lambda: probe(experiment, out=taps.parent, callbacks=callbacks)),
        Step("search", found / DONE, narrowed),
        Step(
            "retrain",
            retrained / "comparison.json",
            lambda: retrain(found / "best.json", out=retrained, callbacks=callbacks),
        ),
        Step(
            "prune",
            pruned / "comparison.json",
            lambda: RetrainedModel(retrained).prune(out=pruned, callbacks=callbacks),
        ),
        Step(
            "quantise",
            small / "quantize.json",
            lambda: RetrainedModel(pruned).quantize(out=small, callbacks=callbacks),
        ),
        Step("evaluate", small / "test.json", lambda: held_out(experiment, small, callback)),
    ]


def stages(
    pruned: PruneResult, quantized: QuantizeResult, names: Sequence[str], unit: str
) -> Table:
    """Return cost and errors after the search, after pruning and in 8 bits.

    Args:
        pruned: the content of prune.json.
        quantized: the content of quantize.json.
        names: of the main metrics.
        unit: of the errors.
    """
    cost, errors = pruned["cost"], pruned["metrics"]
    before, after = cost["up to the tap, with head"], cost["pruned, with head"]
    rows = [
        _row("searched head on whole backbone", before, errors["whole"], names),
        _row("pruned and trained on", after, errors["pruned"], names),
        _row("in 8 bits", after, quantized["after"], names, quantized["bytes"]["after"]),
    ]
    judged = pruned["judged"]
    less = after["less_in_percent"]
    whole = less.get("macs_of_whole"), less.get("params_of_whole")
    notes = [f"head and backbone up to its tap, {pruned['tap']}"]
    if None not in whole:
        notes.append(
            f"against the whole backbone: {whole[0]:.1f} % fewer multiply-adds, {whole[1]:.1f} % "
            "fewer parameters"
        )
    title = (
        f"What is left: {in_unit('errors', unit)} on the {judged['side']} split "
        f"({judged['images']} images)"
    )
    heads = ["network", "M MACs", "M params", "MB", *names]
    return Table(title, heads, rows, notes, names=1).distinct()


def _row(
    name: str,
    cost: Mapping[str, Any],
    errors: Mapping[str, float | None],
    names: Sequence[str],
    size: int | None = None,
) -> list[str]:
    size = 4 * cost["params"] if size is None else size
    values = [errors.get(one) for one in names]
    figures = [f"{cost['macs'] / 1e6:.1f}", f"{cost['params'] / 1e6:.3f}", f"{size / 1e6:.2f}"]
    return [name, *figures, *("-" if one is None else f"{one:.2f}" for one in values)]

"""``evonas.evaluate``: retrained networks on named test sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from evonas.api.network_folders import network_folder
from evonas.api.retrained_model import RetrainedModel
from evonas.core import registry
from evonas.core.files import keep
from evonas.core.overrides import Word, as_data
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.estimation.cost.limits import limits_text
from evonas.report import evaluation_tables as tested
from evonas.report import published_results as literature
from evonas.report.tables import Table, legend, markdown
from evonas.runs.callbacks import Callback, CallbackList
from evonas.runs.comparison_schemas import Comparison, TestResult
from evonas.runs.file_schemas import write_json
from evonas.workflows.evaluation import Result, Retrained
from evonas.workflows.judging import Include

#: Name of a data set, or names with the options of each: a mapping, or pairs where a name
#: occurs twice.
Data = str | Mapping[str, Mapping[str, Any]] | Sequence[tuple[str, Mapping[str, Any]]]

_FLIP_NOTE = (
    "flip test: outputs averaged with those for the mirrored image; costs are of one pass, "
    "this takes two"
)

_QUANTISED_NOTE = "8-bit integers: MB are those of the file, not of 32-bit floats"


@dataclass(frozen=True)
class Evaluation:
    """Errors of retrained networks on test sets.

    Attributes:
        folder: of the networks; ``test.md`` and ``test.json`` lie there.
        results: of every network on every test set: errors of each training, costs, and which
            images were left out.
        metrics: names of the main errors.
        tables: what the command line prints.
    """

    folder: Path
    results: tuple[Result, ...]
    metrics: tuple[str, ...]
    tables: tuple[Table, ...] = field(compare=False, repr=False)

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each network and test set, as data.

        Keys: ``test_set``, ``images``, ``network``, ``tap``; ``errors`` and ``spread``, metric
        -> mean and sample standard deviation over the trainings, in the task's units; ``head``
        and ``backbone``, costs of a pass; ``warning``, why errors flatter, if they do.
        """
        return [
            {
                "test_set": one.test_set,
                "images": one.images,
                "network": one.network,
                "tap": one.tap,
                "errors": {name: one.mean(name) for name in self.metrics},
                "spread": {name: one.spread(name) for name in self.metrics},
                "head": dict(one.head),
                "backbone": dict(one.upto),
                "warning": one.warning,
            }
            for one in self.results
        ]


def evaluate(
    model: RetrainedModel | str | Path,
    data: Data,
    *,
    flip: bool = False,
    include: Include = "unused",
    published: bool = False,
    callbacks: Iterable[Callback] = (),
    overrides: Iterable[Word] = (),
    **options: Any,
) -> Evaluation:
    """Test retrained networks on images that neither training nor validation used.

    ``test.md`` and ``test.json`` are written beside the networks.

    Args:
        model: retrained, fine-tuned, pruned or quantised networks, or their folder, or the run
            directory above it.
        data: name of a data set; or several, name -> options.
        flip: average outputs with those for the mirrored images: twice the work. Every table
            says so.
        include: judge also images that validated (``validation``), or all (``trained``); the
            errors then flatter, and every table says so.
        published: add tables of published results, with their protocols.
        callbacks: receive progress.
        overrides: changes to the experiment as ``key=value`` words, such as where weights lie.
        options: of the data set, where ``data`` is one name, such as ``root="AFLW2000"``.

    Raises:
        InputError: the folder, a data set or an option is wrong, or no image is left to judge.

    Examples:
        >>> found = evonas.evaluate("runs/quickstart/retrained", "aflw2000", root="AFLW2000")
        >>> found.table[0]["errors"]["mae"]
        7.2
    """
    folder = model.folder if isinstance(model, RetrainedModel) else network_folder(Path(model))
    sets = _sets(data, options)
    retrained = Retrained(folder, tuple(overrides))
    callback, content = CallbackList(callbacks), retrained.content
    datasets: list[Dataset] = [
        registry.create("data", name, as_data(given)) for name, given in sets
    ]
    tables: list[Table] = []
    every: list[Result] = []
    plain: list[TestResult] = []
    for (name, _), dataset in zip(sets, datasets, strict=True):
        results = retrained.test(name, dataset, callback.on_progress, flip, include)
        notes = _notes(content, dataset, results[0]) + ([_FLIP_NOTE] if flip else [])
        limits = limits_text(content["experiment"].get("objective", {}))
        notes += legend(limits, [one.over_limit for one in results])
        tables += _tables(results, retrained.metrics, retrained.task.unit, notes)
        if published:
            train = content["experiment"]["data"]["name"]
            tables += _beside(name, train, results[0].images, flip)
        every += results
        for result in results:
            entry = {**asdict(result), "matrix": _plain(result), "protocol": _protocol(dataset)}
            plain.append(cast(TestResult, entry))
    keep(folder / "test.md", "\n".join(map(markdown, tables)))
    write_json(folder / "test.json", plain)
    return Evaluation(folder, tuple(every), tuple(retrained.metrics), tuple(tables))


def _sets(data: Data, options: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return names of data sets with the options of each.

    Raises:
        InputError: none is named, or options are given beside several.
    """
    if isinstance(data, str):
        return [(data, options)]
    if options:
        raise InputError(
            f"evaluate: expected the options of each data set beside its name, got "
            f"{next(iter(options))!r} for all of them"
        )
    sets = [*(data.items() if isinstance(data, Mapping) else data)]
    if not sets:
        known = ", ".join(registry.names("data"))
        raise InputError(f"no test set was named: expected some of {known}, with root=DIR")
    return sets


def _notes(content: Comparison, dataset: Dataset, result: Result) -> list[str]:
    train = content["protocol"] or content["experiment"]["data"]["name"]
    notes = [f"trained: {train}"]
    notes += [f"LEAKY split in training: {content['leaky']}"] if content["leaky"] else []
    notes += [_QUANTISED_NOTE] if content.get("quantized") else []
    notes += [f"tested: {_protocol(dataset)}"] if _protocol(dataset) else []
    if dataset.leaky and _judges_by_its_split(dataset):
        notes.append(f"LEAKY split in testing: {dataset.leaky}")
    notes += [result.left_out] if result.left_out else []
    notes += [f"LEAKY test, errors on it flatter: {result.warning}"] if result.warning else []
    return notes


def _judges_by_its_split(dataset: Dataset) -> bool:
    """Whether the test split judges; else all images do, however they are split."""
    return "test" in dataset.splits


def _protocol(dataset: Dataset) -> str:
    return dataset.protocol if _judges_by_its_split(dataset) else ""


def _tables(results: list[Result], metrics: list[str], unit: str, notes: list[str]) -> list[Table]:
    matrices = [tested.confusion(result) for result in results]
    others = [*tested.more(results, metrics), *(m for m in matrices if m is not None)]
    leaks = [note for note in notes if note.startswith("LEAKY")]
    end = tested.FLIPPED if results[0].flip else ""
    return [
        tested.main(results, metrics, unit, notes),
        *(replace(t, title=t.title + end, notes=[*t.notes, *leaks]) for t in others),
    ]


def _beside(name: str, train: str, images: int, flip: bool) -> list[Table]:
    rows = literature.rows(name)
    if not rows:
        return [Table(f"Published on {name}", ["method"], [], ["no published figures are known"])]
    *others, last = tested.published(rows, train, images, flip)
    return [*others, replace(last, notes=[*last.notes, *literature.unread(name)])]


def _plain(result: Result) -> dict[str, Any] | None:
    if result.matrix is None:
        return None
    return {"names": result.matrix.names, "counts": result.matrix.counts.tolist()}

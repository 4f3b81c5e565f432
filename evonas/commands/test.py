"""``evonas test``: retrained networks on named test sets."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from evonas import config, registry
from evonas.config import Experiment
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.evaluation import Result, Retrained
from evonas.files import keep
from evonas.judging import Include
from evonas.progress_bars import progress_bars
from evonas.report import published, tested
from evonas.report.tables import Table, markdown, show

_FLIP_NOTE = (
    "flip test: outputs averaged with those for the mirrored image; costs are of one pass, "
    "this takes two"
)

_QUANTISED_NOTE = "8-bit integers: MB are those of the file, not of 32-bit floats"


def run(
    folder: Path,
    words: list[str],
    beside: bool,
    as_json: bool,
    console: Console,
    flip: bool = False,
    include: Include = "unused",
) -> None:
    """Test what a retraining left and write ``test.md`` and ``test.json`` beside it.

    Args:
        folder: of the retraining.
        words: names of data sets, each followed by its ``key=value`` options; a key with
            a dot, such as ``backbone.weights=DIR``, changes the experiment.
        beside: print published results too.
        as_json: print JSON alone.
        console: where to print.
        flip: average outputs with those for the mirrored images; every table says so.
        include: which images that training or validation used judge all the same; every table
            says so.

    Raises:
        InputError: the folder, a data set or an option is wrong, or no image is left to judge.
    """
    sets, changes = _parsed(words)
    retrained = Retrained(folder, tuple(changes))
    content = retrained.content
    tables: list[Table] = []
    everything: list[dict[str, Any]] = []
    datasets: list[Dataset] = [
        registry.create("data", name, config.options(options)) for name, options in sets
    ]
    for (name, _), dataset in zip(sets, datasets, strict=True):
        with progress_bars(console) as progress:
            results = retrained.test(name, dataset, progress, flip, include)
        notes = _notes(content, dataset, results[0]) + ([_FLIP_NOTE] if flip else [])
        tables += _tables(results, retrained.metrics, retrained.task.unit, notes)
        if beside:
            train = content["experiment"]["data"]["name"]
            tables += _beside(name, train, results[0].images, flip)
        everything += [
            {**asdict(result), "matrix": _plain(result), "protocol": dataset.protocol}
            for result in results
        ]
    keep(folder / "test.md", "\n".join(map(markdown, tables)))
    text = json.dumps(everything, indent=2)
    keep(folder / "test.json", text + "\n")
    if as_json:
        print(text)
        return
    for table in tables:
        show(table, console)
    console.print(f"written: {folder / 'test.md'}, {folder / 'test.json'}", soft_wrap=True)


def _parsed(words: list[str]) -> tuple[list[tuple[str, list[str]]], list[str]]:
    sets: list[tuple[str, list[str]]] = []
    changes = []
    for word in words:
        key, equals, _ = word.partition("=")
        if not equals:
            sets.append((word, []))
        elif key.split(".")[0] in Experiment.model_fields and "." in key:
            changes.append(word)
        elif sets:
            sets[-1][1].append(word)
        else:
            raise InputError(f"{word!r}: expected the name of a test set first, such as aflw2000")
    if not sets:
        known = ", ".join(registry.names("data"))
        raise InputError(f"no test set was named: expected some of {known}, with root=DIR")
    return sets, changes


def _notes(content: dict[str, Any], dataset: Dataset, result: Result) -> list[str]:
    train = content["protocol"] or content["experiment"]["data"]["name"]
    notes = [f"trained: {train}"]
    notes += [f"LEAKY split in training: {content['leaky']}"] if content["leaky"] else []
    notes += [_QUANTISED_NOTE] if content.get("quantized") else []
    notes += [f"tested: {dataset.protocol}"] if dataset.protocol else []
    notes += [f"LEAKY split in testing: {dataset.leaky}"] if dataset.leaky else []
    notes += [result.left_out] if result.left_out else []
    notes += [f"LEAKY test, errors on it flatter: {result.warning}"] if result.warning else []
    return notes


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
    rows = published.rows(name)
    if not rows:
        return [Table(f"Published on {name}", ["method"], [], ["no published figures are known"])]
    *others, last = tested.published(rows, train, images, flip)
    return [*others, replace(last, notes=[*last.notes, *published.unread(name)])]


def _plain(result: Result) -> dict[str, Any] | None:
    if result.matrix is None:
        return None
    return {"names": result.matrix.names, "counts": result.matrix.counts.tolist()}

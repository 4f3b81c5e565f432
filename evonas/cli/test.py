"""``evonas test``: retrained networks on named test sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from evonas.api.evaluation import evaluate
from evonas.api.live_view import LiveView
from evonas.core import experiment as config
from evonas.core.experiment import Experiment
from evonas.errors import InputError
from evonas.report.tables import show
from evonas.workflows.judging import Include


def run(
    folder: Path,
    words: list[str],
    beside: bool,
    as_json: bool,
    console: Console,
    flip: bool = False,
    include: Include = "unused",
) -> None:
    """Test what a retraining left and print its errors.

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
    with LiveView(console) as view:
        found = evaluate(
            folder,
            sets,
            flip=flip,
            include=include,
            published=beside,
            callbacks=[view],
            overrides=changes,
        )
    file = folder / "test.json"
    if as_json:
        print(file.read_text(encoding="utf-8").rstrip("\n"))
        return
    for table in found.tables:
        show(table, console)
    console.print(f"written: {folder / 'test.md'}, {file}", soft_wrap=True)


def _parsed(words: list[str]) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """Return names of data sets with their options, and changes to the experiment.

    Raises:
        InputError: an option comes before the first name, or is no ``key=value``.
    """
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
    return [(name, config.options(options)) for name, options in sets], changes

"""``evonas data check``: read a data set from end to end and say what it holds."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.progress_bars import progress_bars
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.report.dataset_summary import Survey
from evonas.report.tables import show


def check(name: str, words: list[str], sheet: Path | None, as_json: bool, console: Console) -> None:
    """Print what a data set holds and draw a contact sheet.

    Args:
        name: of the reader.
        words: its options, ``key=value``.
        sheet: file of the contact sheet (PNG); by default ``NAME.png``.
        as_json: print JSON alone.
        console: where to print.

    Raises:
        InputError: the data set cannot be read, or images of it cannot be decoded.
    """
    with console.status(f"reading the labels of {name}"):
        dataset: Dataset = registry.create("data", name, config.options(words))
    with progress_bars(console) as progress:
        survey = Survey.of(dataset, progress)
    target = sheet or Path(f"{name}.png")
    if survey.sheet is not None:
        try:
            survey.sheet.save(target)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{target}: the contact sheet cannot be written ({error}): choose a PNG file "
                f"with --sheet"
            ) from error
    if as_json:
        print(json.dumps(survey.to_dict(), indent=2))
    else:
        for table in survey.tables():
            show(table, console)
        if survey.sheet is not None:
            console.print(f"contact sheet: {target}", soft_wrap=True)
    if survey.unreadable:
        raise InputError(
            f"data {name}: {len(survey.unreadable)} of {len(dataset)} images cannot be decoded, "
            f"named above: repair or remove them, or train with features.strict=false"
        )

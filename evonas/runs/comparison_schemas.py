"""Schemas of the files that a retraining and an evaluation leave; see ``file_schemas``.

==========================  ================================================================
``comparison.json``         ``Comparison``
``test.json``               a list of ``TestResult``
``finetune.json``           ``FineTuneResult``
==========================  ================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import Field, StrictBool, StrictStr
from typing_extensions import TypedDict  # pydantic does not take that of typing before 3.12

from evonas.core.files import read_json_list
from evonas.runs.file_schemas import Cost, Count, Metrics, Number, Plain, checked

#: Name of the winner that was trained on training and validation images; it has no validation
#: errors, and an empty curve for each training.
REFITTED = "winner, refitted"
#: Name of a file beside comparison.json, which must not name other files of the machine.
_FileName = Annotated[str, Field(pattern=r"^[^/\\\x00]+$", max_length=255)]
#: A value of each epoch of a training.
_Epochs = Annotated[list[Number], Field(max_length=1_000_000)]


class TrainedLayers(TypedDict):
    """Layers of the backbone that were trained with a head.

    ``frozen_up_to``: tap after which they begin, or ``image``; ``tap``: that of the head.
    """

    frozen_up_to: StrictStr
    tap: StrictStr


class ContenderEntry(TypedDict):
    """A network of a retraining; or a classical model, or the constant, in the file ``model``.

    ``task``: options of the task, where the recipe of the network has some. ``fine_tuned``: the
    head includes these layers; ``tap`` is then the one whose map they read, or ``image``.
    """

    name: StrictStr
    architecture: Plain | None
    source: NotRequired[Any]
    searched: NotRequired[Any]
    tap: StrictStr
    task: NotRequired[Plain]
    fine_tuned: NotRequired[TrainedLayers]
    head: Cost
    backbone_up_to_tap: Cost
    results: list[Metrics]
    weights: list[_FileName]
    curves: NotRequired[list[_Epochs]]
    losses: NotRequired[list[_Epochs]]
    failures: NotRequired[list[StrictStr]]
    over_limit: NotRequired[StrictBool]
    model: NotRequired[_FileName]


class Comparison(TypedDict, total=False):
    """Content of comparison.json: networks that were retrained, pruned or quantised."""

    format: Any
    winner: Any
    experiment: Plain
    task: tuple[StrictStr, Plain, Mapping[str, Sequence[StrictStr] | None]]
    data: StrictStr
    protocol: StrictStr
    leaky: StrictStr
    selection_bias: StrictStr
    folds: Count
    fold_by: Annotated[str, Field(pattern="^(group|image|each-group)$")]
    fold_warning: StrictStr
    repeats: Any
    rank_correlation: Any
    verdict: StrictStr
    contenders: list[ContenderEntry]
    quantized: StrictBool


class FineTunePrice(TypedDict):
    """What a team pays that runs the frozen network as well.

    ``second_copy``: cost of the trained layers; ``operations_percent`` and ``megabytes``: what
    head and second copy add to the network, ``before`` (the head alone) and ``after``.
    """

    second_copy: Cost
    head: Cost
    operations_percent: dict[StrictStr, Number]
    megabytes: dict[StrictStr, Number]
    sentence: StrictStr


class FineTuneResult(TypedDict):
    """Content of finetune.json.

    ``before``, ``after``: metrics of each training; ``difference``: of the cut backbone from the
    whole one, relative to the largest value.
    """

    format: Any
    network: StrictStr
    fine_tuned: TrainedLayers
    reads: StrictStr
    settings: Plain
    repeats: list[Count]
    before: list[Metrics]
    after: list[Metrics]
    judged: Plain
    verdict: StrictStr
    price: FineTunePrice
    difference: Number
    notes: list[StrictStr]
    environment: Plain
    origin: Plain


class TestResult(TypedDict, total=False):
    """A network on a test set, an entry of test.json."""

    network: StrictStr
    tap: StrictStr
    test_set: StrictStr
    images: Count
    repeats: list[Metrics]
    matrix: Plain | None
    head: Cost
    upto: Cost
    flip: StrictBool
    seen_images: Count
    seen_groups: Count
    left_out: StrictStr
    warning: StrictStr
    protocol: StrictStr
    over_limit: StrictBool


def read_tests(path: Path) -> list[TestResult]:
    """Return the content of test.json.

    Raises:
        InputError: the file is missing or damaged.
    """
    needs = ("network", "tap", "test_set", "images", "repeats", "head", "upto")
    return [
        checked(entry, TestResult, f"{path}: entry {number}", needs)
        for number, entry in enumerate(checked(read_json_list(path), list[dict[str, Any]], path))
    ]

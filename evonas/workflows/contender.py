"""Contender: a network of a retraining's comparison, with its costs and results."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from evonas.estimation.cost.complexity import Complexity
from evonas.runs.comparison_schemas import ContenderEntry
from evonas.runs.file_schemas import Cost
from evonas.space import Architecture
from evonas.workflows.classical_models import Method

_FREE = Complexity(0, 0, 0.0, ())


@dataclass
class Contender:
    """A network of the comparison, its costs and its results.

    Attributes:
        name: for the table.
        architecture: None for the constant prediction.
        source: feature source: ``backbone``, or ``control`` (random weights).
        start: file of weights to start from; empty for a fresh start.
        searched: its error in the search, of a short training; None if it had none.
        tap: that the network stands on; empty for the constant.
        task: options of the task, where the network's recipe has some; else None.
        head, upto: cost of the head network and of the backbone up to the tap.
        results: metrics of each repeat or fold.
        weights: file names of the trained weights, one a repeat that worked.
        curves: the error on the validation split after each epoch, one a result.
        losses: the mean loss on the training images of each epoch, one a result.
        failures: what went wrong, one line each.
        baseline: whether the winner is held against it.
        over_limit: its costs are beyond the limits of the candidates.
        method: of a classical model; None: a network, or the constant.
        teacher: the network trained on the labels alone, whose ensemble this one learns from
            besides; None: it learns from the labels.
        model: file name of the fitted classical model, or of the constant.
        note: what the fit left out to save time.
    """

    name: str
    architecture: Architecture | None
    source: str = "backbone"
    start: str = ""
    searched: float | None = None
    tap: str = ""
    task: dict[str, Any] | None = None
    head: Complexity = _FREE
    upto: Complexity = _FREE
    results: list[Mapping[str, float]] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    curves: list[list[float]] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    baseline: bool = False
    over_limit: bool = False
    method: Method | None = None
    teacher: Contender | None = None
    model: str = ""
    note: str = ""

    def mean(self, metric: str) -> float:
        """Return a metric's mean over the repeats or folds; nan if none worked."""
        values = [result[metric] for result in self.results if metric in result]
        return float(np.mean(values)) if values else float("nan")

    def spread(self, metric: str) -> float:
        """Return a metric's sample standard deviation; 0 for a single result."""
        values = [result[metric] for result in self.results if metric in result]
        return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0

    def to_dict(self) -> ContenderEntry:
        """Return the network's entry of comparison.json."""
        entry: ContenderEntry = {
            "name": self.name,
            "architecture": dict(self.architecture.to_dict()) if self.architecture else None,
            "source": self.source,
            "searched": self.searched,
            "tap": self.tap,
            "head": cast(Cost, self.head.to_dict()),
            "backbone_up_to_tap": cast(Cost, self.upto.to_dict()),
            "results": [{**result} for result in self.results],
            "weights": self.weights,
            "curves": self.curves,
            "losses": self.losses,
            "failures": self.failures,
            "over_limit": self.over_limit,
        }
        if self.model:
            entry["model"] = self.model
        if self.task is not None:
            entry["task"] = self.task
        return entry


def slug(contender: Contender, contenders: Sequence[Contender]) -> str:
    """Return a file name for a contender's weights, its own among all."""

    def plain(one: Contender) -> str:
        text = one.name if one.name == "winner" else f"{one.name}-{one.tap}"
        return re.sub("[^a-z0-9_.]+", "-", text.lower()).strip("-.")

    same = [one for one in contenders if plain(one) == plain(contender)]
    number = next(i for i, one in enumerate(same) if one is contender)
    return plain(contender) + (f"-no{number + 1}" if number else "")

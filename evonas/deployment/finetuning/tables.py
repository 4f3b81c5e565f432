"""Tables of a fine-tuning: errors before and after, and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from evonas.estimation.cost.complexity import Complexity
from evonas.report.tables import Table, in_unit, with_spread

Metrics = Mapping[str, float]


def errors(
    trainings: Mapping[str, Sequence[Metrics]],
    names: Sequence[str],
    unit: str,
    side: tuple[str, int],
    warnings: Sequence[str] = (),
) -> Table:
    """Return the table of errors before and after fine-tuning.

    Args:
        trainings: network -> metrics of each training.
        names: names of the metrics to show.
        unit: unit of the errors.
        side: (name of the split, number of images).
        warnings: notes of the table.
    """
    rows = [[name, *(_mean(metrics, one) for one in names)] for name, metrics in trainings.items()]
    count = max(map(len, trainings.values()))
    spread = f", mean ± sd of {count}" if count > 1 else ""
    where = f"{side[0]} split ({side[1]} images)"
    title = in_unit(f"Errors on the {where}", unit, ", ") + spread
    return Table(title, ["network", *names], rows, warnings, names=1).distinct()


def costs(parts: Mapping[str, Complexity]) -> Table:
    """Return the table of costs of each part."""
    rows = [
        [name, f"{one.macs / 1e6:,.2f}", f"{one.params / 1e3:,.1f}", f"{one.megabytes:.2f}"]
        for name, one in parts.items()
    ]
    notes = ["1 multiply-add = 2 FLOPs; MB are decimal, 32-bit floats"]
    columns = ["part", "M multiply-adds", "k parameters", "MB"]
    return Table("Cost beside the frozen network", columns, rows, notes, names=1)


def _mean(metrics: Sequence[Metrics], name: str) -> str:
    values = [one[name] for one in metrics]
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return with_spread(float(np.mean(values)), spread, ".2f")

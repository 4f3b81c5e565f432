"""Table of finished trainings for a tabular benchmark: a published one, or own past runs.

A row is an architecture, with columns for its genes, its error and its cost.
NAS-Bench-Macro (Su et al. 2021, arXiv 2103.11922) is such a table.
"""

from __future__ import annotations

import csv
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

from evonas.core.files import reading
from evonas.core.settings import TableSettings
from evonas.errors import InputError, nearest
from evonas.estimation.measurement import Measurement
from evonas.models.weight_count import WeightCount
from evonas.space import Architecture, SearchSpace

Value = int | float | str
_NAME = "table"


@dataclass(frozen=True)
class Row:
    """Results of an architecture in a table."""

    error: float
    macs: int
    params: int


class Table:
    """A CSV file as a search space with known results.

    A gene of numbers is ordinal, unless the settings call it unordered; any other is a choice. A
    table need not hold every combination of its genes: a missing one costs more than any limit, so
    that it takes no budget.

    Args:
        settings: the file and the meaning of its columns.

    Raises:
        InputError: the file or a column is missing, a cell is no number, or an
            architecture is there twice with other values.
    """

    def __init__(self, settings: TableSettings) -> None:
        path = Path(settings.file).expanduser()
        lines = _read(path)
        for column in _columns(settings):
            if column not in lines[0]:
                raise InputError(
                    f"{path}: the column {column!r} is missing: {nearest(column, lines[0])}"
                )
        genes = _genes(lines, settings)
        values = {name: _values(cells) for name, cells in genes.items()}
        named = () if isinstance(settings.unordered, bool) else settings.unordered
        for name in named:
            if name not in genes:
                raise InputError(f"table.unordered: no gene {name!r}: {nearest(name, genes)}")
        unordered = genes if settings.unordered is True else named
        self.space = SearchSpace.from_dict(
            {
                "name": path.stem,
                "network": _NAME,
                "genes": [
                    {
                        "name": name,
                        "kind": "choice" if text or name in unordered else "ordinal",
                        "choices": known,
                    }
                    for name, (known, text) in values.items()
                ],
            }
        )
        self._rows: dict[str, Row] = {}
        for number, line in enumerate(lines):
            place = f"{path}, line {number + 2}"
            chosen = {
                name: genes[name][number] if text else _number(genes[name][number])
                for name, (_, text) in values.items()
            }
            row = _row(line, settings, place)
            digest = Architecture(_NAME, chosen).digest
            if self._rows.setdefault(digest, row) != row:
                raise InputError(
                    f"{place}: this architecture stands above with other values: keep one row, "
                    f"such as the mean"
                )
        self.tells_params = bool(settings.params)
        self.tells_cost = bool(settings.cost)
        # 1 without costs, so that what is not there still has more
        self.costliest = max(1, *(row.macs for row in self._rows.values()))
        self.fingerprint = hashlib.blake2b(
            path.read_bytes() + settings.model_dump_json(exclude={"file"}).encode(), digest_size=16
        ).hexdigest()

    def __len__(self) -> int:
        return len(self._rows)

    def rows(self) -> list[Row]:
        """Return the results of all architectures, in the order of the file."""
        return list(self._rows.values())

    def cost(self, architecture: Architecture) -> int:
        """Return the multiply-adds of an architecture; more than any row has if it is missing."""
        row = self._rows.get(architecture.digest)
        return row.macs if row else 2 * self.costliest + 1

    def weights(self, architecture: Architecture) -> WeightCount:
        """Return the parameters of an architecture; 0 where the table does not say."""
        row = self._rows.get(architecture.digest)
        return WeightCount(row.params if row else 0)

    def measure(self, architecture: Architecture) -> Measurement:
        """Return the result of an architecture as a measurement; a failure if it is missing."""
        row = self._rows.get(architecture.digest)
        if row is None:
            return Measurement.failure("infeasible", "this architecture is not in the table")
        return Measurement("ok", {"error": row.error}, macs=row.macs, params=row.params)


def _read(path: Path) -> list[dict[str, str]]:
    remedy = "table.file must be a CSV file"
    with reading(path, remedy, csv.Error), path.open(newline="", encoding="utf-8-sig") as stream:
        lines = list(csv.DictReader(stream))
    if not lines:
        raise InputError(f"{path}: expected a header and rows, got none")
    for number, line in enumerate(lines, start=2):
        if None in line:
            raise InputError(
                f"{path}, line {number}: has more cells than the header: mend or remove the row"
            )
    return lines


def _columns(settings: TableSettings) -> list[str]:
    first = [settings.digits] if settings.digits else list(settings.genes)
    result = settings.error or settings.accuracy
    return [*first, result, *filter(None, (settings.cost, settings.params))]


def _genes(lines: list[dict[str, str]], settings: TableSettings) -> dict[str, list[str]]:
    """Return gene -> its cells, one a line."""
    if not settings.digits:
        return {name: [line[name] or "" for line in lines] for name in settings.genes}
    words = [line[settings.digits] or "" for line in lines]
    if len({len(word) for word in words}) != 1 or not words[0]:
        raise InputError(
            f"table.digits={settings.digits}: expected words of one length, such as 00120120, got "
            f"{', '.join(sorted(set(words), key=len)[:2])}"
        )
    return {f"gene{k}": [word[k] for word in words] for k in range(len(words[0]))}


def _values(cells: list[str]) -> tuple[list[Value], bool]:
    """Return the known values of a gene in order, and whether they are words."""
    known = sorted(set(cells))
    try:
        return sorted({_number(cell) for cell in known}), False
    except ValueError:
        return list(known), True


def _number(cell: str) -> int | float:
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return int(value) if value.is_integer() else value


def _row(line: dict[str, str], settings: TableSettings, place: str) -> Row:
    found = {}
    numbers = (settings.error, settings.accuracy, settings.cost, settings.params)
    for column in filter(None, numbers):
        try:
            found[column] = float(line[column])
            if not math.isfinite(found[column]):
                raise ValueError
        except (TypeError, ValueError) as wrong:
            raise InputError(
                f"{place}: {column} is {line[column]!r}, expected a number: mend or remove the row"
            ) from wrong
    error = found[settings.error] if settings.error else 100.0 - found[settings.accuracy]
    cost = found[settings.cost] if settings.cost else 0.0
    macs = round(cost / 2 if settings.cost_in == "flops" else cost)
    return Row(error, macs, round(found[settings.params]) if settings.params else 0)

"""Table of learning curves: trainings of all architectures of a small space, epoch by epoch.

A search is replayed on it by a ``Stopwatch``, which shows the error after as many epochs as are
asked for and counts the seconds that these epochs took. A training goes on where it was paused, as
in a real search, so that an epoch is paid once.
"""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError
from evonas.space import Architecture, SearchSpace

Array = NDArray[np.float64]

#: Columns that are no genes: the rest of the header before them are.
COLUMNS = ("seed", "macs", "params", "seconds")


class CurveTable:
    """Learning curves of all architectures of a space, from a CSV file.

    The header is the genes, ``seed``, ``macs``, ``params``, ``seconds`` (of one epoch) and
    ``error1``, ``error2``, ... (after each epoch). Seed 0 has every combination of the genes'
    values; further seeds may have some of them.

    Args:
        path: CSV file.

    Attributes:
        space: its genes; of numbers ordinal, of words choices.
        genes: values of each gene, in the space's order.
        architectures: (n,) all architectures of the space.
        errors: (n, epochs) the lowest error up to each epoch, of seed 0.
        seconds: (n,) of one epoch.
        macs: (n,) multiply-adds.
        again: row -> (epochs,) arrays like ``errors``, one for each further seed.

    Raises:
        InputError: a column or a combination is missing.
    """

    def __init__(self, path: Path) -> None:
        with path.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.DictReader(stream))
        if not lines or not set(COLUMNS) < set(lines[0]):
            raise InputError(f"{path}: expected the columns {', '.join(COLUMNS)} and some rows")
        header = list(lines[0])
        names = header[: header.index("seed")]
        cells = {name: sorted({line[name] for line in lines}, key=_order) for name in names}
        self.genes = {name: [_value(cell) for cell in known] for name, known in cells.items()}
        self.space = SearchSpace.from_dict(
            {
                "name": path.stem,
                "network": "table",
                "genes": [
                    {
                        "name": name,
                        "kind": "choice" if any(isinstance(v, str) for v in known) else "ordinal",
                        "choices": known,
                    }
                    for name, known in self.genes.items()
                ],
            }
        )
        places = {key: n for n, key in enumerate(itertools.product(*cells.values()))}
        epochs = sum(column.startswith("error") for column in header)
        self.errors = np.full((len(places), epochs), np.nan)
        self.seconds, self.macs = np.zeros(len(places)), np.zeros(len(places))
        self.again: dict[int, list[Array]] = {}
        for line in lines:
            row = places[tuple(line[name] for name in names)]
            curve = np.array([float(line[f"error{epoch + 1}"]) for epoch in range(epochs)])
            if line["seed"] == "0":
                self.errors[row] = np.minimum.accumulate(curve)
                self.seconds[row], self.macs[row] = float(line["seconds"]), float(line["macs"])
            else:
                self.again.setdefault(row, []).append(np.minimum.accumulate(curve))
        if missing := int(np.isnan(self.errors[:, 0]).sum()):
            raise InputError(f"{path}: {missing} of {len(places)} combinations have no seed 0")
        self.architectures = [
            self._architecture(key) for key in itertools.product(*self.genes.values())
        ]
        self._rows = {one.digest: row for row, one in enumerate(self.architectures)}

    @property
    def epochs(self) -> int:
        """Epochs of a whole training."""
        return self.errors.shape[1]

    @property
    def best(self) -> float:
        """The lowest error of the table."""
        return float(self.errors.min())

    def row(self, architecture: Architecture) -> int:
        """Return the row of an architecture of the space."""
        return self._rows[architecture.digest]

    def row_of(self, indices: tuple[int, ...]) -> int:
        """Return the row of the architecture whose genes have the values of these indices."""
        return int(np.ravel_multi_index(indices, [len(known) for known in self.genes.values()]))

    def _architecture(self, values: tuple[int | float | str, ...]) -> Architecture:
        return Architecture("table", dict(zip(self.genes, values, strict=True)))


class TimeUp(Exception):
    """The seconds of a replayed search are spent."""


class Stopwatch:
    """Trainings of one replayed search: errors are told, and seconds counted.

    Args:
        table: the learning curves.
        seconds: of training, after which the search ends.

    Attributes:
        spent: seconds of training so far.
        events: (seconds, lowest error seen so far) after each epoch that was new.
    """

    def __init__(self, table: CurveTable, seconds: float) -> None:
        self.table, self.limit, self.spent = table, seconds, 0.0
        self.trained: dict[int, int] = {}  # row -> epochs
        self.events: list[tuple[float, float]] = []
        self._lowest = float("inf")

    def error(self, row: int, epochs: int) -> float:
        """Train an architecture up to ``epochs`` in all, and return its lowest error by then.

        Raises:
            TimeUp: the seconds are spent; those of this training up to then are counted.
        """
        for epoch in range(self.trained.get(row, 0), epochs):
            self.spent += float(self.table.seconds[row])
            if self.spent > self.limit:
                raise TimeUp
            self.trained[row] = epoch + 1
            self._lowest = min(self._lowest, float(self.table.errors[row, epoch]))
            self.events.append((self.spent, self._lowest))
        return float(self.table.errors[row, epochs - 1])

    def seconds_to(self, error: float) -> float:
        """Return the seconds after which an error was seen; infinite if it never was."""
        return next((at for at, lowest in self.events if lowest <= error), float("inf"))


def _order(cell: str) -> tuple[int, float, str]:
    value = _value(cell)
    return (1, 0.0, value) if isinstance(value, str) else (0, float(value), "")


def _value(cell: str) -> int | float | str:
    try:
        value = float(cell)
    except ValueError:
        return cell
    return int(value) if value.is_integer() else value

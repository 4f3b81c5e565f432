"""HeadBench: a table of learning curves of all heads of a small space, on Pointing'04.

export PYTHONPATH=experiments/benchmarks
evonas search experiments/headbench/heads.yaml data.root=DIR backbone.weights=DIR --run-dir s0
evonas search experiments/headbench/heads.yaml ... seed=1 budget=100 --run-dir s1
evonas search experiments/headbench/heads.yaml ... training.epochs=2 --run-dir seconds
python experiments/benchmarks/headbench.py s0 s1 --seconds seconds --out TABLE.csv

The last search, on a machine with nothing else to do, gives the seconds of an epoch of each head.
The seed of the first run is 0 in the table, and those of the others are 1, 2, ... A table is made
longer by further runs of its heads, whose seconds are those that it has:

python experiments/benchmarks/headbench.py s1 s2 --table TABLE.csv --out TABLE.csv
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError
from evonas.optimizers.base import Optimizer
from evonas.runs.run_store import Trial, read_journal
from evonas.space import SearchSpace


class Grid(Optimizer):
    """Ask every architecture of a small space once, in an order without regard to the seed."""

    least_population_size = 1
    _asked_so_far = 0

    def _ask(self) -> NDArray[np.float64]:
        middles = [(np.arange(len(g.values)) + 0.5) / len(g.values) for g in self.space.genes]
        grid = np.array(list(itertools.product(*middles)))
        first = self._asked_so_far
        self._asked_so_far += self.population_size
        order = np.random.default_rng(0).permutation(len(grid))
        return grid[order[first : self._asked_so_far]]

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        """Ignore the fitness."""

    def parents(self) -> list[str]:
        """Return an empty list: no ask derives from another."""
        return []


def write_table(runs: Sequence[Path], seconds: Path, out: Path) -> int:
    """Write the table of finished searches; return its number of trainings.

    Args:
        runs: run directories; the first has every head, unless ``seconds`` is a table.
        seconds: run directory whose trainings give the seconds of an epoch, or a table that has
            them; the lines of a table come first.
        out: the CSV file.

    Raises:
        InputError: a training failed, the seconds of a head are missing, or the genes or epochs of
            a run are not those of the table.
    """
    lines: list[dict[str, Any]] = []
    if seconds.is_dir():
        took = {
            _head(trial, varied(seconds)): str(round(trial.seconds / trial.epochs, 4))
            for trial in trainings(seconds)
        }
    else:
        lines = read_table(seconds)
        genes = list(lines[0])[: list(lines[0]).index("seed")]
        took = {tuple(line[gene] for gene in genes): line["seconds"] for line in lines}
    first = 1 + max((int(line["seed"]) for line in lines), default=-1)
    for seed, run in enumerate(runs, start=first):
        genes = varied(run)
        for trial in sorted(trainings(run), key=lambda trial: trial.digest):
            head = _head(trial, genes)
            if head not in took:
                raise InputError(f"{seconds}: has no training of {trial.digest}: search all heads")
            line = (
                dict(zip(genes, head, strict=True))
                | {"seed": seed, "macs": trial.macs, "params": trial.params}
                | {"seconds": took[head]}
                | {f"error{n}": round(e, 4) for n, e in enumerate(trial.curve, start=1)}
            )
            if lines and list(line) != list(lines[0]):
                raise InputError(
                    f"{run}: expected the columns of the lines before it, got {list(line)}"
                )
            lines.append(line)
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    return len(lines)


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the lines of a table.

    Raises:
        InputError: there is no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.DictReader(stream))
    except OSError as error:
        raise InputError(
            f"{path}: expected a run directory or a table: {error.strerror}"
        ) from error
    if not lines or "seconds" not in lines[0]:
        raise InputError(f"{path}: expected the lines of a table, with a column 'seconds'")
    return lines


def _head(trial: Trial, genes: Sequence[str]) -> tuple[str, ...]:
    """Return the values of a head's genes, as they stand in a table."""
    return tuple(str(trial.architecture["settings"][gene]) for gene in genes)


def varied(run: Path) -> list[str]:
    """Return the genes of a run that have more than one value."""
    space = SearchSpace.from_dict(json.loads((run / "environment.json").read_text())["space"])
    return [gene.name for gene in space.genes if len(gene.values) > 1]


def trainings(run: Path) -> list[Trial]:
    """Return the trainings of a run.

    Raises:
        InputError: one of them failed.
    """
    trained = [trial for trial in read_journal(run) if trial.trained]
    for trial in trained:
        if trial.status != "ok":
            raise InputError(f"{run}: {trial.digest} is {trial.status}: expected whole trainings")
    return trained


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+", help="run directories, seed 0 first")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--seconds", type=Path, help="run of short trainings")
    given.add_argument("--table", type=Path, help="table that the runs make longer")
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write")
    args = parser.parse_args()
    written = write_table(args.runs, args.seconds or args.table, args.out)
    print(f"{args.out}: {written} trainings")


if __name__ == "__main__":
    main()

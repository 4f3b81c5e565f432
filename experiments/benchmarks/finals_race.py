"""Regret of the winner that finals name: races over seeds, and all seeds for every network.

A repeat draws the true errors of the networks of a search, trains each once with noise, and holds
finals as a search does. Regret is the true error of the winner minus the lowest of all networks,
in standard deviations of the true errors. Nothing is trained.

python experiments/benchmarks/finals_race.py --repeats 2000 --seed 0
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from evonas.core.settings import FinalsSettings
from evonas.report.tables import Table, markdown
from evonas.runs.finals import due, rank_finalists
from evonas.runs.trial import Trial

NETWORKS = 60
#: Distribution of the true errors: many mediocre networks, or many close to the best.
TRUTHS: dict[str, Callable[[np.random.Generator], NDArray[np.float64]]] = {
    "normal": lambda rng: rng.normal(size=NETWORKS),
    "exponential": lambda rng: rng.exponential(size=NETWORKS),
}
NOISES = (0.3, 1.0)  # standard deviation between seeds, in that of the true errors
FIXED = ((3, 3), (5, 2), (4, 3), (7, 2))  # networks, seeds
RACES = (
    (3, 4, None),
    (4, 3, None),
    (4, 4, None),
    (5, 3, None),
    (6, 4, 9),
    (8, 4, 9),
    (6, 3, None),
    (5, 4, None),
    (8, 2, None),
)
RACES += ((6, 4, None), (8, 3, None), (8, 4, None))  # networks, seeds, budget


def searched(errors: NDArray[np.float64], alike: bool) -> list[Trial]:
    """Return the trials of a search; if not ``alike``, races do not count their results."""
    inherited = 0.0 if alike else 1.0
    return [
        Trial(0, n, (), str(n), {}, "ok", float(error), 1, inherited=inherited)
        for n, error in enumerate(errors)
    ]


def hold(
    trials: list[Trial], settings: FinalsSettings, results: NDArray[np.float64]
) -> tuple[int, int]:
    """Return the index of the winner of finals and their number of trainings.

    Args:
        trials: of the search.
        settings: of the finals.
        results: (networks, seeds) of the further trainings.
    """
    held: list[Trial] = []
    while waiting := due([*trials, *held], settings)[0]:
        held += [replace(one, fitness=float(results[one.index, one.repeat])) for one in waiting]
    return rank_finalists([*trials, *held], settings)[0].trial.index, len(held)


def variants() -> dict[str, tuple[FinalsSettings, bool]]:
    """Return settings and whether the search's own training counts, by name."""
    found = {
        f"fixed, {n} x {seeds}": (FinalsSettings(method="fixed", networks=n, seeds=seeds), True)
        for n, seeds in FIXED
    }
    for n, seeds, budget in RACES:
        settings = FinalsSettings(networks=n, seeds=seeds, budget=budget)
        name = f"race of {n}, {seeds} seeds" + (f", budget {budget}" if budget else "")
        found[name] = settings, True
    for n, seeds in ((5, 3), (6, 4)):
        settings = FinalsSettings(networks=n, seeds=seeds)
        found[f"race of {n}, {seeds} seeds, without the search's own"] = settings, False
    return found


def simulate(repeats: int, seed: int) -> Table:
    """Return mean regret and trainings of each variant over all distributions and noises."""
    rows, cells = [], [(name, noise) for name in TRUTHS for noise in NOISES]
    drawn = {}
    for name, noise in cells:
        rng = np.random.default_rng(seed)
        for repeat in range(repeats):
            truth = TRUTHS[name](rng)
            results = truth[:, None] + noise * rng.normal(size=(NETWORKS, 10))
            drawn[name, noise, repeat] = truth, results
    for label, (settings, alike) in variants().items():
        row = [label]
        spent: list[int] = []
        for cell in cells:
            regrets = []
            for repeat in range(repeats):
                truth, results = drawn[*cell, repeat]
                winner, trainings = hold(searched(results[:, 0], alike), settings, results)
                regrets.append(truth[winner] - truth.min())
                spent.append(trainings)
            error = np.std(regrets, ddof=1) / np.sqrt(repeats)
            row.append(f"{np.mean(regrets):.3f} ±{error:.3f}")
        rows.append([*row, f"{np.mean(spent):.1f}", str(max(spent))])
    heads = [f"{name}, noise {noise:g}" for name, noise in cells]
    title = f"Regret of the winner, mean and standard error of {repeats} searches"
    return Table(title, ["finals", *heads, "trainings", "at most"], rows)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(markdown(simulate(args.repeats, args.seed)))


if __name__ == "__main__":
    main()

"""The simulation of finals holds them as a search does, with what it drew."""

from __future__ import annotations

import numpy as np
from finals_race import FIXED, RACES, hold, searched, simulate

from evonas.core.settings import FinalsSettings


def test_finals_are_held_with_the_drawn_results() -> None:
    results = np.array([[1.0, 9.0, 9.0], [2.0, 4.0, 5.0], [3.0, 5.0, 4.0], [4.0, 0.0, 0.0]])
    fixed = FinalsSettings(method="fixed", networks=3, seeds=2)
    assert hold(searched(results[:, 0], alike=True), fixed, results) == (1, 6)
    race = FinalsSettings(networks=3, seeds=2)
    assert hold(searched(results[:, 0], alike=True), race, results) == (1, 5)
    assert hold(searched(results[:, 0], alike=True), FinalsSettings(networks=4), results)[0] == 3


def test_every_variant_has_a_row_of_regrets_and_trainings() -> None:
    table = simulate(repeats=2, seed=0)
    assert len(table.rows) == len(FIXED) + len(RACES) + 2
    for row in table.rows:
        assert all(float(cell.split(" ")[0]) >= 0 for cell in row[1:5])
        assert float(row[-2]) <= int(row[-1]) <= 16
    assert simulate(repeats=2, seed=0).rows == table.rows

"""Made-up tables: what their costs and errors have to do with each other."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from cost_prior import main, rugged, unrelated
from replay import run

from evonas.core import registry


def test_the_cost_says_little_of_the_error_and_is_that_of_the_genes() -> None:
    table = unrelated(40)
    assert len(table.values) == 4**6
    assert abs(np.corrcoef(np.log(table.costs), table.values)[0, 1]) < 0.3
    first = table.space.decode(np.full(6, 0.01))
    assert table.cost(first) == table.costs.min() == 1_000_000
    assert table.value(first) == table.values[0]
    assert (table.values <= table.threshold).sum() == 4


def test_rugged_tables_have_one_cost() -> None:
    table = rugged(0)
    assert len(table.values) == 5**6
    assert np.ptp(table.costs) == 0.0
    assert not table.space.ordered.any()


def test_a_short_run_prints_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "none.csv --problems rugged --strategy random --batch 2 --window 3 --seeds 1 --budget 4"
    monkeypatch.setattr(sys, "argv", ["cost_prior.py", *words.split()])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "random in batches of 2, rugged 0: median inf, mean 4.0, reached 0%"
    assert lines[3] == "random in a window of 3, rugged 0: median inf, mean 4.0, reached 0%"


def test_a_search_that_met_the_threshold_is_over() -> None:
    table, make = rugged(0), registry.load("optimizer", "random")
    whole = run(make, table, 200, 3)
    value = float(whole.values[20])
    cut = run(make, table, 200, 3, until=value)
    assert len(cut.values) < 200
    assert cut.trainings_to(value) == whole.trainings_to(value)

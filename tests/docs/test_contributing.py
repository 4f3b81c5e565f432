"""The optimizer that CONTRIBUTING shows is one file, and that file is all that it takes."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import documents
import numpy as np
import pytest
from documented_parts import installed
from documents import ROOT

from evonas.core import registry
from evonas.testing.optimizer_problems import bowl, build, drive, mixed, ordinal

NAME = "one_plus_one"
SEEDS = range(5)


@pytest.fixture(autouse=True)
def shown(tmp_path: Path) -> Iterator[None]:
    """The file as the page shows it, as long as a test lasts."""
    files = documents.files("CONTRIBUTING.md")
    assert [*files] == [f"evonas/optimizers/{NAME}.py"]
    with installed(tmp_path, files):
        yield


def test_it_spends_its_budget_and_is_replayed() -> None:
    optimizer = build(NAME, mixed(), budget=40)
    asked = drive(optimizer)
    assert optimizer.trained == 40
    again = drive(build(NAME, mixed(), budget=40))
    assert np.array_equal(np.concatenate(asked), np.concatenate(again))


def test_it_finds_what_random_search_does_not() -> None:
    ends = {}
    for name in (NAME, "random"):
        optimizers = [build(name, ordinal(), budget=80, seed=seed) for seed in SEEDS]
        for optimizer in optimizers:
            drive(optimizer, bowl)
        ends[name] = np.median([optimizer.best_fitness for optimizer in optimizers])
    assert ends[NAME] < 0.5 * ends["random"]


def test_a_failure_is_no_parent() -> None:
    optimizer = build(NAME, ordinal(), budget=30)
    while len(genomes := optimizer.ask()):
        known = optimizer.parents()
        optimizer.tell([np.nan if optimizer.trained % 2 else 1.0 / optimizer.trained])
        failed = optimizer.success(optimizer.identify(genomes[0])[0]) is None
        assert not failed or optimizer.parents() == known
    assert optimizer.parents()


def test_the_reference_shows_it_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "site"))
    sys.modules.pop("reference", None)
    try:
        modules = importlib.import_module("reference").PAGES["optimizers"][2]
    finally:
        sys.modules.pop("reference", None)
    assert modules[0] == "evonas.optimizers.base"
    assert f"evonas.optimizers.{NAME}" in modules
    assert len(modules) == 1 + len(registry.names("optimizer"))

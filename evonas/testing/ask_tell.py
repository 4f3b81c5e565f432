"""The contract of ``ask`` and ``tell``: what every search strategy must do."""

from __future__ import annotations

import itertools
import os
import random
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from evonas.core import registry
from evonas.errors import InputError
from evonas.space import SearchSpace
from evonas.testing.conformance import StrategyConformance
from evonas.testing.optimizer_problems import (
    Fitness,
    best_genome,
    bowl,
    build,
    by_digest,
    conditional,
    cost,
    distinct,
    drive,
    mixed,
    ordinal,
    space_of,
)

Array = NDArray[np.float64]

SPACES = {
    "ordinal": ordinal(),
    "mixed": mixed(),
    "choices": space_of(*[{"kind": "choice", "choices": [1, 2, 3, 4]}] * 5),
    "one gene": space_of({"kind": "integer", "low": 1, "high": 300}),
    "one continuous gene": space_of({"kind": "log_float", "low": 1e-4, "high": 1.0}),
    "binary": space_of(*[{"kind": "choice", "choices": [False, True]}] * 8),
}


def bowl_or_hash(space: SearchSpace, genomes: Array) -> Array:
    """Rugged, with failures in between."""
    values = by_digest(space, genomes)
    return np.where(values > 0.8, np.nan, values)


FAILURES: dict[str, Callable[[Array, int], Array]] = {
    "all fail": lambda f, i: np.full_like(f, np.nan),
    "half fail": lambda f, i: np.where(f > 0.5, np.nan, f),
    "first generations fail": lambda f, i: np.full_like(f, np.inf) if i < 3 else f,
    "later generations fail": lambda f, i: f if i < 2 else np.full_like(f, np.nan),
    "all equal": lambda f, i: np.full_like(f, 3.0),
    "all zero": lambda f, i: np.zeros_like(f),
    "one nan": lambda f, i: np.where(np.arange(len(f)) == 0, np.nan, f),
    "one inf": lambda f, i: np.where(np.arange(len(f)) == len(f) - 1, np.inf, f),
    "minus inf": lambda f, i: np.where(f > 0.9, -np.inf, f),
    "huge": lambda f, i: np.where(f > 0.7, 1e300, np.where(f > 0.6, -1e300, f)),
    "only huge": lambda f, i: 1e300 + f * 1e299,
    "tiny": lambda f, i: f * 1e-200,
}


#: A search that is run in a process of its own.
_SILENT = """
import logging, os, sys, warnings
warnings.simplefilter("error")
handlers, level = list(logging.root.handlers), logging.root.level
from evonas.testing.optimizer_problems import bowl, build, drive, ordinal
drive(build({name!r}, ordinal(), budget=80), bowl)
drive(build({name!r}, ordinal(), budget=80), lambda s, g: 0 * g[:, 0])
assert logging.root.handlers == handlers and logging.root.level == level, logging.root.handlers
assert not os.listdir("."), os.listdir(".")
found = {forbidden!r} & set(sys.modules)
assert not found, found
"""


@st.composite
def spaces(draw: st.DrawFn) -> SearchSpace:
    """Draw spaces of 1 to 5 genes."""
    gene = st.one_of(
        st.integers(1, 5).map(lambda n: {"kind": "choice", "choices": list(range(n))}),
        st.integers(1, 9).map(lambda n: {"kind": "integer", "low": 1, "high": n}),
        st.just({"kind": "log_float", "low": 0.001, "high": 10.0}),
    )
    return space_of(*draw(st.lists(gene, min_size=1, max_size=5)))


def _numpy_state() -> list[Any]:
    """Return the state of NumPy's global generator, to be compared."""
    return [np.asarray(part).tolist() for part in np.random.get_state()]


class AskTellConformance(StrategyConformance):
    """The contract of ``ask`` and ``tell``.

    Attributes:
        forbidden_modules: that a search must not import.
    """

    forbidden_modules: ClassVar[Collection[str]] = ()

    @pytest.mark.parametrize("label", SPACES)
    def test_asks_genomes_and_spends_exactly_the_budget(self, name: str, label: str) -> None:
        """Genomes are (n, dim) float64 in [0, 1]; distinct architectures are counted."""
        optimizer = build(name, SPACES[label], budget=43)
        asked = drive(optimizer)
        for genomes in asked:
            assert genomes.dtype == np.float64
            assert genomes.shape == (len(genomes), optimizer.space.dim)
            assert np.all((genomes >= 0.0) & (genomes <= 1.0))
        assert len(distinct(optimizer, asked)) == optimizer.trained == 43
        assert optimizer.stop_reason == "The budget of 43 distinct architectures is spent."
        assert optimizer.ask().shape == (0, optimizer.space.dim)

    def test_best_so_far_is_the_best_told(self, name: str) -> None:
        """``best_fitness`` and ``best_genome`` are those of the best result."""
        optimizer = build(name, mixed())
        asked = np.concatenate(drive(optimizer))
        told = by_digest(optimizer.space, asked)
        assert optimizer.best_fitness == told.min()
        assert optimizer.best_genome is not None
        assert by_digest(optimizer.space, optimizer.best_genome[None])[0] == told.min()

    def test_same_seed_same_genomes_and_another_seed_others(self, name: str) -> None:
        """All randomness comes from the seed."""
        first, second, other = (drive(build(name, mixed(), seed=s)) for s in (3, 3, 4))
        assert len(first) == len(second)
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
        assert not np.array_equal(first[0], other[0])

    @pytest.mark.parametrize("stop", [1, 3])
    def test_a_replayed_search_goes_on_as_the_first(self, name: str, stop: int) -> None:
        """A resumed search asks what the uninterrupted one would have asked."""
        whole = drive(build(name, mixed(), seed=5), bowl_or_hash)
        resumed = build(name, mixed(), seed=5)
        for genomes in whole[:stop]:
            assert np.array_equal(resumed.ask(), genomes)
            resumed.tell(bowl_or_hash(resumed.space, genomes))
        rest = drive(resumed, bowl_or_hash)
        assert len(rest) == len(whole) - stop
        assert all(np.array_equal(a, b) for a, b in zip(rest, whole[stop:], strict=True))

    def test_changing_what_ask_returned_changes_nothing(self, name: str) -> None:
        """Arrays that are handed over are copies."""
        clean, spoilt = build(name, mixed(), budget=100), build(name, mixed(), budget=100)
        for _ in range(4):
            genomes, copy = clean.ask(), spoilt.ask()
            values = by_digest(clean.space, genomes)
            copy[:] = 0.5
            told = values.copy()
            clean.tell(values)
            spoilt.tell(told)
            told[:] = 0.0
        assert np.array_equal(clean.ask(), spoilt.ask())

    def test_global_generators_are_untouched_and_irrelevant(self, name: str) -> None:
        """The generators of ``random`` and NumPy's global one are not used."""
        plain = drive(build(name, mixed(), budget=60))
        np.random.seed(11)
        random.seed(11)
        optimizer = build(name, mixed(), budget=60)
        for turn, expected in enumerate(plain):
            np.random.seed(turn)
            numpys = _numpy_state()
            pythons = random.getstate()
            genomes = optimizer.ask()
            values = by_digest(optimizer.space, genomes)
            optimizer.tell(values)
            assert np.array_equal(genomes, expected)
            assert _numpy_state() == numpys
            assert random.getstate() == pythons

    def test_misuse_is_answered_with_a_remedy(self, name: str) -> None:
        """``tell`` first, ``ask`` twice and fitness of a wrong shape are one-line errors."""
        optimizer = build(name, mixed())
        with pytest.raises(
            InputError, match=r"tell\(\) came before ask\(\).*expected.*got.*call ask"
        ):
            optimizer.tell([1.0])
        genomes = optimizer.ask()
        n = len(genomes)
        with pytest.raises(
            InputError, match=r"ask\(\) came twice.*expected.*got.*tell its .* first"
        ):
            optimizer.ask()
        for wrong in ([0.0] * (n + 1), [[0.0]] * n, 0.0, []):
            with pytest.raises(InputError, match=rf"expected fitness of shape \({n},\).*got shape"):
                optimizer.tell(wrong)
        with pytest.raises(InputError, match=r"expected \d+ numbers .*, got"):
            optimizer.tell(["good"] * n)
        optimizer.tell([0.5] * n)
        assert len(optimizer.ask())

    def test_a_population_below_the_least_is_refused(self, name: str) -> None:
        """``least_population_size`` is enforced."""
        least = registry.load("optimizer", name).least_population_size
        build(name, mixed(), population_size=least)
        with pytest.raises(InputError, match=f"population_size.*{least}"):
            build(name, mixed(), population_size=least - 1)

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            ("population_size", 0),
            ("population_size", 2.5),
            ("budget", 0),
            ("budget", True),
            ("seed", -1),
            ("max_macs", 5),
        ],
    )
    def test_arguments_out_of_range_are_refused(
        self, name: str, argument: str, value: float
    ) -> None:
        """The error names the argument."""
        with pytest.raises(InputError, match=argument):
            build(name, mixed(), **{argument: value})

    def test_options_of_its_own_and_common_ones_are_checked(self, name: str) -> None:
        """A misspelt option is answered with the nearest."""
        fixed: dict[str, Any] = {"budget": 5, "seed": 1, "macs": None, "max_macs": None}
        registry.create("optimizer", name, {"population_size": 4}, mixed(), **fixed)
        with pytest.raises(InputError, match="did you mean 'population_size'"):
            registry.create("optimizer", name, {"population_sise": 4}, mixed(), **fixed)

    @pytest.mark.parametrize("kind", FAILURES)
    def test_failures_stop_no_search_and_spoil_no_best(self, name: str, kind: str) -> None:
        """NaN and infinite fitness count as failures."""
        optimizer = build(name, ordinal(), budget=70)
        met: list[float] = []
        turn = itertools.count()

        def fitness(space: SearchSpace, genomes: Array) -> Array:
            told = FAILURES[kind](by_digest(space, genomes), next(turn))
            met.extend(told[np.isfinite(told)])
            return told

        asked = drive(optimizer, fitness)
        assert len(distinct(optimizer, asked)) == 70
        assert "budget" in optimizer.stop_reason
        if met:
            assert optimizer.best_fitness == min(met)
        else:
            assert optimizer.best_fitness == np.inf
            assert optimizer.best_genome is None

    @pytest.mark.parametrize(("budget", "population_size"), [(1, None), (3, 20), (1, 4), (4, 4)])
    def test_budget_smaller_than_a_generation(
        self, name: str, budget: int, population_size: int | None
    ) -> None:
        """The last generation is cut to the budget."""
        optimizer = build(name, mixed(), budget=budget, population_size=population_size)
        asked = drive(optimizer)
        assert len(distinct(optimizer, asked)) == budget
        assert "budget" in optimizer.stop_reason

    @pytest.mark.parametrize("fitness", [by_digest, lambda s, g: np.full(len(g), np.nan)])
    @pytest.mark.parametrize(
        ("space", "size"),
        [
            (space_of({"kind": "choice", "choices": ["only"]}), 1),
            (
                space_of(
                    {"kind": "choice", "choices": ["only"]},
                    {"kind": "integer", "low": 2, "high": 2},
                ),
                1,
            ),
            (space_of({"kind": "ordinal", "choices": [1, 2]}), 2),
            (
                space_of(
                    {"kind": "choice", "choices": ["only"]}, {"kind": "choice", "choices": [1, 2]}
                ),
                2,
            ),
            (conditional(), 9),
            (ordinal(3, 4), 64),
            # far more genomes than architectures, and the rare ones too rare for draws
            (space_of(*[{"kind": "log_float", "low": 1.0, "high": 1.01}] * 2), 4),
        ],
        ids=["one", "one of two genes", "two", "two of two genes", "conditional", "64", "rounded"],
    )
    def test_a_small_space_is_met_in_full_and_then_ends(
        self, name: str, space: SearchSpace, size: int, fitness: Fitness
    ) -> None:
        """A search of an exhausted space ends by itself."""
        optimizer = build(name, space, budget=1000)
        asked = drive(optimizer, fitness)
        assert len(distinct(optimizer, asked)) == size
        assert len(asked) < 200
        assert "exhausted" in optimizer.stop_reason
        assert len(optimizer.ask()) == 0

    def test_few_feasible_architectures(self, name: str) -> None:
        """28 of 262144 architectures, at one corner: draws alone would not find one."""
        optimizer = build(name, ordinal(), budget=12, macs=cost, max_macs=3)
        asked = drive(optimizer)
        assert len(distinct(optimizer, asked)) == optimizer.trained == 12
        assert cost(optimizer.space.decode(best_genome(optimizer))) <= 3
        exhausted = build(name, ordinal(3, 8), budget=100, macs=cost, max_macs=3)
        assert len(distinct(exhausted, drive(exhausted))) == 10
        assert "no new feasible" in exhausted.stop_reason

    def test_half_the_space_feasible(self, name: str) -> None:
        """The first generation is within the limit of multiply-adds."""
        optimizer = build(name, ordinal(), budget=60, macs=cost, max_macs=20)
        first = optimizer.ask()
        assert all(cost(optimizer.space.decode(g)) <= 20 for g in first)
        optimizer.tell(bowl(optimizer.space, first))
        drive(optimizer, bowl)
        assert optimizer.trained == 60

    def test_nothing_feasible_ends_at_once(self, name: str) -> None:
        """The stop reason names the cheapest architecture."""
        optimizer = build(name, ordinal(), macs=lambda a: cost(a) + 100, max_macs=50)
        assert len(optimizer.ask()) == 0
        assert "cheapest has 101 macs, max_macs is 50" in optimizer.stop_reason

    def test_what_is_told_for_an_infeasible_architecture_is_ignored(self, name: str) -> None:
        """An architecture over the limit is never the best."""
        optimizer = build(name, ordinal(), budget=40, macs=cost, max_macs=14)
        while len(genomes := optimizer.ask()):
            costs = np.array([cost(optimizer.space.decode(g)) for g in genomes])
            optimizer.tell(np.where(costs > 14, -1.0, by_digest(optimizer.space, genomes)))
        assert optimizer.best_fitness >= 0.0

    def test_beats_random_search_on_a_smooth_problem(self, learner: str) -> None:
        """The median of 9 searches is below 0.6 of that of random search."""

        def median(strategy: str) -> float:
            best = []
            for seed in range(9):
                optimizer = build(strategy, ordinal(), budget=100, seed=seed)
                drive(optimizer, bowl)
                best.append(optimizer.best_fitness)
            return statistics.median(best)

        assert median(learner) < 0.6 * median("random")

    def test_silence(self, name: str, tmp_path: Path) -> None:
        """No file, no output, no log handler and no warning, in a process of its own."""
        program = _SILENT.format(name=name, forbidden=set(self.forbidden_modules))
        run = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", "PATH": ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")

    @settings(
        max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(space=spaces(), budget=st.integers(1, 25), population=st.integers(0, 7), data=st.data())
    def test_any_space_and_any_fitness(
        self, name: str, space: SearchSpace, budget: int, population: int, data: st.DataObject
    ) -> None:
        """Property: any space, budget, population and fitness end in the full budget."""
        population += registry.load("optimizer", name).least_population_size
        optimizer = build(name, space, budget=budget, population_size=population)
        anything = st.floats(allow_nan=True, allow_infinity=True)
        pool = data.draw(st.lists(anything, min_size=1, max_size=6))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            asked = drive(optimizer, lambda s, g: np.resize(pool, len(g)))
        assert len(distinct(optimizer, asked)) == min(budget, space.size)
        assert optimizer.stop_reason.endswith(".")

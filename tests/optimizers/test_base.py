"""The books that the base keeps, seen through a strategy that follows a script."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from evonas.errors import InputError
from evonas.optimizers.base import Optimizer, guarded_global_rng, number_in
from evonas.optimizers.common import sampling as _sampling
from evonas.optimizers.common.global_state_guards import no_logging_setup
from evonas.optimizers.common.sampling import GenomeIdentifier, Sampler
from evonas.space import SearchSpace
from evonas.testing.optimizer_problems import conditional, cost, ordinal, space_of

LINE = space_of({"kind": "integer", "low": 1, "high": 100})


def at(*values: int) -> list[list[float]]:
    """Genomes of the line with these values."""
    return [[(v - 0.5) / 100] for v in values]


class Scripted(Optimizer):
    """Asks what it is given, notes what it is told."""

    def __init__(
        self,
        script: Iterable[Any],
        space: SearchSpace = LINE,
        *,
        budget: int = 50,
        seed: int = 1,
        population_size: int = 3,
        **common: Any,
    ) -> None:
        super().__init__(space, budget=budget, seed=seed, population_size=population_size, **common)
        self.script = iter(script)
        self.told: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
        self.closed = 0

    def _ask(self) -> NDArray[np.float64]:
        return np.array(next(self.script), dtype=np.float64).reshape(-1, self.space.dim)

    def _tell(self, genomes: NDArray[np.float64], fitness: NDArray[np.float64]) -> None:
        self.told.append((genomes, fitness))

    def parents(self) -> list[str]:
        return []

    def _restart(self) -> None:
        self.told.clear()

    def _close(self) -> None:
        self.closed += 1


def test_an_ask_is_cut_where_it_would_exceed_the_budget() -> None:
    optimizer = Scripted([at(1, 2), at(2, 3, 1, 3, 4, 5)], budget=3)
    optimizer.ask()
    optimizer.tell([1, 2])
    assert np.allclose(optimizer.ask(), at(2, 3, 1, 3))
    optimizer.tell([2, 3, 1, 0.5])
    assert len(optimizer.told) == 1, "a partial generation is not passed on"
    assert optimizer.stop_reason == "The budget of 3 distinct architectures is spent."
    assert optimizer.best_fitness == 0.5
    assert optimizer.closed == 1
    assert len(optimizer.ask()) == 0


def test_infeasible_architectures_cost_no_budget() -> None:
    optimizer = Scripted([at(90, 5, 91, 6, 92)], budget=2, macs=cost, max_macs=50)
    assert len(optimizer.ask()) == 5
    assert optimizer.trained == 2


def test_failures_rank_after_successes_and_infeasible_ones_by_their_cost() -> None:
    optimizer = Scripted([at(1, 2, 3, 99, 80)], macs=cost, max_macs=50)
    optimizer.ask()
    optimizer.tell([4.0, np.nan, 1.0, np.inf, np.inf])
    (_, fitness), *_ = optimizer.told
    assert fitness[0] == 4.0
    assert fitness[2] == 1.0
    assert 4.0 < fitness[1] < fitness[4] < fitness[3] < 4.0 + 10 * 3.0


@given(
    st.lists(
        st.one_of(
            st.floats(), st.sampled_from([np.nan, np.inf, -np.inf, 0.0, 1e308, -1e308, 5e-324])
        ),
        min_size=1,
        max_size=9,
    )
)
@example([1.0, 1.0 - 2.0**-53, float("nan")])  # a spread that 1.0 swallows
def test_penalised_fitness_is_finite_and_keeps_the_order(told: list[float]) -> None:
    optimizer = Scripted([at(*range(1, len(told) + 1))])
    optimizer.ask()
    optimizer.tell(told)
    values = np.array(told)
    fine = np.isfinite(values)
    if not fine.any():
        assert optimizer.told == []
        assert optimizer.best_genome is None
        return
    penalised = optimizer.told[0][1]
    assert np.isfinite(penalised**2).all()
    assert optimizer.best_fitness == values[fine].min()
    assert np.array_equal(penalised[fine], np.clip(values[fine], -1e100, 1e100))
    if not fine.all():
        assert penalised[~fine].min() > penalised[fine].max()


def test_as_long_as_all_fail_nothing_is_passed_on_and_the_strategy_starts_elsewhere() -> None:
    optimizer = Scripted([at(1, 2), at(3, 4), at(5)])
    for told in ([np.nan, np.inf], [7.0, np.nan]):
        optimizer.ask()
        optimizer.tell(told)
    assert optimizer.restarts == 1
    assert [len(genomes) for genomes, _ in optimizer.told] == [2]
    assert optimizer.fitness_of(LINE.decode(at(4)[0]).digest) == pytest.approx(7.07)
    assert optimizer.fitness_of(LINE.decode(at(9)[0]).digest) is None


def test_three_asks_of_mere_repeats_restart_and_three_vain_restarts_go_random() -> None:
    optimizer = Scripted(itertools.repeat(at(1, 2)))
    restarts = []
    for _ in range(14):
        genomes = optimizer.ask()
        restarts.append(optimizer.restarts)
        optimizer.tell(np.arange(len(genomes), dtype=float))
    # one ask brings something new, three repeat it, and so after each restart
    assert restarts == [0] * 4 + [1] * 3 + [2] * 3 + [3] * 4
    assert optimizer.trained == 2 + 3, "the last ask was drawn at random and new"


def test_new_infeasible_architectures_are_waited_for_longer_than_repeats() -> None:
    script = [at(v) for v in range(60, 90)]
    optimizer = Scripted([at(1), *script], macs=cost, max_macs=50)
    for expected in [0] * 10 + [1] * 9:
        optimizer.ask()
        assert optimizer.restarts == expected
        optimizer.tell([1.0])


def test_a_strategy_that_asks_nothing_is_restarted_at_once() -> None:
    optimizer = Scripted([at(1), [], at(2)])
    optimizer.ask()
    optimizer.tell([1.0])
    assert np.allclose(optimizer.ask(), at(2))
    assert optimizer.restarts == 1


def test_a_strategy_with_nothing_to_ask_at_all_ends_with_the_whole_space_met() -> None:
    optimizer = Scripted(itertools.repeat([]), conditional(), budget=1000)
    total = 0
    while n := len(optimizer.ask()):
        total += n
        optimizer.tell([1.0] * n)
    assert total == 9
    assert optimizer.stop_reason == (
        "The space is exhausted: after 9 architectures no new one could be found."
    )


def test_genomes_are_clipped_and_nonsense_is_a_bug_of_the_strategy() -> None:
    assert np.array_equal(Scripted([[[-0.5], [1.5]]]).ask(), [[0.0], [1.0]])
    with pytest.raises(TypeError, match=r"_ask\(\) must return numbers of shape \(n, 1\)"):
        Scripted([[[np.nan]]]).ask()


def test_a_repeat_that_succeeds_replaces_its_failure() -> None:
    optimizer = Scripted([at(1, 2), at(1), at(1)])
    digest = LINE.decode(at(1)[0]).digest
    for told in ([np.nan, 5.0], [3.0], [4.0]):
        optimizer.ask()
        optimizer.tell(told)
    assert optimizer.fitness_of(digest) == 3.0


@pytest.mark.parametrize(
    ("axes", "answer"),
    [
        (
            [[1.0, 2.0]],
            r"expected axes of shape \(2, m\), a row for each fitness, got shape \(1, 2\)",
        ),
        ([1.0, 2.0], r"expected axes of shape \(2, m\).* got shape \(2,\)"),
        ([[], []], r"expected axes of shape \(2, m\).* got shape \(2, 0\)"),
        ([["low"], ["high"]], r"expected axes as rows of numbers, got \[\['low'\]"),
        ([[1.0, 2.0, 3.0]] * 2, r"expected 2 axes, as in earlier calls, got 3$"),
        (None, r"expected 2 axes, as in earlier calls, got 1 \(the fitness alone\)$"),
    ],
)
def test_axes_that_do_not_fit_are_refused_and_the_ask_stays_open(axes: Any, answer: str) -> None:
    optimizer = Scripted([at(1, 2), at(3, 4)])
    optimizer.ask()
    optimizer.tell([1.0, 2.0], [[1.0, 5.0], [2.0, 4.0]])
    optimizer.ask()
    with pytest.raises(InputError, match=r"^tell\(\) " + answer):
        optimizer.tell([3.0, 4.0], axes)
    optimizer.tell([3.0, 4.0], [[3.0, 3.0], [4.0, 2.0]])
    assert len(optimizer.told) == 2


def test_a_success_outlives_a_failure_of_the_same_architecture() -> None:
    optimizer = Scripted([at(1, 2), at(1, 3)])
    for told in ([2.0, 5.0], [np.nan, np.nan]):
        optimizer.ask()
        optimizer.tell(told)
    assert optimizer.success(LINE.decode(at(1)[0]).digest) == 2.0
    assert optimizer.success(LINE.decode(at(3)[0]).digest) is None
    assert optimizer.told[1][1].tolist() == [2.0, 5.0 + 3.0]


@pytest.mark.parametrize("value", [True, "0.3", float("nan"), -1, 2])
def test_number_in_refuses(value: Any) -> None:
    with pytest.raises(InputError, match="sigma: expected a number from 0 to 1, got"):
        number_in("sigma", value, 0.0, 1.0)


def test_fenced_global_rng_lends_and_returns() -> None:
    own, reference = np.random.RandomState(5), np.random.RandomState(5)
    np.random.seed(1)
    expected_outside = np.random.RandomState(1).rand(3)
    drawn = []
    for _ in range(2):
        with guarded_global_rng(own):
            drawn.append(np.random.rand())
    with contextlib.suppress(RuntimeError), guarded_global_rng(own):
        drawn.append(np.random.rand())
        raise RuntimeError("inside")
    assert np.array_equal(drawn, reference.rand(3))
    assert np.array_equal(np.random.rand(3), expected_outside)


def test_no_logging_setup_restores() -> None:
    import logging.config

    before, handlers = logging.config.dictConfig, list(logging.root.handlers)
    with no_logging_setup():
        logging.config.dictConfig({"version": 1, "root": {"handlers": [], "level": "DEBUG"}})
    assert logging.config.dictConfig is before
    assert logging.root.handlers == handlers


def test_sampler_walks_to_a_region_that_draws_never_hit() -> None:
    space = ordinal(10, 10)  # one architecture in 10^10 is cheap enough
    optimizer = Scripted([], space, macs=cost, max_macs=1)
    genome = optimizer.sample(1)[0]
    assert cost(space.decode(genome)) == 1


def test_sampler_lists_a_small_space_where_draws_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sampling, "FRUITLESS_DRAWS", 3)
    space = ordinal(3, 8)
    sampler = Sampler(np.random.default_rng(0), GenomeIdentifier(space, None, None, {}))
    found = sampler.new(1000)
    assert len({space.decode(g).digest for g in found}) == len(found) == 512


def test_sampler_gives_distinct_new_genomes() -> None:
    space = ordinal(2, 3)
    seen = {space.decode([0.1, 0.1]).digest: 0.0}
    sampler = Sampler(np.random.default_rng(0), GenomeIdentifier(space, None, None, seen))
    found = sampler.new(100)
    assert len({space.decode(g).digest for g in found}) == len(found) == 8
    start = sampler.start(8)
    assert len({space.decode(g).digest for g in start} | set(seen)) >= 8

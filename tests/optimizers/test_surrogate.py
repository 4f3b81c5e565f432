"""The model against plain formulas, and what the search makes of it."""

from __future__ import annotations

import csv
import itertools
import statistics
from collections import deque

import numpy as np
import pytest
from conftest import SHARED
from numpy.typing import NDArray
from scipy.optimize import check_grad
from scipy.stats import norm

from evonas.optimizers.base import Optimizer
from evonas.optimizers.bayesian.acquisition import (
    CandidatePosterior,
    log_expected_improvement,
    normal_scores,
)
from evonas.optimizers.bayesian.encoding import Encoding
from evonas.optimizers.bayesian.gaussian_process import JITTER, GaussianProcess
from evonas.optimizers.bayesian.kernel import INACTIVE, SLOPE, Kernel
from evonas.space import Architecture, SearchSpace
from evonas.testing.optimizer_problems import (
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

TABLE = SHARED / "nas_bench" / "nas_bench_macro_cifar10.csv"


def points(n: int, seed: int = 0) -> np.ndarray:
    """Of three genes, choice, ordinal, conditional ordinal, and a cost."""
    rng = np.random.default_rng(seed)
    last = np.where(rng.random(n) < 0.3, INACTIVE, rng.integers(0, 5, n) / 4)
    genes = [rng.integers(0, 3, n) / 2, rng.integers(0, 4, n) / 3, last]
    return np.array([*genes, rng.standard_normal(n)]).T


def space_grid(space: SearchSpace) -> np.ndarray:
    places = [(np.arange(len(g.values)) + 0.5) / len(g.values) for g in space.genes]
    return np.array(list(itertools.product(*places)))


def process(seed: int = 1) -> GaussianProcess:
    gp = GaussianProcess(Kernel([False, True, True], cost=True))
    gp.log = gp.log + 0.5 * np.random.default_rng(seed).standard_normal(len(gp.log))
    return gp


def dense(gp: GaussianProcess, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The kernel's formula, one pair at a time."""
    *theta, linear, quadratic, additive, product, _ = np.exp(gp.log)
    out = np.empty((len(a), len(b)))
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            far = (x[2] == INACTIVE) != (y[2] == INACTIVE)
            distance = [x[0] != y[0], abs(x[1] - y[1]), 1.0 if far else abs(x[2] - y[2])]
            own = [np.exp(-t * d) for t, d in zip(theta, distance, strict=False)]
            together = np.prod(own) * np.exp(-theta[3] * (x[3] - y[3]) ** 2)
            mean = linear * x[3] * y[3] + quadratic * (x[3] * y[3]) ** 2
            out[i, j] = 1.0 + additive * np.mean(own) + product * together + mean
    return out


def test_posterior_is_that_of_the_dense_formula() -> None:
    gp, known, asked = process(), points(12), points(7, seed=3)
    targets = np.random.default_rng(2).standard_normal(12)
    gp.condition(known, targets)
    mean, variance, _ = gp.predict(asked)
    own = dense(gp, known, known)
    own += (gp.noise + JITTER * np.mean(np.diag(own) + gp.noise)) * np.eye(12)
    cross, inverse = dense(gp, asked, known), np.linalg.inv(own)
    prior, expected = SLOPE * known[:, 3], SLOPE * asked[:, 3]
    assert np.allclose(mean, expected + cross @ inverse @ (targets - prior))
    expected = np.diag(dense(gp, asked, asked) - cross @ inverse @ cross.T)
    assert np.allclose(variance, expected)


@pytest.mark.parametrize("with_cost", [True, False])
def test_gradient_is_that_of_finite_differences(with_cost: bool) -> None:
    known = points(15) if with_cost else points(15)[:, :3]
    gp = GaussianProcess(Kernel([False, True, True], with_cost))
    targets = np.random.default_rng(2).standard_normal(15)
    rest = (gp.kernel.distances(known, known), known, targets)
    for seed in range(3):
        at = gp.log + np.random.default_rng(seed).standard_normal(len(gp.log))
        wrong = check_grad(
            lambda x: gp.objective(x, *rest)[0], lambda x: gp.objective(x, *rest)[1], at
        )
        assert wrong < 1e-4


def test_an_irrelevant_gene_is_recognised() -> None:
    rng = np.random.default_rng(0)
    known = rng.integers(0, 3, (40, 4)) / 2
    gp = GaussianProcess(Kernel([True] * 4, cost=False))
    gp.fit(known, normal_scores(known[:, 0] + (known[:, 1] - 0.5) ** 2 + 0.5 * known[:, 3]))
    relevance = np.exp(gp.log[:4])
    assert relevance[2] < 0.5 * min(relevance[[0, 1, 3]])


def test_cost_counts_only_where_it_says_something() -> None:
    def trend(related: bool) -> float:
        rng = np.random.default_rng(4)
        known = np.column_stack([rng.integers(0, 3, (40, 3)) / 2, rng.standard_normal(40)])
        gp = GaussianProcess(Kernel([False] * 3, cost=True))
        truth = -known[:, 3] if related else known[:, 0] - known[:, 1]
        targets = normal_scores(truth + 0.1 * rng.standard_normal(40))
        gp.fit(known, targets)
        gp.condition(known, targets)
        cheap, costly = np.full((1, 4), 0.5), np.full((1, 4), 0.5)
        cheap[0, 3], costly[0, 3] = -1.5, 1.5
        return float(gp.predict(costly)[0][0] - gp.predict(cheap)[0][0])

    assert trend(related=True) < -1.5
    assert abs(trend(related=False)) < 0.4


def slope_of(fitness_of_cost: float) -> float:
    """What the model makes of six networks whose fitness follows from the cost alone."""
    rng = np.random.default_rng(5)
    known = np.column_stack([rng.integers(0, 3, (6, 3)) / 2, np.linspace(-2.0, 1.5, 6)])
    gp = GaussianProcess(Kernel([False] * 3, cost=True))
    targets = normal_scores(fitness_of_cost * known[:, 3])
    gp.fit(known, targets)
    gp.condition(known, targets)
    ends = np.array([[0.5] * 3 + [-1.0], [0.5] * 3 + [1.0]])
    return float(np.diff(gp.predict(ends)[0])[0])


def test_that_cost_helps_is_believed_until_data_say_otherwise() -> None:
    gp = GaussianProcess(Kernel([False] * 3, cost=True))
    assert np.allclose(gp.kernel.mean(np.array([[0.0, 0.0, 0.0, 2.0]])), 2.0 * SLOPE)
    assert slope_of(-1.0) < -0.9
    assert slope_of(1.0) > 0.9


@pytest.mark.parametrize("arguments", [{}, {"population_size": 4}])
def test_the_cost_alone_leads_to_large_networks_after_two(arguments: dict[str, object]) -> None:
    space = ordinal(6, 3)
    optimizer = build("surrogate", space, budget=4, macs=cost, **arguments)
    asked = []
    while len(genomes := optimizer.ask()):
        asked += [cost(space.decode(genome)) for genome in genomes]
        optimizer.tell([-float(cost(space.decode(genome))) for genome in genomes])
    everything = [cost(space.decode(genome)) for genome in space_grid(space)]
    assert max(asked[2:]) >= np.quantile(everything, 0.95)


def test_a_believed_candidate_changes_variance_as_if_it_were_known() -> None:
    gp, known, asked = process(), points(12), points(9, seed=3)
    targets = np.random.default_rng(2).standard_normal(12)
    gp.condition(known, targets)
    mean = gp.predict(asked)[0]
    posterior = CandidatePosterior(gp, asked, 9.0)
    posterior.take(4)
    gp.condition(np.vstack([known, asked[[4]]]), np.append(targets, mean[4]))
    again, variance, _ = gp.predict(asked)
    expected = log_expected_improvement(again, variance, float(mean[4]))
    assert np.allclose(again, mean, atol=1e-6)
    assert np.allclose(posterior.scores(), expected, atol=1e-4)


def test_log_expected_improvement_far_from_any() -> None:
    u = np.array([3.0, 0.0, -0.99, -1.01, -5.0])
    plain = np.log(norm.pdf(u) + u * norm.cdf(u))
    assert np.allclose(log_expected_improvement(-u, np.ones(5), 0.0), plain)
    far = log_expected_improvement(np.array([30.0, 900.0, 1e4]), np.ones(3), 0.0)
    assert np.all(np.isfinite(far))
    assert np.all(np.diff(far) < 0.0)


def test_a_few_terrible_networks_do_not_bend_the_scores() -> None:
    plain = normal_scores(np.array([1.0, 2.0, 3.0, 4.0]))
    assert np.array_equal(plain, normal_scores(np.array([1.0, 2.0, 3.0, 1e100])))
    assert np.array_equal(normal_scores(np.full(5, 2.0)), np.zeros(5))


def test_genomes_of_one_architecture_are_one_point() -> None:
    space = conditional()
    rng = np.random.default_rng(0)
    genomes = rng.random((300, 2))
    same, found = Encoding(space, cost, None, genomes).feasible(genomes)
    assert same is not None
    digests = {space.decode(g).digest for g in genomes}
    assert len(np.unique(found, axis=0)) == len(digests) == 9
    assert np.array_equal(found[:, 1] == INACTIVE, genomes[:, 0] <= 0.5)


@pytest.mark.parametrize("space", [mixed(), ordinal()], ids=["large", "listed"])
def test_no_repeats_in_a_batch_or_later(space: SearchSpace) -> None:
    optimizer = build("surrogate", space, budget=40, population_size=8)
    asked = drive(optimizer)
    assert [len(genomes) for genomes in asked] == [8, 8, 8, 8, 8]
    assert len(distinct(optimizer, asked)) == 40


def test_asks_four_at_a_time_by_default() -> None:
    assert build("surrogate", mixed()).population_size == 4


def trainings_to_the_best(space: SearchSpace, best: float, **arguments: object) -> float:
    """Median over five seeds."""
    counts = []
    for seed in range(5):
        optimizer = build("surrogate", space, seed=seed, budget=60, **arguments)
        while optimizer.best_fitness > best + 1e-9 and len(genomes := optimizer.ask()):
            optimizer.tell(bowl(space, genomes))
        counts.append(optimizer.trained)
    return statistics.median(counts)


@pytest.mark.parametrize("arguments", [{}, {"macs": cost}, {"population_size": 8}])
def test_finds_the_best_of_an_additive_space(arguments: dict[str, object]) -> None:
    # 1 of 729: random search takes 365 in the median
    assert trainings_to_the_best(ordinal(6, 3), 0.0, **arguments) <= 30


def test_conditional_genes() -> None:
    space = space_of(
        {"kind": "choice", "choices": ["a", "b", "c"]},
        *[{"kind": "integer", "low": 0, "high": 3, "when": {"g0": [v]}} for v in "abc"],
        {"kind": "choice", "choices": list(range(6))},
    )
    optimizer = build("surrogate", space, budget=72)

    def value(architecture: Architecture) -> float:
        at = architecture.settings
        own = at.get("g2", 0)  # only of "b"
        return 3.0 - own + (at["g4"] != 4)

    while optimizer.best_fitness > 0.0:
        optimizer.tell([value(space.decode(g)) for g in optimizer.ask()])
    assert optimizer.trained <= 36
    drive(optimizer)
    assert optimizer.trained == 72


def test_failures_are_avoided() -> None:
    space = ordinal(4, 4)
    optimizer = build("surrogate", space, budget=60)
    failed = []
    while len(genomes := optimizer.ask()):
        # a third of the space fails, next to its best
        broken = np.array([space.decode(g).settings["g1"] == 0 for g in genomes])
        failed.extend(broken)
        optimizer.tell(np.where(broken, np.nan, bowl(space, genomes)))
    assert np.mean(failed[20:]) < 0.15


def test_equal_fitness_teaches_nothing_and_breaks_nothing() -> None:
    optimizer = build("surrogate", mixed(), budget=20)
    asked = drive(optimizer, lambda space, genomes: 0.0 * by_digest(space, genomes))
    assert len(distinct(optimizer, asked)) == 20


@pytest.mark.skipif(not TABLE.is_file(), reason=f"the real data {TABLE} is not there")
def test_reaches_the_best_of_a_table_of_real_networks() -> None:
    """NAS-Bench-Macro (Su et al. 2021): 6 of 6561 networks in 14 trainings, the median of 5."""
    with TABLE.open(newline="", encoding="utf-8") as stream:
        rows = {row["arch"]: row for row in csv.DictReader(stream)}
    space = ordinal(8, 3)

    def row(architecture: Architecture) -> dict[str, str]:
        return rows["".join(str(value) for value in architecture.settings.values())]

    def macs(architecture: Architecture) -> int:
        return int(row(architecture)["flops"])

    def value(architecture: Architecture) -> float:
        return (100.0 - float(row(architecture)["mean_acc"])) * max(
            1.0, macs(architecture) / 70e6
        ) ** 0.06

    counts = []
    for seed in range(5):
        optimizer = build("surrogate", space, seed=seed, budget=60, macs=macs)
        while optimizer.best_fitness > 7.0376 and len(genomes := optimizer.ask()):
            optimizer.tell([value(space.decode(genome)) for genome in genomes])
        counts.append(optimizer.trained)
    assert statistics.median(counts) <= 14


def test_mutants_are_made_of_successes(monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = build("surrogate", ordinal(8, 8), budget=30, population_size=1)
    parents: list[np.ndarray] = []
    original = type(optimizer)._mutants

    def noted(self: object, best: np.ndarray) -> np.ndarray:
        parents.append(best)
        return original(self, best)

    monkeypatch.setattr(type(optimizer), "_mutants", noted)
    good: set[bytes] = set()
    for turn in range(16):
        genome = optimizer.ask()[0]
        if turn % 4 == 0:
            good.add(genome.tobytes())
        optimizer.tell([float(turn) if turn % 4 == 0 else np.nan])
    assert parents
    assert {genome.tobytes() for some in parents for genome in some} <= good


def noisy(space: SearchSpace, genomes: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bowl with noise of a fifth of its standard deviation, the same for equal networks."""
    return bowl(space, genomes) + 0.15 * by_digest(space, genomes)


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"window": 4}, marks=pytest.mark.slow)], ids=["batches", "window"]
)
def test_a_search_ends_when_it_has_converged(options: dict[str, int]) -> None:
    def searched(**more: bool) -> tuple[Optimizer, list[NDArray[np.float64]]]:
        optimizer = build("surrogate", ordinal(3, 6), budget=90, **options, **more)
        asked, waiting = [], deque[NDArray[np.float64]]()
        while len(genomes := optimizer.ask()):
            asked.append(genomes)
            waiting.append(noisy(optimizer.space, genomes))
            if len(waiting) >= max(1, optimizer.window):
                optimizer.tell(waiting.popleft())
        return optimizer, asked

    whole, asked = searched()
    ended, fewer = searched(until_converged=True)
    assert "budget of 90" in whole.stop_reason
    assert "The search has converged: for 8 architectures in a row" in ended.stop_reason
    assert 20 <= ended.trained <= 80
    assert np.array_equal(np.concatenate(fewer), np.concatenate(asked)[: ended.trained])
    assert ended.best_fitness <= whole.best_fitness + 0.15
    assert len(ended.ask()) == 0

"""Two models, with and without the cost: weights by evidence, averaged expected improvement."""

from __future__ import annotations

import numpy as np
import pytest

from evonas.optimizers.bayesian.acquisition import CandidatePosterior, normal_scores
from evonas.optimizers.bayesian.gaussian_process import GaussianProcess
from evonas.optimizers.bayesian.kernel import Kernel
from evonas.optimizers.bayesian.model_average import ODDS, AveragedPosterior, ModelAverage
from evonas.optimizers.surrogate import Surrogate
from evonas.space import Architecture
from evonas.testing.optimizer_problems import ordinal


def models() -> ModelAverage:
    return ModelAverage([GaussianProcess(Kernel([False] * 3, cost)) for cost in (True, False)])


def weight_of_cost(fitness: np.ndarray, known: np.ndarray) -> float:
    both = models()
    both.fit(known, normal_scores(fitness))
    return float(np.exp(both.log_weights[0]))


def data(n: int) -> np.ndarray:
    """Of three choices, and a cost that they do not determine."""
    rng = np.random.default_rng(4)
    return np.column_stack([rng.integers(0, 3, (n, 3)) / 2, rng.standard_normal(n)])


def test_the_cost_is_believed_first_and_fades_with_data() -> None:
    assert np.exp(models().log_weights)[0] == pytest.approx(1 / (1 + np.exp(-ODDS)))
    genes_alone = [weight_of_cost(x[:, 0] - x[:, 1] + 0.3 * x[:, 2], x) for x in map(data, (8, 32))]
    assert genes_alone[1] < genes_alone[0] < 0.5
    assert genes_alone[1] < 0.1
    known = data(24)
    assert weight_of_cost(-known[:, 3] + 0.3 * known[:, 0], known) > 0.99
    assert weight_of_cost(known[:, 3] + 0.3 * known[:, 0], known) > 0.99  # also the other way


def test_expected_improvement_is_averaged() -> None:
    known, asked = data(12), data(40)[12:]
    both = models()
    both.fit(known, normal_scores(known[:, 0]))
    both.condition(known, normal_scores(known[:, 0]))
    posterior = AveragedPosterior(both, asked, known)
    own = [
        CandidatePosterior(process, asked, float(process.predict(known)[0].min()))
        for process in both.processes
    ]
    for _ in range(2):
        expected = sum(np.exp(w + p.scores()) for w, p in zip(both.log_weights, own, strict=True))
        assert np.allclose(np.exp(posterior.scores()), expected)
        posterior.take(3)
        for each in own:
            each.take(3)


def mirrored(trend: float) -> float:
    """Mean trainings to the best of 256 architectures whose error falls or rises with cost.

    The logarithm of the cost is a sum over genes; at trend 0 it says nothing of the error.
    """
    space = ordinal(4, 4)
    rng = np.random.default_rng(1)
    main, weights = rng.standard_normal((4, 4)), np.array([0.3, 0.8, 0.5, 0.6])

    def at(architecture: Architecture) -> np.ndarray:
        return np.array([int(str(v)) for v in architecture.settings.values()])

    def macs(architecture: Architecture) -> int:
        return int(1e6 * np.exp(weights @ at(architecture)))

    def error(architecture: Architecture) -> float:
        place = at(architecture)
        return float(main[np.arange(4), place].sum() - trend * weights @ place)

    lowest = min(
        error(space.decode((np.array(index) + 0.5) / 4)) for index in np.ndindex(4, 4, 4, 4)
    )
    counts = []
    for seed in range(6):
        optimizer = Surrogate(space, budget=60, seed=seed, population_size=1, macs=macs)
        while optimizer.best_fitness > lowest + 1e-9:
            optimizer.tell([error(space.decode(genome)) for genome in optimizer.ask()])
        counts.append(optimizer.trained)
    return float(np.mean(counts))


@pytest.mark.parametrize(("trend", "most"), [(2.0, 12.0), (0.0, 20.0), (-2.0, 20.0)])
def test_mirrored_tables_are_searched_too(trend: float, most: float) -> None:
    # random search takes 128 of 256 in the mean
    assert mirrored(trend) <= most

"""The prior on values of genes: offsets of the model's mean, a hint that data overrule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from evonas.errors import InputError
from evonas.optimizers.bayesian.acquisition import normal_scores
from evonas.optimizers.bayesian.gaussian_process import GaussianProcess
from evonas.optimizers.bayesian.gene_prior import MOST, TRUST, prior_offsets
from evonas.optimizers.bayesian.kernel import INACTIVE, Kernel
from evonas.testing.optimizer_problems import build, space_of

TAPS = ["early", "middle", "late"]


def space() -> Any:
    return space_of(
        {"kind": "ordinal", "choices": TAPS}, *[{"kind": "integer", "low": 0, "high": 3}] * 4
    )


def test_offsets_are_relative_differences_and_bounded() -> None:
    offsets = prior_offsets(space(), {"g0": {"early": 9.0, "late": 11.0}, "g1": {"0": 1, 1: 99}})
    assert offsets[0] == pytest.approx([-0.1 * TRUST, 0.0, 0.1 * TRUST])
    assert offsets[1].tolist() == [-MOST, MOST, 0.0, 0.0]
    assert prior_offsets(space(), {"g0": dict.fromkeys(TAPS, 0.0)})[0].tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("prior", "said"),
    [
        ({"tap": {"early": 1.0}}, "got the gene 'tap'"),
        ({"g0": {"erly": 1.0}}, "got g0=erly: did you mean 'early'"),
        ({"g0": 3}, "got g0: 3"),
        ({"g0": {"early": float("nan")}}, "errors of at least 0"),
    ],
)
def test_a_wrong_prior_is_refused(prior: Any, said: str) -> None:
    with pytest.raises(InputError, match=f"^prior: expected [^\n]*{said}[^\n]*$"):
        build("surrogate", space(), prior=prior)


def tap_effect(truth: dict[float, float], n: int) -> float:
    """Posterior mean at the last value minus that at the first; the prior says +1."""
    rng = np.random.default_rng(3)
    known = np.array([[t, *rng.integers(0, 4, 2) / 3] for t in np.tile([0.0, 0.5, 1.0], n)])
    offsets = {0: np.array([-0.5, 0.0, 0.5])}
    gp = GaussianProcess(Kernel([True] * 3, cost=False, offsets=offsets))
    targets = normal_scores(known[:, 1] + np.array([truth[t] for t in known[:, 0]]))
    gp.fit(known, targets)
    gp.condition(known, targets)
    ends = np.array([[0.0, 0.5, 0.5], [1.0, 0.5, 0.5]])
    return float(np.diff(gp.predict(ends)[0])[0])


def test_data_overrule_the_prior() -> None:
    kernel = Kernel([True] * 3, cost=False, offsets={0: np.array([-0.5, 0.0, 0.5])})
    assert kernel.mean(np.array([[1.0, 0, 0], [INACTIVE, 0, 0]])).tolist() == [0.5, 0.0]
    assert tap_effect({0.0: 0.0, 0.5: 0.0, 1.0: 0.5}, 4) > 0.5
    assert abs(tap_effect({0.0: 0.0, 0.5: 0.0, 1.0: 0.0}, 8)) < 0.25
    assert tap_effect({0.0: 0.5, 0.5: 0.2, 1.0: 0.0}, 4) < -0.5


def test_gradient_with_offsets_is_that_of_finite_differences() -> None:
    from scipy.optimize import check_grad

    rng = np.random.default_rng(0)
    known = rng.integers(0, 3, (12, 3)) / 2
    gp = GaussianProcess(Kernel([True] * 3, False, {1: np.array([0.4, 0.0, -0.4])}))
    rest = (gp.kernel.distances(known, known), known, rng.standard_normal(12))
    at = gp.log + 0.3 * rng.standard_normal(len(gp.log))
    assert (
        check_grad(lambda x: gp.objective(x, *rest)[0], lambda x: gp.objective(x, *rest)[1], at)
        < 1e-4
    )


def taps_asked(prior: Any, n: int, best: str) -> list[str]:
    """Taps of the n first architectures where ``best`` is the tap of lowest error."""
    asked: list[str] = []
    for seed in range(4):
        optimizer = build("surrogate", space(), seed=seed, budget=n, population_size=4, prior=prior)
        while len(genomes := optimizer.ask()):
            found = [optimizer.space.decode(genome).settings for genome in genomes]
            asked += [str(each["g0"]) for each in found]
            optimizer.tell([2.0 * (f["g0"] != best) + abs(int(f["g1"]) - 2) for f in found])
    return asked


def test_the_prior_weighs_the_first_design_and_bans_nothing() -> None:
    prior = {"g0": {"early": 1.0, "middle": 2.0, "late": 4.0}}
    plain, hinted = taps_asked(None, 8, "early"), taps_asked(prior, 8, "early")
    assert hinted.count("early") > plain.count("early")
    assert hinted.count("late") < plain.count("late")
    misled = taps_asked(prior, 20, "late")
    assert misled.count("late") > misled.count("early")

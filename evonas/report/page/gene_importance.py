"""Permutation importance of genes for the fitness.

A random forest is fitted to the trials of a search and predicts held-out trials, as they are and
with the values of one gene permuted (Breiman 2001, https://doi.org/10.1023/A:1010933404324,
section 10). scikit-learn's ``permutation_importance`` would call the forest once per permutation,
which takes 30 times as long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evonas.runs.run_store import Trial
from evonas.space import SearchSpace

#: Least number of networks for importances.
LEAST = 20
_FOLDS, _TREES, _SHUFFLES = 5, 100, 5


@dataclass(frozen=True)
class Importance:
    """Importance of each gene.

    Attributes:
        genes: names, the most important first.
        means, spreads: loss of explained variance without the gene; mean and standard deviation
            over the folds.
        explained: explained variance of log fitness in held-out trials; below 0 the model is
            worse than their mean.
    """

    genes: Sequence[str]
    means: Sequence[float]
    spreads: Sequence[float]
    explained: float


def importance(space: SearchSpace, trials: Sequence[Trial], seed: int = 0) -> Importance | None:
    """Return the importance of each gene that varied; None if trials are too few or all equal.

    Args:
        space: search space of the trials.
        trials: distinct networks with a fitness.
        seed: of the forest, folds and shuffles.
    """
    known = [trial for trial in trials if trial.fitness is not None and trial.fitness > 0]
    known = [trial for trial in known if len(trial.genome) == space.dim]
    if len(known) < LEAST:
        return None
    rows = np.array([_bins(space, trial) for trial in known])
    values = np.log([trial.value for trial in known])
    varied = np.flatnonzero(np.ptp(rows, axis=0))
    if not len(varied) or float(np.ptp(values)) == 0.0:
        return None
    from sklearn.ensemble import RandomForestRegressor  # slow to import
    from sklearn.model_selection import KFold

    rng = np.random.default_rng(seed)
    lost = np.zeros((_FOLDS, len(varied)))
    explained = np.zeros(_FOLDS)
    folds = KFold(_FOLDS, shuffle=True, random_state=seed).split(rows)
    for fold, (fitted, held) in enumerate(folds):
        forest = RandomForestRegressor(_TREES, min_samples_leaf=2, random_state=seed)
        forest.fit(rows[fitted][:, varied], values[fitted])
        truth, asked = values[held], rows[held][:, varied]
        spread = max(float(np.var(values)), 1e-12)
        explained[fold] = 1.0 - float(np.mean((forest.predict(asked) - truth) ** 2)) / spread
        shuffled = np.repeat(asked[None], len(varied) * _SHUFFLES, axis=0)
        for number in range(len(varied) * _SHUFFLES):
            gene = number // _SHUFFLES
            shuffled[number, :, gene] = rng.permutation(asked[:, gene])
        answers = forest.predict(shuffled.reshape(-1, len(varied))).reshape(len(shuffled), -1)
        losses = 1.0 - ((answers - truth) ** 2).mean(axis=1) / spread
        lost[fold] = explained[fold] - losses.reshape(len(varied), _SHUFFLES).mean(axis=1)
    order = np.argsort(-lost.mean(axis=0), kind="stable")
    names = [space.genes[varied[i]].name for i in order]
    means, spreads = lost.mean(axis=0)[order], lost.std(axis=0, ddof=1)[order]
    return Importance(names, means.tolist(), spreads.tolist(), float(explained.mean()))


def _bins(space: SearchSpace, trial: Trial) -> list[float]:
    """Return the encoded value of each gene in 0..1; 0.5 for an inactive gene."""
    settings = trial.architecture.get("settings", {})
    return [
        gene.encode(settings[gene.name]) if gene.name in settings else 0.5 for gene in space.genes
    ]

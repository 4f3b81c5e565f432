"""Rank correlation of errors between the search and the retraining."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import kendalltau, spearmanr

_LEAST = 3  # networks below which there is no rank correlation
_TELLING = 8  # below them the 95 % interval of no correlation reaches beyond 0.7


@dataclass(frozen=True)
class RankCorrelation:
    """Rank correlation of the errors in the search and after retraining.

    Attributes:
        spearman: Spearman's rho.
        kendall: Kendall's tau-b.
        networks: number of networks with both errors.
    """

    spearman: float
    kendall: float
    networks: int

    @property
    def telling(self) -> bool:
        """Whether the networks are enough for the figures to say something."""
        return self.networks >= _TELLING

    def statement(self, epochs: int) -> str:
        """Return one line for the user; ``epochs`` are those of the search."""
        if not self.telling:
            return (
                f"Do short trainings rank as long ones? {self.networks} networks are too few to "
                f"say: --ranking {_TELLING} retrains enough."
            )
        return (
            f"Rank correlation of errors in the search (epochs: {epochs}, one seed) and retrained: "
            f"Spearman {self.spearman:.2f}, Kendall {self.kendall:.2f}, over "
            f"{self.networks} networks."
        )


def rank_correlation(contenders: Sequence[Any], metric: str) -> RankCorrelation | None:
    """Return the rank correlation; None for fewer than 3 networks with both errors.

    Args:
        contenders: what ``evonas.workflows.retraining`` returns; ``searched`` is the error in the
            search.
        metric: that counts as the error; on the test split where there is one.
    """
    pairs = []
    for contender in contenders:
        retrained = contender.mean(f"test_{metric}")
        retrained = contender.mean(metric) if math.isnan(retrained) else retrained
        if contender.searched is not None and math.isfinite(retrained):
            pairs.append((contender.searched, retrained))
    if len(pairs) < _LEAST or any(len(set(column)) < 2 for column in zip(*pairs, strict=True)):
        return None
    before, after = zip(*pairs, strict=True)
    rho, tau = spearmanr(before, after).statistic, kendalltau(before, after).statistic
    return RankCorrelation(float(rho), float(tau), len(pairs))

"""Verdict: one sentence on what a search was worth, against the best baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evonas.runs.finals import DOUBT


@dataclass(frozen=True)
class Rated:
    """A network or a baseline with its errors.

    Attributes:
        name: for the sentence.
        errors: of each training; none if all failed.
        macs: multiply-adds of the head.
        over_limit: it has more than the limit allows the candidates.
        fixed: its errors have no noise of seeds, as those of a linear model.
    """

    name: str
    errors: Sequence[float]
    macs: int
    over_limit: bool = False
    fixed: bool = False

    @property
    def error(self) -> float:
        """Mean error; nan without one."""
        return float(np.mean(self.errors)) if len(self.errors) else math.nan

    def variance(self, noise: float) -> float:
        """Return the variance of the mean; ``noise`` is of one training, nan if unknown."""
        if self.fixed:
            return 0.0
        if math.isnan(noise) and len(self.errors) > 1:
            noise = float(np.std(self.errors, ddof=1))
        return noise**2 / len(self.errors)


def verdict(
    winner: Rated,
    baselines: Sequence[Rated],
    unit: str,
    *,
    limited: bool,
    noise: float = math.nan,
    paired: bool = False,
) -> str:
    """Return a sentence on the winner's error against that of the best baseline.

    A difference within two standard errors is none.

    Args:
        winner: of a search.
        baselines: those beyond the limit do not count.
        unit: of the errors, which are the lower the better; empty for a loss.
        limited: there is a limit on cost.
        noise: standard deviation of an error between seeds, if it is known otherwise than from
            the errors.
        paired: the errors are those of the same folds, in order.

    Returns:
        The sentence; empty without baselines or without an error of the winner.
    """
    if not baselines or not math.isfinite(winner.error):
        return ""
    able = [one for one in baselines if not one.over_limit and math.isfinite(one.error)]
    within = " within the limit" if limited else ""
    if not able:
        return f"No baseline{within} has an error, so nothing says what the search was worth."
    best = min(able, key=lambda one: one.error)
    gap = best.error - winner.error
    doubt = DOUBT * _standard_error(winner, best, noise, paired)
    figures = f"{winner.error:.4g} against {best.error:.4g}{f' {unit}' if unit else ''}"
    costs = f"at {_millions(winner.macs)} against {_millions(best.macs)} M multiply-adds"
    if gap <= 0:
        return f"No better than {best.name}: {figures}, {costs}."
    if gap <= doubt:  # not where the doubt is unknown
        return (
            f"No better than {best.name} beyond noise: {figures}, which is less than {DOUBT:g} "
            f"standard errors ({doubt:.2g}) apart, {costs}."
        )
    better = f"is {_percent(gap / best.error)} lower" if best.error > 0 else "is lower"
    unsure = "; single trainings, so their noise is unknown" if math.isnan(doubt) else ""
    return (
        f"The winner's error {better} than that of the best baseline{within} ({best.name}): "
        f"{figures}, {costs}{unsure}."
    )


def retraining_verdict(
    contenders: Sequence[Any], metric: str, unit: str, limited: bool, paired: bool
) -> str:
    """Return the sentence on the winner of a retraining; empty without one or without baselines.

    Args:
        contenders: what ``evonas.workflows.retraining`` returns; errors are those of the test
            split where there is one.
        metric, unit: of the error.
        limited: there is a limit on cost.
        paired: results are those of folds.
    """
    winners = [one for one in contenders if one.name == "winner"]
    if not winners:
        return ""
    tested = f"test_{metric}"
    key = tested if any(tested in result for result in winners[0].results) else metric

    def rated(one: Any) -> Rated:
        errors = [result[key] for result in one.results if key in result]
        name = f"{one.name} on {one.tap}" if one.tap else one.name
        return Rated(name, errors, one.head.macs, one.over_limit, one.architecture is None)

    rivals = [rated(one) for one in contenders if one.baseline]
    return verdict(rated(winners[0]), rivals, unit, limited=limited, paired=paired)


def fine_tuning_verdict(
    before: Sequence[float], after: Sequence[float], unit: str, doubts: Sequence[str] = ()
) -> str:
    """Return the sentence on the error after fine-tuning against that before.

    Args:
        before: error of each head on the frozen backbone.
        after: error of each after fine-tuning, in the same order.
        unit: of the errors; empty for a loss.
        doubts: why the errors say nothing of an improvement; none if they do.
    """
    first, second = Rated("frozen", before, 0), Rated("fine-tuned", after, 0)
    figures = f"{second.error:.4g} against {first.error:.4g}{f' {unit}' if unit else ''}"
    if doubts:
        return f"No claim of an improvement ({figures}): {'; '.join(doubts)}."
    gap = first.error - second.error
    doubt = DOUBT * _standard_error(second, first, math.nan, paired=True)
    if gap <= 0:
        return f"No better than the frozen backbone: {figures}."
    if gap <= doubt:
        return (
            f"No better than the frozen backbone beyond noise: {figures}, which is less than "
            f"{DOUBT:g} standard errors ({doubt:.2g}) apart."
        )
    unsure = "; a single training, so its noise is unknown" if math.isnan(doubt) else ""
    lower = f"{_percent(gap / first.error)} lower" if first.error > 0 else "lower"
    return f"The error is {lower} than on the frozen backbone: {figures}{unsure}."


def _standard_error(winner: Rated, other: Rated, noise: float, paired: bool) -> float:
    """Return the standard error of the difference of two means; nan if unknown."""
    if paired and len(winner.errors) == len(other.errors) > 1:
        differences = np.subtract(winner.errors, other.errors)
        return float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    return math.sqrt(winner.variance(noise) + other.variance(noise))


def _millions(macs: int) -> str:
    return f"{macs / 1e6:.2f}" if macs >= 1e5 or not macs else f"{macs / 1e6:.2g}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"

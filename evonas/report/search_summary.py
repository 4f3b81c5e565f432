"""Summary of a finished search in a few lines for the terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from evonas.core.settings import FinalsSettings
from evonas.estimation.measurement import Measurement
from evonas.report.tables import multiply_adds
from evonas.report.verdict import Rated, verdict
from evonas.runs.callbacks import TrainedBaseline
from evonas.runs.finals import DOUBT, Finalist, Outcome, difference, noise
from evonas.runs.run_store import Trial

_NAMED = 3  # networks as good and cheaper that are named one by one


def winner(
    finalists: Sequence[Finalist], metric: str, unit: str, constant: float | None = None
) -> Iterator[str]:
    """Yield lines on the winner and the reliability of its error.

    Args:
        finalists: the winner first.
        metric, unit: of the error.
        constant: error of the best constant prediction, if known.
    """
    best = finalists[0]
    error, own = best.metrics()[metric], best.trial.metrics[metric]
    judged = best.compared()[metric]  # on the images of the constant
    if constant is not None and not judged < constant:
        yield (
            f"NOTHING WAS LEARNED: the winner's {metric} of {judged:.3f}{_in(unit)} does not beat "
            f"the {constant:.3f} of a constant prediction: look at the labels (`evonas data "
            f"check`), lower training.learning_rate, or train for more epochs."
        )
    spread = best.spread().get(metric)
    around = "" if spread is None else f" ±{spread:.3f}"
    yield (
        f"Best: {metric} {error:.3f}{around}{_in(unit)} at {_cost(best.trial)}, "
        f"fitness {best.fitness:.3f}."
    )
    if not best.further:
        return
    place = sorted(finalists, key=lambda one: one.trial.value).index(best) + 1
    deviation = noise(finalists, metric)
    of = "trainings on one fold" if best.folds else "seeds"
    noisy = "" if math.isnan(deviation) else f"; {of} differ by {deviation:.3f}{_in(unit)} (sd)"
    what = (
        f"mean over {len(best.further)} fold(s) of images which the search trained on, each held "
        f"out once"
        if best.folds
        else f"mean of {len(best.further)} further seed(s)"
    )
    yield (
        f"That is the {what}; of {len(finalists)} "
        f"finalist(s) it was number {place} in the search with {own:.3f}{noisy}."
    )


def reason(outcome: Outcome, settings: FinalsSettings | None, metric: str) -> str:
    """Return a line on why the winner is the one that is named; empty without a choice.

    Args:
        outcome: of the finals.
        settings: of the finals; None: unknown, so it was the lowest mean.
        metric: of the error.
    """
    leader, count = outcome.leader, len(outcome.finalists)
    if leader is None or not leader.further or count < 2:
        return ""
    best, within = outcome.finalists[0], f"within seed noise ({DOUBT:g} standard errors)"
    if best is not leader:
        return (
            f"It is named as the cheapest {within} of the lowest error: {leader.trial.digest} has "
            f"{leader.metrics()[metric]:.3f} at {_cost(leader.trial)}."
        )
    if settings is not None and settings.method == "race":
        trainings = sum(len(one.further) for one in outcome.finalists)
        why = (
            f"It is named as the winner of a race of {count} networks over "
            f"{'folds' if best.folds else 'seeds'}, {trainings} "
            f"further trainings in all"
        )
    else:
        why = f"It is named for the lowest mean fitness of {count} networks"
    prefers_cost = settings is not None and settings.prefer == "cost"
    return f"{why}; no cheaper one with two seeds is {within}." if prefers_cost else f"{why}."


def failed_finals(trials: Sequence[Trial]) -> str:
    """Return a line on further trainings that failed; empty if none did."""
    failed = [trial for trial in trials if trial.status == "final" and trial.fitness is None]
    if not failed:
        return ""
    return f"{len(failed)} further training(s) failed, the first: {failed[0].error}"


def statistically_tied(outcome: Outcome, metric: str, run: str) -> str:
    """Return a line on cheaper networks within seed noise of the leader; empty if none is.

    Args:
        outcome: of the finals.
        metric: of the error.
        run: how a command names the run.
    """
    cheaper, leader = outcome.cheaper, outcome.leader
    if not cheaper or leader is None:
        return ""
    of = "it" if leader is outcome.finalists[0] else leader.trial.digest

    def error(one: Finalist) -> str:
        if leader.folds:  # a mean over other folds says nothing
            return f"{difference(one, leader, metric)[0]:+.3f} on the same images"
        return f"{one.metrics()[metric]:.3f}"

    named = [
        f"{one.trial.digest} {error(one)} at {_cost(one.trial)} "
        f"({len(one.further) or 1} seed{'s' if len(one.further) > 1 else ''})"
        for one in cheaper[:_NAMED]
    ]
    more = f" and {len(cheaper) - _NAMED} more" if len(cheaper) > _NAMED else ""
    return (
        f"Within seed noise of {of} ({DOUBT:g} standard errors) and cheaper: "
        f"{', '.join(named)}{more}: see best.json. To take it instead: evonas retrain {run} --pick "
        f"{cheaper[0].trial.digest}"
    )


def front(trials: Sequence[Trial], metric: str, unit: str, axes: Sequence[str]) -> str:
    """Return a line on the Pareto front.

    Args:
        trials: on the front, the cheapest first, at least one.
        metric, unit: of the error.
        axes: names of the objectives.
    """
    low, high = trials[0], trials[-1]
    ends = f"{low.metrics[metric]:.3f}{_in(unit)} at {_cost(low)}"
    if len(trials) > 1:
        ends += f" to {high.metrics[metric]:.3f} at {_cost(high)}"
    return f"Front of {', '.join(axes)}: {len(trials)} network(s), {ends}: front.json."


def baselines(
    rivals: Sequence[TrainedBaseline], metric: str, unit: str, limits: str = ""
) -> Iterator[str]:
    """Yield a line per baseline, trained as in the search or fitted to the same images.

    Args:
        rivals: the baselines.
        metric, unit: of the error.
        limits: of the candidates, as a user writes them; empty: there are none.
    """
    for one in rivals:
        measurement = one.measurement
        error = measurement.metrics.get(metric, math.nan)
        result = measurement.error or f"{metric} {error:.3f}{_in(unit)}"
        how = "Trained the same way" if one.digest else "Fitted to the same images"
        beyond = f", beyond {limits}" if one.over_limit else ""
        note = f" ({one.note})" if one.note else ""
        again = [further[metric] for further in one.further]
        folds = f", over the winner's folds {np.mean(again):.3f}" if again else ""
        yield f"{how}, {one.name}: {result}{folds} at {_cost(measurement)}{beyond}{note}."


def search_verdict(
    finalists: Sequence[Finalist],
    rivals: Sequence[TrainedBaseline],
    metric: str,
    unit: str,
    limits: str = "",
) -> str:
    """Return a sentence on what a search was worth; empty without baselines.

    Errors on the same images are compared: of the folds that judged the winner and the best
    baseline, or of the search.

    Args:
        finalists: the winner first.
        rivals, metric, unit, limits: as of ``baselines``.
    """
    best = finalists[0]
    on_folds = [one for one in rivals if one.further] if best.folds else []
    seeds = best.further or (best.trial,)
    ours: Sequence[Trial] = seeds if on_folds or not best.folds else (best.trial,)
    errors = [one.metrics[metric] for one in ours]

    def of(one: TrainedBaseline) -> list[float]:
        results = one.further if on_folds else (one.measurement.metrics,)
        return [result[metric] for result in results if metric in result]

    rated = [
        Rated(
            one.name,
            of(one),
            one.measurement.macs,
            over_limit=one.over_limit,
            fixed=not (one.digest or one.further),
        )
        for one in on_folds or rivals
    ]
    winner, deviation = Rated("winner", errors, best.trial.macs), noise(finalists, metric)
    return verdict(winner, rated, unit, limited=bool(limits), noise=deviation)


def _in(unit: str) -> str:
    return f" {unit}" if unit else ""  # a loss has none


def _cost(of: Trial | Measurement) -> str:
    words = f"{multiply_adds(of.macs)} of head"
    if not of.latency:
        return words
    return f"{words} and {of.latency:.3f} ms ±{100 * of.latency_noise:.0f} %"

"""Last stage of a search: its baselines, of which the best is also judged on the winner's folds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from evonas.estimation.estimator import Job
from evonas.estimation.features.feature_cache import Features
from evonas.runs.callbacks import Callback, TrainedBaseline
from evonas.runs.finals import Finalist
from evonas.runs.trial import Trial
from evonas.space import Architecture
from evonas.workflows.base_components import BaseComponents
from evonas.workflows.candidates import SearchComponents, candidate_seed
from evonas.workflows.fold_splits import final_fold
from evonas.workflows.standard_baselines import fitted, standard_heads


@dataclass(frozen=True)
class BaselineStage:
    """Trains and fits the baselines of a search.

    Args:
        components: of the experiment.
        parts: of the search.
        features: the cached features of the search; None: there are none.
        callbacks: receives ``on_stage``, ``on_message`` and ``on_baseline``.
    """

    components: BaseComponents
    parts: SearchComponents
    features: Features | None
    callbacks: Callback

    def run(self, finalists: Sequence[Finalist]) -> None:
        """Train or fit the experiment's own baselines and the standard ones on the winner's tap.

        Those that do not fit the minutes of the search are left out.

        Args:
            finalists: of the search, the winner first; empty: nothing was trained successfully.
        """
        components = self.components
        winners = [Architecture.from_dict(one.trial.architecture) for one in finalists[:1]]
        networks = [
            *components.baselines,
            *(head for winner in winners for head in standard_heads(components, winner)),
        ]
        named = [(f"{name} on {components.tap_of(one)}", one) for name, one in networks]
        further = finalists[0].further if finalists and finalists[0].folds else ()
        fit = most = len(named) + len(further)
        if self.parts.time is not None:
            fit, lines = self.parts.time.plan_baselines(most)
            for line in lines:
                self.callbacks.on_message(line)
        found = self.trained(named[:fit])
        if winners and (fit or not named):
            found += fitted(components, winners[0], self.features)
            if further and fit == most:
                found = self._best_on_folds(found, winners[0], further)
        for baseline in found:
            self.callbacks.on_baseline(baseline)

    def trained(self, named: Sequence[tuple[str, Architecture]]) -> list[TrainedBaseline]:
        """Return hand-made networks, trained as briefly as candidates with random weights.

        Args:
            named: name and architecture of each.
        """
        self.callbacks.on_stage("baselines", len(named))
        jobs = [self._job(number, name, one) for number, (name, one) in enumerate(named)]
        measured, found = dict(self.parts.executor.evaluate(jobs)), []
        for job in jobs:
            digest, measurement = job.architecture.digest, measured[job.index]
            over = not self.parts.objective.admits(job.architecture, measurement.macs)
            found.append(TrainedBaseline(job.label, digest, measurement, over_limit=over))
        return found

    def _best_on_folds(
        self, found: list[TrainedBaseline], winner: Architecture, further: Sequence[Trial]
    ) -> list[TrainedBaseline]:
        """Judge the best baseline within the limits on the folds of the winner's trainings."""
        metric = self.components.error[0]
        able = [one for one in found if not one.over_limit and metric in one.measurement.metrics]
        if not able:
            return found
        best = min(able, key=lambda one: one.measurement.metrics[metric])
        results = self._trained_again(best, winner, further)
        if not all(math.isfinite(result.get(metric, math.nan)) for result in results):
            return found
        return [replace(one, further=results) if one is best else one for one in found]

    def _trained_again(
        self, baseline: TrainedBaseline, winner: Architecture, further: Sequence[Trial]
    ) -> list[Mapping[str, float]]:
        """Return the metrics of a baseline on the folds of the winner's trainings, in order."""
        known = (*self.components.baselines, *standard_heads(self.components, winner))
        own = {one.digest: one for _, one in known}.get(baseline.digest)
        if own is not None:
            jobs = [self._job(n, baseline.name, own, like) for n, like in enumerate(further)]
            measured = dict(self.parts.executor.evaluate(jobs))
            return [measured[job.index].metrics for job in jobs]
        splits = [self.components.final_folds[trial.fold - 1] for trial in further]
        return [
            model.measurement.metrics
            for split in splits
            for model in fitted(self.components, winner, self.features, split, baseline.name)
        ]

    def _job(
        self, index: int, name: str, architecture: Architecture, like: Trial | None = None
    ) -> Job:
        """Return the training of a baseline; ``like``: on the fold of a further training."""
        parts, repeat = self.parts, like.repeat if like else 0
        training = parts.inheritance.fresh if parts.inheritance else parts.training
        seed, epochs = self.components.experiment.seed, training.epochs
        own = candidate_seed(seed, architecture.digest, epochs, repeat)
        job = Job(index, architecture, own, training, name, latency=parts.objective.timed)
        return replace(job, split=final_fold(like.fold)) if like else job

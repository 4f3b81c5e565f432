"""Retraining: train the winner of a search and its baselines for longer, and compare them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from evonas.core import registry
from evonas.core.experiment import Experiment
from evonas.core.settings import TimeLimitSettings, TrainingSettings
from evonas.errors import InputError, nearest
from evonas.estimation.cost.complexity import Complexity, count
from evonas.estimation.estimator import Job, Split
from evonas.estimation.features.feature_cache import Progress
from evonas.models.backbones.base import Backbone
from evonas.models.networks.base import refuse_unread
from evonas.runs.comparison_schemas import REFITTED, ContenderEntry
from evonas.runs.file_schemas import Cost
from evonas.runs.training_curves import training_losses
from evonas.space import Architecture
from evonas.space.recipe import recipe_of, task_choices, without_recipe
from evonas.workflows.classical_models import Method
from evonas.workflows.components import Components
from evonas.workflows.loop import candidate_seed
from evonas.workflows.standard_baselines import (
    CONSTANT,
    classical_methods,
    enabled,
    fit_and_judge,
    standard_heads,
)

_FREE = Complexity(0, 0, 0.0, ())
_CONTROL_SEED = 1  # of the random backbone, the control of the pretrained one


@dataclass
class Contender:
    """A network of the comparison, its costs and its results.

    Attributes:
        name: for the table.
        architecture: None for the constant prediction.
        source: feature source: ``backbone``, or ``control`` (random weights).
        start: file of weights to start from; empty for a fresh start.
        searched: its error in the search, of a short training; None if it had none.
        tap: that the network stands on; empty for the constant.
        task: options of the task, where the network's recipe has some; else None.
        head, upto: cost of the head network and of the backbone up to the tap.
        results: metrics of each repeat or fold.
        weights: file names of the trained weights, one a repeat that worked.
        curves: the error on the validation split after each epoch, one a result.
        losses: the mean loss on the training images of each epoch, one a result.
        failures: what went wrong, one line each.
        baseline: whether the winner is held against it.
        over_limit: its costs are beyond the limits of the candidates.
        method: of a classical model; None: a network, or the constant.
        model: file name of the fitted classical model, or of the constant.
        note: what the fit left out to save time.
        keep: which epoch counts; empty: as the settings of the training say.
    """

    name: str
    architecture: Architecture | None
    source: str = "backbone"
    start: str = ""
    searched: float | None = None
    tap: str = ""
    task: dict[str, Any] | None = None
    head: Complexity = _FREE
    upto: Complexity = _FREE
    results: list[Mapping[str, float]] = field(default_factory=list)
    weights: list[str] = field(default_factory=list)
    curves: list[list[float]] = field(default_factory=list)
    losses: list[list[float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    baseline: bool = False
    over_limit: bool = False
    method: Method | None = None
    model: str = ""
    note: str = ""
    keep: str = ""

    def mean(self, metric: str) -> float:
        """Return a metric's mean over the repeats or folds; nan if none worked."""
        values = [result[metric] for result in self.results if metric in result]
        return float(np.mean(values)) if values else float("nan")

    def spread(self, metric: str) -> float:
        """Return a metric's sample standard deviation; 0 for a single result."""
        values = [result[metric] for result in self.results if metric in result]
        return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0

    def to_dict(self) -> ContenderEntry:
        """Return the network's entry of comparison.json."""
        entry: ContenderEntry = {
            "name": self.name,
            "architecture": dict(self.architecture.to_dict()) if self.architecture else None,
            "source": self.source,
            "searched": self.searched,
            "tap": self.tap,
            "head": cast(Cost, self.head.to_dict()),
            "backbone_up_to_tap": cast(Cost, self.upto.to_dict()),
            "results": [{**result} for result in self.results],
            "weights": self.weights,
            "curves": self.curves,
            "losses": self.losses,
            "failures": self.failures,
            "over_limit": self.over_limit,
        }
        if self.model:
            entry["model"] = self.model
        if self.task is not None:
            entry["task"] = self.task
        return entry


@dataclass
class Retraining:
    """Training of a winner and its baselines with the same settings.

    Args:
        components: components of the winner's experiment.
        winner: architecture of the search's winner; None to train the baselines alone.
        progress: receives the progress of the features.
        others: further networks of the search, with names for tables.
        searched: digest -> error in the search.
        unfinished: folder of checkpoints, from which trainings of the same settings go on; None:
            they are not kept.
    """

    components: Components
    winner: Architecture | None
    progress: Progress = lambda label, done, total: None
    others: Sequence[tuple[str, Architecture]] = ()
    searched: Mapping[str, float] = field(default_factory=dict)
    unfinished: Path | None = None

    def compare(
        self,
        repeats: int,
        weights: Path | None,
        done: Callable[[int, int], None],
        refit: bool = False,
    ) -> list[Contender]:
        """Train everything on the training split, ``repeats`` times with other seeds.

        The best epoch is chosen on validation; a test split, where the data set has
        one, only judges (``test_*`` metrics).

        Args:
            repeats: seeds a contender.
            weights: folder for the trained weights (safetensors); none are kept without it.
            done: receives the number of finished trainings and of all.
            refit: whether the winner is also trained on training and validation images together,
                where a test split judges; its last epoch counts, and no validation error is known.
        """
        split = Split(**self.components.dataset.sides())
        contenders, splits = self._contenders(), {"retrain": split}
        plan = [(c, "retrain", repeat) for repeat in range(repeats) for c in contenders]
        if refit and self.winner is not None and len(split.test):
            whole = Contender(REFITTED, self.winner, start=contenders[0].start, keep="last")
            contenders.insert(1, whole)
            splits["refit"] = replace(split, train=np.union1d(split.train, split.validation))
            plan += [(whole, "refit", repeat) for repeat in range(repeats)]
        training = self.components.experiment.retraining
        self._train(contenders, plan, splits, training, done, weights)
        if REFITTED in [one.name for one in contenders]:
            _forget_validation(contenders[1])
        return contenders

    def cross_validate(
        self, splits: dict[str, Split], done: Callable[[int, int], None]
    ) -> list[Contender]:
        """Train everything once a fold; the last epoch counts.

        A fold is never used to choose an epoch, so it can judge. The winner on a
        backbone with random weights is the control: the difference is due to pretraining.

        Args:
            splits: name of a fold -> its images; see ``evonas.workflows.fold_splits``.
            done: receives the number of finished trainings and of all.
        """
        contenders = self._contenders()
        control = _random(self.components.experiment)
        if self.winner is not None and control is not None:
            contenders.insert(1, Contender("winner on random backbone", self.winner, "control"))
        plan = [(c, name, 0) for name in splits for c in contenders]
        training = self.components.experiment.retraining.model_copy(update={"keep": "last"})
        self._train(contenders, plan, splits, training, done)
        return contenders

    def _contenders(self) -> list[Contender]:
        experiment, found = self.components.experiment, []
        if self.winner is not None:
            found.append(Contender("winner", self.winner, start=experiment.retraining.start))
        found += [
            Contender(name, network, start=experiment.retraining.start)
            for name, network in self.others
        ]
        made = self.components.baselines
        if self.winner is not None:
            made = self.components.baselines_with(recipe_of(self.winner))
        networks = zip(made, experiment.baselines, strict=True)
        baselines = [Contender(name, own, start=given.start) for (name, own), given in networks]
        fits = []
        if self.winner is not None:
            tap = self.components.tap_of(self.winner)
            heads = standard_heads(self.components, self.winner)
            baselines += [Contender(name, own) for name, own in heads]
            methods = classical_methods(self.components, self.winner)
            fits = [Contender(one.name, None, tap=tap, method=one) for one in methods]
        for contender in [*found, *baselines]:
            assert contender.architecture is not None
            contender.searched = self.searched.get(contender.architecture.digest)
        baselines += [*fits, Contender(CONSTANT, None)]
        return [*found, *(replace(one, baseline=True) for one in baselines)]

    def _train(
        self,
        contenders: Sequence[Contender],
        plan: Sequence[tuple[Contender, str, int]],
        splits: dict[str, Split],
        training: TrainingSettings,
        done: Callable[[int, int], None],
        weights: Path | None = None,
    ) -> None:
        components, experiment = self.components, self.components.experiment
        task = components.task
        for contender in contenders:
            self._measure(contender)
        backbones = {"backbone": components.backbone}
        control = _random(experiment) if any(c.source == "control" for c in contenders) else None
        if control is not None:
            backbones["control"] = control
        sources = {}
        for name, backbone in backbones.items():
            taps = {c.tap for c in contenders if c.source == name and c.tap}
            ordered = [tap for tap in backbone.taps if tap in taps]
            sources[name] = components.features(backbone, ordered, self.progress)
        # A long training is what was asked for here, and there are too few for a median.
        context = replace(
            components.context(sources, splits), time_limit=TimeLimitSettings(times=0)
        )
        # No option may follow from the labels of a fold that judges.
        architectures = [c.architecture for c in contenders if c.architecture is not None]
        settled = components.tasks.settled(
            {name: split.train for name, split in splits.items()},
            [(), *map(task_choices, architectures)],
        )
        context = replace(context, settled=settled)
        jobs = {}
        for number, (contender, split, repeat) in enumerate(plan):
            if contender.architecture is None:
                maps = sources["backbone"].open(contender.tap)[0] if contender.tap else None
                model, metrics = fit_and_judge(contender.method, context, split, maps)
                contender.results.append(metrics)
                if contender.method is not None and model is not None:
                    contender.head, contender.note = model.complexity, model.note
                    if self.winner is not None:  # in whose place it stands
                        sizes = model.complexity.macs, model.complexity.params
                        admitted = components.known.admits_model(*sizes, self.winner)
                        contender.over_limit = not admitted
                file = _slug(contender, contenders) + ".safetensors"
                if model is None or not weights or not enabled(self.components):
                    continue
                if model.save(weights / file):  # for evaluations
                    contender.model = file
                continue
            digest = contender.architecture.digest
            file = _slug(contender, contenders) + (f"-{repeat}" if repeat else "") + ".safetensors"
            jobs[number] = Job(
                index=number,
                architecture=contender.architecture,
                seed=candidate_seed(experiment.seed, digest, training.epochs, repeat, "retrain"),
                training=training.model_copy(
                    update={"start": contender.start, "keep": contender.keep or training.keep}
                ),
                label=f"{contender.name}, {split} {repeat}",
                split=split,
                source=contender.source,
                weights=str(weights / file) if weights else "",
                history=True,
                paused=self._checkpoint(split, file),
                safe=self.unfinished is not None,
            )
        finished = {}
        with components.executor(context) as executor:
            done(0, len(jobs))
            for index, measurement in executor.evaluate(list(jobs.values())):
                finished[index] = measurement
                done(len(finished), len(jobs))
        for index in sorted(finished):
            contender, measurement = plan[index][0], finished[index]
            kept = not weights or Path(jobs[index].weights).is_file()
            if measurement.status == "ok" and not kept:
                contender.failures.append("disk: its weights could not be written")
            elif measurement.status == "ok":
                contender.results.append(measurement.metrics)
                curve = [round(row[task.metric], 6) for row in measurement.history]
                contender.curves.append(curve)
                contender.losses.append(training_losses(measurement.history))
                if weights:
                    contender.weights.append(Path(jobs[index].weights).name)
            else:
                contender.failures.append(f"{measurement.error_kind}: {measurement.error}")

    def _checkpoint(self, split: str, file: str) -> str:
        """Return the path of a training's checkpoint; empty if none is kept."""
        if self.unfinished is None:
            return ""
        return str(self.unfinished / f"{re.sub('[^A-Za-z0-9_.-]+', '-', split)}-{file}")

    def _measure(self, contender: Contender) -> None:
        """Fill in tap and cost of a contender; that of a classical model's head is not known."""
        backbone, experiment = self.components.backbone, self.components.experiment
        if contender.tap:
            contender.upto = self.components.upto(contender.tap)
        if contender.architecture is None:
            return
        contender.tap = str(contender.architecture.settings.get("tap", experiment.tap))
        if contender.tap not in backbone.taps:
            raise InputError(
                f"{contender.name}: backbone {experiment.backbone.name!r} has no tap "
                f"{contender.tap!r}: {nearest(contender.tap, backbone.taps)}"
            )
        architecture = contender.architecture
        own = without_recipe(architecture).settings
        refuse_unread(architecture.network, own, f"{contender.name}: a setting")
        if chosen := task_choices(architecture):
            contender.task = self.components.task_parts_with(chosen)[1]
        family = self.components.family(architecture)
        shape = backbone.taps[contender.tap]
        outputs = self.components.outputs(architecture)
        contender.head = count(family.build(architecture, shape, outputs), shape)
        contender.upto = self.components.upto(contender.tap)
        contender.over_limit = not self.components.objective.admits(
            architecture, contender.head.macs
        )


def _forget_validation(contender: Contender) -> None:
    """Remove the errors on validation images from results, as they were trained on."""
    for number, result in enumerate(contender.results):
        kept = {k: v for k, v in result.items() if k == "epoch" or k.startswith("test_")}
        contender.results[number] = kept
    contender.curves = [[] for _ in contender.curves]


def selection_bias(tested: bool, keep: str, searched: bool, folds: int) -> str:
    """Return what the images that judge a retraining have chosen before; empty if nothing.

    Args:
        tested: the data set has a test split, which judges.
        keep: which epoch of a training counts: ``best`` on the validation split, or ``last``.
        searched: a search on the same images chose the winner.
        folds: of the cross-validation, whose last epochs count; 0 if it was none.
    """
    if tested and not folds:
        return ""
    if folds:
        winner = "a search on these images chose the winner: its errors flatter"
        return winner if searched else ""
    epoch = "these images chose the epoch of each network (keep=best)"
    if keep == "best":
        network = " and, in the search, the winner" if searched else ""
        return f"{epoch}{network}: errors on them flatter"
    return "these images chose the winner in the search: its errors on them flatter" * searched


def _random(experiment: Experiment) -> Backbone | None:
    """Return the backbone with random weights, if it can be made with such."""
    name = experiment.backbone.name
    known = registry.options("backbone", name)
    trained = ("weights", "pretrained")
    given = {k: v for k, v in experiment.backbone.options.items() if k not in trained}
    if "random" not in known:
        return None
    try:
        made: Backbone = registry.create("backbone", name, given | {"random": _CONTROL_SEED})
    except InputError:  # a user's function that always loads its weights
        return None
    return made


def _slug(contender: Contender, contenders: Sequence[Contender]) -> str:
    """Return a file name for a contender's weights, its own among all."""

    def plain(one: Contender) -> str:
        text = one.name if one.name == "winner" else f"{one.name}-{one.tap}"
        return re.sub("[^a-z0-9_.]+", "-", text.lower()).strip("-.")

    same = [one for one in contenders if plain(one) == plain(contender)]
    number = next(i for i, one in enumerate(same) if one is contender)
    return plain(contender) + (f"-no{number + 1}" if number else "")

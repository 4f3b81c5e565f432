"""Retraining: train the winner of a search and its baselines for longer, and compare them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from evonas.core import registry
from evonas.core.experiment import Experiment
from evonas.core.settings import TimeLimitSettings, TrainingSettings
from evonas.errors import InputError, nearest
from evonas.estimation.cost.complexity import count
from evonas.estimation.estimator import Job, Split, TrainingContext
from evonas.estimation.features.feature_cache import Features, Progress
from evonas.estimation.measurement import Measurement
from evonas.models.backbones.base import Backbone
from evonas.models.networks.base import refuse_unread
from evonas.runs.training_curves import training_losses
from evonas.space import Architecture
from evonas.space.recipe import recipe_of, task_choices, without_recipe
from evonas.workflows.components import Components
from evonas.workflows.contender import Contender, slug
from evonas.workflows.loop import candidate_seed
from evonas.workflows.standard_baselines import (
    CONSTANT,
    classical_methods,
    enabled,
    fit_and_judge,
    standard_heads,
)

_CONTROL_SEED = 1  # of the random backbone, the control of the pretrained one


@dataclass
class Retraining:
    """Training of a winner and its baselines with the same settings.

    Args:
        components: components of the winner's experiment.
        winner: architecture of the search's winner; None to train the baselines alone.
        progress: receives the progress of the features.
        others: further networks of the search, with names for tables.
        searched: digest -> error in the search.
    """

    components: Components
    winner: Architecture | None
    progress: Progress = lambda label, done, total: None
    others: Sequence[tuple[str, Architecture]] = ()
    searched: Mapping[str, float] = field(default_factory=dict)

    def compare(
        self, repeats: int, weights: Path | None, done: Callable[[int, int], None]
    ) -> list[Contender]:
        """Train everything on the training split, ``repeats`` times with other seeds.

        The best epoch is chosen on validation; a test split, where the data set has
        one, only judges (``test_*`` metrics).

        Args:
            repeats: seeds a contender.
            weights: folder for the trained weights (safetensors); none are kept without it.
            done: receives the number of finished trainings and of all.
        """
        split = Split(**self.components.dataset.sides())
        contenders = self._contenders()
        plan = self._plan(contenders, ["retrain"], repeats)
        training = self.components.experiment.retraining
        self._train(contenders, plan, {"retrain": split}, training, done, weights)
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
        plan = self._plan(contenders, splits, 1)
        training = self.components.experiment.retraining.model_copy(update={"keep": "last"})
        self._train(contenders, plan, splits, training, done)
        return contenders

    def _plan(
        self, contenders: Sequence[Contender], splits: Iterable[str], repeats: int
    ) -> list[tuple[Contender, str, int]]:
        """Return what is trained: (network, split, repeat); teachers are so many at least."""
        least = self.components.experiment.distillation.teachers
        teachers = [one.teacher for one in contenders if one.teacher is not None]
        return [
            (contender, split, repeat)
            for split in splits
            for repeat in range(max(repeats, least))
            for contender in contenders
            if repeat < repeats or any(contender is one for one in teachers)
        ]

    def _contenders(self) -> list[Contender]:
        experiment, found = self.components.experiment, []
        if self.winner is not None:
            found.append(Contender("winner", self.winner, start=experiment.retraining.start))
            if experiment.distillation.teachers and not self.components.task.dense:
                found.append(replace(found[0], name="winner on labels alone"))
                found[0].teacher = found[1]
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
        with TemporaryDirectory(prefix="evonas-") as temporary:
            jobs: dict[int, Job] = {}
            for number, (contender, split, repeat) in enumerate(plan):
                if contender.architecture is None:
                    self._fit(contender, contenders, context, split, sources, weights)
                    continue
                file = slug(contender, contenders) + (f"-{repeat}" if repeat else "")
                kept = weights or Path(temporary) / split  # of teachers, at least
                kept.mkdir(exist_ok=True)
                digest, kind = contender.architecture.digest, "retrain"
                if contender.teacher is not None:
                    kind = "distil"
                jobs[number] = Job(
                    index=number,
                    architecture=contender.architecture,
                    seed=candidate_seed(experiment.seed, digest, training.epochs, repeat, kind),
                    training=training.model_copy(update={"start": contender.start}),
                    label=f"{contender.name}, {split} {repeat}",
                    split=split,
                    source=contender.source,
                    weights=str(kept / f"{file}.safetensors"),
                    history=True,
                    teaching=experiment.distillation.weight,
                )
            finished: dict[int, Measurement] = {}
            with components.executor(context) as executor:
                done(0, len(jobs))
                for wave in (False, True):  # what learns from others comes second
                    now = [i for i in jobs if (plan[i][0].teacher is not None) == wave]
                    for index in now if wave else ():
                        jobs[index] = replace(jobs[index], teachers=_teachers(index, plan, jobs))
                        if not jobs[index].teachers:
                            plan[index][0].failures.append(
                                "distillation: no teacher was trained, so it learned from labels"
                            )
                    for index, measurement in executor.evaluate([jobs[i] for i in now]):
                        finished[index] = measurement
                        done(len(finished), len(jobs))
        for index in sorted(finished):
            contender, measurement = plan[index][0], finished[index]
            written = not weights or Path(jobs[index].weights).is_file()
            if measurement.status == "ok" and not written:
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

    def _fit(
        self,
        contender: Contender,
        contenders: Sequence[Contender],
        context: TrainingContext,
        split: str,
        sources: Mapping[str, Features],
        weights: Path | None,
    ) -> None:
        """Fit and judge a classical model, or the constant, and keep it for evaluations."""
        maps = sources["backbone"].open(contender.tap)[0] if contender.tap else None
        model, metrics = fit_and_judge(contender.method, context, split, maps)
        contender.results.append(metrics)
        if contender.method is not None and model is not None:
            contender.head, contender.note = model.complexity, model.note
            if self.winner is not None:  # in whose place it stands
                sizes = model.complexity.macs, model.complexity.params
                contender.over_limit = not self.components.known.admits_model(*sizes, self.winner)
        file = slug(contender, contenders) + ".safetensors"
        if model is None or not weights or not enabled(self.components):
            return
        if model.save(weights / file):
            contender.model = file

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


def _teachers(
    index: int, plan: Sequence[tuple[Contender, str, int]], jobs: Mapping[int, Job]
) -> tuple[str, ...]:
    """Return the weights of the teachers of a training: those that were trained on its split."""
    student, split, _ = plan[index]
    same = [i for i, (one, own, _) in enumerate(plan) if one is student.teacher and own == split]
    return tuple(jobs[i].weights for i in same if Path(jobs[i].weights).is_file())


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

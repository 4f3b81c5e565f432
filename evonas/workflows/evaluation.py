"""Evaluation of retrained networks on test sets without the images of their training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import nn

from evonas.core import experiment as config
from evonas.core import registry
from evonas.core.array_types import Array
from evonas.core.overrides import Word, parse
from evonas.data.base import Dataset
from evonas.errors import InputError, nearest
from evonas.estimation.features.feature_cache import Progress
from evonas.estimation.training.batches import TrainingData
from evonas.estimation.training.training import predict
from evonas.models.backbone_cut import IMAGE, BackboneCut
from evonas.models.backbones.base import Backbone
from evonas.models.backbones.none import PIXELS, NoBackbone
from evonas.models.files.quantized_network import SUFFIXES, Quantized, load_quantized
from evonas.models.files.safetensors_files import load_file
from evonas.models.full_network import FineTunedNetwork
from evonas.runs import file_schemas
from evonas.runs.comparison_schemas import REFITTED, Comparison, ContenderEntry
from evonas.runs.file_schemas import Cost
from evonas.runs.training_record import TrainingRecord
from evonas.space import Architecture
from evonas.tasks.base import Matrix, Task
from evonas.tasks.common.prediction_format import HELD_OUT_LOSS
from evonas.workflows import classical_models as classical
from evonas.workflows.classical_models import ClassicalModel
from evonas.workflows.components import Components
from evonas.workflows.judging import Include, Judges, judges

_FILE = "comparison.json"
_NEEDS = ("experiment", "task", "contenders", "data", "protocol", "leaky")


@dataclass(frozen=True)
class Result:
    """One network on one test set.

    Attributes:
        network, tap: names, as in the table of the retraining.
        test_set: name of the data set, and which of its images.
        images: how many they are.
        repeats: all metrics (``Task.details``) of each training seed.
        matrix: confusion matrix, the sum over all seeds, where the task has one.
        head, upto: cost of the head network and of the backbone up to the tap, of one pass.
        flip: outputs are averages over each image and its mirror image, of two passes.
        seen_images: images left out, since training or validation used them.
        seen_groups: further images left out, of a person or source photo that they used.
        left_out: both numbers and the reasons in words; empty if no image was left out.
        warning: why errors on these images flatter; empty if nothing says so.
        over_limit: its costs are beyond the limits of the candidates of its search.
    """

    network: str
    tap: str
    test_set: str
    images: int
    repeats: tuple[Mapping[str, float], ...]
    matrix: Matrix | None
    head: Cost
    upto: Cost
    flip: bool = False
    seen_images: int = 0
    seen_groups: int = 0
    left_out: str = ""
    warning: str = ""
    over_limit: bool = False

    def mean(self, metric: str) -> float:
        """Return a metric's mean over the training seeds."""
        return float(np.mean([one[metric] for one in self.repeats]))

    def spread(self, metric: str) -> float:
        """Return a metric's sample standard deviation over the seeds; 0 for a single one."""
        values = [one[metric] for one in self.repeats]
        return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


@dataclass(frozen=True)
class Retrained:
    """Folder of retrained networks: comparison.json and weights.

    Args:
        folder: with comparison.json and the weights.
        overrides: ``key=value`` changes to the experiment, such as where weights lie.

    Raises:
        InputError: the folder is no result of a retraining, or a file of it is damaged.
    """

    folder: Path
    overrides: tuple[Word, ...] = ()

    @cached_property
    def content(self) -> Comparison:
        """The content of comparison.json."""
        what = "the result of `evonas retrain`"
        return file_schemas.read(self.folder / _FILE, Comparison, what, _NEEDS)

    @cached_property
    def components(self) -> Components:
        """The parts of the experiment that the networks were trained in."""
        where = str(self.folder / _FILE)
        experiment = config.check(self.content["experiment"], where)
        changed = config.changed(experiment, self.overrides)
        if changed.task != experiment.task:
            said = " ".join(w.said for w in map(parse, self.overrides) if w.key.startswith("task"))
            raise InputError(
                f"{said}: expected no change to the task that the networks of {where} have learnt: "
                "leave it out, or train again"
            )
        return Components(changed)

    @cached_property
    def backbone(self) -> Backbone:
        """What heads stand on: the backbone, or the images if a fine-tuned network reads them."""
        own = self.components.backbone
        tuned = [one for one in self.content["contenders"] if "fine_tuned" in one]
        if any(one["tap"] == IMAGE for one in tuned):
            return NoBackbone(input_size=own.input_size, **PIXELS)
        return own

    @cached_property
    def _cuts(self) -> dict[str, BackboneCut]:
        """Traces of the backbone up to the taps of fine-tuned heads, made so far."""
        return {}

    @cached_property
    def task(self) -> Task:
        """The task of the winner, with what the training labels settled."""
        name, options, labels = self.content["task"]
        made: Task = registry.create("task", name, options, labels)
        return made

    def task_of(self, network: Mapping[str, Any]) -> Task:
        """Return the task of a contender, which has the options of its recipe."""
        if "task" not in network:
            return self.task
        name, _, labels = self.content["task"]
        made: Task = registry.create("task", name, network["task"], labels)
        return made

    @property
    def metrics(self) -> list[str]:
        """Names of the task's metrics that training reported; a test knows more.

        The held-out loss is none of them, since a test reports errors of predictions.
        """
        contenders = self.content["contenders"]
        names = next((list(one["results"][0]) for one in contenders if one["results"]), [])
        plain = dict.fromkeys(name.removeprefix("test_") for name in names)
        return [name for name in plain if name not in ("epoch", HELD_OUT_LOSS)]

    @cached_property
    def record(self) -> TrainingRecord | None:
        """The images and groups that training and validation used.

        Earlier versions kept no record: it is then made from the experiment's own data set, if
        that is still what was trained on; else it is not known, and None.

        Raises:
            InputError: the record's file is damaged.
        """
        return TrainingRecord.load(self.folder) or self._rebuilt_record()

    def _rebuilt_record(self) -> TrainingRecord | None:
        experiment = config.check(self.content["experiment"], str(self.folder / _FILE))
        # where the data lie may have changed since, the split may not
        place = [word for word in self.overrides if parse(word).key == "data.root"]
        try:
            dataset = Components(config.changed(experiment, place)).dataset
        except InputError:
            return None
        same = dataset.fingerprint == self.content["data"]
        return TrainingRecord.of(dataset) if same else None

    def test(
        self,
        label: str,
        dataset: Dataset,
        progress: Progress,
        flip: bool = False,
        include: Include = "unused",
    ) -> list[Result]:
        """Return the results of every network on a data set.

        Args:
            label: what to call the data set.
            dataset: its test split is used where it has one, else all of its images; without
                those that training or validation used.
            progress: receives the progress of the features.
            flip: average each output with that for the mirrored image.
            include: which used images judge all the same; see ``judging.judges``.

        Raises:
            InputError: the data set lacks a label, or has other classes, no image of it is left
                to judge, or the task has no flip test.
        """
        networks = self._trained()
        for task in map(self.task_of, networks if flip else ()):
            # refused, if it is, before anything is computed
            cells = (1, 1) if task.dense else ()
            task.unflip_outputs(np.zeros((0, task.n_outputs, *cells), np.float32))
        targets = self._targets(label, dataset)
        judging = self.judging(label, dataset, include)
        for one in networks:
            self._stands(one)
        fits = [one for one in self.content["contenders"] if one.get("model")]
        models = [self._classical(one) for one in fits]  # read before anything is computed
        used = {one["tap"] for one in [*networks, *fits] if one["tap"]}
        taps = [tap for tap in self.backbone.taps if tap in used]
        features = self.components.features(self.backbone, taps, progress, dataset, flip)
        chosen = np.intersect1d(judging.images, features.usable)
        found = []

        def result(one: ContenderEntry, answers: list[Array]) -> Result:
            return Result(
                one["name"],
                one["tap"] or "-",
                f"{label}, {judging.side}",
                len(chosen),
                tuple(self.task.details(answer, targets[chosen]) for answer in answers),
                self.task.matrix(
                    np.concatenate(answers), np.concatenate([targets[chosen]] * len(answers))
                ),
                one["head"],
                one["backbone_up_to_tap"],
                flip,
                judging.seen_images,
                judging.seen_groups,
                judging.left_out(),
                judging.warning,
                one.get("over_limit", False),
            )

        for one in networks:
            maps = features.open(one["tap"])
            # the mirrored images' targets have no part in this, but a batch carries some
            data = TrainingData(maps, np.stack([targets] * len(maps)), chosen, chosen)
            answers = [self._answer(one, i, data, chosen) for i in range(len(one["weights"]))]
            found.append(result(one, answers))
        for one, model in zip(fits, models, strict=True):
            maps = features.open(one["tap"] or taps[0])
            found.append(result(one, [classical.predictions(self.task, model, maps, chosen)]))
        return found

    def _classical(self, fit: ContenderEntry) -> ClassicalModel:
        """Return a classical model, or the constant, which stands on no tap.

        Raises:
            InputError: the file is missing, damaged, or of another tap.
        """
        if fit["tap"]:
            self._stands(fit)
        shape = self.backbone.taps[fit["tap"]] if fit["tap"] else None
        columns = classical.columns(self.task)
        return ClassicalModel.load(self.folder / Path(fit["model"]).name, shape, columns)

    def contender(self, name: str = "") -> ContenderEntry:
        """Return what is known of one trained network: architecture, tap, weights, costs.

        Args:
            name: as in the table, or with `` on TAP`` behind; by default the refitted winner, or
                else ``winner``, or else the first that has weights.

        Raises:
            InputError: no network has the name, or weights.
        """
        trained = self._trained()
        wanted = [name] if name else [REFITTED, "winner"]
        pairs = [(one, {one["name"], f"{one['name']} on {one['tap']}"}) for one in trained]
        found = [one for key in wanted for one, names in pairs if key in names]
        if name and not found:
            names = [str(one["name"]) for one in trained]
            taps = [f"{one['name']} on {one['tap']}" for one in trained]
            known = {n if names.count(n) == 1 else t for n, t in zip(names, taps, strict=True)}
            raise InputError(
                f"{self.folder}: has no trained network {name!r}: {nearest(name, known)}"
            )
        return (found or trained)[0]

    def head(self, network: Mapping[str, Any], repeat: int = 0) -> nn.Module:
        """Return a trained head, on the CPU: maps of its tap -> (n, n_outputs[, h, w]).

        A quantised network is whole: its tap is the image, in 0..255. A fine-tuned head includes
        the layers of the backbone that were trained with it.

        Args:
            network: its entry among the contenders.
            repeat: number of its training, from 0.

        Raises:
            InputError: there is no such repeat, or the file is missing, damaged, or of another
                network.
        """
        files = network["weights"]
        if not 0 <= repeat < len(files):
            raise InputError(
                f"{self.folder}: {network['name']!r} was trained {len(files)} times, there is no "
                f"repeat {repeat}: expected 0 to {len(files) - 1}"
            )
        path = self.folder / Path(files[repeat]).name
        if path.suffix in SUFFIXES:
            return load_quantized(path, self.components.hardware.threads)
        architecture = Architecture.from_dict(network["architecture"])
        self._stands(network)
        tuned = network.get("fine_tuned")
        shape = self.components.backbone.taps[tuned["tap"] if tuned else network["tap"]]
        family = registry.load("network", architecture.network)()
        module: nn.Module = family.build(architecture, shape, self.task_of(network).n_outputs)
        if tuned:
            if tuned["tap"] not in self._cuts:
                self._cuts[tuned["tap"]] = BackboneCut(self.components.backbone, tuned["tap"])
            layers = self._cuts[tuned["tap"]].above(tuned["frozen_up_to"])
            module = FineTunedNetwork(layers, module)
        try:
            module.load_state_dict(load_file(path))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = str(error).split("\n", 1)[0]
            raise InputError(f"{path}: no weights of {network['name']!r} ({reason})") from error
        return module.eval()

    def _stands(self, network: Mapping[str, Any]) -> None:
        """Refuse a network that stands on no tap of the backbone.

        Raises:
            InputError: the file was changed, or is of another backbone.
        """
        places = [(network["tap"], self.backbone.taps)]
        if "fine_tuned" in network:
            places.append((network["fine_tuned"]["tap"], self.components.backbone.taps))
        for tap, taps in places:
            if tap not in taps:
                raise InputError(
                    f"{self.folder / _FILE}: {network['name']!r} stands on {tap!r}, which is no "
                    f"tap of the backbone: {nearest(tap, taps)}"
                )

    def judging(self, label: str, dataset: Dataset, include: Include = "unused") -> Judges:
        """Return the images of a data set that judge; see ``test``.

        Raises:
            InputError: no image is left, or what was trained on is not known.
        """
        try:
            return judges(dataset, self.record, include)
        except InputError as error:
            raise InputError(f"test set {label}: {error}") from error

    def _trained(self) -> list[ContenderEntry]:
        trained = [one for one in self.content["contenders"] if one["weights"]]
        if not trained:
            raise InputError(f"{self.folder}: holds no trained weights: retrain again")
        return trained

    def _answer(
        self,
        network: Mapping[str, Any],
        repeat: int,
        data: TrainingData,
        chosen: NDArray[np.intp],
    ) -> Array:
        module = self.head(network, repeat)
        # its operators are those of a CPU
        device = "cpu" if isinstance(module, Quantized) else self.components.hardware.own_device
        outputs, task = predict(module.to(device), data, chosen, device), self.task_of(network)
        if len(data.maps) > 1:  # a flip test
            mirrored = predict(module, data, chosen, device, view=1)
            outputs = (outputs + task.unflip_outputs(mirrored)) / np.float32(2)
        return task.predictions(outputs)

    def _targets(self, label: str, dataset: Dataset) -> Array:
        for name, classes in self.content["task"][2].items():
            here = dataset.schema().get(name)
            if classes and here is not None and list(here) != list(classes):
                raise InputError(
                    f"test set {label}: its classes of {name!r} are {', '.join(here) or 'none'}; "
                    f"the network knows {', '.join(classes)}: name the same classes in this order"
                )
        try:
            self.task.refuse_missing(dataset)
            return self.task.targets(dataset)
        except KeyError as error:
            raise InputError(
                f"test set {label}: has no label {error.args[0]!r}, which the task needs: it has "
                f"{', '.join(dataset.labels)}"
            ) from error

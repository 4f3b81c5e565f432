"""Data set, backbone, task and space of an experiment, and what its networks cost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch

from evonas.core import experiment as config
from evonas.core import registry
from evonas.data.base import Dataset
from evonas.errors import InputError
from evonas.estimation.cost.block_summary import Block, blocks
from evonas.estimation.cost.complexity import Complexity, count
from evonas.estimation.cost.limits import BackboneShare, KnownCosts
from evonas.estimation.objective import Objective
from evonas.models.backbones.base import Backbone, NetworkCost, Shape
from evonas.models.full_network import TruncatedBackbone
from evonas.models.networks.base import Network, refuse_unread
from evonas.models.weight_count import WeightCount
from evonas.models.weight_inheritance import of_the_outputs, shapes
from evonas.runs.file_schemas import BackboneCost, Cost
from evonas.space import Architecture, SearchSpace
from evonas.space.recipe import (
    TaskChoices,
    all_task_choices,
    task_choices,
    with_recipe,
)
from evonas.tasks.base import Labels, Task
from evonas.workflows.base_components import BaseComponents
from evonas.workflows.recipe_tasks import RecipeTasks


@dataclass(frozen=True)
class NetworkComponents(BaseComponents):
    """Components that describe networks, without features, hardware or training.

    Each is built on first access.
    """

    @cached_property
    def dataset(self) -> Dataset:
        """The data set."""
        part = self.experiment.data
        made: Dataset = registry.create("data", part.name, part.options)
        return made

    @cached_property
    def backbone(self) -> Backbone:
        """The frozen backbone."""
        part = self.experiment.backbone
        made: Backbone = registry.create("backbone", part.name, part.options)
        return made

    @cached_property
    def tasks(self) -> RecipeTasks:
        """The learning problem with the options of recipes."""
        experiment = self.experiment
        return RecipeTasks(experiment.task, self.dataset, experiment.objective.error)

    @property
    def task(self) -> Task:
        """The learning problem, without a recipe."""
        return self.tasks.task()

    def task_of(self, architecture: Architecture) -> Task:
        """Return the learning problem with the options in the recipe of an architecture.

        Raises:
            InputError: an option is wrong, or errors with it cannot be compared with others.
        """
        return self.tasks.task(task_choices(architecture))

    @cached_property
    def task_parts(self) -> tuple[str, dict[str, Any], Labels]:
        """Name, options and labels of the task; options that the training labels settle included.

        Raises:
            InputError: an option is wrong, or the labels do not carry the task.
        """
        return self.task_parts_with(())

    def task_parts_with(self, chosen: TaskChoices) -> tuple[str, dict[str, Any], Labels]:
        """Return ``task_parts`` with the options of a recipe."""
        options = self.tasks.fit_options(self.dataset.sides()["train"], chosen)
        return self.experiment.task.name, options, self.dataset.schema()

    @cached_property
    def space(self) -> SearchSpace:
        """The search space, narrowed as the experiment says, with the genes of its recipe.

        Raises:
            InputError: it has a gene that its networks do not read, a tap that the backbone has
                not, or a recipe that the task does not take.
        """
        part = self.experiment.space
        path = config.find("search_spaces", part.name)
        space = SearchSpace.from_file(path)
        refuse_unread(space.network, [gene.name for gene in space.genes], f"{path}: a gene")
        space = space.narrowed(part.options)
        taps = next((gene.values for gene in space.genes if gene.name == "tap"), ())
        for tap in (*taps, self.experiment.tap):
            if tap not in self.backbone.taps:
                raise InputError(
                    f"backbone {self.experiment.backbone.name!r} has "
                    f"{self.backbone.no_tap(str(tap))}"
                )
        space = with_recipe(space, self.experiment.recipe)
        for chosen in all_task_choices(self.experiment.recipe):
            if chosen:  # the data set is not needed without
                self.tasks.task(chosen)
        return space

    @cached_property
    def objective(self) -> Objective:
        """What is minimised."""
        settings = self.experiment.objective
        share = self.backbone_share if settings.counts == "total" else None
        known = KnownCosts(settings, self.cost, self.weights, share)
        return Objective(self.task.metric, settings, known)

    def tap_of(self, architecture: Architecture) -> str:
        """Return the tap whose feature map is the input of an architecture."""
        return str(architecture.settings.get("tap", self.experiment.tap))

    def shape(self, architecture: Architecture) -> Shape:
        """Return (channels, height, width) of the input of an architecture."""
        return self.backbone.taps[self.tap_of(architecture)]

    def outputs(self, architecture: Architecture) -> int:
        """Return the number of outputs of a head network."""
        return self.task_of(architecture).n_outputs

    def cost(self, architecture: Architecture) -> int:
        """Return the multiply-adds of a head network, without building it."""
        family = self.family(architecture)
        return family.macs(architecture, self.shape(architecture), self.outputs(architecture))

    def weights(self, architecture: Architecture) -> WeightCount:
        """Return the number of values in the weights of a head network, without building it."""
        family, shape = self.family(architecture), self.shape(architecture)
        return family.weights(architecture, shape, self.outputs(architecture))

    def backbone_share(self, architecture: Architecture) -> BackboneShare:
        """Return what the backbone up to the tap of an architecture costs."""
        upto = self.upto(self.tap_of(architecture))
        return BackboneShare(upto.macs, WeightCount(upto.params, upto.statistics))

    def upto(self, tap: str) -> Complexity:
        """Return the cost of the backbone up to a tap, which is counted once, in about a second."""
        if tap not in self._upto:
            module = TruncatedBackbone(self.backbone, tap)
            self._upto[tap] = count(module, tuple(module.example().shape[1:]))
        return self._upto[tap]

    def backbone_cost(self, architecture: Architecture) -> BackboneCost:
        """Return the cost of the backbone up to the tap of an architecture, and in all."""
        tap, full = self.tap_of(architecture), self._full_cost
        return {
            "tap": tap,
            "up_to_tap": cast(Cost, self.upto(tap).to_dict()),
            "full": full and {"macs": full.macs, "params": full.params},
        }

    @cached_property
    def _full_cost(self) -> NetworkCost | None:
        """Cost of the complete backbone."""
        return self.backbone.full_cost()

    @cached_property
    def _upto(self) -> dict[str, Complexity]:
        """Costs of the backbone counted so far: tap -> cost."""
        return {}

    def tensors(self, architecture: Architecture) -> dict[str, tuple[int, ...]]:
        """Return name -> shape of the tensors of a head network, without allocating them.

        Options of the task in its recipe are part of the names of tensors that form the outputs:
        those of networks with other options are not alike.
        """
        family, shape = self.family(architecture), self.shape(architecture)
        outputs, chosen = self.outputs(architecture), task_choices(architecture)
        with torch.device("meta"), torch.random.fork_rng(devices=[]):
            found = shapes(family.build(architecture, shape, outputs).state_dict())
        if not chosen:
            return found
        last = of_the_outputs(family.build, architecture, shape, outputs)
        return {f"{name} {chosen}" if name in last else name: at for name, at in found.items()}

    def blocks(self, architecture: Architecture) -> list[Block]:
        """Return the blocks of a head network, in order, with the cost of each."""
        family, shape = self.family(architecture), self.shape(architecture)
        with torch.random.fork_rng(devices=[]):
            return blocks(family.build(architecture, shape, self.outputs(architecture)), shape)

    def family(self, architecture: Architecture) -> Network:
        """Return the network family of an architecture.

        Raises:
            InputError: there is none, or its output is not of the form that the task needs.
        """
        if architecture.network not in self._families:
            self._families[architecture.network] = self._family(architecture)
        return self._families[architecture.network]

    @cached_property
    def _families(self) -> dict[str, Network]:
        """Families created so far: a search computes the cost of many thousand architectures."""
        return {}

    def _family(self, architecture: Architecture) -> Network:
        family: Network = registry.load("network", architecture.network)()
        if family.dense != self.task.dense:
            forms = {True: "maps", False: "a vector"}
            others = [
                name
                for name in registry.names("network")
                if registry.load("network", name).dense == self.task.dense
            ]
            raise InputError(
                f"network {architecture.network!r} gives {forms[family.dense]}, but task "
                f"{self.experiment.task.name!r} learns {forms[self.task.dense]}: "
                f"use one of {', '.join(others)} in the space and in baselines"
            )
        return family

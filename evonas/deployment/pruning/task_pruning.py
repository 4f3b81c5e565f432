"""Pruning: what a task does not need is taken out of the backbone below its head.

T. A. John et al. (2019, arXiv 1901.02675), algorithm 2: layers above the tap and the fully
connected part go; of every map those filters stay that a lasso path holds at the knee of its
characteristic curve; then backbone and head are trained on together, on images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, fx, nn

from evonas.core import registry
from evonas.core.compression_settings import PruneSettings
from evonas.deployment.probing.characteristic_curves import Curve, curve
from evonas.deployment.probing.targets import read
from evonas.deployment.pruning.filter_pruning import Mask, Plan, Prunable
from evonas.deployment.pruning.reduction import Cost, Reduction
from evonas.deployment.pruning.reference_costs import reduction
from evonas.deployment.pruning.surgery import fit
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.errors import InputError
from evonas.estimation.cost.complexity import Complexity, count
from evonas.estimation.features.views import View
from evonas.models.backbones.base import Backbone
from evonas.models.files.quantized_network import Quantized
from evonas.models.full_network import TruncatedBackbone

_CHECKED = 8  # images on which a pruned network is held against the whole one


class Maps(Backbone):
    """The means of all maps of a prunable network, as a backbone, so that they are cached."""

    def __init__(self, network: Prunable, side: int) -> None:
        super().__init__()
        self._network, self.graph, self.input_size = network, network.graph, side
        self.taps = {one.name: (one.shape[0], 1, 1) for one in network.maps}

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the means of the named maps; see ``Backbone.forward``."""
        wanted = self.check_taps(taps)
        found = self._network.features(images)
        return {name: found[name][:, :, None, None] for name in found if name in wanted}


@dataclass(frozen=True)
class Choice:
    """What the labels of a task ask of one map.

    Attributes:
        map: its name.
        asked: label -> (filters,) those that it needs at the threshold.
        kept: (filters,) those that stay, since something needs them.
        notes: what a person should know.
    """

    map: str
    asked: Mapping[str, Mask]
    kept: Mask
    notes: tuple[str, ...]

    @property
    def any(self) -> Mask:
        """(filters,) those that a label needs."""
        found: Mask = np.logical_or.reduce(list(self.asked.values()))
        return found


@dataclass
class Pruning:
    """A deployed network, and what of its backbone its task does not need.

    Args:
        network: what is pruned.
        settings: how.
    """

    network: RetrainedNetwork
    settings: PruneSettings

    @cached_property
    def prunable(self) -> Prunable:
        """The backbone up to the tap, traced.

        Raises:
            InputError: it cannot be, has nothing to go, or is one of integers already.
        """
        if isinstance(self.network.head, Quantized):
            raise InputError(
                f"{self.network.retrained.folder}: {self.network.contender['name']!r} is quantised "
                "already, expected a network of floats: prune first, then quantise"
            )
        upto = TruncatedBackbone(self.network.assembly.backbone, self.network.tap)
        return Prunable(upto, self.network.example)

    @cached_property
    def curves(self) -> Mapping[str, Mapping[str, Curve]]:
        """Map name -> label -> characteristic curve, on the training images."""
        assembly, progress = self.network.assembly, self.network.progress
        dataset, maps = assembly.dataset, Maps(self.prunable, assembly.backbone.input_size)
        features = self.network.cache.ensure(maps, dataset, list(maps.taps), (View(),), progress)
        train = np.intersect1d(dataset.sides()["train"], features.usable)
        targets = {}
        for label in assembly.task.labels:
            target, usable = read(dataset, label)
            targets[label] = (target, np.intersect1d(train, np.flatnonzero(usable)))
        found: dict[str, dict[str, Curve]] = {}
        for done, name in enumerate(maps.taps, start=1):
            means = features.open(name)[0][:, :, 0, 0].astype(np.float64)
            found[name] = {
                label: curve(
                    means[rows], target.of(rows), dataset.groups[rows], self.settings.folds
                )
                for label, (target, rows) in targets.items()
            }
            progress("curves", done, len(maps.taps))
        return found

    def plan(self) -> tuple[Plan, list[Choice]]:
        """Return what stays, and why, map by map from input to output."""
        threshold = self.settings.threshold
        choices = []
        for name, curves in self.curves.items():
            asked = {label: one.kept(threshold) for label, one in curves.items()}
            notes = sorted({note for one in curves.values() for note in one.notes})
            choices.append(Choice(name, asked, np.ones(0, bool), tuple(notes)))
        plan = self.prunable.plan({one.map: one.any for one in choices}, self.settings.shared)
        single = dict.fromkeys(plan.single, ("a single filter is left: kept",))
        return plan, [
            Choice(one.map, one.asked, plan.kept[one.map], one.notes + single.get(one.map, ()))
            for one in choices
        ]

    def pruned(self, plan: Plan) -> tuple[fx.GraphModule, nn.Module, tuple[str, ...]]:
        """Return the pruned backbone, the head on it, and the head's weights that start afresh.

        The head is built anew for the channels of the tap that are left, and takes what it
        learnt of them.
        """
        kept = plan.output
        _, height, width = self.network.assembly.backbone.taps[self.network.tap]
        family = registry.load("network", self.network.architecture.network)()
        shape, outputs = (int(kept.sum()), height, width), self.network.retrained.task.n_outputs
        head: nn.Module = family.build(self.network.architecture, shape, outputs)
        missed = fit(head, self.network.head, kept)
        return self.prunable.pruned(plan), head.eval(), missed

    def difference(self, plan: Plan, graph: nn.Module) -> float:
        """Return by how much a pruned backbone differs from the whole one with zeros.

        It is the largest difference on a few training images, as a share of the largest value.
        """
        images = self.network.images(self.network.learners[:_CHECKED])
        with torch.inference_mode():
            full, small = self.prunable.masked(plan)(images), graph(images)
        kept = torch.from_numpy(plan.output)
        return float((small - full[:, kept]).abs().max() / full.abs().max().clamp_min(1e-12))

    def reduction(self, head: Complexity, upto: Complexity) -> Reduction:
        """Return the cost of a head and what is below it, beside the network they come from."""
        cost = Cost(head.macs + upto.macs, head.params + upto.params)
        return reduction(cost, self.network.assembly.backbone)


def costs(backbone: Backbone, tap: str, head: nn.Module) -> tuple[Complexity, Complexity]:
    """Return the cost of a head and of the backbone up to its tap."""
    upto = TruncatedBackbone(backbone, tap)
    return count(head, backbone.taps[tap]), count(upto, tuple(upto.example().shape[1:]))

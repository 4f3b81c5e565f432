"""Pruning of a backbone to the filters that the task of its head needs.

T. A. John et al. (2019, arXiv 1901.02675), algorithm 2: all layers after the tap are removed;
in every map, the filters are kept that a lasso path selects at the knee of its characteristic
curve; then backbone and head are trained further together, on images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, fx, nn

from evonas.core import registry
from evonas.core.compression_settings import PruneSettings
from evonas.deployment.probing.characteristic_curves import Curve, curve
from evonas.deployment.probing.targets import read
from evonas.deployment.pruning.filter_pruning import Mask, Prunable, PruningPlan
from evonas.deployment.pruning.reduction import Cost, Reduction, reduction
from evonas.deployment.pruning.surgery import fit
from evonas.deployment.retrained_network import RetrainedNetwork
from evonas.errors import InputError
from evonas.estimation.cost.complexity import Complexity, count
from evonas.estimation.features.views import View
from evonas.models.backbones.base import Backbone
from evonas.models.files.quantized_network import Quantized
from evonas.models.full_network import TruncatedBackbone

_CHECKED = 8  # images on which a pruned network is compared with the masked network


class Maps(Backbone):
    """The means of all maps of a prunable network, as a backbone, so that they can be cached."""

    def __init__(self, network: Prunable, side: int) -> None:
        super().__init__()
        self._network, self.graph, self.input_size = network, network.graph, side
        self.taps = {feature_map.name: (feature_map.shape[0], 1, 1) for feature_map in network.maps}

    def forward(self, images: Tensor, taps: Sequence[str]) -> dict[str, Tensor]:
        """Return the means of the named maps; see ``Backbone.forward``."""
        wanted = self.check_taps(taps)
        means = self._network.features(images)
        return {name: means[name][:, :, None, None] for name in means if name in wanted}


@dataclass(frozen=True)
class MapChoice:
    """The filters of one map that the labels of a task need.

    Attributes:
        map: name of the map.
        asked: label -> (filters,) whether the label needs each filter at the threshold.
        kept: (filters,) whether each filter is kept.
        notes: remarks for the user.
    """

    map: str
    asked: Mapping[str, Mask]
    kept: Mask
    notes: tuple[str, ...]

    @property
    def any(self) -> Mask:
        """(filters,) whether at least one label needs each filter."""
        mask: Mask = np.logical_or.reduce(list(self.asked.values()))
        return mask


@dataclass
class Pruning:
    """Pruning of the backbone of a retrained network.

    Args:
        network: the retrained network.
        settings: settings of the pruning.
    """

    network: RetrainedNetwork
    settings: PruneSettings

    @cached_property
    def prunable(self) -> Prunable:
        """The backbone up to the tap, traced.

        Raises:
            InputError: the backbone cannot be traced, no filter of it can be removed, or the
                network is quantised or fine-tuned.
        """
        if isinstance(self.network.head, Quantized):
            raise InputError(
                f"{self.network.retrained.folder}: {self.network.contender['name']!r} is quantised "
                "already, expected a network with float weights: prune first, then quantise"
            )
        if "fine_tuned" in self.network.contender:
            raise InputError(
                f"{self.network.retrained.folder}: {self.network.contender['name']!r} is "
                "fine-tuned: expected the folder that `evonas retrain` wrote (pruning trains the "
                "backbone further by itself)"
            )
        backbone = self.network.components.backbone
        backbone.require_torch("evonas prune")
        upto = TruncatedBackbone(backbone, self.network.tap)
        return Prunable(upto, self.network.example)

    @cached_property
    def curves(self) -> Mapping[str, Mapping[str, Curve]]:
        """The characteristic curves on the training images: map name -> label -> curve."""
        components, progress = self.network.components, self.network.progress
        dataset, maps = components.dataset, Maps(self.prunable, components.backbone.input_size)
        features = self.network.cache.ensure(maps, dataset, list(maps.taps), (View(),), progress)
        train = np.intersect1d(dataset.sides()["train"], features.usable)
        targets = {}
        for label in components.task.labels:
            target, usable = read(dataset, label)
            targets[label] = (target, np.intersect1d(train, np.flatnonzero(usable)))
        curves: dict[str, dict[str, Curve]] = {}
        for done, name in enumerate(maps.taps, start=1):
            means = features.open(name)[0][:, :, 0, 0].astype(np.float64)
            curves[name] = {
                label: curve(
                    means[rows], target.of(rows), dataset.groups[rows], self.settings.folds
                )
                for label, (target, rows) in targets.items()
            }
            progress("curves", done, len(maps.taps))
        return curves

    def plan(self) -> tuple[PruningPlan, list[MapChoice]]:
        """Return the channels to keep, and the choice of every map from input to output."""
        threshold = self.settings.threshold
        choices = []
        for name, curves in self.curves.items():
            asked = {label: curve.kept(threshold) for label, curve in curves.items()}
            notes = sorted({note for curve in curves.values() for note in curve.notes})
            choices.append(MapChoice(name, asked, np.ones(0, bool), tuple(notes)))
        chosen = {choice.map: choice.any for choice in choices}
        plan = self.prunable.plan(chosen, self.settings.shared)
        single = dict.fromkeys(plan.single, ("a single filter is left: kept",))
        return plan, [
            replace(c, kept=plan.kept[c.map], notes=c.notes + single.get(c.map, ()))
            for c in choices
        ]

    def pruned(self, plan: PruningPlan) -> tuple[fx.GraphModule, nn.Module, tuple[str, ...]]:
        """Return the pruned backbone, its head, and the names of newly initialised head weights.

        The head is built for the kept channels of the tap, with the trained weights of these
        channels.
        """
        kept = plan.output
        _, height, width = self.network.components.backbone.taps[self.network.tap]
        family = registry.load("network", self.network.architecture.network)()
        shape, outputs = (int(kept.sum()), height, width), self.network.task.n_outputs
        torch.manual_seed(self.network.components.experiment.seed)  # new weights, if there are any
        head: nn.Module = family.build(self.network.architecture, shape, outputs)
        missed = fit(head, self.network.head, kept)
        return self.prunable.pruned(plan), head.eval(), missed

    def difference(self, plan: PruningPlan, graph: nn.Module) -> float:
        """Return the largest difference between the pruned backbone and the masked one.

        The difference is computed on a few training images, relative to the largest value.
        """
        images = self.network.images(self.network.learners[:_CHECKED])
        with torch.inference_mode():
            full, small = self.prunable.masked(plan)(images), graph(images)
        kept = torch.from_numpy(plan.output)
        return float((small - full[:, kept]).abs().max() / full.abs().max().clamp_min(1e-12))

    def reduction(self, head: Complexity, upto: Complexity) -> Reduction:
        """Return the cost of a pruned backbone and its head, with that of the original network."""
        cost = Cost(head.macs + upto.macs, head.params + upto.params)
        return reduction(cost, self.network.components.backbone)


def costs(backbone: Backbone, tap: str, head: nn.Module) -> tuple[Complexity, Complexity]:
    """Return the cost of a head and of the backbone up to its tap."""
    upto = TruncatedBackbone(backbone, tap)
    return count(head, backbone.taps[tap]), count(upto, tuple(upto.example().shape[1:]))

"""Linear layers of a trained network with and without their superfluous units, and chance.

Joins ``transfer.distinctiveness``, which knows arrays alone, with the cost of networks; how
patterns are shown and what judges is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from evonas.deployment.distinctiveness import linear_layers as linear_units
from evonas.deployment.distinctiveness import null_model as chance
from evonas.deployment.distinctiveness.linear_layers import LinearUnits
from evonas.deployment.distinctiveness.null_model import Chance
from evonas.deployment.distinctiveness.unit_similarity import (
    COMPLEMENTARY,
    MERGES,
    SIMILAR,
    VECTORS,
    Merge,
    Relations,
    Vectors,
    merge,
    relations,
    vectors,
)
from evonas.estimation.cost.complexity import count


@dataclass(frozen=True)
class Removal:
    """One linear layer of one trained network, with and without its superfluous units.

    Attributes:
        network, tap, weights: which network, and the file of its weights.
        layer: its name, units and outputs, and where units come from.
        vectors, merge: how units were compared and removed.
        related: what was found.
        random, shuffled: what chance gives.
        removed: units.
        params: parameters of the network before and after.
        before, after: all metrics of the task, without training.
    """

    network: str
    tap: str
    weights: str
    layer: LinearUnits
    vectors: Vectors
    merge: Merge
    related: Relations
    random: Chance
    shuffled: Chance
    removed: int
    params: tuple[int, int]
    before: dict[str, float]
    after: dict[str, float]


@dataclass(frozen=True)
class Study:
    """How units are compared, and how often chance is drawn.

    Attributes:
        angles: degrees below which units are similar, and beyond which complementary.
        repeats: draws of each null model.
        seed: of these draws.
    """

    angles: tuple[float, float] = (SIMILAR, COMPLEMENTARY)
    repeats: int = chance.REPEATS
    seed: int = 0

    def removals(
        self,
        names: tuple[str, str, str],
        module: nn.Module,
        shape: tuple[int, ...],
        present: Callable[[nn.Module], object],
        judge: Callable[[nn.Module], dict[str, float]],
    ) -> Iterator[Removal]:
        """Yield what each last layer, way to compare and way to remove comes to.

        Args:
            names: of the network, its tap, and the file of its weights.
            module: the trained network.
            shape: of one map that it takes.
            present: runs a network on the patterns that activations are taken from.
            judge: returns the metrics of a network.
        """
        layers = linear_units.final_linears(module, torch.zeros(1, *shape))
        with linear_units.entering(module, layers) as seen:
            present(module)
        before, size = judge(module), count(module.to("cpu"), shape).params
        for layer in layers:
            weight, bias = linear_units.weights(module, layer)
            entered = torch.cat(seen[layer.name]).numpy()
            for kind in VECTORS:
                own = vectors(kind, weight, entered)
                related = relations(own, *self.angles)
                draws = (self.seed, self.repeats, *self.angles)
                nulls = chance.chance(*own.shape, "uniform", *draws), chance.shuffled(own, *draws)
                for how in MERGES:
                    merged = merge(how, weight, bias, entered, related)
                    small = linear_units.without(module, layer, merged)
                    after, left = judge(small), count(small.to("cpu"), shape).params
                    gone, sizes = layer.units - len(merged.kept), (size, left)
                    yield Removal(
                        *names, layer, kind, how, related, *nulls, gone, sizes, before, after
                    )

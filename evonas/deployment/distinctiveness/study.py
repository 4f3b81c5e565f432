"""Study of the superfluous units of a trained network: their number, and errors without them.

It applies ``unit_similarity``, which works on arrays, to networks, and counts their parameters.
The caller supplies the patterns and the evaluation.
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
    """Result for one linear layer of one trained network, before and after removing units.

    Attributes:
        network, tap, weights: names of the network, its tap, and the file of its weights.
        layer: the layer.
        vectors, merge: how units were compared and removed.
        related: related units of the layer.
        random, shuffled: numbers of pairs in the null models.
        removed: number of removed units.
        params: numbers of parameters of the network before and after.
        before, after: all metrics of the task, without further training.
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
    """Settings of a study of distinctiveness.

    Attributes:
        angles: degrees below which units are similar, and above which they are complementary.
        repeats: number of draws of each null model.
        seed: seed of these draws.
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
        """Yield the result of each last linear layer, kind of vectors, and kind of merge.

        Args:
            names: names of the network, its tap, and the file of its weights.
            module: the trained network.
            shape: shape of one input map.
            present: function that runs a network on the patterns for the activations.
            judge: function that returns the metrics of a network.
        """
        layers = linear_units.final_linears(module, torch.zeros(1, *shape))
        with linear_units.entering(module, layers) as inputs:
            present(module)
        before, size = judge(module), count(module.to("cpu"), shape).params
        for layer in layers:
            weight, bias = linear_units.weights(module, layer)
            activations = torch.cat(inputs[layer.name]).numpy()
            for kind in VECTORS:
                own = vectors(kind, weight, activations)
                related = relations(own, *self.angles)
                draws = (self.seed, self.repeats, *self.angles)
                nulls = chance.chance(*own.shape, "uniform", *draws), chance.shuffled(own, *draws)
                for how in MERGES:
                    merged = merge(how, weight, bias, activations, related)
                    small = linear_units.without(module, layer, merged)
                    after = judge(small)
                    sizes = (size, count(small.to("cpu"), shape).params)
                    removed = layer.units - len(merged.kept)
                    yield Removal(
                        *names, layer, kind, how, related, *nulls, removed, sizes, before, after
                    )

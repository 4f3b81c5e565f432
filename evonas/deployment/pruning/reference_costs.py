"""The two costs that a pruned backbone is held against."""

from __future__ import annotations

from evonas.deployment.pruning.reduction import Cost, Reduction
from evonas.estimation.cost.complexity import count
from evonas.models.backbones.base import Backbone
from evonas.models.full_network import TruncatedBackbone


def reduction(pruned: Cost, backbone: Backbone) -> Reduction:
    """Return what a pruned network saves of the backbone that it was made from.

    Args:
        pruned: the cost of the pruned network with what ends it, from the image on.
        backbone: as it was before.
    """
    upto = TruncatedBackbone(backbone, list(backbone.taps)[-1])
    last = count(upto, tuple(upto.example().shape[1:]))
    whole = backbone.full_cost()
    return Reduction(
        pruned,
        Cost(last.macs, last.params),
        None if whole is None else Cost(*whole),
    )

"""Costs of an architecture before training, as the objective counts them, and its hard limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from evonas.core.settings import ObjectiveSettings
from evonas.models.weight_count import WeightCount
from evonas.space import Architecture

#: Limits on what is known without training or measuring, in the order of messages -> unit.
UNITS = {"max_macs": "multiply-adds", "max_params": "parameters", "max_mb": "MB"}


class BackboneShare(NamedTuple):
    """What a backbone up to a tap adds to the cost of a head, where it counts."""

    macs: int = 0
    weights: WeightCount = WeightCount()


@dataclass(frozen=True)
class KnownCosts:
    """Costs that are known before training.

    Attributes:
        settings: limits of the objective.
        macs: multiply-adds of a head network.
        weights: number of values in the weights of a head network.
        backbone: with ``counts=total``, the share of the backbone up to the architecture's tap;
            None: the head alone counts.
    """

    settings: ObjectiveSettings
    macs: Callable[[Architecture], int]
    weights: Callable[[Architecture], WeightCount]
    backbone: Callable[[Architecture], BackboneShare] | None = None

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are set, but for ``max_ms``: name -> largest value."""
        values = {name: getattr(self.settings, name) for name in UNITS}
        return {name: value for name, value in values.items() if value is not None}

    def share(self, architecture: Architecture) -> BackboneShare:
        """Return what the backbone adds to the cost of a head; nothing with ``counts=head``."""
        return BackboneShare() if self.backbone is None else self.backbone(architecture)

    def counted_macs(self, architecture: Architecture) -> int:
        """Return the multiply-adds that count."""
        return self.macs(architecture) + self.share(architecture).macs

    def figures(self, architecture: Architecture, macs: int | None = None) -> dict[str, float]:
        """Return what each limit that is set bounds: name of the limit -> cost.

        Args:
            architecture: the architecture.
            macs: multiply-adds of its head network, where they are known; None: they are computed.
        """
        head = partial(self.weights, architecture)
        return self._figures(architecture, self.macs(architecture) if macs is None else macs, head)

    def _figures(
        self, architecture: Architecture, macs: int, head: Callable[[], WeightCount]
    ) -> dict[str, float]:
        found: dict[str, float] = {}
        limits, share = self.limits, self.share(architecture)
        if "max_macs" in limits:
            found["max_macs"] = macs + share.macs
        if limits.keys() - found.keys():
            weights = head() + share.weights
            sizes = {"max_params": weights.params, "max_mb": weights.megabytes}
            found |= {name: value for name, value in sizes.items() if name in limits}
        return found

    @property
    def excess(self) -> Callable[[Architecture], float] | None:
        """How far an architecture is over the limits beside ``max_macs``; None: there are none.

        The function returns the sum of cost / limit - 1 over the limits that are exceeded: 0 if
        all of them hold.
        """
        others = {name: value for name, value in self.limits.items() if name != "max_macs"}
        if not others:
            return None

        def excess(architecture: Architecture) -> float:
            figures = self.figures(architecture)
            return sum(max(0.0, figures[name] / limit - 1.0) for name, limit in others.items())

        return excess

    def admits(self, architecture: Architecture) -> bool:
        """Whether an architecture holds all limits but ``max_ms``."""
        return holds(self.figures(architecture), self.limits)

    def admits_model(self, macs: int, params: int, place: Architecture) -> bool:
        """Whether another model in the place of a head holds all limits but ``max_ms``."""
        return holds(self._figures(place, macs, lambda: WeightCount(params)), self.limits)


def holds(figures: Mapping[str, float], limits: Mapping[str, float]) -> bool:
    """Whether costs are within limits of the same names."""
    return all(figures[name] <= limit for name, limit in limits.items())


def limits_text(objective: Mapping[str, Any]) -> str:
    """Return the limits of an experiment's objective, but for ``max_ms``; empty: there are none."""
    known = {name: objective[name] for name in UNITS if objective.get(name) is not None}
    return ", ".join(worded(name, limit) for name, limit in known.items())


def worded(name: str, limit: float) -> str:
    """Return a limit as a user writes it, such as ``objective.max_params=1000``."""
    return f"objective.{name}={limit:.15g}"

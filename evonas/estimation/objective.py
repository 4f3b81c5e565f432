"""Objective: fitness as error times a penalty on the cost of the head network.

fitness = error * (F / T) ** w, with F the multiply-adds of the head network, or its
parameters, or its latency, and T the target.
``soft`` applies it always (Matak's code 2020; MnasNet, Tan et al. 2019, arXiv
1807.11626, section 3, as a maximisation, with latency for F); ``one_sided`` only
above T, which makes T the largest cost that is not penalised (Matak's article 2020).
With ``counts=total``, multiply-adds and parameters are those of the head and of the backbone
up to its tap. McNally et al. (2021, arXiv 2011.08446) take parameters for F, with T = 5 million and
w = 0.07, always, and for the error the least loss of an epoch on the validation images:
``error=loss``. By default the error is the task's own metric, as in Matak's code (mean
absolute error of the angles).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from evonas.core.settings import ObjectiveSettings
from evonas.estimation.cost.limits import KnownCosts
from evonas.estimation.measurement import Measurement
from evonas.space import Architecture


class Measured(Protocol):
    """Protocol of values with metrics and costs: measurements and trials."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Metrics of the task on the validation split."""

    @property
    def macs(self) -> int:
        """Multiply-adds of the head network."""

    @property
    def params(self) -> int:
        """Parameters of the head network."""

    @property
    def latency(self) -> float:
        """Latency of the head network, milliseconds."""


@dataclass(frozen=True)
class Objective:
    """Maps a measurement to its fitness, which is minimised.

    Attributes:
        metric: name of the metric that counts as the error (``Components.error``).
        settings: mode, T, w and the hard limits.
        known: costs of architectures before training; None: ``max_macs`` is the only limit, and
            the head alone counts.
    """

    metric: str
    settings: ObjectiveSettings
    known: KnownCosts | None = None

    def __call__(
        self, measurement: Measurement, architecture: Mapping[str, Any] | None = None
    ) -> float:
        """Return the fitness; infinite for a failed measurement.

        Args:
            measurement: of a network.
            architecture: of it, as plain data, which ``counts=total`` needs.
        """
        error = measurement.metrics.get(self.metric, math.inf)
        if measurement.status != "ok" or not math.isfinite(error):
            return math.inf
        return error * self.penalty(*self.counted(measurement, architecture), measurement.latency)

    def penalty(self, macs: int, params: int = 0, latency: float = 0.0) -> float:
        """Return the penalty factor of a head network for its multiply-adds, parameters or latency.

        Infinite where latency is penalised and was not measured, for 0 would be the best.
        """
        if self.settings.cost == "latency":
            if latency <= 0.0:
                return math.inf
            ratio = latency / self.settings.target_ms
        elif self.settings.cost == "params":
            ratio = params / (self.settings.target_mparams * 1e6)
        else:
            ratio = macs / self.settings.target_macs
        if self.settings.mode == "one_sided":
            ratio = max(1.0, ratio)
        return float(ratio**self.settings.weight)

    def axes(self, measured: Measured) -> tuple[float, ...]:
        """Return the objectives of the Pareto front, all minimised; nan for an unknown value."""
        return tuple([self._axis(axis, measured) for axis in self.settings.axes])

    def _axis(self, name: str, measured: Measured) -> float:
        if name == "error":
            return measured.metrics.get(self.metric, math.nan)
        if name == "latency":
            return measured.latency or math.nan  # 0: it was not measured
        macs, params = self.counted(measured, getattr(measured, "architecture", None))
        return float(macs if name == "macs" else params)

    def counted(
        self, measured: Measured, architecture: Mapping[str, Any] | None
    ) -> tuple[int, int]:
        """Return the multiply-adds and parameters that count: of the head, or in all.

        Args:
            measured: multiply-adds and parameters of a head network.
            architecture: of it, as plain data; None only where the head alone counts.
        """
        if self.known is None or self.known.backbone is None or architecture is None:
            return measured.macs, measured.params
        share = self.known.backbone(Architecture.from_dict(architecture))
        return measured.macs + share.macs, measured.params + share.weights.params

    def cost_of(self, measured: Measured) -> float:
        """Return what the penalty is on, F: multiply-adds, parameters or milliseconds."""
        name = self.settings.cost
        return measured.latency if name == "latency" else self._axis(name, measured)

    @property
    def timed(self) -> bool:
        """Whether the objective needs latencies."""
        settings = self.settings
        return (
            settings.cost == "latency" or "latency" in settings.axes or settings.max_ms is not None
        )

    def feasible(self, macs: int) -> bool:
        """Whether the hard limit admits ``macs`` multiply-adds."""
        return self.settings.max_macs is None or macs <= self.settings.max_macs

    def admits(self, architecture: Architecture, macs: int) -> bool:
        """Whether an architecture with ``macs`` multiply-adds of the head may be trained."""
        if self.known is None:
            return self.feasible(macs)
        return self.known.admits(architecture)

"""Objective: fitness as error times a penalty on the cost of the head network.

fitness = error * (F / T) ** w, with F the floating point operations of the head
network (2 a multiply-add), or its parameters, or its latency, and T the target.
``soft`` applies it always (Matak's code 2020; MnasNet, Tan et al. 2019, arXiv
1807.11626, section 3, as a maximisation, with latency for F); ``one_sided`` only
above T, which makes T the largest cost that is not penalised (Matak's article 2020).
McNally et al. (2021, arXiv 2011.08446) take parameters for F, with T = 5 million and
w = 0.07, always, and for the error the least loss of an epoch on the validation images:
``error=loss``. By default the error is the task's own metric, as in Matak's code (mean
absolute error of the angles).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from evonas.core.settings import ObjectiveSettings
from evonas.estimation.measurement import Measurement


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
        settings: mode, T, w and the hard limit.
    """

    metric: str
    settings: ObjectiveSettings

    def __call__(self, measurement: Measurement) -> float:
        """Return the fitness; infinite for a failed measurement."""
        error = measurement.metrics.get(self.metric, math.inf)
        if measurement.status != "ok" or not math.isfinite(error):
            return math.inf
        return error * self.penalty(measurement.macs, measurement.params, measurement.latency)

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
            ratio = 2.0 * macs / (self.settings.target_mflops * 1e6)
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
        return float(measured.macs if name == "macs" else measured.params)

    @property
    def timed(self) -> bool:
        """Whether the objective needs latencies."""
        return self.settings.cost == "latency" or "latency" in self.settings.axes

    def feasible(self, macs: int) -> bool:
        """Whether the hard limit admits ``macs`` multiply-adds."""
        return self.settings.max_macs is None or macs <= self.settings.max_macs

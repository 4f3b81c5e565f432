"""The fitness: error times a penalty on operations.

fitness = error * (F / T) ** w, with F the floating point operations of the head
network (2 a multiply-add) and T the target. ``soft`` applies it always (Matak's
code 2020; MnasNet, Tan et al. 2019, arXiv 1807.11626, section 3, as a
maximisation); ``one_sided`` only above T, which makes T the largest cost that is
not penalised (Matak's article 2020).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from evonas.estimation.measurement import Measurement
from evonas.estimation.settings import ObjectiveSettings


@dataclass(frozen=True)
class Objective:
    """Measurement -> fitness, minimised.

    Attributes:
        metric: the task's metric that counts as the error.
        settings: mode, T, w and the hard limit.
    """

    metric: str
    settings: ObjectiveSettings

    def __call__(self, measurement: Measurement) -> float:
        """Return the fitness; infinite for a failed measurement."""
        error = measurement.metrics.get(self.metric, math.inf)
        if measurement.status != "ok" or not math.isfinite(error):
            return math.inf
        return error * self.penalty(measurement.macs)

    def penalty(self, macs: int) -> float:
        """Return the factor of a head network of ``macs`` multiply-adds."""
        ratio = 2.0 * macs / (self.settings.target_mflops * 1e6)
        if self.settings.mode == "one_sided":
            ratio = max(1.0, ratio)
        return float(ratio**self.settings.weight)

    def feasible(self, macs: int) -> bool:
        """Whether the hard limit admits ``macs`` multiply-adds."""
        return self.settings.max_macs is None or macs <= self.settings.max_macs

"""No strategy prefers a failed evaluation to a success."""

from __future__ import annotations

from evonas.core import registry
from evonas.testing import FailedEvaluationConformance


class TestFailedEvaluations(FailedEvaluationConformance):
    names = registry.names("optimizer")
    memoryless = ("random",)
    model_based = ("bobyqa", "surrogate")

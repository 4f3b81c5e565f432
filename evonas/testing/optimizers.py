"""What every optimizer must do: the three suites of optimizers in one."""

from __future__ import annotations

from evonas.testing.ask_tell import AskTellConformance
from evonas.testing.failed_evaluations import FailedEvaluationConformance
from evonas.testing.warm_start import WarmStartConformance


class OptimizerConformance(AskTellConformance, FailedEvaluationConformance, WarmStartConformance):
    """The contract of ask and tell, failed evaluations, and earlier results."""

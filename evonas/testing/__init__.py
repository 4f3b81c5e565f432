"""Conformance suites: what every part must do, as tests that any package runs on its own parts.

A suite is a class for pytest to be subclassed; it needs ``pip install 'evonas[testing]'``::

    from evonas.testing import OptimizerConformance

    class TestMine(OptimizerConformance):
        names = ["my_package:Mine"]

evonas runs the same suites over all of its own parts.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evonas.testing.ask_tell import AskTellConformance
    from evonas.testing.backbones import BackboneConformance
    from evonas.testing.datasets import DatasetConformance
    from evonas.testing.failed_evaluations import FailedEvaluationConformance
    from evonas.testing.loggers import LoggerConformance
    from evonas.testing.network_settings import NetworkSettingsConformance
    from evonas.testing.networks import NetworkConformance
    from evonas.testing.optimizers import OptimizerConformance
    from evonas.testing.tasks import TaskConformance
    from evonas.testing.warm_start import WarmStartConformance

__all__ = [
    "AskTellConformance",
    "BackboneConformance",
    "DatasetConformance",
    "FailedEvaluationConformance",
    "LoggerConformance",
    "NetworkConformance",
    "NetworkSettingsConformance",
    "OptimizerConformance",
    "TaskConformance",
    "WarmStartConformance",
]
_HOMES = {
    "AskTellConformance": "ask_tell",
    "BackboneConformance": "backbones",
    "DatasetConformance": "datasets",
    "FailedEvaluationConformance": "failed_evaluations",
    "LoggerConformance": "loggers",
    "NetworkConformance": "networks",
    "NetworkSettingsConformance": "network_settings",
    "OptimizerConformance": "optimizers",
    "TaskConformance": "tasks",
    "WarmStartConformance": "warm_start",
}


def __getattr__(name: str) -> Any:
    """Import a suite when it is first used: those of backbones load torch, all load pytest.

    Raises:
        AttributeError: there is no such suite.
    """
    if name not in _HOMES:
        raise AttributeError(f"module 'evonas.testing' has no attribute {name!r}")
    import pytest

    module = f"{__name__}.{_HOMES[name]}"
    if module not in sys.modules:  # another suite may have imported it
        pytest.register_assert_rewrite(module)  # before its import: values in failed assertions
    return getattr(importlib.import_module(module), name)

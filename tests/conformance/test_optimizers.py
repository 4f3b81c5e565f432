"""The contract of ask and tell, over every registered strategy."""

from __future__ import annotations

from evonas.core import registry
from evonas.testing import AskTellConformance


class TestAskTell(AskTellConformance):
    names = registry.names("optimizer")
    memoryless = ("random",)
    forbidden_modules = ("torch", "ray", "torchvision")

    def test_strategies_are_found(self) -> None:
        assert {"random", "local", "cma", "ga", "pso", "bobyqa"} <= set(self.names)

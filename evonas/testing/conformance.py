"""Base class of the conformance suites: which parts are tested."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import ClassVar

import pytest


class Conformance:
    """Runs every test of a suite on every named part.

    Attributes:
        names: of the parts, as ``registry.load`` takes them: ``my_package:Mine``, or the name of
            an entry point.
    """

    names: ClassVar[Sequence[str]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test that takes a ``name`` with every one.

        Raises:
            pytest.UsageError: a subclass names no part.
        """
        if isinstance(self.names, str) or not self.names:
            raise pytest.UsageError(
                f"{type(self).__name__}.names: expected a list of names, such as "
                f"['my_package:Mine'], got {self.names!r}"
            )
        if "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.names, scope="class")


class StrategyConformance(Conformance):
    """Base class of the suites of optimizers.

    Attributes:
        memoryless: names of strategies that do not use fitness, such as random search; tests
            that take a ``learner`` leave them out.
    """

    memoryless: ClassVar[Collection[str]] = ()

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test that takes a ``learner`` with every strategy that uses fitness."""
        super().pytest_generate_tests(metafunc)
        if "learner" in metafunc.fixturenames:
            learners = [name for name in self.names if name not in self.memoryless]
            metafunc.parametrize("learner", learners, scope="class")

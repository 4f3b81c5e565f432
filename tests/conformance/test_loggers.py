"""What every registered logger must do."""

from __future__ import annotations

from pathlib import Path

import pytest
from logs import READ, Curves

from evonas.core import registry
from evonas.testing import LoggerConformance

NAMES = registry.names("logger")


class TestLoggers(LoggerConformance):
    names = NAMES

    def read(self, name: str, run: Path) -> Curves:
        return READ[name](run)


def test_all_can_be_read_back() -> None:
    assert set(NAMES) == set(READ), "tests/logs.py reads them"


@pytest.mark.parametrize("name", NAMES)
def test_what_a_logger_needs_is_an_extra(name: str) -> None:
    extra = registry.load("logger", name).needs[1]
    setup = (Path(__file__).parents[2] / "setup.cfg").read_text()
    assert f"\n{extra.partition('[')[2].rstrip(']')} =\n" in setup

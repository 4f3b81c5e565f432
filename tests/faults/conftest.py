"""One process for all toy searches of a test file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faults.driver import Toys


@pytest.fixture(scope="package")
def toys() -> Iterator[Toys]:
    """Does toy searches."""
    made = Toys()
    yield made
    made.close()

"""One process for all toy searches of a test file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from faults.driver import Toys, Whole
from faults.searches import RaySearches


@pytest.fixture(scope="package")
def toys() -> Iterator[Toys]:
    """Does toy searches."""
    made = Toys()
    yield made
    made.close()


@pytest.fixture
def searches() -> Iterator[RaySearches]:
    """Does searches with Ray, and leaves nothing behind."""
    made = RaySearches()
    yield made
    made.close()


@pytest.fixture(scope="module")
def failing(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """An undisturbed search in which some candidates fail: these may be worse than that."""
    words = ("optimizer=random", "budget=30", "finals.networks=0")
    return Whole(toys, tmp_path_factory.mktemp("whole"), *words)

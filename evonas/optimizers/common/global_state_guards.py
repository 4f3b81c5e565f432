"""Fences around libraries that reach for what belongs to the whole process."""

from __future__ import annotations

import logging.config
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def guarded_global_rng(state: np.random.RandomState) -> Iterator[None]:
    """Lend ``state`` to code that draws from numpy's global generator.

    Inside, the global generator continues ``state``; afterwards ``state`` has moved
    on and the global generator is what it was before, whatever happened inside.

    Args:
        state: the owner's random state, advanced in place.
    """
    outside = np.random.get_state()
    np.random.set_state(state.get_state())
    try:
        yield
    finally:
        state.set_state(np.random.get_state())
        np.random.set_state(outside)


@contextmanager
def no_logging_setup() -> Iterator[None]:
    """Ignore ``logging.config.dictConfig`` calls inside.

    For libraries that set up the root logger, and open a log file in the working
    directory, when they are imported.
    """
    original = logging.config.dictConfig
    logging.config.dictConfig = lambda config: None
    try:
        yield
    finally:
        logging.config.dictConfig = original

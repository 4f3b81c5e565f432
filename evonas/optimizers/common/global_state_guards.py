"""Guards for global state of the process that libraries change: random generator, logging."""

from __future__ import annotations

import logging.config
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def guarded_global_rng(state: np.random.RandomState) -> Iterator[None]:
    """Run code that draws from numpy's global generator on ``state`` instead.

    Inside, the global generator has the state ``state``. Afterwards ``state`` has advanced and
    the global generator is restored, also after an exception.

    Args:
        state: random state of the caller, advanced in place.
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
    """Ignore calls of ``logging.config.dictConfig``.

    Some libraries configure the root logger and open a log file in the working directory when
    they are imported.
    """
    original = logging.config.dictConfig
    logging.config.dictConfig = lambda config: None
    try:
        yield
    finally:
        logging.config.dictConfig = original

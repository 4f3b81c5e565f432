"""Prior mean of the surrogate from expected errors of the values of genes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evonas.errors import InputError, nearest
from evonas.space import SearchSpace

Array = NDArray[np.float64]
#: Gene -> value, as text or as it is -> expected error; a smaller error is better.
Prior = Mapping[str, Mapping[str | int | float | bool, float]]

#: Normal scores of the fitness per relative difference of expected errors, and their bound.
TRUST, MOST = 2.0, 1.0


def prior_offsets(space: SearchSpace, prior: Prior) -> dict[int, Array]:
    """Return gene index -> prior mean of the fitness at each value, in normal scores.

    A value without an expected error has the offset 0, that of a mean error.

    Raises:
        InputError: a gene or value is unknown, or an error is no finite number of at least 0.
    """
    expected = "prior: expected {gene: {value: error}}"
    if not isinstance(prior, Mapping):
        raise InputError(f"{expected}, got {prior!r}")
    names = [gene.name for gene in space.genes]
    offsets = {}
    for name, errors in prior.items():
        if name not in names:
            raise InputError(f"{expected}, got the gene {name!r}: {nearest(str(name), names)}")
        values = [str(value) for value in space.genes[names.index(name)].values]
        if not values:
            raise InputError(f"{expected} of genes with listed values, got the gene {name!r}")
        if not isinstance(errors, Mapping):
            raise InputError(f"{expected}, got {name}: {errors!r}")
        given = {str(value): error for value, error in errors.items()}
        for value, error in given.items():
            if value not in values:
                raise InputError(f"{expected}, got {name}={value}: {nearest(value, values)}")
            number = isinstance(error, int | float) and not isinstance(error, bool)
            if not number or not math.isfinite(error) or error < 0:
                raise InputError(f"{expected} with errors of at least 0, got {prior!r:.200}")
        mean = sum(given.values()) / max(len(given), 1)
        relative = [given.get(v, mean) / mean - 1.0 if mean > 0 else 0.0 for v in values]
        offsets[names.index(name)] = np.clip(TRUST * np.array(relative), -MOST, MOST)
    return offsets

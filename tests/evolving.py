"""What the tests of ``evolution`` share: the strategy, its asks, the published space."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evonas.optimizers.evolution import Evolution
from evonas.space import SearchSpace
from evonas.testing.optimizer_problems import (
    build,
    by_digest,
    drive,
)

EVOPOSE = SearchSpace.from_file(Path(__file__).parents[1] / "search_spaces" / "evopose2d.yaml")
B0 = EVOPOSE.ancestors[0]
Array = NDArray[np.float64]


def evolution(space: SearchSpace, **arguments: Any) -> Evolution:
    optimizer = build("evolution", space, **arguments)
    assert isinstance(optimizer, Evolution)
    return optimizer


def digests(space: SearchSpace, genomes: Array) -> list[str]:
    return [space.decode(genome).digest for genome in genomes]


def told(optimizer: Evolution, asks: int, fitness: Any = by_digest) -> list[tuple[str, float]]:
    """Run some asks; return (digest, fitness) of all that was asked, in order."""
    rows: list[tuple[str, float]] = []
    for genomes in drive(optimizer, fitness, asks):
        values = fitness(optimizer.space, genomes)
        rows.extend(zip(digests(optimizer.space, genomes), values.tolist(), strict=True))
    return rows


def ruled(space: SearchSpace, **rules: Any) -> SearchSpace:
    return SearchSpace.from_dict(space.to_dict() | rules)


def changes(optimizer: Evolution, child: Array, genomes: dict[str, Array]) -> list[str]:
    """Return the names of the settings in which a child differs from its parent."""
    space = optimizer.space
    own = space.decode(child)
    parent = space.decode(genomes[optimizer.parent_of(own.digest)])
    return [name for name in own.settings if own.settings[name] != parent.settings[name]]

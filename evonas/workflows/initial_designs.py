"""Initial designs: hand-made networks of the space that a search trains first.

A search of some dozens of trainings may otherwise end without one network as good as what an
expert would try first, and with it a strategy knows one good network on each tap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from evonas.core import registry
from evonas.errors import InputError
from evonas.models.networks.base import TAP, Network
from evonas.runs.run_store import Trial
from evonas.space import Architecture, SearchSpace

#: Largest number of initial designs. It does not depend on the budget, which a resumed run may
#: raise without becoming another search.
MOST = 8


def initial_designs(
    space: SearchSpace,
    cost: Callable[[Architecture], int],
    feasible: Callable[[Architecture], bool],
) -> tuple[Trial, ...]:
    """Return the initial designs of a space as trials with status ``design``.

    Each design of the network family stands on each tap of the space, as wide as the limits
    admit. Designs that the space does not contain are left out.

    Args:
        space: of the search.
        cost: multiply-adds of an architecture.
        feasible: whether the limits admit an architecture.
    """
    if not space.network:
        return ()
    family: type[Network] = registry.load("network", space.network)
    taps = next((gene.values for gene in space.genes if gene.name == TAP), ()) or (None,)
    found: dict[str, Trial] = {}
    for design in family.designs:
        for tap in taps:
            settings = design if tap is None else {**design, TAP: tap}
            if (made := _widest(space, settings, family.width, feasible)) is None:
                continue
            genome = tuple(space.encode(made).tolist())
            row = (made.digest, made.to_dict(), "design", None, cost(made))
            found.setdefault(made.digest, Trial(-1, len(found), genome, *row))
    return tuple(found.values())[:MOST]


def _widest(
    space: SearchSpace,
    settings: Mapping[str, Any],
    width: str,
    feasible: Callable[[Architecture], bool],
) -> Architecture | None:
    """Return the feasible architecture with the largest width; None if there is none."""
    gene = next((gene for gene in space.genes if gene.name == width), None)
    for value in sorted(gene.values, reverse=True) if gene else (None,):
        try:
            made = _filled(space, settings if value is None else {**settings, width: value})
        except InputError:
            return None
        if feasible(made):
            return made
    return None


def _filled(space: SearchSpace, settings: Mapping[str, Any]) -> Architecture:
    """Return the architecture with these settings; other genes have their first value.

    Raises:
        InputError: a gene cannot take its value.
    """
    genome = [
        gene.encode(settings[gene.name] if gene.name in settings else gene.decode(0.0))
        for gene in space.genes
    ]
    return space.decode(genome)

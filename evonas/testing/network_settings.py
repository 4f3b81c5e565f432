"""Each network family reads the settings that it declares, and no others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evonas.core import registry
from evonas.errors import InputError
from evonas.models.networks.base import TAP, Network, refuse_unread
from evonas.space import Architecture, SearchSpace
from evonas.testing.conformance import Conformance

SHAPE = (8, 9, 9)
#: Values to try for settings that no space has a gene for.
ANY = (0.0, 0.5, 1.0, 0, 1, 2, 3, 8, True, "none", "pool", "flatten", "residual", "relu", "silu")


def family(name: str) -> Network:
    """Return a network family."""
    made: Network = registry.load("network", name)()
    return made


def signature(name: str, settings: Mapping[str, Any]) -> str:
    """Return the layers of a network, the shapes of its weights and its computed cost."""
    return _signature(name, json.dumps(dict(settings)))


@cache
def _signature(name: str, settings: str) -> str:
    architecture = Architecture(name, json.loads(settings))
    with torch.device("meta"):
        module = family(name).build(architecture, SHAPE, 3)
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    return f"{module!r} {shapes} {family(name).macs(architecture, SHAPE, 3)}"


def differs(name: str, chosen: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Whether changes of settings make another network."""
    try:
        return signature(name, {**chosen, **changes}) != signature(name, chosen)
    except InputError:
        return False


def examples(spaces: Sequence[SearchSpace], name: str, n: int) -> Iterator[Mapping[str, Any]]:
    """Settings of random architectures of the family's spaces, and those of the default."""
    for space in (space for space in spaces if space.network == name):
        rng = np.random.default_rng(0)
        yield from (space.decode(rng.random(space.dim)).settings for _ in range(n))
    try:
        signature(name, {})
    except InputError:
        return
    yield {}


def values(spaces: Sequence[SearchSpace], name: str, setting: str) -> tuple[Any, ...]:
    """Return the values to try for a setting: those of a gene, or ``ANY``."""
    genes = [gene for space in spaces if space.network == name for gene in space.genes]
    return next((gene.values for gene in genes if gene.name == setting), ANY)


class Noting(Mapping[str, Any]):
    """Settings that note which names were asked for."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings, self.asked = settings, set[str]()

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return self.settings[key]

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return key in self.settings

    def __iter__(self) -> Iterator[str]:
        return iter(self.settings)

    def __len__(self) -> int:
        return len(self.settings)


class NetworkSettingsConformance(Conformance):
    """The settings that a family declares are those that it reads.

    Attributes:
        spaces: search spaces; those that name a family are its examples.
    """

    spaces: ClassVar[Sequence[SearchSpace]] = ()

    def test_every_declared_setting_changes_some_network(self, name: str) -> None:
        """A declared setting that changes nothing would make equal networks distinct."""
        dead = set(family(name).settings)
        for chosen in examples(self.spaces, name, 12):
            if not dead:
                break
            dead -= {
                s
                for s in dead
                if any(differs(name, chosen, {s: v}) for v in values(self.spaces, name, s))
            }
        assert not dead

    def test_no_other_setting_changes_a_network(self, name: str) -> None:
        """What else the code asks for may be refused, but makes no other network."""
        asked: set[str] = set()
        for chosen in examples(self.spaces, name, 2):
            architecture = Architecture(name, {})
            noting = Noting(chosen)
            object.__setattr__(architecture, "settings", noting)
            with torch.device("meta"):
                family(name).build(architecture, SHAPE, 3)
            family(name).macs(architecture, SHAPE, 3)
            asked |= noting.asked
            for other in noting.asked - family(name).settings:
                assert not any(differs(name, chosen, {other: value}) for value in ANY), other
        assert family(name).settings & asked

    def test_what_is_not_declared_is_refused_with_the_nearest(self, name: str) -> None:
        """Property: any other name is refused."""
        declared = family(name).settings
        refuse_unread(name, [*declared, TAP], "here: a setting")

        @settings(max_examples=30, deadline=None, derandomize=True, database=None)
        @given(st.text(max_size=8).filter(lambda text: text not in {*declared, TAP}))
        def try_it(text: str) -> None:
            with pytest.raises(InputError, match="here: a setting that network"):
                refuse_unread(name, [*declared, text], "here: a setting")

        try_it()
        for setting in declared:
            wrong = f"{setting[:3]}x{setting[3:]}"
            with pytest.raises(InputError) as caught:
                refuse_unread(name, [wrong], "here: a setting")
            assert f"{wrong!r}: did you mean " in caught.value.args[0]
